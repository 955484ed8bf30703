"""The scaler against the formulas of `docs/numerics.md`."""

import random

import pytest
from streams import simulate, sink, source, with_contexts

from relif_hw.config import CoreConfig
from relif_hw.isa import Flag, Opcode
from relif_hw.numerics import HASH_MASK, row_hash
from relif_hw.scaler import Scaler

CONTEXTS = CoreConfig().contexts
KEY, FEEDBACK_KEY = 0x89AB_CDEF, 0x1357_9BDF
STALLS = {"flowing": (0.0, 0.0), "slow source": (0.6, 0.0), "slow sink": (0.0, 0.6), "both": (0.4, 0.4)}


def row_of(config, instruction, item):
    """What must come of an item: (scalar, hash, address), None for what is not used; None if it is dropped."""
    bits, opcode = config.state_bits, instruction["opcode"]
    learns, feeds_back = opcode == Opcode.LEARN, opcode == Opcode.FEEDBACK
    hashed = (feeds_back or opcode == Opcode.INTEGRATE) and instruction["flags"] & Flag.HASHED
    drawn = row_hash(FEEDBACK_KEY if hashed else KEY, instruction["stream"], item["row"])
    address = (item["row"] * instruction["words"] + instruction["b"]) % (1 << 16)
    if not learns and not feeds_back:
        return None, None if opcode == Opcode.INTEGRATE and not hashed else drawn, address
    mantissa = instruction["x"] % (1 << bits - 1)
    rounding = drawn >> 16 if learns else 1 << 15
    scalar = (item["value"] * mantissa << 16 >> instruction["shift"]) + rounding >> 16
    scalar = max(-(1 << bits - 1), min((1 << bits - 1) - 1, scalar))
    return (scalar, drawn, address) if scalar else None


def contexts(rng, bits):
    """Instructions of any kind, with any constants."""
    opcodes = [Opcode.LEARN, Opcode.FEEDBACK, Opcode.INTEGRATE, Opcode.STEP, Opcode.LEARN]
    top = (1 << bits - 1) - 1
    return [{"opcode": rng.choice(opcodes), "flags": rng.choice([0, Flag.HASHED]), "stream": rng.randrange(256),
             "shift": rng.choice([0, 63, *range(8, 24)]), "words": rng.choice([1, 7, 1023]),
             "b": rng.randrange(1 << 16), "x": rng.choice([0, 1, top, rng.randrange(top)])} for _ in range(CONTEXTS)]


@pytest.mark.parametrize("bits", [16, 18])
@pytest.mark.parametrize("stalls", STALLS.values(), ids=STALLS)
def test_rows(bits, stalls):
    config = CoreConfig(lanes=4, state_bits=bits, weight_words=1 << 16, neuron_words=1 << 12)
    for seed in range(6):
        rng = random.Random(seed)
        m, dut, seen = with_contexts(Scaler(config))
        instructions = contexts(rng, bits)
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
        items, wanted = [], []
        for n in range(120):
            item = {"end": n % 20 == 19, "context": n // 20 % CONTEXTS,
                    "row": rng.choice([0, 16383, n, rng.randrange(16384)]),
                    "value": rng.choice([low, high, 1, -1, rng.randint(low, high), rng.randint(-99, 99)])}
            items.append(item)
            if item["end"]:
                wanted.append((1, item["context"]))
            elif row := row_of(config, instructions[item["context"]], item):
                wanted.append((0, item["context"], item["row"], *row))
        rows = []

        async def setup(ctx, dut=dut, seen=seen, instructions=instructions):
            ctx.set(dut.key, KEY)
            ctx.set(dut.feedback_key, FEEDBACK_KEY)
            for context, instruction in zip(seen, instructions, strict=True):
                ctx.set(context, {"when": 0, "fence": 0, "a": 0, "c": 0, "rows": 0, "y": 0, "z": 0, **instruction})

        simulate(m, setup, source(dut.i, items, stall=stalls[0], seed=seed),
                 sink(dut.o, rows, len(wanted), stall=stalls[1], seed=seed))
        got = [(1, r.context) if r.end else (0, r.context, r.row, r.scalar, r.hash, r.weight) for r in rows]
        # What an instruction does not use is not compared.
        assert [tuple(None if w is None else g for g, w in zip(row, want, strict=True))
                for row, want in zip(got, wanted, strict=True)] == wanted
    assert KEY <= HASH_MASK


def test_a_row_that_rounds_to_zero_is_dropped_only_when_it_scales():
    # The same zero value: INTEGRATE keeps the row, LEARN and FEEDBACK drop it.
    for opcode, kept in ((Opcode.INTEGRATE, 1), (Opcode.FEEDBACK, 0)):
        (m, dut, seen), rows = with_contexts(Scaler(CoreConfig())), []

        async def setup(ctx, seen=seen, opcode=opcode):
            ctx.set(seen[0].opcode, opcode)

        items = [{"end": 0, "context": 0, "row": 3, "value": 0}, {"end": 1, "context": 0, "row": 0, "value": 0}]
        simulate(m, setup, source(dut.i, items), sink(dut.o, rows, 1 + kept))
        assert [row.end for row in rows] == [0] * kept + [1]


def test_a_row_that_needs_only_its_address_does_not_wait():
    # One cycle for INTEGRATE, five for STEP; and none overtakes the rows ahead of it.
    (m, dut, listed), seen = with_contexts(Scaler(CoreConfig())), []
    items = [{"end": 0, "context": context, "row": n, "value": 1} for n, context in enumerate((0, 1, 0))]

    async def watch(ctx):
        ctx.set(listed[0].opcode, Opcode.INTEGRATE)
        ctx.set(listed[1].opcode, Opcode.STEP)
        ctx.set(dut.o.ready, 1)
        for cycle in range(20):
            *_, entered, valid, row = await ctx.tick().sample(dut.i.valid & dut.i.ready, dut.o.valid, dut.o.payload)
            if entered:
                seen.append(("in", cycle))
            if valid:
                seen.append((row.row, cycle))

    simulate(m, source(dut.i, items), watch)
    start = seen[0][1]
    assert sorted(seen, key=str) == sorted([
        *(("in", start + n) for n in range(3)), (0, start + 1), (1, start + 6), (2, start + 7)], key=str)
