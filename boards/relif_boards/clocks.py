"""Clocks of an ECP5: one PLL, and a reset for each of its domains that ends some time after it has locked."""

from typing import NamedTuple

from amaranth import ClockDomain, ClockSignal, Instance, Module, Signal
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import Component, In

__all__ = ["Dividers", "Ecp5Clocks", "pll_dividers"]

VCO_HZ = (400e6, 800e6)
PHASE_DETECTOR_HZ = (3.125e6, 400e6)
RESET_CYCLES = 1 << 12
"""Of the board's clock, from the lock to the end of the reset."""


class Dividers(NamedTuple):
    """Of a PLL: clock in / `divide` = feedback output / `multiply`; VCO = feedback output * `feedback`."""

    divide: int
    multiply: int
    feedback: int
    outputs: tuple[int, ...]


def pll_dividers(source_hz: float, wanted_hz: tuple[float, ...]) -> Dividers:
    """The dividers that make all frequencies exactly; `ValueError` if there are none.

    The first output of the PLL is its feedback and nothing else, so that the others may be any fraction.
    """
    for divide in range(1, 129):
        detector = source_hz / divide
        if not PHASE_DETECTOR_HZ[0] <= detector <= PHASE_DETECTOR_HZ[1]:
            continue
        for product in range(int(VCO_HZ[0] // detector), int(VCO_HZ[1] // detector) + 1):
            vco = detector * product
            outputs = tuple(round(vco / hz) for hz in wanted_hz)
            multiply = next((n for n in range(1, 81) if product % n == 0 and product // n <= 128), None)
            if vco >= VCO_HZ[0] and multiply and all(
                    1 <= n <= 128 and abs(vco / n - hz) < 1 for n, hz in zip(outputs, wanted_hz, strict=True)):
                return Dividers(divide, multiply, product // multiply, outputs)
    wanted = ", ".join(f"{hz / 1e6:g}" for hz in wanted_hz)
    raise ValueError(f"the PLL cannot make {wanted} MHz of {source_hz / 1e6:g} MHz")


class Ecp5Clocks(Component):
    """Drives clock domains from one clock pin.

    A domain's reset is asserted without a clock as soon as the PLL has no lock, so at power-up and in a
    brown-out too, and released in step with its clock, `RESET_CYCLES` of the board's clock after the lock.

    Parameters
    ----------
    source_hz : float
        Frequency of the clock pin.
    domains : dict of str to float
        Up to three domains, which the module around has, and their frequencies in Hz.

    Members
    -------
    source : In(1)
    """

    source: In(1)

    def __init__(self, source_hz: float, domains: dict[str, float]):
        self.domains = domains
        self.dividers = pll_dividers(source_hz, tuple(domains.values()))
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        divide, multiply, feedback_divider, outputs = self.dividers
        names = ("CLKOS", "CLKOS2", "CLKOS3")[:len(outputs)]
        clocks = {name: Signal(name=f"pll_{domain}") for name, domain in zip(names, self.domains, strict=True)}
        locked, feedback = Signal(), Signal()
        parameters = {}
        for name, output in zip(names, outputs, strict=True):
            parameters |= {f"p_{name}_ENABLE": "ENABLED", f"p_{name}_DIV": output, f"p_{name}_CPHASE": output - 1,
                           f"p_{name}_FPHASE": 0, f"o_{name}": clocks[name]}
        m.submodules.pll = Instance(
            "EHXPLLL", p_CLKI_DIV=divide, p_CLKFB_DIV=multiply, p_FEEDBK_PATH="CLKOP",
            p_CLKOP_ENABLE="ENABLED", p_CLKOP_DIV=feedback_divider, p_CLKOP_CPHASE=feedback_divider - 1,
            p_CLKOP_FPHASE=0, o_CLKOP=feedback, i_CLKFB=feedback, p_PLLRST_ENA="DISABLED",
            p_STDBY_ENABLE="DISABLED", p_DPHASE_SOURCE="DISABLED", p_OUTDIVIDER_MUXA="DIVA",
            p_OUTDIVIDER_MUXB="DIVB", p_OUTDIVIDER_MUXC="DIVC", p_OUTDIVIDER_MUXD="DIVD", i_CLKI=self.source,
            i_RST=0, i_STDBY=0, i_PHASESEL0=0, i_PHASESEL1=0, i_PHASEDIR=0, i_PHASESTEP=0, i_PHASELOADREG=0,
            i_PLLWAKESYNC=0, i_ENCLKOP=0, i_ENCLKOS=0, i_ENCLKOS2=0, i_ENCLKOS3=0, o_LOCK=locked,
            a_ICP_CURRENT="12", a_LPF_RESISTOR="8", a_MFG_ENABLE_FILTEROPAMP="1", a_MFG_GMCREF_SEL="2",
            **parameters)

        # The board's own clock runs when nothing else does: it counts the time since the lock.
        m.domains += ClockDomain("board", local=True)
        m.d.comb += ClockSignal("board").eq(self.source)
        m.submodules.board_reset = ResetSynchronizer(~locked, domain="board")
        count = Signal(range(RESET_CYCLES))
        ready = Signal()
        with m.If(~ready):
            m.d.board += [count.eq(count + 1), ready.eq(count.all())]
        for name, (domain, hz) in zip(names, self.domains.items(), strict=True):
            m.d.comb += ClockSignal(domain).eq(clocks[name])
            m.submodules[f"reset_{domain}"] = ResetSynchronizer(~ready, domain=domain)
            platform.add_clock_constraint(clocks[name], hz)
        return m
