"""The lanes, word by word, against plain integer formulas of `docs/numerics.md`."""

import random

import pytest
from amaranth import Cat, Module
from amaranth.lib.memory import Memory
from streams import simulate

from relif_hw.config import CoreConfig
from relif_hw.isa import Flag, Opcode
from relif_hw.lanes import POKE_LATENCY, Lanes
from relif_hw.numerics import GROUP_STEP, HASH_MASK, SURROGATE_ENTRIES, finish, lane_feedback, lane_random
from relif_hw.pending import PENDING

WORDS = 16
CONFIGS = {
    "4 lanes, 16 bits": CoreConfig(lanes=4, state_bits=16, weight_words=16, state_words=16, neuron_words=16),
    "8 lanes, narrow weights": CoreConfig(lanes=8, weight_bits=4, surrogates=2, weight_words=16, state_words=16,
                                          neuron_words=16),
    "4 lanes, wide weights": CoreConfig(lanes=4, weight_bits=16, surrogates=4, accumulator_bits=30, weight_words=16,
                                        state_words=16, neuron_words=16),
    "4 lanes, 16 bits, weights as wide": CoreConfig(lanes=4, weight_bits=14, state_bits=16, accumulator_bits=32,
                                                    weight_words=16, state_words=16, neuron_words=16),
}


def clamp(value, bits):
    return max(-(1 << bits - 1), min((1 << bits - 1) - 1, value))


