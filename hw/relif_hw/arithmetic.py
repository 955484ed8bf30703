"""Saturation and other small arithmetic on Amaranth values, the registers of a pipeline, attributes of memories."""

from functools import reduce
from operator import or_

from amaranth import Cat, Const, Mux, Signal, Value
from amaranth.lib import data

from .isa import FIELDS
from .numerics import RANDOM_BITS

__all__ = ["APART", "LOGIC", "NEAR", "InstructionLayout", "Stages", "aligned", "constant", "one_of", "saturated"]

APART = {"no_rw_check": 1}
"""Attributes of a memory of which no word is read, and the data used, in the cycle that writes it.

Yosys then puts no logic around it that keeps the word of before. Where the memory is read from RTLIL, that takes
`memory_nordff` first: only registers that Yosys merges into a port itself heed the attribute."""

NEAR = APART | {"ram_style": "distributed"}
"""The same, of a memory that is small, and whose words are wanted early in the cycle: out of block memory they come
6 ns late."""

LOGIC = {"rom_style": "logic"}
"""Of a table that is never written, and whose words are wanted early likewise."""

InstructionLayout = data.StructLayout(FIELDS)
"""An instruction as the program memory holds it."""


def saturated(value: Value, bits: int) -> Value:
    """The signed `value` clamped to a two's complement number of `bits` bits."""
    if len(value) <= bits:
        return value
    head = value[bits - 1:]
    fits = (head == 0) | head.all()
    limit = Cat((~value[-1]).replicate(bits - 1), value[-1])
    return Mux(fits, value[:bits], limit).as_signed()


def one_of(*choices: tuple[Value, Value]) -> Value:
    """Of pairs of a condition and a value the value whose condition holds, of which one at most does; else zero.

    The values are all signed or all unsigned. Smaller than a chain of `Mux`: synthesis does not know that of the
    conditions. Of a `Mux` before a register it would make a reset, and too many of those hardly route.
    """
    bits = max(len(value) for _, value in choices)

    def extended(value: Value) -> Value:
        return Cat(value, (value[-1] if value.shape().signed else Const(0)).replicate(bits - len(value)))

    chosen = reduce(or_, (extended(value) & condition.replicate(bits) for condition, value in choices))
    return chosen.as_signed() if choices[0][1].shape().signed else chosen


def constant(field: Value, bits: int) -> Value:
    """The low `bits` bits of an instruction's field, as a signed constant."""
    return Value.cast(field)[:bits].as_signed()


def aligned(random: Value, shift: int) -> Value:
    """`align` of the golden model: a random number as a fraction of `shift` bits."""
    if shift >= RANDOM_BITS:
        return Cat(Const(0, shift - RANDOM_BITS), random)
    return random[RANDOM_BITS - shift:]


class Stages:
    """What each stage of a pipeline knows: `stages(name, n)` is a named value at stage n.

    Registers are made as they are asked for, `PREFIXn_name`, from the last stage at which the value is known.
    A reset clears single bits alone: what is wider means nothing where they are low.

    Parameters
    ----------
    m : Module
    prefix : str
    known : dict of (name, stage) to Value
    steady : dict of name to Value
        What does not change while any word is on its way; no registers are made for it.
    """

    def __init__(self, m, prefix, known, steady=None):
        self.m, self.prefix, self.known, self.steady = m, prefix, known, steady or {}

    def __call__(self, name, stage):
        if name in self.steady:
            return self.steady[name]
        if (name, stage) not in self.known:
            before = self(name, stage - 1)
            register = Signal.like(before, name=f"{self.prefix}{stage}_{name}", reset_less=len(before) > 1)
            self.m.d.sync += register.eq(before)
            self.known[name, stage] = register
        return self.known[name, stage]
