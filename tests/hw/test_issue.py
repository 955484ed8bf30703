"""Issue: the words of each row, their addresses and hashes, one in every cycle."""

import random

import pytest
from streams import simulate, source, with_contexts

from relif_hw.config import CoreConfig
from relif_hw.isa import Flag, Opcode
from relif_hw.issue import Issue
from relif_hw.numerics import GROUP_STEP, HASH_MASK
from relif_hw.pending import PENDING

BITS = 18
CONTEXTS = CoreConfig().contexts


def signed(value, bits=BITS):
    return value % (1 << bits) - (value >> bits - 1 & 1) * (1 << bits)


def words_of(config, instruction, rows):
    """The words of an instruction as (phase, weight, state, neuron, scalar, addend, hash, last), in order."""
    i, wide = instruction, bool(instruction["flags"] & Flag.WIDE)
    by_target = bool(i["flags"] & Flag.BY_TARGET)
    step = config.groups * GROUP_STEP

    def hashed(row, word):
        return row["hash"] + word * step & HASH_MASK

    addend = signed(i["z"])
    match i["opcode"]:
        case Opcode.STEP | Opcode.TRACE if i["opcode"] == Opcode.STEP or wide:
            scalars = signed(i["x"]), signed(i["y"])
            return [(phase, None, i["a"] + 2 * word + phase, i["c"] + word, scalars[phase], addend,
                     hashed(rows[phase], word), phase == 1 and word == i["rows"] - 1)
                    for word in range(i["rows"]) for phase in (0, 1)]
        case Opcode.TRACE | Opcode.CLEAR:
            scalar = signed(i["y"]) if i["opcode"] == Opcode.TRACE else None
            return [(0, None, i["a"] + word, i["c"] + word, scalar, addend, hashed(rows[0], word),
                     word == i["rows"] - 1) for word in range(i["rows"])]
        case Opcode.POST:
            return [(0, None, i["a"] + 1 + 2 * word, i["c"] + word, None, addend, hashed(rows[0], word),
                     word == i["rows"] - 1) for word in range(i["rows"])]
        case _:
            first = i["a"] if i["opcode"] == Opcode.INTEGRATE and by_target else i["c"]
            learns, integrates = i["opcode"] == Opcode.LEARN, i["opcode"] == Opcode.INTEGRATE
            return [(0, row["weight"] + word, i["c"] + wide + (1 + wide) * word if learns else None, first + word,
                     signed(i["x"]) if integrates else row["scalar"], addend, hashed(row, word), word == i["words"] - 1)
                    for row in rows for word in range(i["words"])]


