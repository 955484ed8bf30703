"""The PLL's dividers: every frequency exact, and everything within the range of the data sheet."""

from __future__ import annotations

import pytest
from amaranth import Cat, ClockDomain, Elaboratable, Module, ResetSignal, Signal
from amaranth.sim import Simulator

from relif_boards import clocks
from relif_boards.catalog import BOARDS
from relif_boards.clocks import (
    GOWIN_PHASE_DETECTOR_HZ,
    GOWIN_VCO_DIVIDERS,
    GOWIN_VCO_HZ,
    ICE40_PHASE_DETECTOR_HZ,
    ICE40_VCO_HZ,
    PHASE_DETECTOR_HZ,
    RESET_CYCLES,
    VCO_HZ,
    gowin_dividers,
    ice40_dividers,
    pll_dividers,
    reset_domains,
)
from relif_hw.config import PRESETS

SOURCES = {"ulx3s": 25e6, "ulx3s-usb": 25e6, "orangecrab": 48e6, "ecpix5": 100e6, "ecpix5-serial": 100e6}


def test_all_boards_are_here():
    assert BOARDS.keys() == {"icebreaker", "tangnano20k", *SOURCES}


@pytest.mark.parametrize("name", SOURCES)
def test_every_ecp5_gets_its_clocks(name):
    board, source = BOARDS[name], SOURCES[name]
    wanted = tuple(board.pll_domains.values())
    divide, multiply, feedback, outputs = pll_dividers(source, wanted)
    vco = source / divide * multiply * feedback
    assert PHASE_DETECTOR_HZ[0] <= source / divide <= PHASE_DETECTOR_HZ[1]
    assert VCO_HZ[0] <= vco <= VCO_HZ[1]
    assert [vco / output for output in outputs] == pytest.approx(wanted, abs=1)       # Hz: frequencies are floats
    assert 1 <= multiply <= 80 and all(1 <= n <= 128 for n in (divide, feedback, *outputs))
    assert board.platform().default_clk_frequency == source


def test_the_ice40_gets_its_clock():
    board = BOARDS["icebreaker"]
    divr, divf, divq, filter_range = ice40_dividers(12e6, board.clock_hz)
    assert 12e6 / (divr + 1) * (divf + 1) / 2**divq == pytest.approx(board.clock_hz, abs=1)   # Hz, as above
    assert board.platform().default_clk_frequency == 12e6 and filter_range == 1
    # The filter's range follows the phase detector's frequency, and all fields are within their bits.
    for source, wanted, expected in ((48e6, 48e6, (0, 15, 4, 4)), (100e6, 25e6, (0, 7, 5, 5)),
                                     (16e6, 20e6, (0, 39, 5, 1))):
        assert ice40_dividers(source, wanted) == expected
    for source in (12e6, 25e6, 100e6):
        for wanted in range(17, 60):
            try:
                divr, divf, divq, filter_range = ice40_dividers(source, wanted * 1e6)
            except ValueError:
                continue
            assert ICE40_PHASE_DETECTOR_HZ[0] <= source / (divr + 1) <= ICE40_PHASE_DETECTOR_HZ[1]
            assert ICE40_VCO_HZ[0] <= source / (divr + 1) * (divf + 1) <= ICE40_VCO_HZ[1]
            assert divr < 16 and divf < 128 and 1 <= divq <= 6 and 1 <= filter_range <= 6


def test_the_gowin_gets_its_clock():
    board = BOARDS["tangnano20k"]
    divide, multiply, output = gowin_dividers(27e6, board.clock_hz)
    assert 27e6 / divide * multiply == pytest.approx(board.clock_hz, abs=1)                   # Hz, as above
    assert board.platform().default_clk_frequency == 27e6
    for source, wanted, expected in ((27e6, 27e6, (1, 1, 32)), (27e6, 36e6, (3, 4, 16)), (27e6, 24e6, (9, 8, 32)),
                                     (50e6, 300e6, (1, 6, 2)), (24e6, 4e6, (6, 1, 128))):
        assert gowin_dividers(source, wanted) == expected
    for source in (12e6, 27e6, 100e6):
        for wanted in range(4, 626):
            try:
                divide, multiply, output = gowin_dividers(source, wanted * 1e6)
            except ValueError:
                continue
            assert GOWIN_PHASE_DETECTOR_HZ[0] <= source / divide <= GOWIN_PHASE_DETECTOR_HZ[1]
            assert GOWIN_VCO_HZ[0] <= wanted * 1e6 * output <= GOWIN_VCO_HZ[1] and output in GOWIN_VCO_DIVIDERS
            assert source / divide * multiply == pytest.approx(wanted * 1e6, abs=1)       # Hz, as above
            assert 1 <= divide <= 64 and 1 <= multiply <= 64


def test_refuses_what_cannot_be_made():
    with pytest.raises(ValueError, match=r"the PLL cannot make 24, 47.77 MHz of 25 MHz"):
        pll_dividers(25e6, (24e6, 47.77e6))
    with pytest.raises(ValueError, match=r"the PLL cannot make 8 MHz of 12 MHz"):
        ice40_dividers(12e6, 8e6)
    with pytest.raises(ValueError, match=r"the PLL cannot make 32.1 MHz of 27 MHz"):
        gowin_dividers(27e6, 32.1e6)
    with pytest.raises(ValueError, match=r"the PLL cannot make 3 MHz of 27 MHz"):
        gowin_dividers(27e6, 3e6)                               # below 500 MHz / 128


class Clocked(Elaboratable):
    """Two domains on one clock, held in reset as on a board."""

    def __init__(self):
        self.locked, self.counting = Signal(), Signal()
        self.clocks = {name: Signal(name=f"clk_{name}") for name in ("sync", "usb")}
        self.in_reset = Signal(2)

    def elaborate(self, platform):
        m = Module()
        m.domains.sync, m.domains.usb = ClockDomain("sync"), ClockDomain("usb")
        reset_domains(m, self.clocks, counting=self.counting, locked=self.locked)
        m.d.comb += self.in_reset.eq(Cat(ResetSignal("sync"), ResetSignal("usb")))
        return m


def test_domains_are_reset_until_some_time_after_the_lock(monkeypatch):
    assert RESET_CYCLES >= max(config.neuron_words for config in PRESETS.values())
    few = 64
    monkeypatch.setattr(clocks, "RESET_CYCLES", few)
    dut = Clocked()

    async def bench(ctx):
        async def cycles(number, *, clocks):
            for _ in range(number):
                for level in (1, 0):
                    ctx.set(dut.counting, level)
                    for clock in dut.clocks.values() if clocks else ():
                        ctx.set(clock, level)
                    await ctx.delay(1e-6)

        async def until_released():
            count = 0
            while ctx.get(dut.in_reset) == 3:
                await cycles(1, clocks=True)
                count += 1
            assert ctx.get(dut.in_reset) == 0
            return count

        await cycles(few + 9, clocks=True)
        assert ctx.get(dut.in_reset) == 3                       # no lock
        ctx.set(dut.locked, 1)
        assert few <= await until_released() <= few + 9
        await cycles(9, clocks=True)
        # A brown-out: the clocks have stopped with the lock, and all are reset nevertheless.
        ctx.set(dut.locked, 0)
        await cycles(3, clocks=False)
        assert ctx.get(dut.in_reset) == 3
        ctx.set(dut.locked, 1)
        assert few <= await until_released() <= few + 9

    simulator = Simulator(dut)
    simulator.add_testbench(bench)
    simulator.run()
