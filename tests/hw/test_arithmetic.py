"""Saturation and constants, every value of small widths."""

import pytest
from amaranth import Module, Signal, signed
from amaranth.sim import Simulator

from relif_hw.arithmetic import InstructionLayout, constant, saturated
from relif_hw.isa import FIELDS, INSTRUCTION_BITS, Flag, Instruction, Opcode, TickFlag


def evaluate(expression, signal, values):
    """The values of an expression of one signal."""
    m = Module()
    result = Signal(expression.shape())
    m.d.comb += result.eq(expression)
    out = []

    async def bench(ctx):
        for value in values:
            ctx.set(signal, value)
            await ctx.delay(1e-9)
            out.append(ctx.get(result))

    sim = Simulator(m)
    sim.add_testbench(bench)
    sim.run()
    return out


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 7, 9])
def test_saturated_clamps_every_value(bits):
    x = Signal(signed(7))
    values = range(-64, 64)
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    assert evaluate(saturated(x, bits), x, values) == [min(max(v, low), high) for v in values]


@pytest.mark.parametrize("bits", [16, 18])
def test_constant_is_the_signed_low_end_of_a_field(bits):
    x = Signal(18)
    values = [0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x1FFFF, 0x20000, 0x3FFFF]
    wanted = [v % (1 << bits) - (v >> bits - 1 & 1) * (1 << bits) for v in values]
    assert evaluate(constant(x, bits), x, values) == wanted


def test_the_layout_is_the_encoding_of_instructions():
    # Once an instruction is written as numbers, the gateware finds each field where the host put it.
    instruction = Instruction(opcode=Opcode.LEARN, when=TickFlag.TARGET, fence=0, flags=Flag.BY_TARGET | Flag.WIDE,
                              stream=200, shift=33, words=1000, a=60000, b=50001, c=40002, rows=30003,
                              x=0x2AAAA, y=0x15555, z=0x3FFFE)
    number = sum(element << 32 * n for n, element in enumerate(instruction.encode()))
    x = Signal(INSTRUCTION_BITS)
    for name in FIELDS:
        value, = evaluate(getattr(InstructionLayout(x), name), x, [number])
        assert value == int(getattr(instruction, name)), name
    assert Instruction.decode(instruction.encode()) == instruction
