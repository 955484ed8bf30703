"""Host access: reads and writes of whole memory words while the core is idle."""

from amaranth import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .arithmetic import InstructionLayout
from .config import CoreConfig
from .isa import INSTRUCTION_WORDS, VALUE_BITS, Space
from .lanes import POKE_LATENCY
from .scanner import READ

__all__ = ["Access", "AccessLayout"]

AccessLayout = data.StructLayout({"space": 4, "write": 1, "address": 16, "words": 16})
"""An access to `words` whole words of a space, from word `address` on."""

_LANE_SPACES = (Space.WEIGHTS, Space.STATE, Space.POST, Space.SPIKES, Space.ELIGIBILITY)


class Access(wiring.Component):
    """Serves one access after the other, element by element.

    Words of lanes are gathered in the lanes' result registers and written whole; they are read
    through the scanner. The other memories are reached directly.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    access : In(stream of AccessLayout)
    wdata : In(stream of 32)
    rdata : Out(stream of 32)
    grant : In(1)
        The core is idle; it stays so while `busy`.
    busy : Out(1)
    read : Out(stream of InstructionLayout), read_data : In(stream of 32)
        Words to the scanner, elements from the sender.
    poke_lane, poke_value : Out
    write_space : Out(range of 7), write : Out(1), address : Out(16)
        Write the result registers to a word.
    program_* : the program memory, 32 bits at a time; table_* : the surrogate tables;
    target_* : the target values; register_* : the registers. What is read is there one cycle after `table_read`
        (tables, registers) or `program_enable`; in a compact core the program's is element `element` alone.
    element : Out
        Of the word.
    ready : In(1)
        The registers may be reached; an access waits for it.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__({
            "access": In(stream.Signature(AccessLayout)),
            "wdata": In(stream.Signature(32)),
            "rdata": Out(stream.Signature(32)),
            "grant": In(1),
            "busy": Out(1),
            "read": Out(stream.Signature(InstructionLayout)),
            "read_data": In(stream.Signature(32)),
            "poke_lane": Out(config.lanes),
            "poke_value": Out(signed(config.state_bits)),
            "write": Out(1),
            "space": Out(4),
            "address": Out(16),
            "program_enable": Out(1),
            "program_write": Out(INSTRUCTION_WORDS),
            "program_value": Out(32),
            "program_data": In(32 if config.compact else 32 * INSTRUCTION_WORDS),
            "table_write": Out(1),
            "table_read": Out(1),
            "table_value": Out(8),
            "table_data": In(8),
            "target_write": Out(1),
            "target_value": Out(signed(VALUE_BITS)),
            "target_data": In(signed(VALUE_BITS)),
            "register_write": Out(1),
            "register_value": Out(32),
            "register_data": In(32),
            "element": Out(range(max(config.lanes, INSTRUCTION_WORDS))),
            "ready": In(1, init=1),
        })

    def elaborate(self, platform):
        m = Module()
        lanes, compact = self.config.lanes, self.config.compact
        space, address, words = Signal(4), Signal(16), Signal(16)
        element = Signal(range(max(lanes, INSTRUCTION_WORDS)))
        elements = Signal.like(element)           # of a word, less one
        of_lanes, writing, waited = Signal(), Signal(), Signal(range(POKE_LATENCY))
        incoming = self.access.payload
        # What is written goes on its way one cycle late: it comes from the link, and has far to go. So does what is
        # asked of all lanes.
        late = "comb" if compact else "sync"
        m.d[late] += [
            self.poke_value.eq(self.wdata.payload), self.program_value.eq(self.wdata.payload),
            self.table_value.eq(self.wdata.payload), self.register_value.eq(self.wdata.payload),
            self.target_value.eq(self.wdata.payload),
            *(strobe.eq(0) for strobe in (self.poke_lane, self.program_write, self.table_write, self.table_read,
                                          self.target_write, self.register_write, self.write)),
        ]
        m.d.comb += [
            self.space.eq(space), self.address.eq(address), self.element.eq(element),
            self.read.payload.opcode.eq(READ), self.read.payload.flags.eq(space),
            self.read.payload.a.eq(address), self.read.payload.rows.eq(lanes),
            of_lanes.eq(0),
        ]
        with m.If(space == Space.WEIGHTS):      # as `result_weights` has it
            weight = self.wdata.payload[:self.config.weight_bits].as_signed()
            if compact:
                m.d.comb += self.poke_value[-1].eq(weight[-1])
            else:
                m.d.sync += self.poke_value.eq(weight.shift_left(self.config.weight_shift))
        with m.Switch(space):
            with m.Case(*_LANE_SPACES):
                m.d.comb += of_lanes.eq(1)
        last = element == elements

        def next_word():
            m.d.sync += [element.eq(0), address.eq(address + 1), words.eq(words - 1)]

        with m.FSM() as fsm:
            with m.State("idle"):
                m.d.comb += self.access.ready.eq(self.grant)
                with m.If(self.access.valid & self.grant):
                    m.d.sync += [
                        space.eq(incoming.space), address.eq(incoming.address), words.eq(incoming.words),
                        element.eq(0), writing.eq(incoming.write),
                    ]
                    with m.Switch(incoming.space):
                        with m.Case(*_LANE_SPACES):
                            m.d.sync += elements.eq(lanes - 1)
                        with m.Case(Space.PROGRAM):
                            m.d.sync += elements.eq(INSTRUCTION_WORDS - 1)
                        with m.Default():
                            m.d.sync += elements.eq(0)
                    m.next = "next"
            with m.State("next"):
                m.d.comb += self.program_enable.eq(1)
                m.d[late] += self.table_read.eq(1)
                with m.If(words == 0):
                    m.next = "idle"
                with m.Elif(~self.ready):
                    m.next = "next"
                with m.Elif(writing):
                    m.next = "write"
                with m.Elif(of_lanes):
                    m.next = "scan"
                with m.Else():
                    m.next = "read" if compact else "fetch"
            if not compact:
                with m.State("fetch"):
                    m.next = "read"
            with m.State("write"):
                m.d.comb += self.wdata.ready.eq(1)
                with m.If(self.wdata.valid):
                    with m.If(of_lanes):        # not a case of the switch, of whose constants Yosys would make a memory
                        m.d[late] += self.poke_lane.eq(1 << element)
                    with m.Switch(space):
                        with m.Case(Space.PROGRAM):
                            m.d[late] += self.program_write.eq(1 << element)
                        with m.Case(Space.SURROGATE):
                            m.d[late] += self.table_write.eq(1)
                        with m.Case(Space.TARGETS):
                            m.d[late] += self.target_write.eq(1)
                        with m.Case(Space.REGISTERS):
                            m.d[late] += self.register_write.eq(1)
                    m.d.sync += element.eq(element + 1)
                    with m.If(last):
                        m.next = "written"
            with m.State("written"):
                m.next = "commit" if compact else "poked"
                with m.If(~of_lanes):
                    next_word()
                    m.next = "next"
            if not compact:
                with m.State("poked"):      # and on its way to the result registers
                    m.d.sync += waited.eq(waited + 1)
                    with m.If(waited == POKE_LATENCY - 2):
                        m.d.sync += [waited.eq(0), self.write.eq(1)]
                        m.next = "commit"
            with m.State("commit"):
                if compact:
                    m.d.comb += self.write.eq(1)
                next_word()
                m.next = "next"
            with m.State("scan"):
                with m.If(self.read.ready):
                    m.next = "read"
            with m.State("read"):
                with m.If(of_lanes):
                    m.d.comb += [
                        self.rdata.payload.eq(self.read_data.payload),
                        self.rdata.valid.eq(self.read_data.valid),
                        self.read_data.ready.eq(self.rdata.ready),
                    ]
                with m.Else():
                    m.d.comb += self.rdata.valid.eq(1)
                    with m.Switch(space):
                        with m.Case(Space.PROGRAM):
                            m.d.comb += self.rdata.payload.eq(
                                self.program_data if compact else self.program_data.word_select(element, 32))
                        with m.Case(Space.SURROGATE):
                            m.d.comb += self.rdata.payload.eq(self.table_data)
                        with m.Case(Space.TARGETS):
                            m.d.comb += self.rdata.payload.eq(self.target_data)
                        with m.Case(Space.REGISTERS):
                            m.d.comb += self.rdata.payload.eq(self.register_data)
                with m.If(self.rdata.valid & self.rdata.ready):
                    m.d.sync += element.eq(element + 1)
                    if compact:
                        with m.If(~of_lanes):
                            m.next = "next"
                    with m.If(last):
                        next_word()
                        m.next = "next"
        # Of a case of the states Yosys would make a memory.
        m.d.comb += [self.busy.eq(~fsm.ongoing("idle")), self.read.valid.eq(fsm.ongoing("scan"))]
        return m
