"""ECPIX-5 with an ECP5-85F: high-speed USB through a ULPI PHY, or the serial adapter of its programmer."""

from amaranth_boards.ecpix5 import ECPIX585Platform

from .board import Board

__all__ = ["ECPIX5", "ECPIX5_SERIAL"]

ECPIX5 = Board(name="ecpix5", title="ECPIX-5 85F, USB", platform=ECPIX585Platform, link="ulpi", clock_hz=60e6,
               preset="lanes16", resource=("ulpi", 0), router="router2", led=("rgb_led", 0))
"""Router1 had not routed two of its first three seeds after 25 minutes."""
ECPIX5_SERIAL = Board(name="ecpix5-serial", title="ECPIX-5 85F, serial", platform=ECPIX585Platform, link="uart",
                      clock_hz=75e6, preset="lanes32", resource=("uart", 0), led=("rgb_led", 0))
