"""Saturation and other small arithmetic on Amaranth values."""

from amaranth import Cat, Mux, Value
from amaranth.lib import data

from .isa import FIELDS

__all__ = ["InstructionLayout", "constant", "saturated"]

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


def constant(field: Value, bits: int) -> Value:
    """The low `bits` bits of an instruction's field, as a signed constant."""
    return Value.cast(field)[:bits].as_signed()


