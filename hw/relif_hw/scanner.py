"""The scanner: finds the rows of an instruction that have work, and their values.

    S0 address ─► S1 memory ─► S2 word ─► S3 its groups of 16 lanes ─► S4 group ─► S5 lane ─► items or values

One row leaves per cycle as long as there are any; words and groups without one are passed over.
Every stage holds what it has until the next one takes it, so gaps close up on the way. A compact core goes from S1
to S5: the lanes of a word are taken one after the other at the output of its memory.
"""

from amaranth import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from .arithmetic import InstructionLayout
from .config import CoreConfig
from .copies import Copies
from .isa import Flag, Opcode, Space
from .skid import Skid

__all__ = ["READ", "Source", "Scanner", "item_layout"]

READ = 10
"""Opcode of a word that host access reads; never in a program. `flags` is the space."""


class Source(enum.Enum, shape=3):
    """The memory that is scanned; NONE counts rows without reading."""

    NONE = 0
    SPIKES = 1
    STATE = 2
    POST = 3
    WEIGHTS = 4
    ELIGIBILITY = 5


def item_layout(config: CoreConfig) -> data.StructLayout:
    """A row of context `context`: its number and value; or the `end` of an instruction."""
    return data.StructLayout({
        "end": 1,
        "context": config.context_bits,
        "row": config.row_bits,
        "value": signed(config.state_bits),
    })


def _gives_values(opcode):
    """Whether the rows of an instruction are values."""
    return (opcode == Opcode.ERROR) | (opcode == Opcode.SEND) | (opcode == READ)


def _is_streamed(instruction):
    """Whether the values of its rows come from the error unit."""
    return (instruction.opcode == Opcode.FEEDBACK) & ((instruction.flags & Flag.STREAMED) != 0)


def _context_layout(config):
    """The context of a word, and what becomes of its rows."""
    return data.StructLayout({"number": config.context_bits, "gives_values": 1, "error": 1, "streamed": 1})


