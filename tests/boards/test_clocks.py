"""The PLL's dividers: every frequency exact, and everything within the range of the data sheet."""

from __future__ import annotations

import pytest

from relif_boards.catalog import BOARDS
from relif_boards.clocks import PHASE_DETECTOR_HZ, VCO_HZ, pll_dividers
from relif_boards.top import FULL_SPEED

SOURCES = {"ulx3s": 25e6, "ulx3s-usb": 25e6, "orangecrab": 48e6, "ecpix5": 100e6, "ecpix5-serial": 100e6}


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_every_board_gets_its_clocks(board):
    source = SOURCES[board.name]
    wanted = (board.clock_hz, *(FULL_SPEED.values() if board.link == "pads" else ()))
    divide, multiply, feedback, outputs = pll_dividers(source, wanted)
    vco = source / divide * multiply * feedback
    assert PHASE_DETECTOR_HZ[0] <= source / divide <= PHASE_DETECTOR_HZ[1]
    assert VCO_HZ[0] <= vco <= VCO_HZ[1]
    assert [vco / output for output in outputs] == pytest.approx(wanted, abs=1)       # Hz: frequencies are floats
    assert 1 <= multiply <= 80 and all(1 <= n <= 128 for n in (divide, feedback, *outputs))
    assert board.platform().default_clk_frequency == source


def test_refuses_what_cannot_be_made():
    with pytest.raises(ValueError, match=r"the PLL cannot make 24, 47.77 MHz of 25 MHz"):
        pll_dividers(25e6, (24e6, 47.77e6))
