"""Host access: accesses become pokes, writes and scans, one at a time, whole words in ascending order."""

import random

import pytest
from streams import simulate, sink, source

from relif_hw.access import Access
from relif_hw.config import CoreConfig
from relif_hw.isa import INSTRUCTION_WORDS, Space, space_shape
from relif_hw.numerics import mix
from relif_hw.scanner import READ

CONFIG = CoreConfig(lanes=8, surrogates=2, program_length=16, weight_words=16, state_words=16, neuron_words=16,
                    eligibility_words=16, max_outputs=16)
STALLS = {"flowing": 0.0, "stalled": 0.5}
LANES = (Space.WEIGHTS, Space.STATE, Space.POST, Space.SPIKES, Space.ELIGIBILITY)
BITS = {**dict.fromkeys(LANES, CONFIG.state_bits), Space.WEIGHTS: CONFIG.weight_bits, Space.SURROGATE: 8,
        Space.TARGETS: 14}


def accesses(rng, count, writes):
    """Random ranges of every space, also of no words at all."""
    for n in range(count):
        space = list(Space)[n % len(Space)]
        words = space_shape(CONFIG, space)[0]
        address = rng.randrange(words)
        yield {"space": int(space), "write": writes, "address": address,
               "words": rng.choice([0, 1, words - address, rng.randint(0, words - address)])}


def elements(access):
    """Word and element numbers of an access, in order."""
    width = space_shape(CONFIG, Space(access["space"]))[1]
    return [(access["address"] + word, element) for word in range(access["words"]) for element in range(width)]


@pytest.mark.parametrize("stall", STALLS.values(), ids=STALLS)
def test_writes(stall):
    rng = random.Random(1)
    listed = list(accesses(rng, 4 * len(Space), 1))
    data = [[rng.getrandbits(32) for _ in elements(access)] for access in listed]
    wanted = {(access["space"], *place): value for access, values in zip(listed, data, strict=True)
              for place, value in zip(elements(access), values, strict=True)}
    dut, got, lane_values = Access(CONFIG), {}, {}

    async def grant(ctx):
        ctx.set(dut.grant, 1)

    async def watch(ctx):
        # Lanes are poked one by one; the word is written when all have been.
        while len(got) < len(wanted):
            (*_, lanes, value, write, space, address, program, program_value, table, table_value, target, target_value,
             register, register_value) = await ctx.tick().sample(
                dut.poke_lane, dut.poke_value, dut.write, dut.space, dut.address, dut.program_write,
                dut.program_value, dut.table_write, dut.table_value, dut.target_write, dut.target_value,
                dut.register_write, dut.register_value)
            if write:
                assert sorted(lane_values) == list(range(CONFIG.lanes))
                got.update({(space, address, lane): v for lane, v in lane_values.items()})
                lane_values.clear()
            if lanes:
                assert lanes & lanes - 1 == 0
                lane_values[lanes.bit_length() - 1] = value >> CONFIG.weight_shift if space == Space.WEIGHTS else value
            if program:
                got[space, address, program.bit_length() - 1] = program_value
            if table:
                got[space, address, 0] = table_value
            if target:
                got[space, address, 0] = target_value
            if register:
                got[space, address, 0] = register_value

    values = [value for block in data for value in block]
    simulate(dut, grant, source(dut.access, listed, stall=stall, seed=2), source(dut.wdata, values, stall=stall),
             watch)
    for key, value in wanted.items():
        mask = (1 << BITS.get(key[0], 32)) - 1
        assert got[key] & mask == value & mask, key


@pytest.mark.parametrize("stall", STALLS.values(), ids=STALLS)
def test_reads(stall):
    rng = random.Random(3)
    listed = list(accesses(rng, 4 * len(Space), 0))

    def content(space, word, element):
        bits = 32 if space in LANES else BITS.get(space, 32)
        value = mix(space << 16 | word << 8 | element) & (1 << bits) - 1
        return value - (value >> bits - 1 << bits) if space == Space.TARGETS else value

    wanted = [content(access["space"], *place) & 0xFFFF_FFFF for access in listed for place in elements(access)]
    dut, got = Access(CONFIG), []

    async def memories(ctx):
        # Program, table, registers and targets answer one cycle after they are asked; words of lanes come from the
        # scanner.
        ctx.set(dut.grant, 1)
        while len(got) < len(wanted):
            *_, address, program, table = await ctx.tick().sample(dut.address, dut.program_enable, dut.table_read)
            if program:
                ctx.set(dut.program_data, sum(content(Space.PROGRAM, address, n) << 32 * n
                                              for n in range(INSTRUCTION_WORDS)))
            if table:
                ctx.set(dut.table_data, content(Space.SURROGATE, address, 0))
                ctx.set(dut.register_data, content(Space.REGISTERS, address, 0))
            ctx.set(dut.target_data, content(Space.TARGETS, address, 0))

    async def scanner(ctx):
        words = sum(access["words"] for access in listed if access["space"] in LANES)
        for _ in range(words):
            asked = []
            await sink(dut.read, asked, 1, stall=stall)(ctx)
            instruction, = asked
            assert (instruction.opcode, instruction.rows) == (READ, CONFIG.lanes)
            answers = [content(instruction.flags, instruction.a, lane) for lane in range(CONFIG.lanes)]
            await source(dut.read_data, answers, stall=stall)(ctx)

    simulate(dut, memories, scanner, source(dut.access, listed, stall=stall, seed=4),
             sink(dut.rdata, got, len(wanted), stall=stall, seed=5))
    assert got == wanted


def test_an_access_waits_for_its_grant_and_then_keeps_the_core():
    dut, events = Access(CONFIG), []

    async def control(ctx):
        ctx.set(dut.access.payload, {"space": int(Space.REGISTERS), "write": 1, "address": 0, "words": 2})
        ctx.set(dut.access.valid, 1)
        # Once the core is idle the access is taken; the core's being idle no longer matters then.
        for _ in range(20):
            *_, ready, busy = await ctx.tick().sample(dut.access.ready, dut.busy)
            assert not ready and not busy
        ctx.set(dut.grant, 1)
        await ctx.tick().until(dut.access.ready)
        ctx.set(dut.access.valid, 0)
        ctx.set(dut.grant, 0)
        for value in (11, 22):
            assert ctx.get(dut.busy)
            ctx.set(dut.wdata.payload, value)
            ctx.set(dut.wdata.valid, 1)
            *_, address, written = await ctx.tick().sample(dut.address, dut.register_value).until(dut.register_write)
            events.append((address, written))
            ctx.set(dut.wdata.valid, 0)
        await ctx.tick().repeat(3)
        assert not ctx.get(dut.busy)

    simulate(dut, control)
    assert events == [(0, 11), (1, 22)]
