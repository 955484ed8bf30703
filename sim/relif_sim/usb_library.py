"""Libraries of USB devices with a UTMI bus: a core, or for tests of the bus alone streams that meet inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from amaranth import ClockDomain, Module, Mux, Signal
from amaranth.back import rtlil
from amaranth.lib.fifo import SyncFIFOBuffered
from luna.gateware.interface.utmi import UTMIInterface

from relif_hw.config import CoreConfig
from relif_hw.usb import UsbDevice, UsbPort

from .library import Progress, compiled

__all__ = ["usb_library"]

_HARNESS = Path(__file__).with_name("usb_harness.cpp")
_PACKAGES = ("luna-usb", "usb-protocol")
_BUS = ("rx_data", "rx_active", "rx_valid", "tx_data", "tx_valid", "tx_ready", "xcvr_select", "term_select",
        "op_mode", "line_state", "session_end")
_LOOP = 2048
"""Bytes between the two streams that meet."""


def _port_alone(m: Module, bus: UTMIInterface, serial: str, high_speed: bool, mode: Signal) -> tuple[Any, Any]:
    """A port whose streams meet (mode 0), that takes and makes bytes as fast as the clock (1), or does neither (2)."""
    m.submodules.port = port = UsbPort(bus=bus, serial=serial, high_speed=high_speed)
    m.submodules.loop = loop = SyncFIFOBuffered(width=8, depth=_LOOP)
    count = Signal(8)
    m.d.comb += [
        loop.w_data.eq(port.rx.payload), loop.w_en.eq(port.rx.valid & (mode == 0)),
        port.rx.ready.eq(Mux(mode == 0, loop.w_rdy, mode == 1)),
        port.tx.payload.eq(Mux(mode == 0, loop.r_data, count)),
        port.tx.valid.eq(Mux(mode == 0, loop.r_rdy, mode == 1)),
        loop.r_en.eq(port.tx.ready & (mode == 0)),
    ]
    with m.If(port.tx.ready & port.tx.valid):
        m.d.sync += count.eq(count + 1)
    return ~loop.r_rdy, port.configured


def _rtlil(config: CoreConfig | None, serial: str, high_speed: bool) -> str:
    m = Module()
    m.domains.sync = sync = ClockDomain("sync", reset_less=True)
    m.domains.usb = usb = ClockDomain("usb", reset_less=True)
    bus = UTMIInterface()
    mode = Signal(2)
    if config is None:
        idle, configured = _port_alone(m, bus, serial, high_speed, mode)
    else:
        m.submodules.device = device = UsbDevice(config, bus=bus, serial=serial, high_speed=high_speed)
        idle, configured = device.idle | device.waiting, device.configured
    out = {"idle": Signal(), "configured": Signal()}
    m.d.comb += [out["idle"].eq(idle), out["configured"].eq(configured)]
    signals = {"sync_clk": sync.clk, "usb_clk": usb.clk, "mode": mode, **out}
    signals |= {name: getattr(bus, name) for name in _BUS}
    ports = {name: (signal, None) for name, signal in signals.items()}
    text: str = rtlil.convert(m, name="relif", ports=ports, emit_src=False)
    return text


def usb_library(config: CoreConfig | None, *, serial: str, high_speed: bool,
                progress: Progress | None = None) -> Path:
    """The shared library of a USB device, compiled if the cache has none.

    Parameters
    ----------
    config : CoreConfig or None
        Of the core; none: a port whose streams meet, see the harness's `mode`.
    serial : str
    high_speed : bool
        Whether the device runs at high speed too; its bus then has 60 MHz, otherwise 12 MHz.
    progress : callable or None
        As of `relif_sim.library.library`.
    """
    name = f"usb-{config.name if config else 'loop'}-{serial}"
    key = repr((config, serial, high_speed, Path(__file__).read_text(encoding="utf-8")))
    return compiled(name, key, lambda: _rtlil(config, serial, high_speed), _HARNESS,
                    lanes=config.lanes if config else 0, packages=_PACKAGES, progress=progress)
