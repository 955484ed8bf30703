"""The synapses' traces, word by word, against plain integer formulas of `docs/numerics.md`."""

import random

import pytest
from amaranth import Module
from amaranth.lib.memory import Memory
from streams import simulate

from relif_hw.config import CoreConfig
from relif_hw.isa import Flag, Opcode
from relif_hw.numerics import GROUP_STEP, HASH_MASK, finish, lane_random
from relif_hw.synapses import Synapses

WORDS = 16
CONFIGS = {
    "4 lanes, 16 bits": CoreConfig(lanes=4, state_bits=16, weight_words=16, neuron_words=16, eligibility_words=16),
    "8 lanes, wide weights": CoreConfig(lanes=8, weight_bits=16, weight_words=16, neuron_words=16,
                                        eligibility_words=16),
}


def clamp(value, bits):
    return max(-(1 << bits - 1), min((1 << bits - 1) - 1, value))


class Reference:
    """What a word does to the memories; `traces[word][lane]` and so on."""

    def __init__(self, config, rng):
        self.config = config
        top, most = 1 << config.state_bits - 1, 1 << config.weight_bits - 1

        def words(low, high):
            return [[rng.choice([low, high, 0, rng.randint(low, high)]) for _ in range(config.lanes)]
                    for _ in range(WORDS)]

        self.traces, self.post = words(-top, top - 1), words(-top, top - 1)
        self.weights, self.psi = words(-most, most - 1), words(0, 255)

    def apply(self, word):
        config, bits = self.config, self.config.state_bits
        one, shift = config.decay_fraction, config.update_shift
        traces, weights = self.traces[word["weight"]], self.weights[word["weight"]]
        for lane in range(config.lanes):
            hashed = finish(word["hash"] + lane // 4 * GROUP_STEP & HASH_MASK)
            turned = (hashed << 4 | hashed >> 28) & HASH_MASK
            for_trace, for_weight = lane_random(turned, lane % 4), lane_random(hashed, lane % 4)
            for_trace = for_trace << one - 16 if one >= 16 else for_trace >> 16 - one
            for_weight = for_weight << shift - 16 if shift >= 16 else for_weight >> 16 - shift
            psi, old, p = self.psi[word["neuron"]][lane], traces[lane], word["scalar"]
            if word["flags"] & Flag.ADAPTIVE:
                out = clamp(psi * clamp(p - old, bits) + 64 >> 7, bits)
                gain = out * word["addend"] << one - config.state_fraction
            else:
                gain = psi * p << one - 7
            traces[lane] = clamp(old + (old * word["leak"] + gain + for_trace >> one), bits)
            if not word["flags"] & Flag.ADAPTIVE:
                out = traces[lane]
            delta = out * self.post[word["neuron"]][lane] + for_weight >> shift
            weights[lane] = clamp(weights[lane] + delta, config.weight_bits)


class Bench:
    """The synapses with their memories; psi is written as POST does it."""

    def __init__(self, config):
        self.dut, self.config = Synapses(config), config
        self.module = m = Module()
        m.submodules.dut = dut = self.dut
        self.memories = {}
        for name, bits in (("eligibility", config.state_bits), ("weights", config.weight_bits),
                           ("post", config.state_bits)):
            memory = self.memories[name] = Memory(shape=config.lanes * bits, depth=WORDS, init=[])
            m.submodules[f"{name}_memory"] = memory
            read = memory.read_port()
            m.d.comb += [read.en.eq(getattr(dut, f"{name}_enable")), read.addr.eq(getattr(dut, f"{name}_address")),
                         getattr(dut, name).eq(read.data)]
            if name != "post":
                write = memory.write_port()
                m.d.comb += [write.en.eq(getattr(dut, f"write_{name}")),
                             write.addr.eq(getattr(dut, f"write_{name}_address")),
                             write.data.eq(getattr(dut, f"{name}_result"))]

    def bits(self, name):
        return self.config.weight_bits if name == "weights" else self.config.state_bits

    def run(self, reference, words, gaps):
        """Words with `gaps` cycles before each; leaves the memories' contents in `got`."""
        contents = {"eligibility": reference.traces, "weights": reference.weights, "post": reference.post}
        got = {}

        async def drive(ctx):
            for name, image in contents.items():
                for address, elements in enumerate(image):
                    ctx.set(self.memories[name].data[address], pack(elements, self.bits(name)))
            for address, elements in enumerate(reference.psi):
                ctx.set(self.dut.psi, pack(elements, 8))
                ctx.set(self.dut.write_psi_address, address)
                ctx.set(self.dut.write_psi, 1)
                await ctx.tick()
            ctx.set(self.dut.write_psi, 0)
            for word, gap in zip(words, gaps, strict=True):
                ctx.set(self.dut.valid, 0)
                await ctx.tick().repeat(gap) if gap else None
                ctx.set(self.dut.word, word)
                ctx.set(self.dut.valid, 1)
                await ctx.tick()
            ctx.set(self.dut.valid, 0)
            await ctx.tick().until(~self.dut.busy)
            for name in ("eligibility", "weights"):
                got[name] = [unpack(ctx.get(self.memories[name].data[address]), self.config.lanes, self.bits(name))
                             for address in range(WORDS)]

        simulate(self.module, drive)
        return got


def pack(elements, bits):
    return sum((element & (1 << bits) - 1) << bits * lane for lane, element in enumerate(elements))


def unpack(number, lanes, bits):
    values = [number >> bits * lane & (1 << bits) - 1 for lane in range(lanes)]
    return [value - (value >> bits - 1 << bits) for value in values]


@pytest.mark.parametrize("gap", [0, 3], ids=["a word a cycle", "with gaps"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_traces_and_weights(config, gap):
    rng = random.Random(config.lanes + gap)
    reference, bench = Reference(config, rng), Bench(config)
    top, one = 1 << config.state_bits - 1, 1 << config.decay_fraction
    # Every address once, in any order: the program's rows do not come back before they are written.
    words = [{
        "opcode": Opcode.LEARN, "flags": int(Flag.SYNAPTIC) | rng.choice([0, int(Flag.ADAPTIVE)]), "weight": address,
        "neuron": rng.randrange(WORDS), "scalar": rng.choice([0, 1, top - 1, -top, rng.randint(-top, top - 1)]),
        "leak": rng.choice([0, -one, -1, -rng.randrange(one)]), "addend": rng.choice([0, top - 1, rng.randrange(top)]),
        "hash": rng.getrandbits(32),
    } for address in rng.sample(range(WORDS), WORDS)]
    before = [list(word) for word in reference.traces]
    got = bench.run(reference, words, [rng.randint(0, gap) for _ in words])
    for word in words:
        reference.apply(word)
    assert reference.traces != before
    assert got == {"eligibility": reference.traces, "weights": reference.weights}


def test_a_trace_of_a_decay_of_one_without_input_stays():
    config = CONFIGS["4 lanes, 16 bits"]
    reference, bench = Reference(config, random.Random(1)), Bench(config)
    words = [{"opcode": Opcode.LEARN, "flags": int(Flag.SYNAPTIC), "weight": address, "neuron": 0, "scalar": 0,
              "leak": 0, "addend": 0, "hash": 0x1234_5678 + address} for address in range(WORDS)]
    before = [list(word) for word in reference.traces]
    assert bench.run(reference, words, [0] * WORDS)["eligibility"] == before
