"""The top of every board: clocks, the core behind its link, and a light."""

from types import SimpleNamespace

from amaranth import ClockDomain, Elaboratable, Module, ResetSignal, Signal
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

from relif_hw.config import CoreConfig
from relif_hw.serial import SerialDevice

from .board import Board
from .clocks import Ecp5Clocks, GowinClocks, Ice40Clocks

__all__ = ["BoardTop"]


class BoardTop(Elaboratable):
    """A core on a board.

    Parameters
    ----------
    board : Board
    config : CoreConfig
    serial : str
        Serial number that the board tells on USB.
    """

    def __init__(self, board: Board, config: CoreConfig, *, serial: str):
        self.board, self.config, self.serial = board, config, serial

    def elaborate(self, platform):
        m = Module()
        board = self.board
        for domain in board.domains:
            m.domains += ClockDomain(domain)
        clock = platform.request(platform.default_clk, dir="-")
        if board.family == "ice40":
            m.submodules.clocks = Ice40Clocks(clock.io, platform.default_clk_frequency, board.pll_domains)
        else:
            m.submodules.clock = buffer = io.Buffer("i", clock)
            make = {"ecp5": Ecp5Clocks, "gowin": GowinClocks}[board.family]
            m.submodules.clocks = clocks = make(platform.default_clk_frequency, board.pll_domains)
            m.d.comb += clocks.source.eq(buffer.i)
        active = Signal()
        slots = {"receive_slots": board.slots, "transmit_slots": board.slots}
        port = platform.request(*board.resource, dir="-")
        if board.link == "uart":
            pins = self._buffers(m, port, rx="i", tx="o")
            m.submodules.device = device = SerialDevice(
                self.config, clock_hz=board.clock_hz, baudrate=board.baudrate, **slots)
            m.d.comb += [device.rx.eq(pins.rx.i), pins.tx.o.eq(device.tx), active.eq(device.active)]
        else:
            from relif_hw.usb import UsbDevice  # needs luna-usb, which boards on a UART do not

            if board.link == "ulpi":
                pins = self._buffers(m, port, data="io", clk="i", dir="i", nxt="i", stp="o", rst="o")
                m.submodules.usb_reset = ResetSynchronizer(ResetSignal("sync"), domain="usb")
                platform.add_clock_constraint(port.clk.io, board.domains["usb"])
            else:
                pins = self._buffers(m, port, d_p="io", d_n="io", pullup="o")
            m.submodules.device = device = UsbDevice(self.config, bus=pins, serial=self.serial, **slots)
            m.d.comb += active.eq(~device.idle)
        if board.led is not None:
            light = platform.request(*board.led, dir="-")
            m.submodules.light = buffer = io.Buffer("o", getattr(light, "g", light))
            m.d.comb += buffer.o.eq(active)
        return m

    def _buffers(self, m, port, **directions):
        """The pins of a resource by name, each with `i`, `o`, `oe` as its direction says."""
        pins = SimpleNamespace()
        for name, direction in directions.items():
            m.submodules[f"pin_{name}"] = buffer = io.Buffer(direction, getattr(port, name))
            setattr(pins, name, buffer)
        return pins
