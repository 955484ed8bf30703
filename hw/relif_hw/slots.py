"""A ring of slots, each of which holds the payload, the type and the length of a frame."""

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .arithmetic import APART
from .frames import SLOT_BYTES

__all__ = ["SlotRing"]


class SlotRing(wiring.Component):
    """Frames are written into the slot at the head, and count when they are committed.

    Parameters
    ----------
    slots : int
        2, 4 or 8.

    Members
    -------
    write : In(1), index : In(8), data : In(8)
        Write a byte of the slot at the head; not while the ring is full.
    commit : In(1)
        The slot at the head is complete.
    read_slot : In, read_index : In(8), read_data : Out(8)
        Read a byte; `read_data` is valid one cycle later.
    pop : In
        Slots to free at the tail, at most `count`.
    clear : In(1)
        Free all.
    tail : Out
        The oldest slot.
    count : Out
        Slots in use.
    full : Out(1)
    """

    def __init__(self, slots: int):
        if slots not in (2, 4, 8):
            raise ValueError(f"slots must be 2, 4 or 8, not {slots!r}")
        self.slots = slots
        super().__init__({
            "write": In(1), "index": In(8), "data": In(8), "commit": In(1),
            "read_slot": In(range(slots)), "read_index": In(8), "read_data": Out(8),
            "pop": In(range(slots + 1)), "clear": In(1),
            "tail": Out(range(slots)), "count": Out(range(slots + 1)), "full": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=8, depth=self.slots * SLOT_BYTES, init=[], attrs=APART)
        write, read = memory.write_port(), memory.read_port()
        head = Signal.like(self.tail)
        m.d.comb += [
            write.en.eq(self.write), write.addr.eq(Cat(self.index, head)), write.data.eq(self.data),
            read.addr.eq(Cat(self.read_index, self.read_slot)), self.read_data.eq(read.data),
            self.full.eq(self.count == self.slots),
        ]
        m.d.sync += [
            head.eq(head + self.commit),
            self.tail.eq(self.tail + self.pop),
            self.count.eq(self.count + self.commit - self.pop),
        ]
        with m.If(self.clear):
            m.d.sync += [self.tail.eq(head), head.eq(head), self.count.eq(0)]
        return m
