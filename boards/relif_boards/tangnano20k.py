"""Tang Nano 20K with a GW2AR-18: the serial adapter of its programmer, a BL616.

No document tells how fast the adapter may be. 2 Mbaud is a rate that the BL616 makes exactly; 3 Mbaud it misses by 1 %,
as owners of a sister board measured (sipeed/TangPrimer-25K-example, issue 14), which is half of what a core tolerates.
Firmware from before 2025 garbles bytes (sipeed/sipeed_wiki, issue 763). Pins as in litex-boards.
"""

from __future__ import annotations

import os
import subprocess
from typing import Any

from amaranth.build import Attrs, Clock, Pins, Resource
from amaranth_boards.resources import LEDResources, UARTResource

from .board import Board
from .gowin import HimbaechelPlatform

__all__ = ["TANGNANO20K", "TangNano20kPlatform"]

_PADS = Attrs(IO_TYPE="LVCMOS33")


class TangNano20kPlatform(HimbaechelPlatform):
    """The pins that a core needs."""

    part = "GW2AR-LV18QN88C8/I7"
    family = "GW2AR-18C"
    default_clk = "clk27"
    resources = [
        Resource("clk27", 0, Pins("4", dir="i"), Clock(27e6), _PADS),
        *LEDResources(pins="15 16 17 18 19 20", invert=True, attrs=_PADS),
        UARTResource(0, rx="70", tx="69", attrs=Attrs(IO_TYPE="LVCMOS33", PULL_MODE="UP")),
    ]
    connectors: list[Any] = []

    def toolchain_program(self, products: Any, name: str) -> None:
        """Into the FPGA's configuration memory, until power is off."""
        tool = os.environ.get("OPENFPGALOADER", "openFPGALoader")
        with products.extract(f"{name}.fs") as bitstream:
            subprocess.check_call([tool, "-b", "tangnano20k", bitstream])


TANGNANO20K = Board(name="tangnano20k", title="Tang Nano 20K, serial", platform=TangNano20kPlatform, family="gowin",
                    link="uart", clock_hz=72e6, preset="lanes1", resource=("uart", 0), baudrate=2_000_000,
                    led=("led", 0))
