"""The whole core in Amaranth's simulator, in lockstep with the golden model.

The scenarios are those of the cocotb benches of the generated Verilog (`tests/sim`), where there are many
more of them; here it is about the ports: who waits for whom.
"""

from dataclasses import replace

import pytest
from amaranth.sim import Simulator
from streams import CYCLES, source

from cases import events, first, nothing
from networks import network_scenario, reservoir
from random_programs import random_scenario
from relif_hw.config import CoreConfig
from relif_hw.core import Core
from relif_hw.isa import Flag, Instruction, Opcode, Space, TickFlag, event_entry, space_shape, tick_entry
from scenarios import Lockstep, program_image

CONFIG = CoreConfig(lanes=4, state_bits=16, weight_words=64, state_words=48, neuron_words=12, program_length=40,
                    queue_depth=16, max_outputs=8)

WIDE = replace(CONFIG, lanes=16, state_bits=18, max_outputs=20)


class Host:
    """A core and what a link does with its ports."""

    def __init__(self, config):
        self.config, self.core = config, Core(config)
        self.results = []

    async def collect(self, ctx):
        """Takes results for ever."""
        ctx.set(self.core.results.ready, 1)
        while True:
            *_, valid, payload = await ctx.tick().sample(self.core.results.valid, self.core.results.payload)
            if valid:
                self.results.append(payload)

    async def access(self, ctx, space, write, address, words):
        await source(self.core.access, [{"space": int(space), "write": write, "address": address, "words": words}])(ctx)

    async def write(self, ctx, space, address, values):
        await self.access(ctx, space, 1, address, len(values))
        await source(self.core.wdata, [int(value) & 0xFFFF_FFFF for value in values.reshape(-1)])(ctx)

    async def read(self, ctx, space, address=0, words=None):
        depth, width = space_shape(self.config, space)[:2]
        words = depth - address if words is None else words
        await self.access(ctx, space, 0, address, words)
        values = []
        ctx.set(self.core.rdata.ready, 1)
        while len(values) < words * width:
            *_, payload = await ctx.tick().sample(self.core.rdata.payload).until(self.core.rdata.valid)
            values.append(payload)
        ctx.set(self.core.rdata.ready, 0)
        return values

    async def submit(self, ctx, entries):
        await source(self.core.entries, entries)(ctx)

    async def settle(self, ctx):
        """Wait until the core is idle."""
        for _ in range(CYCLES):
            *_, idle = await ctx.tick().sample(self.core.idle)
            if idle:
                return
        raise AssertionError(f"the core is not idle after {CYCLES} cycles")

    def run(self, bench):
        sim = Simulator(self.core)
        sim.add_clock(1e-6)
        sim.add_testbench(bench)
        sim.add_testbench(self.collect, background=True)
        steps = 0
        while sim.advance():
            steps += 1
            assert steps < 2 * CYCLES, "the bench does not end"


def short(scenario, steps):
    """The first steps of a scenario."""
    return type(scenario)(name=scenario.name, config=scenario.config, loads=scenario.loads,
                          steps=scenario.steps[:steps])


SCENARIOS = [short(first(CONFIG), 4), nothing(CONFIG), short(events(CONFIG), 6), random_scenario(CONFIG, 5, steps=3),
             network_scenario(CONFIG, 3, steps=3, sizes=6), reservoir(WIDE)]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_lockstep(scenario):
    host, lockstep = Host(scenario.config), Lockstep(scenario)

    async def bench(ctx):
        for space, values in lockstep.images():
            await host.write(ctx, space, 0, values)
        for number, step in enumerate(scenario.steps):
            want = lockstep.run(step)
            for load in step.writes:
                await host.write(ctx, *load)
            await host.submit(ctx, step.entries)
            await host.settle(ctx)
            lockstep.compare_results(number, host.results, want)
            host.results.clear()
            assert ctx.get(host.core.fault) == lockstep.fault
            for space in Space:
                lockstep.compare(number, space, await host.read(ctx, space))

    host.run(bench)


def program(*instructions):
    return program_image([*instructions, Instruction(opcode=Opcode.END)])


