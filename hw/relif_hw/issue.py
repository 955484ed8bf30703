"""Issue: turns each row into words for the lanes, one per cycle."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .arithmetic import InstructionLayout, constant
from .config import CoreConfig
from .isa import Flag, Opcode
from .numerics import GROUP_STEP, HASH_MASK
from .pending import PENDING, is_late
from .scaler import is_scaled, row_layout

__all__ = ["Issue", "word_layout"]


def word_layout(config: CoreConfig) -> data.StructLayout:
    """What the lanes, or the synapses' traces, do with one word."""
    synaptic = {
        "limit": 1,                             # the word of a threshold's rise, before the one it belongs to
        "leak": signed(config.state_bits),      # LEARN: of the eligibility trace
    } if config.synaptic else {}
    compact = {
        "first": 1,                             # first word of the row
        "begin": config.neuron_address_bits,    # `neuron` of that word, in all rows
        "part": max(1, (config.group_words - 1).bit_length()),      # which of the words that share a hash
    } if config.compact else {}
    return data.StructLayout({
        "opcode": Opcode,
        "flags": 7,
        "phase": 1,                 # STEP and wide TRACE: 0 for I or Q, 1 for U or P
        "single": 1,                # TRACE with one exponential
        "last": 1,                  # last word of the row
        "weight": config.weight_address_bits,   # addresses of words
        "state": config.state_address_bits,
        "neuron": config.neuron_address_bits,
        "target": config.neuron_address_bits,   # INTEGRATE by target: accumulator word and lane of the row
        "target_lane": max(1, (config.lanes - 1).bit_length()),
        "scalar": signed(config.state_bits),
        "addend": signed(config.state_bits),    # theta, one, or the threshold's rise at a spike
        "hash": 32,
        "count": 10,                # POST: valid lanes of the last word
        "shift": 4,
        **synaptic,
        **compact,
    })


