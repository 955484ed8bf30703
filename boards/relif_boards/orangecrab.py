"""OrangeCrab r0.2 with an ECP5-85F: full-speed USB on its own pads."""

from amaranth_boards.orangecrab_r0_2 import OrangeCrabR0_2_85FPlatform

from .board import Board

__all__ = ["ORANGECRAB"]

ORANGECRAB = Board(name="orangecrab", title="OrangeCrab r0.2 85F", platform=OrangeCrabR0_2_85FPlatform, link="pads",
                   clock_hz=60e6, preset="lanes32", resource=("usb", 0), led=("rgb_led", 0), dfu=(0x1209, 0x5AF0))
