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

    Members
    -------
    w_data : In, w_en : In(1), w_rdy : Out(1)
    r_data : Out, r_en : In(1), r_rdy : Out(1)
    empty : Out(1)
    """

    def __init__(self, width: int, depth: int):
        self.depth = depth
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
        m.d.comb += [
            self.w_rdy.eq(level + self.r_rdy != depth), write.en.eq(self.w_en & self.w_rdy),
            write.addr.eq(write_address), write.data.eq(self.w_data),
            read.en.eq((level != 0) & (~self.r_rdy | self.r_en)), read.addr.eq(read_address),
            self.r_data.eq(read.data), self.empty.eq((level == 0) & ~self.r_rdy),
        ]
        step(write_address, write.en)
        step(read_address, read.en)
        m.d.sync += [level.eq(level + write.en - read.en), self.r_rdy.eq(read.en | (self.r_rdy & ~self.r_en))]
        return m
