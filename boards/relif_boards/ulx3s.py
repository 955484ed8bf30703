"""ULX3S with an ECP5-85F: FT231X serial adapter at 3 Mbaud, or full-speed USB on the connector US2."""

from amaranth_boards.ulx3s import ULX3S_85F_Platform

from .board import Board

__all__ = ["ULX3S", "ULX3S_USB"]

ULX3S = Board(name="ulx3s", title="ULX3S 85F, serial", platform=ULX3S_85F_Platform, link="uart", clock_hz=48e6,
              preset="lanes32", resource=("uart", 0), led=("led", 0))
ULX3S_USB = Board(name="ulx3s-usb", title="ULX3S 85F, USB on US2", platform=ULX3S_85F_Platform, link="pads",
                  clock_hz=60e6, preset="lanes16", resource=("usb", 0), led=("led", 0))
