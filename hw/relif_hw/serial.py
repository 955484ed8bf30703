"""The device behind two wires: what a board with a UART needs of Relif."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from .config import CoreConfig
from .device import Device
from .uart import Uart

__all__ = ["SerialDevice"]

_GLOW = 0.05
"""Seconds that `active` stays: so long can be seen."""


class SerialDevice(wiring.Component):
    """`Device` behind a `Uart`, in the domain `sync`.

    Parameters
    ----------
    config : CoreConfig
    clock_hz : int or float
        Frequency of `sync`.
    baudrate : int or float
        Of both directions; see `Uart`.
    receive_slots, transmit_slots : int
        See `Device`.

    Members
    -------
    rx : In(1), tx : Out(1)
        The wires from and to the host. A board's top gives `rx` no synchroniser of its own.
    active : Out(1)
        For a light: bytes came, or the core works or has something to send; stays for a twentieth of a second.
    fault : Out(1)
        As of `Core`.
    """

    def __init__(self, config: CoreConfig, *, clock_hz, baudrate, receive_slots: int = 4, transmit_slots: int = 4):
        self.uart = Uart(clock_hz, baudrate)
        self.device = Device(config, receive_slots=receive_slots, transmit_slots=transmit_slots)
        self._glow = max(1, int(clock_hz * _GLOW).bit_length() - 1)
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "active": Out(1), "fault": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.uart = uart = self.uart
        m.submodules.device = device = self.device
        connect(m, uart.o, device.rx)
        connect(m, uart.i, device.tx)
        glow = Signal(self._glow + 1)
        with m.If(~device.idle | device.rx.valid):
            m.d.sync += glow.eq(1 << self._glow)
        with m.Elif(self.active):
            m.d.sync += glow.eq(glow - 1)
        m.d.comb += [
            uart.rx.eq(self.rx), self.tx.eq(uart.tx), self.active.eq(glow != 0), self.fault.eq(device.fault),
        ]
        return m
