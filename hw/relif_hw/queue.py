"""The queue of entries: a memory and the register at its output."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .arithmetic import APART

__all__ = ["Queue"]


class Queue(wiring.Component):
    """First in, first out, as `amaranth.lib.fifo.SyncFIFOBuffered`, of which tools cannot know that it never reads
    a word in the cycle that writes it.

    Parameters
    ----------
    width, depth : int
    late : bool
        Words come out of a register behind the memory's own, a cycle later: block memory gives its own 6 ns into one.

    Members
    -------
    w_data : In, w_en : In(1), w_rdy : Out(1)
    r_data : Out, r_en : In(1), r_rdy : Out(1)
    empty : Out(1)
    """

    def __init__(self, width: int, depth: int, *, late: bool = False):
        self.depth, self.late = depth, late
        super().__init__({
            "w_data": In(width), "w_en": In(1), "w_rdy": Out(1),
            "r_data": Out(width), "r_en": In(1), "r_rdy": Out(1), "empty": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        depth = self.depth
        m.submodules.storage = storage = Memory(shape=len(self.w_data), depth=depth, init=[], attrs=APART)
        write, read = storage.write_port(), storage.read_port()
        level = Signal(range(depth + 1))                # of the memory, without the register

        def step(pointer, enable):
            following = pointer + 1 if depth & depth - 1 == 0 else Mux(pointer == depth - 1, 0, pointer + 1)
            with m.If(enable):
                m.d.sync += pointer.eq(following)

        write_address, read_address = Signal(range(depth)), Signal(range(depth))
        read_valid, read_taken, waiting = Signal(), Signal(), Signal(range(3))
        m.d.comb += [
            self.w_rdy.eq(level + waiting != depth), write.en.eq(self.w_en & self.w_rdy),
            write.addr.eq(write_address), write.data.eq(self.w_data),
            read.en.eq((level != 0) & (~read_valid | read_taken)), read.addr.eq(read_address),
            self.empty.eq((level == 0) & (waiting == 0)),
        ]
        step(write_address, write.en)
        step(read_address, read.en)
        m.d.sync += [level.eq(level + write.en - read.en), read_valid.eq(read.en | (read_valid & ~read_taken))]
        if self.late:
            m.d.comb += [read_taken.eq(~self.r_rdy | self.r_en), waiting.eq(read_valid + self.r_rdy)]
            with m.If(read_taken):
                m.d.sync += [self.r_data.eq(read.data), self.r_rdy.eq(read_valid)]
        else:
            m.d.comb += [
                read_taken.eq(self.r_en), waiting.eq(read_valid),
                self.r_data.eq(read.data), self.r_rdy.eq(read_valid),
            ]
        return m
