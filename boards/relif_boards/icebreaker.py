"""iCEBreaker with an iCE40UP5K: weights in its single-port memories, serial adapter FT2232H at 3 Mbaud."""

from amaranth_boards.icebreaker import ICEBreakerPlatform

from .board import Board

__all__ = ["ICEBREAKER"]

ICEBREAKER = Board(name="icebreaker", title="iCEBreaker, serial", platform=ICEBreakerPlatform, family="ice40",
                   link="uart", clock_hz=20.25e6, preset="lanes1", resource=("uart", 0), led=("led_g", 0))
