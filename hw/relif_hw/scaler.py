"""The scaler: gives each row its scalar, its random hash and its address in the synapse memory.

    M1 ─► M2 ─► M3 ─► M4 ─► M5
    scalar   v x    << 16 >> shift       + random, saturate
    hash     key + row, mix, mix, mix
    address         row * words, + b

A row of LEARN or FEEDBACK whose scalar rounds to zero is dropped: it would change nothing.
"""

from amaranth import Array, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .arithmetic import InstructionLayout, constant, saturated
from .config import CoreConfig
from .isa import Flag, Opcode
from .numerics import RANDOM_BITS
from .random import mix_stage
from .scanner import item_layout

__all__ = ["Scaler", "row_layout"]


def row_layout(config: CoreConfig) -> data.StructLayout:
    """A row for the lanes; or the `end` of the instruction of context `context`."""
    return data.StructLayout({
        "end": 1,
        "context": 1,
        "row": 16,
        "weight": 16,
        "scalar": signed(config.state_bits),
        "hash": 32,
    })


class Scaler(wiring.Component):
    """Scales items to rows, one per cycle.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    i : In(stream of item_layout)
    contexts : In(InstructionLayout).array(2)
    key, feedback_key : In(32)
        Keys of the random numbers and of the hashed feedback.
    o : Out(stream of row_layout)
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(item_layout(config))),
            "contexts": In(InstructionLayout).array(2),
            "key": In(32),
            "feedback_key": In(32),
            "o": Out(stream.Signature(row_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        bits = self.config.state_bits
        stages = 5
        valid = [Signal(name=f"m{n}_valid") for n in range(1, stages + 1)]
        enter = [Signal(name=f"m{n}_enter") for n in range(1, stages + 1)]
        rows = [Signal(item_layout(self.config), name=f"m{n}_item") for n in range(1, stages + 1)]
        hashes = [Signal(32, name=f"m{n}_hash") for n in range(1, stages + 1)]
        addresses = [Signal(16, name=f"m{n}_address") for n in range(1, stages + 1)]
        context = [Array(self.contexts)[row.context] for row in rows]
        incoming = Array(self.contexts)[self.i.payload.context]

        drop = Signal()
        leave = [*enter[1:], Signal(name="m5_leave")]
        before = [self.i.valid, *valid]
        for n in range(stages):
            m.d.comb += enter[n].eq(before[n] & (~valid[n] | leave[n]))
            with m.If(leave[n]):
                m.d.sync += valid[n].eq(0)
            with m.If(enter[n]):
                m.d.sync += valid[n].eq(1)
                if n:
                    m.d.sync += rows[n].eq(rows[n - 1])
        m.d.comb += [
            self.i.ready.eq(~valid[0] | leave[0]),
            leave[-1].eq(valid[-1] & (self.o.ready | drop)),
        ]

        # M1: operands.
        feedback = incoming.opcode == Opcode.FEEDBACK
        hashed_feedback = feedback & ((incoming.flags & Flag.HASHED) != 0)
        factor = Signal(bits)          # the mantissa, B - 1 bits
        shift_1 = Signal(6)
        with m.If(enter[0]):
            m.d.sync += [
                rows[0].eq(self.i.payload),
                hashes[0].eq(Mux(hashed_feedback, self.feedback_key, self.key)
                             + (incoming.stream << 16) + self.i.payload.row),
                factor.eq(incoming.x[:bits - 1]),
                shift_1.eq(incoming.shift),
            ]
        # M2: products.
        product = Signal(signed(2 * bits - 1))
        shift_2 = Signal(6)
        with m.If(enter[1]):
            m.d.sync += [
                product.eq(rows[0].value * factor.as_signed()),
                shift_2.eq(shift_1),
                addresses[1].eq(rows[0].row * context[0].words),
                hashes[1].eq(mix_stage(hashes[0], 0)),
            ]
        # M3: shift. Past 47 nothing is left of it but its sign.
        shifted = Signal(signed(2 * bits - 1 + RANDOM_BITS))
        with m.If(enter[2]):
            m.d.sync += [
                shifted.eq((product << RANDOM_BITS) >> shift_2),
                addresses[2].eq(addresses[1] + context[1].b),
                hashes[2].eq(mix_stage(hashes[1], 1)),
            ]
        # M4: the hash is ready.
        shifted_4 = Signal.like(shifted)
        with m.If(enter[3]):
            m.d.sync += [
                shifted_4.eq(shifted), addresses[3].eq(addresses[2]), hashes[3].eq(mix_stage(hashes[2], 2)),
            ]
        # M5: rounded and saturated.
        scalar = Signal(signed(bits))
        learns = context[3].opcode == Opcode.LEARN
        feeds_back = context[3].opcode == Opcode.FEEDBACK
        random = Mux(learns, hashes[3][RANDOM_BITS:], 1 << (RANDOM_BITS - 1))
        rounded = saturated(((shifted_4 + random) >> RANDOM_BITS), bits)
        droppable = Signal()
        with m.If(enter[4]):
            m.d.sync += [
                scalar.eq(Mux(learns | feeds_back, rounded, constant(context[3].x, bits))),
                droppable.eq((learns | feeds_back) & ~rows[3].end),
                addresses[4].eq(addresses[3]), hashes[4].eq(hashes[3]),
            ]
        out = self.o.payload
        m.d.comb += [
            drop.eq(droppable & (scalar == 0)),
            self.o.valid.eq(valid[-1] & ~drop),
            out.end.eq(rows[4].end), out.context.eq(rows[4].context), out.row.eq(rows[4].row),
            out.weight.eq(addresses[4]), out.scalar.eq(scalar), out.hash.eq(hashes[4]),
        ]
        return m
