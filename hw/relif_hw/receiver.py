"""The receiver: bytes from the wire to checked frames in the receive ring."""

from amaranth import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out, connect

from .cobs import CobsDecoder
from .config import CoreConfig
from .crc import SerialCrc
from .frames import CRC_BYTES, HEADER_BYTES, LENGTH_INDEX, MAX_FRAME, SEQUENCED, TYPE_INDEX, FrameType

__all__ = ["Receiver"]


class Receiver(wiring.Component):
    """Takes a frame only when it is whole, its CRC is right and it is the one expected.

    A frame is gathered in the slot at the head of the ring; the strobes below come after its end.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    i : In(stream of 8)
    write : Out(1), index : Out(8), data : Out(8), commit : Out(1)
        To the receive ring.
    full : In(1)
        The ring has no slot: sequenced frames are dropped.
    closed : In(1)
        Sequenced frames are dropped.
    sequence, acknowledged : Out(8)
        `seq` and `ack` of the frame of a strobe.
    hello, poll : Out(1)
        Strobes: that frame came.
    other : Out(1)
        Strobe: a frame that is not HELLO came; `acknowledged` is what its sender has received.
    again, gap : Out(1)
        Strobes: a frame came that had come before or that has no slot; one is missing or was damaged.
    expected : Out(8)
        Number of the next sequenced frame.
    busy : Out(1)
        A frame is being checked.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__()

    i: In(stream.Signature(8))
    write: Out(1)
    index: Out(8)
    data: Out(8)
    commit: Out(1)
    full: In(1)
    closed: In(1)
    sequence: Out(8)
    acknowledged: Out(8)
    hello: Out(1)
    poll: Out(1)
    other: Out(1)
    again: Out(1)
    gap: Out(1)
    expected: Out(8)
    busy: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.decoder = decoder = CobsDecoder()
        m.submodules.crc = crc = SerialCrc() if self.config.compact else CRC32_ISO_HDLC().create()
        crc_ready = crc.ready if self.config.compact else 1
        connect(m, wiring.flipped(self.i), decoder.i)
        byte = decoder.o
        kind = Signal(8)
        count = Signal(8)                 # bytes of the frame so far; sticks at MAX_FRAME + 1: too long
        fits = Signal()                   # the COBS codes ended with the frame
        missed = Signal()                 # a byte of the frame came while the ring was full
        length = count - (HEADER_BYTES + CRC_BYTES)
        ahead = self.sequence - self.expected
        m.d.comb += crc.data.eq(byte.payload.data)

        with m.FSM() as fsm:
            with m.State("receive"):
                m.d.comb += [
                    byte.ready.eq(crc_ready),
                    crc.valid.eq(byte.valid & ~byte.payload.end),
                    self.index.eq(count - HEADER_BYTES),
                    self.data.eq(byte.payload.data),
                ]
                with m.If(byte.valid & byte.ready):
                    m.d.sync += fits.eq(byte.payload.ok)
                    with m.If(byte.payload.end):
                        m.next = "check"
                    with m.Elif(count <= MAX_FRAME):
                        m.d.sync += count.eq(count + 1)
                        with m.If(count < HEADER_BYTES - 1):        # shifted in; the flags are not kept
                            m.d.sync += Cat(kind, self.sequence, self.acknowledged).eq(
                                Cat(self.sequence, self.acknowledged, byte.payload.data))
                        with m.If((count >= HEADER_BYTES) & (count < MAX_FRAME)):
                            m.d.comb += self.write.eq(~self.full)
                            m.d.sync += missed.eq(missed | self.full)
            with m.State("check"):
                m.d.comb += crc.start.eq(1)
                m.d.sync += [count.eq(0), missed.eq(0)]
                m.next = "receive"
                whole = fits & (count <= MAX_FRAME) & (count >= HEADER_BYTES + CRC_BYTES)
                with m.If(~(whole & crc.match_detected)):
                    m.d.comb += self.gap.eq(~self.closed)
                with m.Elif(kind == FrameType.HELLO):
                    m.d.comb += self.hello.eq(1)
                    m.d.sync += self.expected.eq(0)
                with m.Elif(~self.closed):
                    m.d.comb += [self.other.eq(1), self.poll.eq(kind == FrameType.POLL)]
                    with m.If((kind & SEQUENCED) != 0):
                        with m.If((ahead == 0) & ~missed & ~self.full):
                            m.d.sync += count.eq(count)
                            m.next = "type"
                        with m.Else():
                            m.d.comb += [self.gap.eq((ahead != 0) & ~ahead[7]), self.again.eq(~self.gap)]
            with m.State("type"):
                m.d.comb += [self.write.eq(1), self.index.eq(TYPE_INDEX), self.data.eq(kind)]
                m.next = "length"
            with m.State("length"):
                m.d.comb += [
                    self.write.eq(1), self.index.eq(LENGTH_INDEX), self.data.eq(length), self.commit.eq(1),
                ]
                m.d.sync += [count.eq(0), self.expected.eq(self.expected + 1)]
                m.next = "receive"
        m.d.comb += self.busy.eq(~fsm.ongoing("receive"))
        return m
