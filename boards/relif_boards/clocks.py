"""Clocks of an FPGA: one PLL, and a reset for each of its domains that ends some time after it has locked."""

from typing import NamedTuple

from amaranth import ClockDomain, ClockSignal, Const, Instance, Module, Signal
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import Component, In

__all__ = [
    "Dividers", "Ecp5Clocks", "GowinClocks", "GowinDividers", "Ice40Clocks", "Ice40Dividers", "gowin_dividers",
    "ice40_dividers", "pll_dividers", "reset_domains",
]

VCO_HZ = (400e6, 800e6)
PHASE_DETECTOR_HZ = (3.125e6, 400e6)
ICE40_VCO_HZ = (533e6, 1066e6)
ICE40_PHASE_DETECTOR_HZ = (10e6, 133e6)
ICE40_FILTERS = (17e6, 26e6, 44e6, 66e6, 101e6, 133e6)
"""Upper ends of the ranges 1, 2, ... of the loop filter."""
GOWIN_VCO_HZ = (500e6, 1250e6)
GOWIN_PHASE_DETECTOR_HZ = (3e6, 500e6)
GOWIN_VCO_DIVIDERS = (2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128)
RESET_CYCLES = 1 << 14
"""From the lock to the end of the reset: more than a core has neuron words, which a reset clears one by one; and block
memory of an iCE40 reads as zero for some microseconds after power-up."""


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
        reset_domains(m, dict(zip(self.domains, clocks.values(), strict=True)), counting=self.source, locked=locked)
        return m


class Ice40Dividers(NamedTuple):
    """Of a PLL: VCO = clock in / (`divr` + 1) * (`divf` + 1); clock out = VCO / 2^`divq`."""

    divr: int
    divf: int
    divq: int
    filter_range: int


def ice40_dividers(source_hz: float, wanted_hz: float) -> Ice40Dividers:
    """The dividers that make the frequency exactly; `ValueError` if there are none."""
    for divr in range(16):
        detector = source_hz / (divr + 1)
        if not ICE40_PHASE_DETECTOR_HZ[0] <= detector <= ICE40_PHASE_DETECTOR_HZ[1]:
            continue
        for divq in range(1, 7):
            vco = wanted_hz * (1 << divq)
            divf = round(vco / detector) - 1
            if ICE40_VCO_HZ[0] <= vco <= ICE40_VCO_HZ[1] and divf < 128 and abs(detector * (divf + 1) - vco) < 1:
                return Ice40Dividers(divr, divf, divq, sum(detector >= end for end in ICE40_FILTERS) + 1)
    raise ValueError(f"the PLL cannot make {wanted_hz / 1e6:g} MHz of {source_hz / 1e6:g} MHz")


class Ice40Clocks(Component):
    """Drives a clock domain from the pad of one of an iCE40's PLLs; its reset is as of `Ecp5Clocks`.

    Parameters
    ----------
    pad : IOPort
        Of the clock; the PLL has it for itself.
    source_hz : float
        Its frequency.
    domains : dict of str to float
        One domain, which the module around has, and its frequency in Hz.
    """

    def __init__(self, pad, source_hz: float, domains: dict[str, float]):
        (wanted_hz,) = domains.values()
        self.pad, self.domains = pad, domains
        self.dividers = ice40_dividers(source_hz, wanted_hz)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        (domain,) = self.domains
        clock, locked = Signal(name=f"pll_{domain}"), Signal()
        divr, divf, divq, filter_range = self.dividers
        m.submodules.pll = Instance(
            "SB_PLL40_PAD", p_FEEDBACK_PATH="SIMPLE", p_PLLOUT_SELECT="GENCLK", p_DIVR=Const(divr, 4),
            p_DIVF=Const(divf, 7), p_DIVQ=Const(divq, 3), p_FILTER_RANGE=Const(filter_range, 3),
            io_PACKAGEPIN=self.pad, i_RESETB=Const(1), i_BYPASS=Const(0), o_PLLOUTGLOBAL=clock, o_LOCK=locked)
        reset_domains(m, {domain: clock}, counting=clock, locked=locked)
        return m