class Issue(wiring.Component):
    """Runs through the words of each row.

    Instructions on neurons (TRACE, STEP, POST, REGULATE, CLEAR) come as one or two rows, whose hashes
    are those of their phases; the words then alternate between the phases, beginning as soon as the
    first row is there. Where thresholds adapt, the word of their rise goes right before the last phase.

    A word that would meet a late one or a row's sum waits; so does a STEP of a population with sums by target until
    these are there, and a LEARN until the post factors are. An instruction with a fence waits for what it reads or adds
    to, if that can be told; else for everything.

    In a compact core the instruction stays as it is until its last word has been written, and rows do not overlap
    where their words are written to memory, so that a word is mostly its addresses.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    i : In(stream of row_layout)
    instruction : In(InstructionLayout)
        Of the row at `i`; in a compact core of that whose words are issued.
    pending : In(PENDING)
        Of the lanes, the error unit and the synapses.
    meets : In(1)
        Of the lanes.
    done : Out(config.contexts)
        Context c is finished with.
    busy : Out(1)
    last : Out(1)
        No word will follow that of this cycle, unless a row does.
    held : Out(1)
        The next instruction waits for what is pending.
    word : Out(word_layout), valid : Out(1), ready : In(1)
        The word of this cycle; it stays until `ready`, which is ignored in all but a compact core.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(row_layout(config))),
            "instruction": In(InstructionLayout),
            "pending": In(PENDING),
            "meets": In(1),
            "done": Out(config.contexts),
            "busy": Out(1),
            "last": Out(1),
            "held": Out(1),
            "word": Out(word_layout(config)),
            "valid": Out(1),
            "ready": In(1, init=1),
        })

    def elaborate(self, platform):
        m = Module()
        config, bits = self.config, self.config.state_bits
        lane_bits = (config.lanes - 1).bit_length()
        step = config.groups * GROUP_STEP & HASH_MASK
        compact = config.compact
        issued = self.valid & self.ready if compact else self.valid
        pending = self.pending
        row_valid, row_ready = Signal(), Signal()
        incoming = self.i.payload
        if compact:
            row, new = incoming, self.instruction
            m.d.comb += [
                row_valid.eq(self.i.valid & ~incoming.end), self.i.ready.eq(incoming.end | row_ready),
            ]
        else:
            # A row and its instruction, side by side: what they wait for is found without a way through both.
            row, new = Signal.like(incoming, reset_less=True), Signal(InstructionLayout, reset_less=True)
            first, next_first = Signal(), Signal(init=1)        # the row is the first of its instruction
            m.d.comb += self.i.ready.eq(incoming.end | ~row_valid | row_ready)
            with m.If(row_ready):
                m.d.sync += row_valid.eq(0)
            with m.If(self.i.valid & incoming.end):
                m.d.sync += next_first.eq(1)
            with m.Elif(self.i.valid & self.i.ready):
                m.d.sync += [
                    row_valid.eq(1), row.eq(incoming), new.eq(self.instruction),
                    first.eq(next_first), next_first.eq(0),
                ]
        # An end passes at once: nothing of its context is needed any more.
        with m.If(self.i.valid & incoming.end):
            m.d.comb += self.done.eq(1 << incoming.context)

        running = Signal()
        left = Signal(max(config.state_address_bits, config.neuron_address_bits, len(new.words)) + 1)
        two_phases, phase = Signal(), Signal()
        half = Signal()                       # the row of the second phase has not come yet
        hash_0, hash_1 = Signal(32), Signal(32)
        word = Signal(word_layout(config))
        state_step = Signal(2)
        scalar_1 = Signal(signed(bits))
        final = ~two_phases | phase
        adaptive, limited = Signal(), Signal()      # the word of the rise is wanted; it has been
        limit, limit_address = Signal(), Signal(config.state_address_bits)

        last_word, take, start = Signal(), Signal(), Signal()
        meeting = Signal()                    # words that use accumulators
        m.d.comb += [
            limit.eq(adaptive & final & ~limited),
            last_word.eq((left == 1) & final & ~limit),
            take.eq(row_valid & row_ready),
            self.busy.eq(running | (0 if compact else row_valid)),
            self.last.eq(running & self.valid & last_word & (0 if compact else ~row_valid)),
            self.valid.eq(running & ~(phase & half) & ~(meeting & self.meets)),
            self.word.eq(word),
            self.word.last.eq(last_word),
            self.word.phase.eq(phase),
        ]
        if compact:
            # Rows that only add to accumulators follow each other with a gap of a cycle, in which the scalar of one
            # and the accumulators of a single word are done with; others when the lanes are empty.
            follows = ((new.opcode == Opcode.INTEGRATE) & ((new.flags & Flag.BY_TARGET) == 0)) | (
                new.opcode == Opcode.FEEDBACK)
            single = (new.opcode == Opcode.TRACE) & ((new.flags & Flag.WIDE) == 0)
            m.d.comb += [
                row_ready.eq((half & phase) | (~running & (follows | ~self.pending.any))),
                self.word.begin.eq(new.c),
                self.word.opcode.eq(new.opcode), self.word.flags.eq(new.flags), self.word.count.eq(new.words),
                self.word.shift.eq(new.shift), self.word.addend.eq(constant(new.z, bits)),
                self.word.single.eq(single),
                self.word.scalar.eq(Mux(is_scaled(new.opcode), word.scalar, Mux(
                    phase | single, constant(new.y, bits), constant(new.x, bits)))),
                self.word.hash.eq(hash_0),
            ]
        else:
            blocked, free = Signal(), Signal()
            with m.Switch(new.opcode):
                with m.Case(Opcode.STEP):
                    by_target = (new.flags & Flag.BY_TARGET) != 0
                    m.d.comb += blocked.eq((by_target & pending.sums) | (new.fence & (pending.states | pending.sums)))
                with m.Case(Opcode.REGULATE):
                    m.d.comb += blocked.eq(new.fence & (pending.states | pending.sums | pending.adds))
                with m.Case(Opcode.POST):
                    m.d.comb += blocked.eq(new.fence & (pending.adds | pending.states | pending.posts))
                with m.Case(Opcode.LEARN):          # that had the fence may have found no row
                    m.d.comb += blocked.eq(
                        pending.posts | pending.states | (new.fence & (pending.any if config.synaptic else 0)))
                with m.Default():
                    m.d.comb += blocked.eq(new.fence & pending.any)
            m.d.comb += [
                self.held.eq(row_valid & first & (blocked | (pending.late & ~is_late(new)))),
                free.eq(~running | (self.valid & last_word)),
                row_ready.eq(half | (free & ~self.held)),
                self.word.scalar.eq(Mux(phase, scalar_1, word.scalar)),
                self.word.hash.eq(Mux(phase, hash_1, hash_0)),
            ]
        if config.synaptic:
            m.d.comb += [self.word.limit.eq(limit), self.word.state.eq(Mux(limit, limit_address, word.state))]
        with m.If(self.valid & limit):
            m.d.sync += [limited.eq(1), limit_address.eq(limit_address + 1)]
        with m.Elif(issued):
            m.d.sync += limited.eq(0)
            m.d.sync += word.weight.eq(word.weight + 1)
            if not compact:
                m.d.sync += word.state.eq(word.state + state_step)
            with m.If(two_phases):
                m.d.sync += phase.eq(~phase)
            with m.If(final):
                m.d.sync += [left.eq(left - 1), word.neuron.eq(word.neuron + 1)]
            if compact:         # the hash of the word at hand first, then the other phase's
                m.d.sync += word.first.eq(0)
                with m.If(final):
                    m.d.sync += word.part.eq(word.part + 1)
                # Of two phases, or of all words, the one at hand and the next: what is added is for the word after.
                words = config.group_words
                m.d.sync += hash_1.eq(hash_0 + Mux(word.part >= Mux(two_phases, words - 1, words - 2), step, 0))
                with m.If(two_phases | ~word.first):
                    m.d.sync += hash_0.eq(hash_1)
            else:
                with m.If(final):
                    m.d.sync += [hash_0.eq(hash_0 + step), hash_1.eq(hash_1 + step)]
            with m.If(last_word):
                m.d.sync += running.eq(0)

        if compact:                     # one sum for the first address and all others: of pairs, the second words
            learns = new.opcode == Opcode.LEARN
            seconds = (new.opcode == Opcode.POST) | (learns & ((new.flags & Flag.WIDE) != 0))
            with m.If(start | issued):
                m.d.sync += word.state.eq(Mux(start, Mux(learns, new.c, new.a), word.state) + Mux(
                    start, seconds, 1 + seconds))
        by_target = (new.flags & Flag.BY_TARGET) != 0
        wide = (new.flags & Flag.WIDE) != 0
        with m.If(take):
            with m.If(half):
                m.d.sync += half.eq(0)
                m.d.sync += (hash_0 if compact else hash_1).eq(row.hash)
            with m.Else():
                m.d.comb += start.eq(1)
        pair, meets = Signal(), Signal()
        if not compact:
            m.d.comb += meets.eq((new.opcode == Opcode.STEP) | (new.opcode == Opcode.REGULATE) | (
                (new.opcode == Opcode.INTEGRATE) & ~by_target))
        neurons = (new.opcode == Opcode.STEP) | (new.opcode == Opcode.POST)
        # What is no word is loaded too: whether it is one is known late, and this far away.
        load = start if compact else free
        if config.synaptic:
            with m.If(load):
                m.d.sync += [
                    adaptive.eq(neurons & ((new.flags & Flag.ADAPTIVE) != 0)), limited.eq(0),
                    limit_address.eq(new.b), word.leak.eq(constant(new.y, bits)),
                ]
        m.d.comb += pair.eq((new.opcode == Opcode.STEP) | ((new.opcode == Opcode.TRACE) & wide))
        with m.If(start):
            m.d.sync += [running.eq(1), half.eq(pair)]
        with m.If(load):
            m.d.sync += [
                phase.eq(0), two_phases.eq(pair), meeting.eq(meets),
                hash_0.eq(row.hash), state_step.eq(1), left.eq(new.words), scalar_1.eq(constant(new.y, bits)),
                word.opcode.eq(new.opcode), word.flags.eq(new.flags), word.weight.eq(row.weight),
                word.neuron.eq(new.c),
                word.scalar.eq(Mux(is_scaled(new.opcode), row.scalar, constant(new.x, bits))),
                word.addend.eq(constant(new.z, bits)), word.count.eq(new.words), word.shift.eq(new.shift),
                word.single.eq(0),
                word.target.eq(new.c + (row.row >> lane_bits)), word.target_lane.eq(row.row[:lane_bits]),
            ]
            if compact:
                m.d.sync += [word.first.eq(1), word.part.eq(0)]
            else:
                m.d.sync += word.state.eq(new.a)
            with m.Switch(new.opcode):
                with m.Case(Opcode.INTEGRATE):
                    with m.If(by_target):
                        m.d.sync += word.neuron.eq(new.a)
                with m.Case(Opcode.LEARN):
                    if not compact:
                        m.d.sync += [word.state.eq(new.c + wide), state_step.eq(1 + wide)]
                with m.Case(Opcode.STEP):
                    m.d.sync += left.eq(new.rows)
                with m.Case(Opcode.TRACE):
                    m.d.sync += left.eq(new.rows)
                    with m.If(~wide):
                        m.d.sync += [word.single.eq(1), word.scalar.eq(constant(new.y, bits))]
                with m.Case(Opcode.POST):
                    m.d.sync += left.eq(new.rows)
                    if not compact:
                        m.d.sync += [word.state.eq(new.a + 1), state_step.eq(2)]
                with m.Case(Opcode.CLEAR, Opcode.REGULATE):
                    m.d.sync += left.eq(new.rows)
        return m
