"""The transmitter: frames of the transmit ring, identity and status to bytes on the wire."""

from amaranth import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out, connect

from .cobs import CobsEncoder
from .crc import SerialCrc
from .frames import CRC_BYTES, HEADER_BYTES, LENGTH_INDEX, TYPE_INDEX, FrameType, Identity

__all__ = ["Transmitter"]


class Transmitter(wiring.Component):
    """Sends each frame of the ring once, and again from the oldest one on when told to go back; a
    frame stays in the ring until it is acknowledged. Header and CRC are made when a frame is sent.

    Parameters
    ----------
    identity : Identity
        Payload of the frame IDENTITY.

    Members
    -------
    o : Out(stream of 8)
    count, tail : In, read_slot, read_index : Out, read_data : In(8), pop : Out
        The transmit ring.
    acknowledge : In(1), acknowledged : In(8)
        Strobe: frames before that number have arrived.
    back : In(1)
        Strobe: send all frames of the ring again.
    clear : In(1)
        Strobe, with the ring's: start from sequence number 0.
    introduce : In(1), nonce : In(16)
        Strobe: send IDENTITY with this nonce.
    report, gap : In(1)
        Strobes: send the state of the link soon, with the GAP flag.
    expected : In(8), credits : In(4), fault : In(1), settled : In(1)
        What a header says.
    waiting : Out(1)
        All slots of the ring are in use and have been sent: only an acknowledgement helps.
    silent : Out(1)
        Nothing is being sent, and nothing is to be.
    """

    def __init__(self, identity: Identity):
        self.identity = identity
        slots = identity.transmit_slots
        super().__init__({
            "o": Out(stream.Signature(8)),
            "count": In(range(slots + 1)), "tail": In(range(slots)),
            "read_slot": Out(range(slots)), "read_index": Out(8), "read_data": In(8),
            "pop": Out(range(slots + 1)),
            "acknowledge": In(1), "acknowledged": In(8), "back": In(1), "clear": In(1),
            "introduce": In(1), "nonce": In(16), "report": In(1), "gap": In(1),
            "expected": In(8), "credits": In(4), "fault": In(1), "settled": In(1),
            "waiting": Out(1), "silent": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        compact = self.identity.config.compact
        m.submodules.crc = crc = SerialCrc() if compact else CRC32_ISO_HDLC().create()
        crc_ready = crc.ready if compact else 1
        m.submodules.encoder = encoder = CobsEncoder()
        connect(m, wiring.flipped(self.o), encoder.o)
        payload = self.identity.pack()

        base = Signal(8)                          # sequence number of the ring's tail
        sent = Signal.like(self.count)            # frames of the ring that have been sent
        introduce, report, gap = Signal(), Signal(), Signal()
        freed = self.acknowledged - base
        freed = freed[:8]
        with m.If(self.acknowledge & (freed <= self.count)):
            m.d.comb += self.pop.eq(freed)
            m.d.sync += [base.eq(self.acknowledged), sent.eq(Mux(sent > freed, sent - freed, 0))]
        with m.If(self.back):
            m.d.sync += sent.eq(0)

        header = Signal(8 * HEADER_BYTES)
        of_ring = Signal()
        slot = Signal.like(self.read_slot)
        index, left = Signal(8), Signal(8)        # of the payload byte at hand; bytes from it to the end
        count = Signal(2)
        byte = encoder.i
        taken = byte.valid & byte.ready
        flags = Cat(self.credits, gap, self.fault, self.settled)      # as BoardFlag has them
        rom = Array(Const(value, 8) for value in payload)

        m.d.comb += [
            self.read_slot.eq(slot), self.read_index.eq(index),
            crc.data.eq(byte.payload.data),
            self.waiting.eq(self.silent & (self.count == self.identity.transmit_slots)),
        ]
        with m.FSM():
            with m.State("idle"):
                m.d.comb += [
                    self.silent.eq(encoder.empty & ~(introduce | report | gap) & (sent == self.count)),
                    self.read_slot.eq(self.tail + sent), self.read_index.eq(TYPE_INDEX),
                    crc.start.eq(1),
                ]
                m.d.sync += [slot.eq(self.read_slot), of_ring.eq(0), index.eq(0), left.eq(0), count.eq(0)]
                with m.If(self.acknowledge | self.back | self.clear):
                    pass                          # the counters are about to change
                with m.Elif(introduce):
                    m.d.sync += [
                        header.eq(Cat(Const(FrameType.IDENTITY, 8), self.nonce, flags)),
                        left.eq(len(payload)), introduce.eq(0), report.eq(0), gap.eq(0),
                    ]
                    m.next = "header"
                with m.Elif(sent != self.count):
                    m.d.sync += [
                        header.eq(Cat(Const(0, 8), (base + sent)[:8], self.expected, flags)),
                        sent.eq(sent + 1), of_ring.eq(1), report.eq(report & self.settled), gap.eq(0),
                    ]
                    m.next = "type"
                with m.Elif(report | gap):
                    m.d.sync += [
                        header.eq(Cat(Const(FrameType.STATUS, 8), (base + self.count)[:8], self.expected, flags)),
                        report.eq(0), gap.eq(0),
                    ]
                    m.next = "header"
            with m.State("type"):
                m.d.comb += self.read_index.eq(LENGTH_INDEX)
                m.d.sync += header[:8].eq(self.read_data)
                m.next = "length"
            with m.State("length"):
                m.d.sync += left.eq(self.read_data)
                m.next = "header"
            with m.State("header"):
                m.d.comb += [byte.valid.eq(crc_ready), byte.payload.data.eq(header[:8]), crc.valid.eq(taken)]
                with m.If(taken):
                    m.d.sync += [header.eq(header >> 8), count.eq(count + 1)]
                    with m.If(count == HEADER_BYTES - 1):
                        m.next = "crc"
                        with m.If(left != 0):
                            m.next = "payload"
            with m.State("payload"):
                m.d.comb += [
                    byte.valid.eq(crc_ready), crc.valid.eq(taken), self.read_index.eq(index + taken),
                    byte.payload.data.eq(Mux(of_ring, self.read_data, rom[index[:len(payload).bit_length()]])),
                ]
                with m.If(taken):
                    m.d.sync += [index.eq(index + 1), left.eq(left - 1)]
                    with m.If(left == 1):
                        m.next = "crc"
            with m.State("crc"):
                m.d.comb += [
                    byte.valid.eq(crc_ready), byte.payload.data.eq(crc.crc.word_select(count, 8)),
                    byte.payload.last.eq(count == CRC_BYTES - 1),
                ]
                with m.If(taken):
                    m.d.sync += count.eq(count + 1)
                    with m.If(count == CRC_BYTES - 1):
                        m.next = "idle"

        with m.If(self.introduce):
            m.d.sync += introduce.eq(1)
        with m.If(self.report):
            m.d.sync += report.eq(1)
        with m.If(self.gap):
            m.d.sync += gap.eq(1)
        with m.If(self.clear):
            m.d.sync += [base.eq(0), sent.eq(0), introduce.eq(0)]
        return m
