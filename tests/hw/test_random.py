"""The hashes in gateware against `relif_hw.numerics`."""

import random

import pytest
from amaranth import Module, Signal
from amaranth.sim import Simulator

from relif_hw.numerics import GROUP_STEP, HASH_MASK, finish, mix, tick_key
from relif_hw.random import MIX_STAGES, GroupHash, KeyUnit, mix_stage

WORDS = [0, 1, 0x8000_0000, HASH_MASK, *(random.Random(7).getrandbits(32) for _ in range(40))]


def test_mix_stages_make_mix():
    x, y = Signal(32), Signal(32)
    m = Module()
    value = x
    for stage in range(MIX_STAGES):
        value = mix_stage(value, stage)
    m.d.comb += y.eq(value)

    async def bench(ctx):
        for word in WORDS:
            ctx.set(x, word)
            await ctx.delay(1e-9)
            assert ctx.get(y) == mix(word)

    sim = Simulator(m)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize("gaps", [0.0, 0.5])
def test_group_hash(gaps):
    # Words enter with gaps; each leaves LATENCY cycles later, hashed for every group of four lanes.
    dut = GroupHash(5)
    random_source = random.Random(3)
    queue = []

    async def bench(ctx):
        words = list(WORDS)
        while words or queue:
            enter = bool(words) and random_source.random() >= gaps
            ctx.set(dut.enable, enter)
            if enter:
                ctx.set(dut.word_hash, words[0])
            queue.append(words.pop(0) if enter else None)
            await ctx.tick()
            if len(queue) == dut.LATENCY:
                word = queue.pop(0)
                if word is not None:
                    for group in range(5):
                        assert ctx.get(dut.o[group]) == finish(word + group * GROUP_STEP & HASH_MASK)
            if not words and not any(word is not None for word in queue):
                return

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def test_key_unit():
    dut = KeyUnit()

    async def bench(ctx):
        for interrupted in (False, True):
            for n in range(0, len(WORDS) - 3, 3):
                seed, feedback_seed, tick = WORDS[n:n + 3]
                # Something changes, perhaps while the unit still works on the change before.
                if interrupted:
                    ctx.set(dut.tick, ~tick & HASH_MASK)
                    ctx.set(dut.changed, 1)
                    await ctx.tick()
                    ctx.set(dut.changed, 0)
                    await ctx.tick().repeat(1 + n % 11)
                ctx.set(dut.seed, seed)
                ctx.set(dut.feedback_seed, feedback_seed)
                ctx.set(dut.tick, tick)
                ctx.set(dut.changed, 1)
                await ctx.delay(1e-9)
                assert not ctx.get(dut.ready)
                await ctx.tick()
                ctx.set(dut.changed, 0)
                # Once it is ready, both keys are those of the inputs.
                for _ in range(20):
                    if ctx.get(dut.ready):
                        break
                    await ctx.tick()
                assert ctx.get(dut.ready)
                assert ctx.get(dut.key) == tick_key(seed, tick)
                assert ctx.get(dut.feedback_key) == tick_key(feedback_seed, 0)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
