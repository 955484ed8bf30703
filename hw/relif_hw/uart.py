"""A UART: bytes to and from two wires, 8 data bits, no parity, one stop bit.

    rx ─► 2 FF ─► shift register ─► byte ─► o          i ─► shift register ─► tx
                       ▲                                         ▲
              phase, set by each start bit                  phase, runs freely

Each side has a phase accumulator of W bits, to which every clock adds

    step = round(2**W * baudrate / clock_hz),

and a bit passes when it overflows. W is the smallest width with which the rate is right to `_RATE_ERROR`.
"""

from amaranth import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["MAX_CLOCKS", "MIN_CLOCKS", "Uart", "bit_phase"]

MIN_CLOCKS, MAX_CLOCKS = 4, 65536
"""Clocks that a bit may take."""

_RATE_ERROR = 1e-3
"""Of the rate: a hundredth of a bit within a byte."""


def bit_phase(clock_hz, baudrate):
    """Width and step of the phase accumulators; `ValueError` if a bit takes too few or too many clocks."""
    for name, value in (("clock_hz", clock_hz), ("baudrate", baudrate)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
            raise ValueError(f"{name} must be a number above 0, not {value!r}")
    clocks = clock_hz / baudrate
    if not MIN_CLOCKS <= clocks <= MAX_CLOCKS:
        raise ValueError(
            f"a bit must take {MIN_CLOCKS} to {MAX_CLOCKS} clocks, not {clocks:.4g}: with clock_hz={clock_hz:.10g}, "
            f"baudrate must be {clock_hz / MAX_CLOCKS:.10g} to {clock_hz / MIN_CLOCKS:.10g}, not {baudrate:.10g}; "
            f"or clock_hz {MIN_CLOCKS * baudrate:.10g} to {MAX_CLOCKS * baudrate:.10g}")
    width = 2
    while abs(round(2**width / clocks) * clocks / 2**width - 1) > _RATE_ERROR:
        width += 1
    return width, round(2**width / clocks)


class Uart(wiring.Component):
    """Bytes to and from two wires, 8N1, least significant bit first.

    A start bit counts if the line is still low half a bit or more after its edge: glitches shorter than
    that are not seen. A byte whose stop bit is low is dropped, and the next one waits until the line has
    been high: a break of any length delivers nothing.

    Parameters
    ----------
    clock_hz, baudrate : int or float
        A bit takes `MIN_CLOCKS` to `MAX_CLOCKS` clocks, which need not be a whole number.

    Members
    -------
    rx : In(1), tx : Out(1)
        The wires; `rx` may change at any time.
    o : Out(stream of 8)
        Bytes received. One that is not taken until the next one is whole is lost: there is no FIFO, since a
        `Receiver` pauses for eight cycles at most and a byte takes 38 or more.
    i : In(stream of 8)
        Bytes to be sent, without a pause as long as there are any.
    """

    def __init__(self, clock_hz, baudrate):
        self.width, self.step = bit_phase(clock_hz, baudrate)
        super().__init__({
            "rx": In(1, init=1), "tx": Out(1, init=1),
            "o": Out(stream.Signature(8)), "i": In(stream.Signature(8)),
        })

    def elaborate(self, platform):
        m = Module()

        # Receive: samples come c / 2 - 1 clocks after the one that saw the start bit's edge, where a bit takes c,
        # rounded up, and every c from then on. The edge is seen up to a clock late: so they lie around the middle.
        line = Signal(init=1)
        m.submodules += FFSynchronizer(self.rx, line, init=1)
        phase, sample = Signal(self.width), Signal()
        shift = Signal(9)                         # a one marks how far the bits have come
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        m.d.sync += Cat(phase, sample).eq(phase + self.step)
        with m.FSM():
            with m.State("idle"):
                m.d.sync += Cat(phase, sample).eq(2**(self.width - 1) + 2 * self.step)
                with m.If(~line):
                    m.next = "start"
            with m.State("start"):
                with m.If(sample):
                    m.next = "check"
            with m.State("check"):                # a clock later: half a bit or more after the edge
                m.d.sync += shift.eq(1 << 8)
                m.next = "data"
                with m.If(line):
                    m.next = "idle"
            with m.State("data"):
                with m.If(sample):
                    m.d.sync += shift.eq(Cat(shift[1:], line))
                    with m.If(shift[0]):
                        m.d.sync += shift.eq(shift)
                        m.next = "high"
                        with m.If(line):
                            m.d.sync += [self.o.payload.eq(shift[1:]), self.o.valid.eq(1)]
                            m.next = "idle"
            with m.State("high"):
                with m.If(line):
                    m.next = "idle"

        # Send: the bit on the wire, then those of `word`, then ones.
        pulse, word = Signal(self.width), Signal(9, init=0x1FF)
        left = Signal(range(10))                  # bits of the byte after the one on the wire
        total = pulse + self.step
        beat = total[self.width]
        m.d.comb += self.i.ready.eq(beat & (left == 0))
        m.d.sync += pulse.eq(total)
        with m.If(beat):
            m.d.sync += Cat(self.tx, word).eq(Cat(word, Const(1, 1)))
            with m.If(left != 0):
                m.d.sync += left.eq(left - 1)
            with m.Elif(self.i.valid):
                m.d.sync += [Cat(self.tx, word).eq(Cat(Const(0, 1), self.i.payload, Const(1, 1))), left.eq(9)]
        return m