class Reference:
    """What a word does to the memories; `state[word][lane]` and so on."""

    def __init__(self, config, rng):
        self.config = config
        bits, weight_bits = config.state_bits, config.weight_bits

        def words(low, high):
            return [[rng.choice([low, high, 0, rng.randint(low, high)]) for _ in range(config.lanes)]
                    for _ in range(WORDS)]

        top, most = 1 << bits - 1, 1 << weight_bits - 1
        self.state, self.post = words(-top, top - 1), words(-top, top - 1)
        self.weights, self.spikes = words(-most, most - 1), words(0, 1)
        self.accumulators = [[0] * config.lanes for _ in range(WORDS)]
        self.tables = [rng.randrange(256) for _ in range(SURROGATE_ENTRIES * config.surrogates)]
        self.row_sum = 0
        self.previous = []

    def _hash(self, word, lane):
        return finish(word["hash"] + lane // 4 * GROUP_STEP & HASH_MASK)

    def _random(self, word, lane, shift):
        value = lane_random(self._hash(word, lane), lane % 4)
        return value << shift - 16 if shift >= 16 else value >> 16 - shift

    def apply(self, word):
        getattr(self, "_" + word["opcode"].name.lower())(word)

    def _mac(self, operand, scalar):
        shift = self.config.mac_shift
        return operand * scalar + (1 << shift - 1) >> shift

    def _integrate(self, word):
        terms = [self._mac(weight, word["scalar"]) for weight in self.weights[word["weight"]]]
        if word["flags"] & Flag.BY_TARGET:
            self.row_sum += sum(t for t, s in zip(terms, self.spikes[word["neuron"]], strict=True) if s)
            if word["last"]:
                self.accumulators[word["target"]][word["target_lane"]] += self.row_sum
                self.row_sum = 0
        else:
            self._add(word, terms)

    def _feedback(self, word):
        operands = self.weights[word["weight"]]
        if word["flags"] & Flag.HASHED:
            operands = [lane_feedback(self._hash(word, lane), lane % 4) << self.config.mac_shift - 8
                        for lane in range(self.config.lanes)]
        self._add(word, [self._mac(operand, word["scalar"]) for operand in operands])

    def _add(self, word, terms):
        for lane, term in enumerate(terms):
            self.accumulators[word["neuron"]][lane] += term

    def _decay(self, word, values):
        shift = self.config.decay_fraction
        return [x + (x * word["scalar"] + self._random(word, lane, shift) >> shift) for lane, x in enumerate(values)]

    def _trace(self, word):
        bits, values, spikes = self.config.state_bits, self.state[word["state"]], self.spikes[word["neuron"]]
        added = self.previous if word["phase"] else [word["addend"] * s for s in spikes]
        self.previous = values
        self.state[word["state"]] = [
            clamp(x + y, bits) for x, y in zip(self._decay(word, values), added, strict=True)]

    def _step(self, word):
        bits, values, neuron = self.config.state_bits, self.state[word["state"]], word["neuron"]
        decayed = self._decay(word, values)
        if not word["phase"]:
            added, self.accumulators[neuron] = self.accumulators[neuron], [0] * self.config.lanes
            self.previous = values
        else:
            added = self.previous
            if not word["flags"] & Flag.LEAKY:
                spikes = self.spikes[neuron]
                if word["flags"] & Flag.RESET_ZERO:
                    decayed = [0 if s else u for u, s in zip(decayed, spikes, strict=True)]
                else:
                    decayed = [u - word["addend"] * s for u, s in zip(decayed, spikes, strict=True)]
        result = [clamp(x + y, bits) for x, y in zip(decayed, added, strict=True)]
        self.state[word["state"]] = result
        if word["phase"] and not word["flags"] & Flag.LEAKY:
            self.spikes[neuron] = [int(u >= word["addend"]) for u in result]

    def _post(self, word):
        bits, neuron = self.config.state_bits, word["neuron"]
        table = (int(word["flags"]) >> 4) * SURROGATE_ENTRIES
        for lane, u in enumerate(self.state[word["state"]]):
            entry = min(SURROGATE_ENTRIES - 1, abs(u - word["addend"]) >> word["shift"])
            signal = clamp(self.accumulators[neuron][lane], bits)
            factor = clamp(signal * self.tables[table + entry] + self._random(word, lane, 7) >> 7, bits)
            self.post[neuron][lane] = 0 if word["last"] and lane >= word["count"] else factor
            self.accumulators[neuron][lane] = 0

    def _learn(self, word):
        shift, weights = self.config.update_shift, self.weights[word["weight"]]
        vector = self.state[word["state"]] if word["flags"] & Flag.BY_TARGET else self.post[word["neuron"]]
        self.weights[word["weight"]] = [
            clamp(w + (v * word["scalar"] + self._random(word, lane, shift) >> shift), self.config.weight_bits)
            for lane, (w, v) in enumerate(zip(weights, vector, strict=True))]

    def _clear(self, word):
        if word["flags"] & Flag.SPIKES:
            self.spikes[word["neuron"]] = [0] * self.config.lanes
        else:
            self.state[word["state"]] = [0] * self.config.lanes


FIELDS = {"flags": 0, "phase": 0, "single": 0, "last": 0, "weight": 0, "state": 0, "neuron": 0, "target": 0,
          "target_lane": 0, "scalar": 0, "addend": 0, "hash": 0, "count": 0, "shift": 0}


def instruction(config, rng):
    """Words of one random instruction, in the order in which `Issue` gives them."""
    top = 1 << config.state_bits - 1
    opcode = rng.choice([Opcode.INTEGRATE, Opcode.INTEGRATE, Opcode.FEEDBACK, Opcode.TRACE, Opcode.STEP, Opcode.STEP,
                         Opcode.POST, Opcode.LEARN, Opcode.CLEAR])
    flags = {
        Opcode.INTEGRATE: [0, Flag.BY_TARGET], Opcode.FEEDBACK: [0, Flag.HASHED], Opcode.TRACE: [0],
        Opcode.STEP: [0, Flag.RESET_ZERO, Flag.LEAKY], Opcode.LEARN: [0, Flag.BY_TARGET],
        Opcode.CLEAR: [0, Flag.SPIKES], Opcode.POST: [16 * table for table in range(config.surrogates)],
    }[opcode]
    pair = opcode == Opcode.STEP or (opcode == Opcode.TRACE and rng.random() < 0.6)
    count = rng.randint(1, 4)
    first, neuron, flag = rng.randrange(WORDS - 2 * count), rng.randrange(WORDS - count), rng.choice(flags)
    scalar = {Opcode.INTEGRATE: lambda: 1 << rng.randrange(config.state_bits - 6)}.get(
        opcode, lambda: rng.choice([-top, top - 1, 0, rng.randrange(-top, top)]))
    if opcode in (Opcode.STEP, Opcode.TRACE):
        scalar = lambda: rng.choice([-top, 0, rng.randrange(-top, 0)])      # noqa: E731
    scalars, addend = (scalar(), scalar()), rng.choice([1, top - 1, rng.randrange(1, top)])
    hashes, shift = (rng.getrandbits(32), rng.getrandbits(32)), rng.randrange(16)
    again = rng.randint(1, 3) if opcode in (Opcode.INTEGRATE, Opcode.FEEDBACK) else 1     # rows in a row
    for row in range(again):
        target = {"target": rng.randrange(WORDS), "target_lane": rng.randrange(config.lanes)}
        for word in range(count):
            for phase in range(2 if pair else 1):
                yield {
                    **FIELDS, **target, "opcode": opcode, "flags": flag, "phase": phase,
                    "single": int(opcode == Opcode.TRACE and not pair),
                    "last": int(word == count - 1 and phase == pair),
                    "weight": first + (word + row) % count, "neuron": neuron + word,
                    "state": first + (2 * word + phase if pair else word), "scalar": scalars[phase],
                    "addend": addend, "hash": hashes[phase] + word * 999 & HASH_MASK,
                    "count": rng.randint(1, config.lanes), "shift": shift,
                }


def bench_of(config, reference):
    """The lanes between memories that start as the reference's."""
    m = Module()
    m.submodules.dut = dut = Lanes(config)
    memories = {}
    for name, bits in (("weights", config.weight_bits), ("state", config.state_bits), ("post", config.state_bits),
                       ("spikes", 1)):
        init = [sum((value & (1 << bits) - 1) << lane * bits for lane, value in enumerate(word))
                for word in getattr(reference, name)]
        memory = memories[name] = m.submodules[name] = Memory(shape=bits * config.lanes, depth=WORDS, init=init)
        read, write = memory.read_port(), memory.write_port()
        result = {"weights": dut.result_weights, "spikes": dut.result_spikes}.get(name, Cat(dut.result))
        address = "neuron" if name in ("post", "spikes") else name
        m.d.comb += [
            read.en.eq(getattr(dut, f"{name}_enable")), read.addr.eq(getattr(dut, f"{name}_address")),
            getattr(dut, name).eq(read.data),
            write.en.eq(getattr(dut, f"write_{name}")), write.data.eq(result),
            write.addr.eq(getattr(dut, f"write_{address}_address")),
        ]
    return m, dut, memories


def values(word, bits, lanes):
    """The elements of a memory word."""
    elements = [word >> lane * bits & (1 << bits) - 1 for lane in range(lanes)]
    return elements if bits == 1 else [e - (e >> bits - 1 << bits) for e in elements]


@pytest.mark.parametrize("gaps", [0.0, 0.4])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_words_of_random_instructions(config, gaps):
    rng = random.Random(config.lanes + config.weight_bits)
    reference = Reference(config, rng)
    m, dut, memories = bench_of(config, reference)

    async def drain(ctx):
        ctx.set(dut.valid, 0)
        await ctx.delay(1e-9)
        for _ in range(40):
            if not ctx.get(dut.pending.any):
                await ctx.tick()            # the last one is being written
                return
            await ctx.tick()
        raise AssertionError("the lanes stay busy")

    async def bench(ctx):
        # The host fills the tables.
        for address, entry in enumerate(reference.tables):
            ctx.set(dut.table_address, address)
            ctx.set(dut.table_value, entry)
            ctx.set(dut.table_write, 1)
            await ctx.tick()
        ctx.set(dut.table_write, 0)
        for number in range(120):
            live = 0
            for word in instruction(config, rng):
                while rng.random() < gaps:
                    ctx.set(dut.valid, 0)
                    await ctx.tick()
                ctx.set(dut.word, word)
                ctx.set(dut.valid, 1)
                reference.apply(word)
                await ctx.tick()
                live |= ctx.get(dut.live)
            await drain(ctx)
            # After each instruction all memories are the reference's.
            for name, memory in memories.items():
                bits = len(memory.data[0]) // config.lanes
                got = [values(ctx.get(memory.data[n]), bits, config.lanes) for n in range(WORDS)]
                assert got == getattr(reference, name), f"instruction {number}, {word['opcode'].name}, {name}"

    simulate(m, bench)


PENDING_UNTIL = {
    # Cycles from a word's issue on in which each of these is pending; a tree of 4 lanes has two levels.
    (Opcode.INTEGRATE, 0): {"any": 6, "adds": 2},
    (Opcode.INTEGRATE, Flag.HASHED): {"any": 8, "adds": 4, "late": 2},
    (Opcode.INTEGRATE, Flag.BY_TARGET): {"any": 10, "sums": 6},
    (Opcode.INTEGRATE, Flag.BY_TARGET | Flag.HASHED): {"any": 12, "sums": 8, "late": 2},
    (Opcode.REGULATE, 0): {"any": 6, "adds": 2},
    (Opcode.FEEDBACK, 0): {"any": 8, "adds": 4, "late": 2},
    (Opcode.TRACE, 0): {"any": 6, "states": 6},
    (Opcode.STEP, 0): {"any": 6, "states": 6, "spikes": 6, "soon": 4},
    (Opcode.STEP, Flag.LEAKY): {"any": 6, "states": 6},
    (Opcode.CLEAR, 0): {"any": 6, "states": 6},
    (Opcode.CLEAR, Flag.SPIKES): {"any": 6, "states": 2, "spikes": 6, "soon": 4},
    (Opcode.LEARN, 0): {"any": 6},
    (Opcode.POST, 0): {"any": 9, "posts": 8, "late": 2},
}


@pytest.mark.parametrize(("opcode", "flags"), PENDING_UNTIL, ids=lambda value: getattr(value, "name", str(value)))
def test_pending_tells_until_when(opcode, flags):
    config = CONFIGS["4 lanes, 16 bits"]
    m, dut, _ = bench_of(config, Reference(config, random.Random(0)))
    cycles = {name: [] for name in PENDING.members}

    async def bench(ctx):
        ctx.set(dut.word, {"opcode": opcode, "flags": int(flags), "last": 1})
        ctx.set(dut.valid, 1)
        for cycle in range(20):
            await ctx.delay(1e-9)
            for name, listed in cycles.items():
                if ctx.get(dut.pending[name]):
                    listed.append(cycle)
            await ctx.tick()
            ctx.set(dut.valid, 0)

    simulate(m, bench)
    assert {name: listed for name, listed in cycles.items() if listed} == {
        name: list(range(until)) for name, until in PENDING_UNTIL[opcode, flags].items()}


def test_live_tells_of_post_factors():
    config = CONFIGS["4 lanes, 16 bits"]
    reference = Reference(config, random.Random(0))
    reference.state[1] = [100] * 4
    m, dut, _ = bench_of(config, reference)
    base = {**FIELDS, "neuron": 3, "weight": 0, "state": 1, "last": 1, "count": 4, "addend": 100, "hash": 5}

    async def run(ctx, word):
        ctx.set(dut.word, {**base, **word})
        ctx.set(dut.valid, 1)
        live = 0
        for _ in range(14):
            *_, now = await ctx.tick().sample(dut.live)
            ctx.set(dut.valid, 0)
            live |= now
        return live

    async def bench(ctx):
        ctx.set(dut.table_value, 128)
        ctx.set(dut.table_write, 1)
        await ctx.tick()                  # entry 0: the surrogate is one at the threshold
        ctx.set(dut.table_write, 0)
        # No feedback: every post factor is zero. With some, it is not; and the accumulators are empty again.
        assert not await run(ctx, {"opcode": Opcode.POST})
        await run(ctx, {"opcode": Opcode.FEEDBACK, "flags": Flag.HASHED, "scalar": 20000})
        assert await run(ctx, {"opcode": Opcode.POST})
        assert not await run(ctx, {"opcode": Opcode.POST})

    simulate(m, bench)


def test_pokes_and_tables():
    config = CONFIGS["8 lanes, narrow weights"]
    m, dut, _ = bench_of(config, Reference(config, random.Random(0)))

    async def bench(ctx):
        # A poke sets the named lanes' result registers.
        for lanes, value, wanted in ((0xFF, -7, [-7] * 8), (0x05, 9, [9, -7, 9] + [-7] * 5),
                                     (0x80, 1, [9, -7, 9] + [-7] * 4 + [1]), (0, 3, [9, -7, 9] + [-7] * 4 + [1])):
            ctx.set(dut.poke_lane, lanes)
            ctx.set(dut.poke_value, value)
            await ctx.tick()
            ctx.set(dut.poke_lane, 0)
            await ctx.tick().repeat(POKE_LATENCY - 1)
            assert [ctx.get(result) for result in dut.result] == wanted
        # The tables are read back one cycle after the address.
        for address in range(dut.table_entries):
            ctx.set(dut.table_address, address)
            ctx.set(dut.table_value, 255 - address)
            ctx.set(dut.table_write, 1)
            await ctx.tick()
        ctx.set(dut.table_write, 0)
        ctx.set(dut.table_read, 1)
        for address in range(dut.table_entries):
            ctx.set(dut.table_address, address)
            await ctx.tick()
            assert ctx.get(dut.table_data) == 255 - address

    simulate(m, bench)