def program(rng, lanes, count):
    """Random instructions with the rows that the scaler would make of them."""
    for n in range(count):
        opcode = rng.choice([Opcode.INTEGRATE, Opcode.FEEDBACK, Opcode.LEARN, Opcode.STEP, Opcode.TRACE, Opcode.POST,
                             Opcode.CLEAR])
        flags = rng.choice([0, Flag.WIDE]) if opcode in (Opcode.TRACE, Opcode.LEARN) else 0
        if opcode in (Opcode.INTEGRATE, Opcode.LEARN):
            flags |= rng.choice([0, Flag.BY_TARGET])
        pair = opcode == Opcode.STEP or (opcode == Opcode.TRACE and flags & Flag.WIDE)
        several = opcode in (Opcode.INTEGRATE, Opcode.FEEDBACK, Opcode.LEARN)
        numbers = sorted(rng.sample(range(3 * lanes), rng.randint(0, 5))) if several else range(2 if pair else 1)
        instruction = {"opcode": opcode, "flags": flags, "when": 0, "fence": 0, "stream": 0, "shift": n % 16,
                       "words": rng.choice([1, 1, 2, 5]), "a": rng.randrange(400), "b": 0, "c": rng.randrange(400),
                       "rows": rng.choice([1, 1, 2, 6]), "x": rng.getrandbits(BITS), "y": rng.getrandbits(BITS),
                       "z": rng.getrandbits(BITS)}
        rows = [{"end": 0, "context": n % CONTEXTS, "row": number, "weight": rng.randrange(60000),
                 "hash": rng.getrandbits(32), "scalar": rng.randint(-99999, 99999)} for number in numbers]
        yield instruction, rows


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("lanes", [4, 16])
def test_words(lanes, stall):
    config = CoreConfig(lanes=lanes, weight_words=1 << 16, state_words=1024, neuron_words=512)
    listed = list(program(random.Random(lanes), lanes, 40))
    wanted, targets = [], []
    for instruction, rows in listed:
        words = words_of(config, instruction, rows)
        wanted += [(int(instruction["opcode"]), *word) for word in words]
        if instruction["opcode"] == Opcode.INTEGRATE and instruction["flags"] & Flag.BY_TARGET:
            targets += [(instruction["c"] + row["row"] // lanes, row["row"] % lanes)
                        for row in rows for _ in range(instruction["words"])]
    (m, dut, contexts), got, got_targets, freed = with_contexts(Issue(config)), [], [], []
    rng = random.Random(stall)

    async def rows_in(ctx):
        # A context is set before its rows come; they follow each other as the scaler sends them.
        for n, (instruction, rows) in enumerate(listed):
            ctx.set(contexts[n % CONTEXTS], instruction)
            for row in [*rows, {"end": 1, "context": n % CONTEXTS}]:
                while rng.random() < stall:
                    await ctx.tick()
                ctx.set(dut.i.payload, row)
                ctx.set(dut.i.valid, 1)
                await ctx.tick().until(dut.i.ready)
                ctx.set(dut.i.valid, 0)

    async def words_out(ctx):
        while len(freed) < len(listed) or ctx.get(dut.busy):
            *_, valid, word, done = await ctx.tick().sample(dut.valid, dut.word, dut.done)
            if valid:
                got.append((int(word.opcode), word.phase, word.weight, word.state, word.neuron, word.scalar,
                            word.addend, word.hash, word.last))
                if word.opcode == Opcode.INTEGRATE and word.flags & Flag.BY_TARGET:
                    got_targets.append((word.target, word.target_lane))
            freed.extend(context for context in range(CONTEXTS) if done >> context & 1)

    simulate(m, rows_in, words_out)
    # What an instruction does not use is not compared.
    assert [tuple(None if w is None else g for g, w in zip(word, want, strict=True))
            for word, want in zip(got, wanted, strict=True)] == wanted
    assert got_targets == targets
    assert freed == [n % CONTEXTS for n in range(len(listed))]


def test_one_word_a_cycle_and_a_closed_fence():
    config = CoreConfig(lanes=4)
    (m, dut, contexts), valid = with_contexts(Issue(config)), []
    rows = [{"end": 0, "context": 0, "row": n, "weight": 3 * n, "scalar": 1, "hash": n} for n in range(5)]

    async def watch(ctx):
        ctx.set(contexts[0], {"opcode": Opcode.INTEGRATE, "fence": 1, "words": 3, "rows": 1})
        ctx.set(dut.pending.any, 1)
        for cycle in range(40):
            *_, now = await ctx.tick().sample(dut.valid)
            valid.append(now)
            if cycle == 8:
                ctx.set(dut.pending.any, 0)
            if cycle == 12:
                ctx.set(dut.pending.any, 1)      # closes again when the instruction has begun: it goes on

    simulate(m, source(dut.i, [*rows, {"end": 1, "context": 0}]), watch)
    first = valid.index(1)
    assert first > 8
    assert valid[first:] == [1] * 15 + [0] * (40 - first - 15)


WAITS = {
    # What holds the first word of an instruction without a fence, and with one.
    (Opcode.INTEGRATE, 0): ({"late"}, {"late", "any"}),
    (Opcode.INTEGRATE, Flag.HASHED): (set(), {"any"}),
    (Opcode.TRACE, 0): ({"late"}, {"late", "any"}),
    (Opcode.STEP, 0): ({"late"}, {"late", "sums", "states"}),
    (Opcode.STEP, Flag.BY_TARGET): ({"late", "sums"}, {"late", "sums", "states"}),
    (Opcode.REGULATE, 0): ({"late"}, {"late", "sums", "states", "adds"}),
    (Opcode.CLEAR, 0): ({"late"}, {"late", "any"}),
    (Opcode.FEEDBACK, 0): (set(), {"any"}),
    (Opcode.POST, 0): (set(), {"adds", "states", "posts"}),
    (Opcode.LEARN, 0): ({"late", "states", "posts"}, {"late", "states", "posts"}),
}


@pytest.mark.parametrize("synaptic", [False, True], ids=["factored", "synaptic"])
@pytest.mark.parametrize("fence", [0, 1])
@pytest.mark.parametrize(("opcode", "flags"), WAITS, ids=lambda value: getattr(value, "name", str(value)))
def test_what_each_instruction_waits_for(opcode, flags, fence, synaptic):
    expected = WAITS[opcode, flags][fence]
    if synaptic and opcode == Opcode.LEARN and fence:
        expected = {"late", "states", "posts", "any"}
    m, dut, contexts = with_contexts(Issue(CoreConfig(lanes=4, eligibility_words=16 if synaptic else 0)))
    held = set()

    async def bench(ctx):
        ctx.set(contexts[0], {"opcode": opcode, "flags": int(flags), "fence": fence, "words": 1, "rows": 1})
        ctx.set(dut.i.payload, {"end": 0, "context": 0, "row": 0, "weight": 0, "scalar": 1, "hash": 0})
        ctx.set(dut.i.valid, 1)
        await ctx.tick()
        for name in PENDING.members:
            ctx.set(dut.pending, {name: 1})
            await ctx.delay(1e-9)
            assert ctx.get(dut.held) != ctx.get(dut.i.ready)
            if ctx.get(dut.held):
                held.add(name)

    simulate(m, bench)
    assert held == expected


def test_no_gap_between_instructions():
    # The end of an instruction passes while its last row is at work or waits, and frees its context.
    (m, dut, contexts), valid, freed = with_contexts(Issue(CoreConfig(lanes=4))), [], []
    items = [item for context in range(3)
             for item in ({"end": 0, "context": context, "row": 1, "weight": 0, "scalar": 1, "hash": 0},
                          {"end": 1, "context": context})]

    async def watch(ctx):
        for context in range(3):
            ctx.set(contexts[context], {"opcode": Opcode.INTEGRATE, "fence": 0, "words": 3, "rows": 1})
        for cycle in range(20):
            *_, now, done = await ctx.tick().sample(dut.valid, dut.done)
            valid.append(now)
            if done:
                freed.append(cycle)

    simulate(m, source(dut.i, items), watch)
    first = valid.index(1)
    assert valid[first:] == [1] * 9 + [0] * (20 - first - 9)
    assert freed == [first - 1, first + 1, first + 3]
