"""Native USB: a byte stream to the host over two bulk endpoints, and the device behind it.

    bus ─► luna's USBDevice ─► BulkOut ─► FIFO ─► rx
                            ◄─ BulkIn  ◄─ FIFO ◄─ tx
           domain usb                  │       domain sync
"""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.fifo import AsyncFIFO
from amaranth.lib.wiring import In, Out, connect
from luna.gateware.usb.usb2.device import USBDevice

from .config import CoreConfig
from .device import Device
from .usb_control import ControlEndpoint
from .usb_endpoints import BulkIn, BulkOut
from .usb_identity import ENDPOINT, check_serial

__all__ = ["UsbDevice", "UsbPort"]

_PAUSE = {True: 64, False: 16}
"""Cycles of 60 MHz and 12 MHz, about 1 µs. A packet that is sent too early costs time, nothing else."""

_CROSSING = 16
"""Bytes of each FIFO between the clock domains."""


class UsbPort(wiring.Component):
    """Two byte streams over USB, as a device of one vendor-specific interface (`relif_hw.usb_identity`).

    Bytes that the host sends come out of `rx` once and in order. Bytes of `tx` wait until a host reads them,
    and are dropped while no host has configured the device. After a reset of the bus, a new plug or a new
    SET_CONFIGURATION both directions begin afresh; the streams then go on in the middle of what they carried,
    which the link between the host and the core is made for.

    Domains: `sync`, that of the streams; `usb`, the bus's clock: 60 MHz with a ULPI PHY (which drives it if
    `handle_clocking`) or a UTMI bus at high speed, 12 MHz otherwise; and `usb_io` of 48 MHz with bare pads.

    Parameters
    ----------
    bus
        What luna's `USBDevice` takes: a ULPI resource (it has `dir`), pads `d_p`, `d_n` and `pullup`, for which
        luna's `GatewarePHY` is the transceiver, or a `UTMIInterface`.
    serial : str
        Serial number, by which `relif.open("usb://SERIAL")` finds the board.
    high_speed : bool or None
        Run at high speed where the host can, too; by default if the bus is ULPI. Bare pads cannot.
    handle_clocking : bool
        Connect the ULPI clock to the domain `usb`.

    Members
    -------
    rx : Out(stream of 8), tx : In(stream of 8)
        Bytes from and to the host.
    configured : Out(1)
        A host has configured the device; in the domain `sync`.
    """

    def __init__(self, *, bus, serial: str, high_speed: bool | None = None, handle_clocking: bool = True):
        self.serial = check_serial(serial)
        ulpi, pads = hasattr(bus, "dir"), hasattr(bus, "d_n")
        self.high_speed = ulpi if high_speed is None else high_speed
        if self.high_speed and pads:
            raise ValueError("bare pads are a full-speed bus; high speed needs a ULPI PHY")
        self.usb = USBDevice(bus=bus, handle_clocking=handle_clocking)
        if self.high_speed:
            self.usb.always_fs, self.usb.data_clock = False, 60e6
        self.control = ControlEndpoint(utmi=self.usb.utmi, serial=serial, high_speed=self.high_speed)
        self.bulk_out = BulkOut(ENDPOINT)
        self.bulk_in = BulkIn(ENDPOINT, pause=_PAUSE[self.usb.data_clock == 60e6])
        for endpoint in (self.control, self.bulk_out, self.bulk_in):
            self.usb.add_endpoint(endpoint)
        super().__init__({
            "rx": Out(stream.Signature(8)),
            "tx": In(stream.Signature(8)),
            "configured": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.usb = usb = self.usb
        m.submodules.received = received = AsyncFIFO(width=8, depth=_CROSSING, w_domain="usb", r_domain="sync")
        m.submodules.to_send = to_send = AsyncFIFO(width=8, depth=_CROSSING, w_domain="sync", r_domain="usb")

        configured = Signal()
        endpoint_reset = usb.reset_detected | self.control.interface.config_changed
        m.d.usb += configured.eq(self.bulk_out.interface.active_config.any())
        m.submodules.configured = FFSynchronizer(configured, self.configured)
        m.d.comb += [
            usb.connect.eq(1), usb.full_speed_only.eq(not self.high_speed),
            self.control.reset.eq(usb.reset_detected),
            self.bulk_out.reset.eq(endpoint_reset), self.bulk_in.reset.eq(endpoint_reset),
            received.w_data.eq(self.bulk_out.o.payload), received.w_en.eq(self.bulk_out.o.valid),
            self.bulk_out.o.ready.eq(received.w_rdy),
            # The endpoint, fresh from its reset, stays ready: without a configuration the bytes are dropped.
            self.bulk_in.i.payload.eq(to_send.r_data), self.bulk_in.i.valid.eq(to_send.r_rdy & configured),
            to_send.r_en.eq(self.bulk_in.i.ready),
            self.rx.payload.eq(received.r_data), self.rx.valid.eq(received.r_rdy),
            received.r_en.eq(self.rx.ready),
            to_send.w_data.eq(self.tx.payload), to_send.w_en.eq(self.tx.valid), self.tx.ready.eq(to_send.w_rdy),
        ]
        return m


class UsbDevice(wiring.Component):
    """A core behind USB: what a board top holds besides clocks and pins.

    Parameters
    ----------
    config : CoreConfig
    bus, serial, high_speed, handle_clocking
        Of `UsbPort`, whose clock domains this has too; the core is in `sync`.
    receive_slots, transmit_slots, core
        Of `Device`.

    Members
    -------
    configured : Out(1)
        A host has configured the device.
    idle, waiting, fault : Out(1)
        As of `Device`.
    """

    configured: Out(1)
    idle: Out(1)
    waiting: Out(1)
    fault: Out(1)

    def __init__(self, config: CoreConfig, *, bus, serial: str, high_speed: bool | None = None,
                 handle_clocking: bool = True, receive_slots: int = 4, transmit_slots: int = 4, core=None):
        self.device = Device(config, receive_slots=receive_slots, transmit_slots=transmit_slots, core=core)
        self.port = UsbPort(bus=bus, serial=serial, high_speed=high_speed, handle_clocking=handle_clocking)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.port = port = self.port
        m.submodules.device = device = self.device
        connect(m, port.rx, device.rx)
        connect(m, device.tx, port.tx)
        m.d.comb += [
            self.configured.eq(port.configured), self.idle.eq(device.idle), self.waiting.eq(device.waiting),
            self.fault.eq(device.fault),
        ]
        return m
