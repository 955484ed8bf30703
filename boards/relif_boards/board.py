"""What a board is to Relif: a platform of `amaranth-boards`, a clock, a way to the host, and a core that fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["FULL_SPEED", "ULPI_HZ", "Board"]

FULL_SPEED = {"usb_io": 48e6, "usb": 12e6}
"""Clock domains that full-speed USB on bare pads needs besides `sync`, in Hz."""
ULPI_HZ = 60e6
"""Of the clock that a ULPI PHY brings, in the domain `usb`."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board; each has a file of its own, which `docs/porting.md` explains.

    Parameters
    ----------
    name, title : str
        As commands and tables call it.
    platform : callable
        Makes the Amaranth platform.
    family : str
        Of the FPGA, which chooses the tools.
    link : str
        `uart`: pins of a serial adapter; `pads`: full-speed USB on bare pads; `ulpi`: USB through a ULPI PHY.
    clock_hz : float
        The core's clock, made by the PLL from the platform's default clock.
    preset : str
        The core that is built if no other one is asked for; see `docs/boards.md`.
    resource : (str, int)
        Resource of the platform with the link's pins.
    baudrate : int
        Of a UART.
    slots : int
        Frames that the core keeps in each direction.
    led : (str, int) or None
        A light that shows activity.
    router : str
        Of nextpnr, for an ECP5. `router1` goes by timing: clocks are a tenth to a fifth higher than with `router2`,
        which goes by congestion, takes half the time, and ends where the former does not.
    dfu : (int, int) or None
        Vendor and product id of its bootloader, if that takes files with a DFU suffix.
    """

    name: str
    title: str
    platform: Callable[[], Any]
    link: Literal["uart", "pads", "ulpi"]
    family: Literal["ecp5", "ice40", "gowin"] = "ecp5"
    clock_hz: float
    preset: str
    resource: tuple[str, int]
    baudrate: int = 3_000_000
    slots: int = 4
    led: tuple[str, int] | None = None
    router: Literal["router1", "router2"] = "router1"
    dfu: tuple[int, int] | None = None

    @property
    def pll_domains(self) -> dict[str, float]:
        """Clock domains that the PLL makes, in Hz."""
        return {"sync": self.clock_hz, **(FULL_SPEED if self.link == "pads" else {})}

    @property
    def domains(self) -> dict[str, float]:
        """All clock domains, with what each must reach in Hz."""
        return {**self.pll_domains, **({"usb": ULPI_HZ} if self.link == "ulpi" else {})}

    @property
    def host(self) -> str:
        """What a host gives `relif.open`."""
        return "serial:PORT" if self.link == "uart" else "usb://"