def test_accesses_wait_for_the_ticks_before_them_and_hold_the_ticks_after_them():
    # Two ticks, a read, a tick, a read: each read gives what the ticks before it have made.
    host = Host(CONFIG)
    toggle = Instruction(opcode=Opcode.CLEAR, when=TickFlag.RESET, flags=Flag.SPIKES, c=0, rows=2)
    got = []

    async def bench(ctx):
        await host.write(ctx, Space.PROGRAM, 0, program(toggle))
        await host.submit(ctx, [tick_entry(TickFlag(0)), event_entry(5), tick_entry(TickFlag(0))])
        got.append(await host.read(ctx, Space.SPIKES, 0, 2))
        got.append(await host.read(ctx, Space.REGISTERS))
        await host.submit(ctx, [event_entry(0), tick_entry(TickFlag.RESET), event_entry(7), tick_entry(TickFlag(0))])
        got.append(await host.read(ctx, Space.SPIKES, 0, 2))
        got.append(await host.read(ctx, Space.REGISTERS))

    host.run(bench)
    assert got == [[0, 0, 0, 0, 0, 1, 0, 0], [0, 0, 2], [0, 0, 0, 0, 0, 0, 0, 1], [0, 0, 4]]


def test_results_that_nobody_takes_stop_the_core_but_lose_nothing():
    host = Host(CONFIG)
    send = Instruction(opcode=Opcode.SEND, stream=9, a=0, rows=6)
    taken = []

    async def bench(ctx):
        state = space_shape(CONFIG, Space.STATE)
        await host.write(ctx, Space.PROGRAM, 0, program(send))
        await host.access(ctx, Space.STATE, 1, 0, state[0])
        await source(host.core.wdata, [value & 0xFFFF for value in range(-90, state[0] * state[1] - 90)])(ctx)
        await host.submit(ctx, [tick_entry(TickFlag(0))] * 2)
        # Nobody takes the results: the core waits, and says so.
        await ctx.tick().repeat(200)
        assert not ctx.get(host.core.idle)
        assert ctx.get(host.core.results.valid)
        ctx.set(host.core.results.ready, 1)
        while len(taken) < 14:
            *_, payload = await ctx.tick().sample(host.core.results.payload).until(host.core.results.valid)
            taken.append(payload)
        await host.settle(ctx)

    async def nobody(ctx):
        ctx.set(host.core.results.ready, 0)

    host.collect = nobody
    host.run(bench)
    # U is in the odd words: neurons 0 to 3 in word 1, 4 and 5 in word 3.
    values = [(-90 + 4 + n) & 0xFFFF_FFFF for n in range(4)] + [(-90 + 12 + n) & 0xFFFF_FFFF for n in range(2)]
    assert taken == [6 | 9 << 24, *values] * 2


def test_a_tick_without_an_error_does_not_learn():
    # The same program with errors and with a dead zone above them: in the latter LEARN takes no cycle.
    host = Host(CONFIG)
    learned = []

    def learning(dead_zone):
        return program(
            Instruction(opcode=Opcode.ERROR, a=0, c=0, rows=4, y=1 << CONFIG.state_fraction, z=dead_zone),
            Instruction(opcode=Opcode.LEARN, flags=Flag.WIDE, a=8, rows=2, b=0, words=1, c=0, x=1 << 14, shift=10))

    async def bench(ctx):
        await host.access(ctx, Space.STATE, 1, 8, 4)
        await source(host.core.wdata, [300] * 16)(ctx)
        for dead_zone in (0, (1 << 15) - 1, 0):
            await host.write(ctx, Space.PROGRAM, 0, learning(dead_zone))
            await host.submit(ctx, [tick_entry(TickFlag(0), 2)])
            seen = set()
            for _ in range(CYCLES):
                *_, idle, opcode, issued = await ctx.tick().sample(
                    host.core.idle, host.core.profile_opcode, host.core.profile_issue)
                if idle:
                    break
                if issued:
                    seen.add(Opcode(opcode))
            learned.append(Opcode.LEARN in seen)

    host.run(bench)
    assert learned == [True, False, True]


def test_a_range_within_a_memory():
    # Words in the middle are written and read; those beside them stay zero.
    host = Host(CONFIG)
    got = {}

    async def bench(ctx):
        for space in (Space.WEIGHTS, Space.STATE, Space.POST):
            await host.access(ctx, space, 1, 3, 2)
            await source(host.core.wdata, [n & 0xFF for n in range(-4, 4)])(ctx)
            got[space] = await host.read(ctx, space, 2, 4)

    host.run(bench)
    for space, values in got.items():
        bits = space_shape(CONFIG, space)[2]
        written = [(n & 0xFF) - 256 * (bits == 8 and n < 0) & 0xFFFF_FFFF for n in range(-4, 4)]
        assert values == [0] * 4 + written + [0] * 4, space
    assert len(got) == 3
