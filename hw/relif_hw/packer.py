"""The packer: elements of the core to frames of the transmit ring."""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .config import CoreConfig
from .frames import ELEMENT_MAX_BYTES, LENGTH_INDEX, MAX_PAYLOAD, TYPE_INDEX, FrameType

__all__ = ["Packer"]


class Packer(wiring.Component):
    """Gathers elements of one kind in a frame, and closes it when it is full, when an element of the
    other kind comes, or when told. Takes ceil(bits / 8) + 1 cycles per element.

    Parameters
    ----------
    config : CoreConfig
        In a compact core an element stays at its stream until its last byte has been written.

    Members
    -------
    results : In(stream of 32)
        To frames RESULTS, 4 bytes each.
    rdata : In(stream of 32)
        To frames DATA, `size` + 1 bytes each.
    size : In(2)
    flush : In(1)
        Close the open frame as soon as no element waits.
    discard : In(1)
        Take elements and drop them, and the open frame too.
    write : Out(1), index : Out(8), data : Out(8), commit : Out(1), full : In(1)
        The transmit ring.
    empty : Out(1)
        No frame is open.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__()

    results: In(stream.Signature(32))
    rdata: In(stream.Signature(32))
    size: In(2)
    flush: In(1)
    discard: In(1)
    write: Out(1)
    index: Out(8)
    data: Out(8)
    commit: Out(1)
    full: In(1)
    empty: Out(1)

    def elaborate(self, platform):
        m = Module()
        end = Signal(8)                   # bytes in the open frame
        of_data, next_of_data = Signal(), Signal()
        element, left, written = Signal(32), Signal(2), Signal(2)
        accept = Signal()
        waiting = self.results.valid | self.rdata.valid
        byte = Signal(8)
        stays = self.config.compact
        m.d.comb += [
            self.rdata.ready.eq(accept), self.results.ready.eq(accept & ~next_of_data),
        ]
        if stays:
            m.d.comb += byte.eq(Mux(of_data, self.rdata.payload, self.results.payload).word_select(written, 8))
        else:
            m.d.comb += byte.eq(element[:8])
        with m.FSM() as fsm:
            m.d.comb += next_of_data.eq(Mux(fsm.ongoing("bytes"), of_data, self.rdata.valid) if stays
                                        else self.rdata.valid)
            with m.State("take"):
                with m.If(self.discard):
                    m.d.comb += accept.eq(1)
                    m.d.sync += end.eq(0)
                with m.Elif(waiting):
                    with m.If((end != 0) & ((of_data != next_of_data) | (end > MAX_PAYLOAD - ELEMENT_MAX_BYTES))):
                        m.next = "type"
                    with m.Elif(~self.full):
                        if not stays:
                            m.d.comb += accept.eq(1)
                        m.d.sync += [
                            of_data.eq(next_of_data), written.eq(0),
                            element.eq(Mux(next_of_data, self.rdata.payload, self.results.payload)),
                            left.eq(Mux(next_of_data, self.size, ELEMENT_MAX_BYTES - 1)),
                        ]
                        m.next = "bytes"
                with m.Elif(self.flush & (end != 0)):
                    m.next = "type"
            with m.State("bytes"):
                m.d.comb += [self.write.eq(1), self.index.eq(end), self.data.eq(byte)]
                m.d.sync += [end.eq(end + 1), element.eq(element >> 8), left.eq(left - 1), written.eq(written + 1)]
                with m.If(left == 0):
                    if stays:
                        m.d.comb += accept.eq(1)
                    m.next = "take"
            with m.State("type"):
                m.d.comb += [
                    self.write.eq(1), self.index.eq(TYPE_INDEX),
                    self.data.eq(Mux(of_data, FrameType.DATA, FrameType.RESULTS)),
                ]
                m.next = "length"
            with m.State("length"):
                m.d.comb += [
                    self.write.eq(1), self.index.eq(LENGTH_INDEX), self.data.eq(end),
                    self.commit.eq(~self.discard),
                ]
                m.d.sync += end.eq(0)
                m.next = "take"
        m.d.comb += self.empty.eq(fsm.ongoing("take") & (end == 0))
        return m
