"""Benches of streams in Amaranth's simulator: sources and sinks that stall as told, with seeds."""

import random

from amaranth import Array, Module, Signal
from amaranth.sim import Simulator

from relif_hw.arithmetic import InstructionLayout

CYCLES = 200_000
"""Limit of every simulation."""


def source(stream, items, *, stall=0.0, seed=0):
    """A test bench that puts `items` (payloads, or dicts of fields) on a stream."""
    rng = random.Random(seed)

    async def bench(ctx):
        for item in items:
            while rng.random() < stall:
                await ctx.tick()
            ctx.set(stream.payload, item)
            ctx.set(stream.valid, 1)
            await ctx.tick().until(stream.ready)
            ctx.set(stream.valid, 0)
    return bench


def sink(stream, taken, count, *, stall=0.0, seed=1):
    """A test bench that takes `count` payloads from a stream and appends them to `taken`."""
    rng = random.Random(seed)

    async def bench(ctx):
        while len(taken) < count:
            while rng.random() < stall:
                await ctx.tick()
            ctx.set(stream.ready, 1)
            payload, = await ctx.tick().sample(stream.payload).until(stream.valid)
            ctx.set(stream.ready, 0)
            taken.append(payload)
    return bench


def simulate(dut, *benches):
    """Run until all benches are done; fails after `CYCLES`."""
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    for bench in benches:
        sim.add_testbench(bench)
    steps = 0
    while sim.advance():
        steps += 1
        assert steps < 2 * CYCLES, f"the benches have not finished after {CYCLES} cycles"


def with_contexts(dut):
    """A module with `dut`, and the instructions of the contexts: what is at `i` sees that of its own."""
    m = Module()
    m.submodules.dut = dut
    contexts = [Signal(InstructionLayout, name=f"context_{n}") for n in range(dut.config.contexts)]
    m.d.comb += dut.instruction.eq(Array(contexts)[dut.i.payload.context])
    return m, dut, contexts