class GowinDividers(NamedTuple):
    """Of a PLL: clock out = clock in / `divide` * `multiply`; VCO = clock out * `output`."""

    divide: int
    multiply: int
    output: int


def gowin_dividers(source_hz: float, wanted_hz: float) -> GowinDividers:
    """The dividers that make the frequency exactly; `ValueError` if there are none."""
    output = next((n for n in GOWIN_VCO_DIVIDERS if GOWIN_VCO_HZ[0] <= wanted_hz * n <= GOWIN_VCO_HZ[1]), None)
    for divide in range(1, 65):
        detector = source_hz / divide
        multiply = round(wanted_hz / detector)
        if (output and GOWIN_PHASE_DETECTOR_HZ[0] <= detector <= GOWIN_PHASE_DETECTOR_HZ[1] and 1 <= multiply <= 64
                and abs(detector * multiply - wanted_hz) < 1):
            return GowinDividers(divide, multiply, output)
    raise ValueError(f"the PLL cannot make {wanted_hz / 1e6:g} MHz of {source_hz / 1e6:g} MHz")


class GowinClocks(Component):
    """Drives a clock domain from the PLL of a GW2A; its reset is as of `Ecp5Clocks`.

    Place and route derives nothing from the PLL's input: the platform is told what both clocks must reach.

    Parameters
    ----------
    source_hz : float
        Frequency of the clock pin.
    domains : dict of str to float
        One domain, which the module around has, and its frequency in Hz.

    Members
    -------
    source : In(1)
    """

    source: In(1)

    def __init__(self, source_hz: float, domains: dict[str, float]):
        (wanted_hz,) = domains.values()
        self.source_hz, self.domains = source_hz, domains
        self.dividers = gowin_dividers(source_hz, wanted_hz)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        ((domain, wanted_hz),) = self.domains.items()
        clock, locked = Signal(name=f"pll_{domain}"), Signal()
        divide, multiply, output = self.dividers
        m.submodules.pll = Instance(
            "rPLL", p_DEVICE="GW2AR-18C", p_FCLKIN=f"{self.source_hz / 1e6:g}", p_IDIV_SEL=divide - 1,
            p_FBDIV_SEL=multiply - 1, p_ODIV_SEL=output, p_DYN_IDIV_SEL="false", p_DYN_FBDIV_SEL="false",
            p_DYN_ODIV_SEL="false", p_CLKFB_SEL="internal", i_CLKIN=self.source, i_CLKFB=Const(0), i_RESET=Const(0),
            i_RESET_P=Const(0), i_IDSEL=Const(0, 6), i_FBDSEL=Const(0, 6), i_ODSEL=Const(0, 6), i_PSDA=Const(0, 4),
            i_DUTYDA=Const(0, 4), i_FDLY=Const(0, 4), o_CLKOUT=clock, o_LOCK=locked)
        platform.add_clock_constraint(self.source, self.source_hz)
        platform.add_clock_constraint(clock, wanted_hz)
        reset_domains(m, {domain: clock}, counting=self.source, locked=locked)
        return m


def reset_domains(m, clocks, *, counting, locked):
    """Drive domains by their clocks (by name), in reset until `RESET_CYCLES` of the clock `counting` after the lock.

    What the PLL's outputs must reach, place and route of an ECP5 and an iCE40 derives from its input.
    """
    m.domains += ClockDomain("board", local=True)
    m.d.comb += ClockSignal("board").eq(counting)
    m.submodules.board_reset = ResetSynchronizer(~locked, domain="board")
    count = Signal(range(RESET_CYCLES))
    ready = Signal()
    with m.If(~ready):
        m.d.board += [count.eq(count + 1), ready.eq(count.all())]
    for domain, clock in clocks.items():
        m.d.comb += ClockSignal(domain).eq(clock)
        m.submodules[f"reset_{domain}"] = ResetSynchronizer(~ready, domain=domain)
