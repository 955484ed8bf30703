"""A UART: bytes on two wires, one start bit, eight data bits (lowest first), one stop bit, no parity.

    rx ─► two registers ─► sampler ─► byte ─► o
    tx ◄─ shift register ◄──────────────────── i

Both directions take their time from a phase that advances by `baudrate / clock_hz` of a bit each cycle, so that
any clock from four cycles a bit on will do, whole-numbered or not.
"""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["Uart", "phase_step"]

PHASE_BITS = 20
"""The baud rate is right to half of 2**-PHASE_BITS of the clock."""
MIN_CYCLES, MAX_CYCLES = 4, 4096
"""Clock cycles of a bit. With fewer the sample drifts out of the bit; with more the phase gets coarse."""


def phase_step(clock_hz: float, baudrate: float) -> int:
    """What the phase advances in a cycle, in units of 2**-PHASE_BITS of a bit.

    `ValueError` unless a bit takes 4 to 4096 cycles.
    """
    cycles = clock_hz / baudrate if baudrate > 0 else 0.0
    if not MIN_CYCLES <= cycles <= MAX_CYCLES:
        raise ValueError(f"at a clock of {clock_hz / 1e6:g} MHz the baud rate must be from "
                         f"{clock_hz / MAX_CYCLES:.0f} to {clock_hz / MIN_CYCLES:.0f}, not {baudrate:g}")
    return round((1 << PHASE_BITS) / cycles)


class Uart(wiring.Component):
    """Sends and receives bytes.

    The receiver looks for a falling edge, and at the start bit's middle whether the line is still low (else it
    was a glitch); then it samples the middle of each bit. It tells right from wrong up to a difference of 2 % in
    baud rate. A byte whose stop bit is low is dropped, and nothing is received until the line has been high:
    so a break, however long, gives no byte.

    Parameters
    ----------
    clock_hz : float
        Frequency of the domain `sync`.
    baudrate : float
        Bits per second; see `phase_step`.

    Members
    -------
    rx : In(1), tx : Out(1)
        The wires; they rest high. `rx` may change at any time.
    o : Out(stream of 8)
        Bytes received. One that is not taken before the next one is complete is lost.
    i : In(stream of 8)
        Bytes to send.
    broken : Out(1)
        Strobe: a stop bit was low.
    """

    rx: In(1)
    tx: Out(1, init=1)
    o: Out(stream.Signature(8))
    i: In(stream.Signature(8))
    broken: Out(1)

    def __init__(self, clock_hz: float, baudrate: float):
        self.step = phase_step(clock_hz, baudrate)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        self._receive(m)
        self._send(m)
        return m

    def _receive(self, m):
        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        phase = Signal(PHASE_BITS)
        ahead = Signal(PHASE_BITS + 1)
        sample = ahead[-1]
        count = Signal(range(10))
        shift = Signal(8)
        m.d.comb += ahead.eq(phase + self.step)
        m.d.sync += phase.eq(ahead)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.FSM():
            with m.State("idle"):
                # The edge was half a cycle ago, on average: the middle of the bit is half a bit less that away.
                m.d.sync += [phase.eq((1 << PHASE_BITS - 1) + self.step // 2), count.eq(0)]
                with m.If(~line):
                    m.next = "start"
            with m.State("start"):
                with m.If(sample):
                    m.next = "data"
                    with m.If(line):
                        m.next = "idle"
            with m.State("data"):
                with m.If(sample):
                    m.d.sync += count.eq(count + 1)
                    with m.If(count == 8):
                        m.d.comb += self.broken.eq(~line)
                        m.next = "break"
                        with m.If(line):
                            m.d.sync += [self.o.payload.eq(shift), self.o.valid.eq(1)]
                            m.next = "idle"
                    with m.Else():
                        m.d.sync += shift.eq(Cat(shift[1:], line))
            with m.State("break"):
                with m.If(line):
                    m.next = "idle"

    def _send(self, m):
        phase = Signal(PHASE_BITS)
        ahead = Signal(PHASE_BITS + 1)
        bits = Signal(10, init=1)         # what is left to be sent, under a one that tells where it ends
        empty = bits == 1
        m.d.comb += [ahead.eq(phase + self.step), self.i.ready.eq(empty & ahead[-1])]
        m.d.sync += phase.eq(ahead)
        with m.If(ahead[-1]):
            m.d.sync += [
                self.tx.eq(Mux(empty, ~self.i.valid, bits[0])), bits.eq(Mux(empty, 1, bits >> 1)),
            ]
            with m.If(empty & self.i.valid):
                m.d.sync += bits.eq(Cat(self.i.payload, Const(3, 2)))
