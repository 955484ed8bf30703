"""The scaler: gives each row its scalar, its random hash and its address in the synapse memory.

    M1 ─────────► M2 ─► M3 ─► M4 ─► M5 ─► queue ─► rows
    row * words   + b                         address
    operands      v x   << 16 >> shift        + random, saturate
    key + row     mix   mix   mix             hash
     └─ a row that needs the address alone, if nothing is ahead of it, goes to the queue at once

A row of LEARN or FEEDBACK whose scalar rounds to zero is dropped: it would change nothing, but for the
eligibility traces of a synaptic LEARN, whose rows all go on. Rows gather
in the short queue behind one of many words, so that what follows is ready when it is done.
"""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from .arithmetic import InstructionLayout, saturated
from .config import CoreConfig
from .isa import Flag, Opcode
from .numerics import RANDOM_BITS
from .random import mix_stage
from .scanner import item_layout

__all__ = ["Scaler", "is_scaled", "row_layout"]

QUEUE_DEPTH = 4


def is_scaled(opcode):
    """Whether the rows of an instruction have a scalar of their own; else it is the constant `x`."""
    return (opcode == Opcode.LEARN) | (opcode == Opcode.FEEDBACK)


def row_layout(config: CoreConfig) -> data.StructLayout:
    """A row for the lanes; or the `end` of the instruction of context `context`.

    `scalar` means something where `is_scaled`, `hash` in all but CLEAR and an INTEGRATE of stored weights.
    """
    return data.StructLayout({
        "end": 1,
        "context": config.context_bits,
        "row": config.row_bits,
        "weight": config.weight_address_bits,
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
    instruction : In(InstructionLayout)
        Of the item at `i`.
    key, feedback_key : In(32)
        Keys of the random numbers and of the hashed feedback.
    o : Out(stream of row_layout)
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(item_layout(config))),
            "instruction": In(InstructionLayout),
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
        items, hashes, addresses = (
            [Signal(shape, name=f"m{n}_{name}", reset_less=True) for n in range(1, stages + 1)]
            for name, shape in (("item", item_layout(self.config)), ("hash", 32),
                                ("address", self.config.weight_address_bits)))
        learns = [Signal(name=f"m{n}_learns") for n in range(1, stages)]
        drops = [Signal(name=f"m{n}_drops") for n in range(1, stages)]

        row = Signal(row_layout(self.config))
        row_valid, row_ready = Signal(), Signal()
        drop, pass_by = Signal(), Signal()
        leave = [*enter[1:], valid[-1] & (row_ready | drop)]
        leave[0] = enter[1] | (pass_by & row_ready)
        before = [self.i.valid, valid[0] & ~pass_by, *valid[1:]]
        for n in range(stages):
            m.d.comb += enter[n].eq(before[n] & (~valid[n] | leave[n]))
            with m.If(leave[n]):
                m.d.sync += valid[n].eq(0)
            with m.If(enter[n]):
                m.d.sync += valid[n].eq(1)
                if n:
                    m.d.sync += items[n].eq(items[n - 1])
                if n > 1:
                    m.d.sync += addresses[n].eq(addresses[n - 1])
                if 0 < n < stages - 1:
                    m.d.sync += [learns[n].eq(learns[n - 1]), drops[n].eq(drops[n - 1])]
        m.d.comb += self.i.ready.eq(~valid[0] | leave[0])

        # M1: operands.
        item, incoming = self.i.payload, self.instruction
        integrate, feedback = incoming.opcode == Opcode.INTEGRATE, incoming.opcode == Opcode.FEEDBACK
        hashed = (integrate | feedback) & ((incoming.flags & Flag.HASHED) != 0)
        learn = incoming.opcode == Opcode.LEARN
        synaptic = learn & ((incoming.flags & Flag.SYNAPTIC) != 0)
        factor = Signal(bits)          # the mantissa, B - 1 bits
        shift_1, base = Signal(6), Signal(self.config.weight_address_bits)
        plain = Signal()               # needs nothing but its address
        with m.If(enter[0]):
            m.d.sync += [
                items[0].eq(item),
                # A trace that has begun holds one unit more than it stands for.
                items[0].value.eq(item.value - (synaptic & ~item.value[-1])),
                learns[0].eq(learn), drops[0].eq((learn & ~synaptic) | feedback),
                plain.eq(item.end | (integrate & ~hashed) | (incoming.opcode == Opcode.CLEAR)),
                hashes[0].eq(Mux(hashed, self.feedback_key, self.key) + (incoming.stream << 16) + item.row),
                factor.eq(incoming.x[:bits - 1]), shift_1.eq(incoming.shift),
                addresses[0].eq(item.row * incoming.words), base.eq(incoming.b),
            ]
        address = Signal(self.config.weight_address_bits)
        m.d.comb += [address.eq(addresses[0] + base), pass_by.eq(valid[0] & plain & ~Cat(valid[1:]).any())]
        # M2: products.
        product = Signal(signed(2 * bits - 1))
        shift_2 = Signal(6)
        with m.If(enter[1]):
            m.d.sync += [
                product.eq(items[0].value * factor.as_signed()), shift_2.eq(shift_1),
                addresses[1].eq(address), hashes[1].eq(mix_stage(hashes[0], 0)),
            ]
        # M3: shift. Past 47 nothing is left of it but its sign.
        shifted = Signal(signed(2 * bits - 1 + RANDOM_BITS))
        with m.If(enter[2]):
            m.d.sync += [shifted.eq((product << RANDOM_BITS) >> shift_2), hashes[2].eq(mix_stage(hashes[1], 1))]
        # M4: the hash is ready.
        shifted_4 = Signal.like(shifted)
        with m.If(enter[3]):
            m.d.sync += [shifted_4.eq(shifted), hashes[3].eq(mix_stage(hashes[2], 2))]
        # M5: rounded and saturated.
        scalar = Signal(signed(bits))
        droppable = Signal()
        random = Mux(learns[3], hashes[3][RANDOM_BITS:], 1 << (RANDOM_BITS - 1))
        with m.If(enter[4]):
            m.d.sync += [
                scalar.eq(saturated((shifted_4 + random) >> RANDOM_BITS, bits)),
                droppable.eq(drops[3] & ~items[3].end), hashes[4].eq(hashes[3]),
            ]
        m.d.comb += [
            drop.eq(droppable & (scalar == 0)),
            row_valid.eq(pass_by | (valid[-1] & ~drop)),
            row.scalar.eq(scalar), row.hash.eq(hashes[4]),
        ]
        for condition, source, weight in ((pass_by, items[0], address), (~pass_by, items[4], addresses[4])):
            with m.If(condition):
                m.d.comb += [
                    row.end.eq(source.end), row.context.eq(source.context), row.row.eq(source.row),
                    row.weight.eq(weight),
                ]

        # The queue; what need not wait does not enter it.
        m.submodules.queue = queue = SyncFIFO(width=len(row.as_value()), depth=QUEUE_DEPTH)
        direct = queue.level == 0
        m.d.comb += [
            row_ready.eq(queue.w_rdy),
            queue.w_data.eq(row), queue.w_en.eq(row_valid & ~(direct & self.o.ready)),
            queue.r_en.eq(self.o.ready & ~direct),
            self.o.valid.eq(row_valid | ~direct), self.o.payload.eq(Mux(direct, row.as_value(), queue.r_data)),
        ]
        return m
