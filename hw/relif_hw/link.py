"""The link: frames over any byte stream, reliable and in order both ways.

    rx ─► receiver ─► ring ─► player ─► entries, access, wdata
              │                 │
              ▼ acks            ▼ sizes
    tx ◄─ transmitter ◄─ ring ◄─ packer ◄─ rdata, results
"""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect

from .access import AccessLayout
from .frames import Identity
from .packer import Packer
from .player import Player
from .receiver import Receiver
from .slots import SlotRing
from .transmitter import Transmitter

__all__ = ["Link"]

_CALM_BITS = 3
"""The core must be idle for 2**3 cycles in a row before the link says so."""


class Link(wiring.Component):
    """Between a byte stream and the core; `docs/protocol.md` is its contract with the host.

    Parameters
    ----------
    identity : Identity
        What the board says of itself; also gives the sizes of the two rings.

    Members
    -------
    rx : In(stream of 8), tx : Out(stream of 8)
        Bytes from and to the host.
    entries, access, wdata : Out(stream), rdata, results : In(stream), core_idle, core_fault : In(1)
        The ports of `Core`.
    idle : Out(1)
        Everything received has been done, and nothing is left to be sent.
    waiting : Out(1)
        The transmit ring is full, and has been sent: only an acknowledgement helps.
    """

    def __init__(self, identity: Identity):
        self.identity = identity
        super().__init__({
            "rx": In(stream.Signature(8)),
            "tx": Out(stream.Signature(8)),
            "entries": Out(stream.Signature(16)),
            "access": Out(stream.Signature(AccessLayout)),
            "wdata": Out(stream.Signature(32)),
            "rdata": In(stream.Signature(32)),
            "results": In(stream.Signature(32)),
            "core_idle": In(1),
            "core_fault": In(1),
            "idle": Out(1),
            "waiting": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        slots = self.identity.receive_slots
        m.submodules.receiver = receiver = Receiver(self.identity.config)
        m.submodules.inbox = inbox = SlotRing(slots)
        m.submodules.player = player = Player(self.identity.config, slots)
        m.submodules.packer = packer = Packer(self.identity.config)
        m.submodules.outbox = outbox = SlotRing(self.identity.transmit_slots)
        m.submodules.transmitter = transmitter = Transmitter(self.identity)

        connect(m, wiring.flipped(self.rx), receiver.i)
        connect(m, wiring.flipped(self.tx), transmitter.o)
        for name in ("entries", "access", "wdata"):
            connect(m, wiring.flipped(getattr(self, name)), getattr(player, name))
        for name in ("rdata", "results"):
            connect(m, wiring.flipped(getattr(self, name)), getattr(packer, name))

        # The rings.
        for block, ring in ((receiver, inbox), (packer, outbox)):
            m.d.comb += [
                ring.write.eq(block.write), ring.index.eq(block.index), ring.data.eq(block.data),
                ring.commit.eq(block.commit), block.full.eq(ring.full),
            ]
        m.d.comb += [
            player.count.eq(inbox.count), player.read_data.eq(inbox.read_data), inbox.pop.eq(player.pop),
            inbox.read_slot.eq(inbox.tail), inbox.read_index.eq(player.read_index),
            transmitter.count.eq(outbox.count), transmitter.tail.eq(outbox.tail),
            transmitter.read_data.eq(outbox.read_data), outbox.pop.eq(transmitter.pop),
            outbox.read_slot.eq(transmitter.read_slot), outbox.read_index.eq(transmitter.read_index),
        ]

        # Player and packer.
        calm_cycles = Signal(_CALM_BITS)
        settled = Signal()
        calm = player.idle & self.core_idle & ~self.results.valid & ~self.rdata.valid
        m.d.comb += [
            settled.eq(calm & calm_cycles.all()),
            packer.size.eq(player.size), packer.flush.eq(player.flush | settled),
            player.element.eq(self.rdata.valid & self.rdata.ready), player.packed.eq(packer.empty),
        ]
        with m.If(~calm | receiver.hello):
            m.d.sync += calm_cycles.eq(0)
        with m.Elif(~settled):
            m.d.sync += calm_cycles.eq(calm_cycles + 1)

        # HELLO: what was acknowledged is still done, its results are dropped; then comes the IDENTITY.
        draining = Signal()
        nonce = Signal(16)
        introduce = draining & settled & ~receiver.hello
        with m.If(receiver.hello):
            m.d.sync += [draining.eq(1), nonce.eq(receiver.sequence | receiver.acknowledged << 8)]
        with m.Elif(introduce):
            m.d.sync += draining.eq(0)
        m.d.comb += [
            receiver.closed.eq(draining), player.flushing.eq(draining), packer.discard.eq(draining),
            outbox.clear.eq(receiver.hello), transmitter.clear.eq(receiver.hello),
            transmitter.introduce.eq(introduce), transmitter.nonce.eq(nonce),
        ]

        # Acknowledgements and what the host is told.
        done = settled & packer.empty & ~draining
        done_before = Signal()
        m.d.sync += done_before.eq(done | introduce)
        m.d.comb += [
            transmitter.acknowledge.eq(receiver.other), transmitter.acknowledged.eq(receiver.acknowledged),
            transmitter.back.eq(receiver.poll),
            transmitter.report.eq(
                ~draining & (player.pop | receiver.poll | receiver.again | (done & ~done_before))),
            transmitter.gap.eq(receiver.gap),
            transmitter.expected.eq(receiver.expected), transmitter.credits.eq(slots - inbox.count),
            transmitter.fault.eq(self.core_fault), transmitter.settled.eq(done),
            self.idle.eq(done & transmitter.silent & ~receiver.busy), self.waiting.eq(transmitter.waiting),
        ]
        return m