class Scanner(wiring.Component):
    """Turns instructions into items.

    `config.contexts` instructions may be on their way at once, each in a *context*: while the rows of one
    are still being worked on, the next ones are scanned. A compact core has one, the instruction at `i`, which stays
    there until nothing needs it any more.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    i : In(stream of InstructionLayout)
        Instructions, to be taken in order.
    done : In(config.contexts)
        Bit c: the work of context c is over, it may be used again.
    context : Out(config.context_bits), load : Out(1)
        What is at `i` is, or may be, the instruction of that context from the next cycle on.
    busy : Out(1)
        Any context is in use.
    errors : Out(1)
        Any ERROR's is.
    oldest : Out(Opcode)
        What the context that has been in use for longest does; for measurements.
    read_source : Out(Source), read_address : Out(16), read_enable : Out(1)
        A read of the memory; its data must be there from the next cycle on, until the next read.
    spikes, state, post, weights, eligibility : In
        Data of the memories; the last one in a synaptic core alone.
    items : Out(stream of item_layout), streamed : Out(1)
        Rows for the lanes; of a streamed FEEDBACK, whose values come from the error unit.
    values : Out(stream of item_layout), to_error : Out(1)
        Rows of ERROR, SEND and READ, every one, in order; whether it is ERROR's.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        lanes, bits = config.lanes, config.state_bits
        super().__init__({
            "i": In(stream.Signature(InstructionLayout)),
            "done": In(config.contexts),
            "context": Out(config.context_bits),
            "load": Out(1),
            "busy": Out(1),
            "errors": Out(1),
            "oldest": Out(Opcode),
            "read_source": Out(Source),
            "read_address": Out(16),
            "read_enable": Out(1),
            "spikes": In(lanes),
            "state": In(lanes * bits),
            "post": In(lanes * bits),
            "weights": In(lanes * config.weight_bits),
            **({"eligibility": In(lanes * bits)} if config.synaptic else {}),
            "items": Out(stream.Signature(item_layout(config))),
            "streamed": Out(1),
            "values": Out(stream.Signature(item_layout(config))),
            "to_error": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        lanes, bits = self.config.lanes, self.config.state_bits

        # Contexts.
        count = self.config.contexts
        new = Signal(self.config.context_bits)
        in_use = Signal(count)
        accept = Signal()
        opcodes = [Signal(Opcode, name=f"context_{c}_opcode", reset_less=True) for c in range(count)]
        for c in range(count):
            with m.If(accept & (new == c)):
                m.d.sync += in_use[c].eq(1)
            with m.Elif(self.done[c]):
                m.d.sync += in_use[c].eq(0)
            if self.config.compact:
                m.d.comb += opcodes[c].eq(self.i.payload.opcode)
            else:
                # What is taken, or will be: to know it is far.
                with m.If(~in_use[c] & (new == c)):
                    m.d.comb += self.load.eq(1)
                    m.d.sync += opcodes[c].eq(self.i.payload.opcode)
        oldest = Signal.like(new)
        if not self.config.compact:
            with m.If(accept):
                m.d.sync += new.eq(new + 1)
            with m.If(self.done.any()):
                m.d.sync += oldest.eq(oldest + 1)
        m.d.comb += [
            self.context.eq(new), self.busy.eq(in_use.any()), self.oldest.eq(Array(opcodes)[oldest]),
            self.errors.eq(Cat(
                used & (opcode == Opcode.ERROR) for used, opcode in zip(in_use, opcodes, strict=True)).any()),
        ]

        # S0: the address of the next word.
        s0_valid, s0_sparse, s0_wide = Signal(), Signal(), Signal()
        s0_context = Signal(_context_layout(self.config))
        s0_source = Signal(Source)
        s0_address = Signal(max(
            self.config.weight_address_bits, self.config.state_address_bits, self.config.neuron_address_bits))
        s0_left = Signal(self.config.row_bits + 1)        # words if sparse, else rows
        s0_first = Signal(init=1)
        s1_valid, s1_take = Signal(), Signal()
        s0_go, s0_last, s0_free = Signal(), Signal(), Signal()
        m.d.comb += [
            s0_free.eq(~s0_valid | (s0_go & s0_last)),
            s0_last.eq(s0_left <= Mux(s0_sparse, 1, lanes)),
            s0_go.eq(s0_valid & (~s1_valid | s1_take)),
            self.read_source.eq(s0_source),
            self.read_address.eq(s0_address),
            self.read_enable.eq(s0_go),
            accept.eq(self.i.valid & self.i.ready),
            self.i.ready.eq(~in_use[0] if self.config.compact
                            else s0_free & ~Array(in_use)[new]),
        ]
        with m.If(s0_go):
            m.d.sync += [
                s0_address.eq(s0_address + 1 + s0_wide),
                s0_left.eq(s0_left - Mux(s0_sparse, 1, lanes)),
            ]
            with m.If(s0_last):
                m.d.sync += s0_valid.eq(0)
        with m.If(accept):
            m.d.sync += s0_valid.eq(1)
        with m.If(s0_free):                     # likewise
            m.d.sync += [
                s0_context.number.eq(new), s0_context.gives_values.eq(_gives_values(self.i.payload.opcode)),
                s0_context.error.eq(self.i.payload.opcode == Opcode.ERROR),
                s0_context.streamed.eq(_is_streamed(self.i.payload)),
            ]
            self._decode(m, s0_source, s0_sparse, s0_wide, s0_address, s0_left)

        # S1: the word is at the memory's output.
        s1_last, s1_context, s1_sparse = Signal(), Signal.like(s0_context), Signal()
        s1_count = Signal(range(lanes + 1))               # rows of the word, if not sparse
        s1_word = Signal(self.config.row_bits)
        with m.If(s1_take):
            m.d.sync += s1_valid.eq(0)
        with m.If(s0_go):
            m.d.sync += [
                s1_valid.eq(1), s1_last.eq(s0_last), s1_context.eq(s0_context),
                s1_sparse.eq(s0_sparse),
                s1_count.eq(Mux(s0_last, s0_left[:len(s1_count)], lanes)),
                s0_first.eq(s0_last), s1_word.eq(Mux(s0_first, 0, s1_word + 1)),
            ]

        values = Signal(lanes * bits)
        marks = Signal(lanes)
        copies = Copies(m, lanes, apart=not self.config.compact)
        for lane, s1_source in enumerate(copies.register("s1_source", s0_source, s0_go)):
            value = values.word_select(lane, bits)
            with m.Switch(s1_source):
                with m.Case(Source.STATE):
                    m.d.comb += value.eq(self.state.word_select(lane, bits))
                with m.Case(Source.POST):
                    m.d.comb += value.eq(self.post.word_select(lane, bits))
                with m.Case(Source.WEIGHTS):
                    m.d.comb += value.eq(self.weights.word_select(lane, self.config.weight_bits).as_signed())
                with m.Case(Source.SPIKES):
                    m.d.comb += value.eq(self.spikes[lane])
                if self.config.synaptic:
                    with m.Case(Source.ELIGIBILITY):
                        m.d.comb += value.eq(self.eligibility.word_select(lane, bits))
        valid, take = s1_valid, s1_take
        known = {"last": s1_last, "word": s1_word, "sparse": s1_sparse, "rows": s1_count, "context": s1_context,
                 "values": values}
        if not self.config.compact:
            valid, take, known = self._choose(m, s1_valid, s1_take, known)
        last, word, context, values = (known[name] for name in ("last", "word", "context", "values"))
        with m.If(known["sparse"]):
            m.d.comb += marks.eq(Cat(values.word_select(lane, bits).any() for lane in range(lanes)))
        with m.Else():
            m.d.comb += marks.eq(Cat(lane < known["rows"] for lane in range(lanes)))

        s5 = Signal(item_layout(self.config), reset_less=True)
        s5_valid, s5_take, s5_value, s5_error, s5_streamed = (Signal() for _ in range(5))
        to_values, leaves = Signal(), Signal()
        if self.config.compact:
            self._take_lanes(m, valid, take, last, word, marks, values, s5, s5_valid, s5_take)
            with m.If(accept):
                m.d.sync += s5_value.eq(_gives_values(self.i.payload.opcode))
            out, out_valid = s5, s5_valid
            m.d.comb += [
                to_values.eq(s5_value), self.to_error.eq(self.i.payload.opcode == Opcode.ERROR),
                s5_take.eq(s5_valid & leaves),
            ]
        else:
            s5_next = self._take_groups(
                m, valid, take, last, word, marks, values, s5, s5_valid, s5_take, context)
            with m.If(s5_take | ~s5_valid):
                m.d.sync += [
                    s5_value.eq(s5_next.gives_values), s5_error.eq(s5_next.error), s5_streamed.eq(s5_next.streamed),
                ]
            # What waits for the lanes must not reach back, stage by stage, to the taking of instructions.
            m.submodules.skid = skid = Skid(data.StructLayout({
                "item": item_layout(self.config), "value": 1, "error": 1, "streamed": 1}))
            out, out_valid = skid.o.payload.item, skid.o.valid
            m.d.comb += [
                skid.i.payload.item.eq(s5), skid.i.payload.value.eq(s5_value), skid.i.payload.error.eq(s5_error),
                skid.i.payload.streamed.eq(s5_streamed & ~s5.end), skid.i.valid.eq(s5_valid),
                s5_take.eq(s5_valid & skid.i.ready), skid.o.ready.eq(leaves), to_values.eq(skid.o.payload.value),
                self.streamed.eq(skid.o.payload.streamed), self.to_error.eq(skid.o.payload.error),
            ]
        m.d.comb += [
            self.items.payload.eq(out), self.items.valid.eq(out_valid & ~to_values),
            self.values.payload.eq(out), self.values.valid.eq(out_valid & to_values),
            leaves.eq(Mux(to_values, self.values.ready, self.items.ready)),
        ]
        return m

    def _take_lanes(self, m, s1_valid, s1_take, s1_last, s1_word, marks, values, s5, s5_valid, s5_take):
        """S5 straight from the memory's output, whose lanes are taken one in two cycles, so that no path leads from
        the streams to the memories."""
        lanes, bits = self.config.lanes, self.config.state_bits
        taken, left, after = Signal(lanes), Signal(lanes), Signal(lanes)
        load = Signal()
        m.d.comb += [
            left.eq(marks & ~taken), after.eq(left & (left - 1)),
            load.eq(s1_valid & (left.any() | s1_last) & ~s5_valid),
            s1_take.eq(s1_valid & Mux(left.any(), load & ~after.any() & ~s1_last, load | ~s1_last)),
        ]
        with m.If(s5_take):
            m.d.sync += s5_valid.eq(0)
        with m.If(load):
            m.d.sync += [s5_valid.eq(1), s5.end.eq(~left.any()), taken.eq(~after)]
            for lane in reversed(range(lanes)):
                with m.If(left[lane]):
                    m.d.sync += [
                        s5.row.eq(s1_word * lanes + lane),
                        s5.value.eq(values.word_select(lane, bits).as_signed()),
                    ]
        with m.If(s1_take):
            m.d.sync += taken.eq(0)

    def _choose(self, m, s1_valid, s1_take, known):
        """S2: the word of the memory that is scanned, and what is known of it."""
        valid, take = Signal(name="s2_valid"), Signal(name="s2_take")
        m.d.comb += s1_take.eq(s1_valid & (~valid | take))
        with m.If(take):
            m.d.sync += valid.eq(0)
        with m.If(s1_take):
            m.d.sync += valid.eq(1)
        registers = {name: Signal.like(value, name=f"s2_{name}", reset_less=True) for name, value in known.items()}
        with m.If(s1_take):
            m.d.sync += [registers[name].eq(value) for name, value in known.items()]
        return valid, take, registers

    def _take_groups(self, m, s2_valid, s2_take, s2_last, s2_word, marks, values, s5, s5_valid, s5_take, s2_context):
        """S3 to S5: a word, its groups of lanes that have a row, and their lanes. Returns S4's context."""
        def has_more(marks):
            return (marks & (marks - 1)).any()

        lanes, bits = self.config.lanes, self.config.state_bits
        group_lanes = min(16, lanes)
        groups = lanes // group_lanes
        # S3: a word, and which of its groups are left.
        s3_valid, s3_last, s3_context = Signal(), Signal(), Signal.like(s2_context)
        s3_groups, s3_after = Signal(groups), Signal(groups)
        s3_marks, s3_values, s3_word = Signal(lanes), Signal(lanes * bits, reset_less=True), Signal.like(s2_word)
        s4_valid, s4_take, s4_load = Signal(), Signal(), Signal()
        m.d.comb += [
            s4_load.eq(s3_valid & (~s4_valid | s4_take)),
            s3_after.eq(s3_groups & (s3_groups - 1)),
            s2_take.eq(s2_valid & (~s3_valid | (s4_load & ~s3_after.any() & ~(s3_last & s3_groups.any())))),
        ]
        with m.If(s4_load):
            m.d.sync += s3_groups.eq(s3_after)
            with m.If(~s3_after.any() & ~(s3_last & s3_groups.any())):
                m.d.sync += s3_valid.eq(0)
        with m.If(s2_take):
            m.d.sync += [
                s3_valid.eq(marks.any() | s2_last), s3_last.eq(s2_last), s3_context.eq(s2_context),
                s3_groups.eq(Cat(marks.word_select(g, group_lanes).any() for g in range(groups))),
                s3_marks.eq(marks), s3_values.eq(values), s3_word.eq(s2_word),
            ]

        # S4: a group, and which of its lanes are left; or the end of the instruction.
        s4_end, s4_context = Signal(), Signal.like(s2_context)
        s5_load = Signal()
        s4_marks, s4_after = Signal(group_lanes), Signal(group_lanes)
        s4_more = Signal()          # a lane is left besides the first: known a cycle ahead, for all before wait for it
        s4_values = Signal(group_lanes * bits, reset_less=True)
        s4_base = Signal(self.config.row_bits)
        m.d.comb += [
            s5_load.eq(s4_valid & (~s5_valid | s5_take)),
            s4_after.eq(s4_marks & (s4_marks - 1)),
            s4_take.eq(s5_load & ~s4_more),
        ]
        with m.If(s5_load):
            m.d.sync += [s4_marks.eq(s4_after), s4_more.eq(has_more(s4_after))]
        with m.If(s4_take):
            m.d.sync += s4_valid.eq(0)
        with m.If(s4_load):
            m.d.sync += [
                s4_valid.eq(1), s4_end.eq(~s3_groups.any()), s4_context.eq(s3_context), s4_marks.eq(0), s4_more.eq(0),
            ]
            for g in reversed(range(groups)):
                with m.If(s3_groups[g]):
                    m.d.sync += [
                        s4_marks.eq(s3_marks.word_select(g, group_lanes)),
                        s4_more.eq(has_more(s3_marks.word_select(g, group_lanes))),
                        s4_values.eq(s3_values.word_select(g, group_lanes * bits)),
                        s4_base.eq(s3_word * lanes + g * group_lanes),
                    ]

        # S5: a row.
        with m.If(s5_take):
            m.d.sync += s5_valid.eq(0)
        with m.If(s5_load):
            m.d.sync += [s5_valid.eq(1), s5.end.eq(s4_end), s5.context.eq(s4_context.number)]
            for lane in reversed(range(group_lanes)):
                with m.If(s4_marks[lane]):
                    m.d.sync += [
                        s5.row.eq(s4_base + lane),
                        s5.value.eq(s4_values.word_select(lane, bits).as_signed()),
                    ]
        return s4_context

    def _decode(self, m, source, sparse, wide, address, left):
        """What an instruction scans."""
        i = self.i.payload
        by_target = (i.flags & Flag.BY_TARGET) != 0
        is_wide = (i.flags & Flag.WIDE) != 0
        m.d.sync += [source.eq(Source.NONE), sparse.eq(0), wide.eq(0), address.eq(i.a), left.eq(i.rows)]
        with m.Switch(i.opcode):
            with m.Case(Opcode.INTEGRATE):
                with m.If(~by_target):
                    m.d.sync += [source.eq(Source.SPIKES), sparse.eq(1)]
            with m.Case(Opcode.LEARN):
                m.d.sync += sparse.eq(1)
                with m.If(by_target):
                    m.d.sync += source.eq(Source.POST)
                with m.Else():
                    m.d.sync += [source.eq(Source.STATE), wide.eq(is_wide), address.eq(i.a + is_wide)]
            with m.Case(Opcode.FEEDBACK):
                m.d.sync += [source.eq(Source.POST), sparse.eq(1)]
                if not self.config.compact:
                    with m.If(_is_streamed(i)):
                        m.d.sync += [source.eq(Source.NONE), sparse.eq(0), left.eq(i.y)]
            with m.Case(Opcode.STEP):
                m.d.sync += left.eq(2)
            with m.Case(Opcode.TRACE):
                m.d.sync += left.eq(Mux(is_wide, 2, 1))
            with m.Case(Opcode.POST, Opcode.CLEAR, Opcode.REGULATE):
                m.d.sync += left.eq(1)
            with m.Case(Opcode.ERROR):
                m.d.sync += [source.eq(Source.STATE), wide.eq(1), address.eq(i.a + 1)]
            with m.Case(Opcode.SEND):
                with m.If((i.flags & Flag.SPIKES) != 0):
                    m.d.sync += [
                        source.eq(Source.SPIKES), address.eq(i.c),
                        left.eq(i.rows << (self.config.lanes.bit_length() - 1)),
                    ]
                with m.Else():
                    m.d.sync += [source.eq(Source.STATE), wide.eq(1), address.eq(i.a + 1)]
            with m.Case(READ):
                m.d.sync += left.eq(self.config.lanes)
                with m.Switch(i.flags):
                    spaces = [Space.SPIKES, Space.STATE, Space.POST, Space.WEIGHTS]
                    for space in spaces + [Space.ELIGIBILITY] * self.config.synaptic:
                        with m.Case(space):
                            m.d.sync += source.eq(Source[space.name])
