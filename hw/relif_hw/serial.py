"""The serial device: a core behind a UART. Board tops use it, and the bit-level benches."""

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from .config import CoreConfig
from .device import Device
from .uart import Uart

__all__ = ["SerialDevice"]


class SerialDevice(wiring.Component):
    """A core behind two wires.

    Parameters
    ----------
    config : CoreConfig
    clock_hz, baudrate : float
        As of `Uart`.
    receive_slots, transmit_slots : int
        As of `Device`.

    Members
    -------
    rx : In(1), tx : Out(1)
        The wires of the UART.
    active : Out(1)
        The core has work, or bytes are under way.
    fault : Out(1)
        As of `Core`.
    """

    rx: In(1)
    tx: Out(1, init=1)
    active: Out(1)
    fault: Out(1)

    def __init__(self, config: CoreConfig, *, clock_hz: float, baudrate: float, receive_slots: int = 4,
                 transmit_slots: int = 4):
        self.uart = Uart(clock_hz, baudrate)
        self.device = Device(config, receive_slots=receive_slots, transmit_slots=transmit_slots)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.uart = uart = self.uart
        m.submodules.device = device = self.device
        connect(m, uart.o, device.rx)
        connect(m, device.tx, uart.i)
        m.d.comb += [
            uart.rx.eq(self.rx), self.tx.eq(uart.tx), self.active.eq(~device.idle), self.fault.eq(device.fault),
        ]
        return m
