"""The sender: values and spikes to the host (SEND), and the words that host access reads."""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .arithmetic import InstructionLayout
from .config import CoreConfig
from .isa import Flag
from .scanner import READ, item_layout

__all__ = ["Sender"]


class Sender(wiring.Component):
    """Packs values into 32-bit elements.

    SEND gives a header {count: 16, kind: 8, stream: 8}, count lowest, then the elements: values
    sign-extended, or spike words as ceil(P / 32) elements of up to 32 spikes. READ gives values only.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    i : In(stream of item_layout)
        Values in order, closed by an `end`.
    instruction : In(InstructionLayout)
        The instruction of the item at `i`.
    results, rdata : Out(stream of 32)
        Of SEND, of READ.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(item_layout(config))),
            "instruction": In(InstructionLayout),
            "results": Out(stream.Signature(32)),
            "rdata": Out(stream.Signature(32)),
        })

    def elaborate(self, platform):
        m = Module()
        lanes = self.config.lanes
        item, instruction = self.i.payload, self.instruction
        read = instruction.opcode == READ
        spikes = (instruction.flags & Flag.SPIKES) != 0
        header_sent = Signal()
        packed = Signal(32)
        chunk = min(32, lanes)
        bit = item.row[:(chunk - 1).bit_length()]
        complete = packed | (item.value[0] << bit)
        count = Mux(spikes, instruction.rows * -(-lanes // 32), instruction.rows)

        m.d.comb += [
            self.rdata.payload.eq(item.value),
            self.results.payload.eq(Mux(header_sent, Mux(spikes, complete, item.value),
                                        count[:16] | (spikes << 16) | (instruction.stream << 24))),
        ]
        with m.If(item.end):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += header_sent.eq(header_sent & ~self.i.valid)
        with m.Elif(read):
            m.d.comb += [self.rdata.valid.eq(self.i.valid), self.i.ready.eq(self.rdata.ready)]
        with m.Elif(~header_sent):
            m.d.comb += self.results.valid.eq(self.i.valid)
            with m.If(self.i.valid & self.results.ready):
                m.d.sync += [header_sent.eq(1), packed.eq(0)]
        with m.Elif(spikes & (bit != chunk - 1)):
            m.d.comb += self.i.ready.eq(1)
            with m.If(self.i.valid):
                m.d.sync += packed.eq(complete)
        with m.Else():
            m.d.comb += [self.results.valid.eq(self.i.valid), self.i.ready.eq(self.results.ready)]
            with m.If(self.i.valid & self.i.ready):
                m.d.sync += packed.eq(0)
        return m
