"""The scanner against lists of what is not zero, with gaps on every side."""

import random

import pytest
from amaranth import Module
from amaranth.lib.memory import Memory
from streams import simulate, sink, source

from relif_hw.config import CoreConfig
from relif_hw.isa import Flag, Opcode, Space
from relif_hw.scanner import READ, Scanner, Source

WORDS = 24
CONTEXTS = CoreConfig().contexts
SPARSITY = {"empty": 0.0, "sparse": 0.08, "half": 0.5, "full": 1.0}
STALLS = {"flowing": (0.0, 0.0), "slow sink": (0.0, 0.6), "both": (0.5, 0.4)}


def memories(config, density, seed):
    """Words of lanes for each memory that can be scanned."""
    rng = random.Random(seed)

    def words(low, high):
        return [[rng.choice([low, high, rng.randint(low, high) or 1]) if rng.random() < density else 0
                 for _ in range(config.lanes)] for _ in range(WORDS)]

    top, most = 1 << config.state_bits - 1, 1 << config.weight_bits - 1
    return {Source.SPIKES: words(1, 1), Source.STATE: words(-top, top - 1), Source.POST: words(-top, top - 1),
            Source.WEIGHTS: words(-most, most - 1)}


def bench_of(config, contents):
    """A scanner with its memories; a context is free again when its end has been taken."""
    m = Module()
    m.submodules.dut = dut = Scanner(config)
    widths = {Source.SPIKES: 1, Source.STATE: config.state_bits, Source.POST: config.state_bits,
              Source.WEIGHTS: config.weight_bits}
    for kind, words in contents.items():
        bits = widths[kind]
        init = [sum((value & (1 << bits) - 1) << lane * bits for lane, value in enumerate(word)) for word in words]
        m.submodules[kind.name] = memory = Memory(shape=bits * config.lanes, depth=WORDS, init=init)
        port = memory.read_port()
        m.d.comb += [
            port.en.eq(dut.read_enable & (dut.read_source == kind)), port.addr.eq(dut.read_address),
            getattr(dut, kind.name.lower()).eq(port.data),
        ]
    m.d.comb += dut.done.eq(0)
    for stream in (dut.items, dut.values):
        with m.If(stream.valid & stream.ready & stream.payload.end):
            m.d.comb += dut.done.eq(1 << stream.payload.context)
    return m, dut


def rows(config, contents, instruction):
    """Whether the rows go to `values`, and the rows: (number, value)."""
    lanes, flags = config.lanes, instruction.get("flags", 0)
    a, c, count = instruction.get("a", 0), instruction.get("c", 0), instruction.get("rows", 0)
    wide = bool(flags & Flag.WIDE)

    def elements(kind, first, words, step=1):
        return [value for k in range(words) for value in contents[kind][first + k * step]]

    def active(values):
        return [(row, value) for row, value in enumerate(values) if value]

    match instruction["opcode"]:
        case Opcode.INTEGRATE if flags & Flag.BY_TARGET:
            return False, [(row, 0) for row in range(count)]
        case Opcode.INTEGRATE:
            return False, active(elements(Source.SPIKES, a, count))
        case Opcode.LEARN if flags & Flag.BY_TARGET:
            return False, active(elements(Source.POST, a, count))
        case Opcode.LEARN:
            return False, active(elements(Source.STATE, a + wide, count, 1 + wide))
        case Opcode.FEEDBACK if flags & Flag.STREAMED:
            return False, [(row, 0) for row in range(instruction["y"])]
        case Opcode.FEEDBACK:
            return False, active(elements(Source.POST, a, count))
        case Opcode.STEP:
            return False, [(0, 0), (1, 0)]
        case Opcode.TRACE:
            return False, [(row, 0) for row in range(1 + wide)]
        case Opcode.POST | Opcode.CLEAR:
            return False, [(0, 0)]
        case Opcode.SEND if flags & Flag.SPIKES:
            return True, list(enumerate(elements(Source.SPIKES, c, count)))
        case Opcode.ERROR | Opcode.SEND:
            return True, list(enumerate(elements(Source.STATE, a + 1, -(-count // lanes), 2)[:count]))
        case _:
            return True, list(enumerate(elements(Source[Space(flags).name], a, 1)))


def instructions(config, rng, count):
    """Random instructions of every kind."""
    lanes = config.lanes
    kinds = [
        lambda: {"opcode": Opcode.INTEGRATE, "a": rng.randrange(8), "rows": rng.randint(1, 8)},
        lambda: {"opcode": Opcode.INTEGRATE, "flags": Flag.BY_TARGET, "rows": rng.randint(1, 3 * lanes)},
        lambda: {"opcode": Opcode.LEARN, "flags": rng.choice([0, Flag.WIDE]), "a": rng.randrange(8),
                 "rows": rng.randint(1, 8)},
        lambda: {"opcode": Opcode.LEARN, "flags": Flag.BY_TARGET | rng.choice([0, Flag.WIDE]),
                 "a": rng.randrange(8), "rows": rng.randint(1, 8)},
        lambda: {"opcode": Opcode.FEEDBACK, "flags": rng.choice([0, Flag.HASHED]), "a": rng.randrange(8),
                 "rows": rng.randint(1, 4)},
        lambda: {"opcode": Opcode.FEEDBACK, "flags": Flag.STREAMED, "rows": 1, "y": rng.randint(1, 3 * lanes)},
        lambda: {"opcode": Opcode.STEP, "rows": rng.randint(1, 9)},
        lambda: {"opcode": Opcode.TRACE, "flags": rng.choice([0, Flag.WIDE]), "rows": 3},
        lambda: {"opcode": rng.choice([Opcode.POST, Opcode.CLEAR]), "rows": 5},
        lambda: {"opcode": Opcode.ERROR, "a": rng.randrange(4), "rows": rng.randint(1, 2 * lanes)},
        lambda: {"opcode": Opcode.SEND, "a": rng.randrange(4), "rows": rng.randint(1, 2 * lanes)},
        lambda: {"opcode": Opcode.SEND, "flags": Flag.SPIKES, "c": rng.randrange(4), "rows": rng.randint(1, 3)},
        lambda: {"opcode": READ, "a": rng.randrange(WORDS), "rows": lanes,
                 "flags": rng.choice([Space.SPIKES, Space.STATE, Space.POST, Space.WEIGHTS])},
    ]
    return [{"fence": 1, **kinds[n % len(kinds)]()} for n in rng.sample(range(4 * len(kinds)), count)]


@pytest.mark.parametrize("stalls", STALLS.values(), ids=STALLS)
@pytest.mark.parametrize("density", SPARSITY.values(), ids=SPARSITY)
@pytest.mark.parametrize("lanes", [4, 32])
def test_rows_of_random_instructions(lanes, density, stalls):
    config = CoreConfig(lanes=lanes)
    rng = random.Random(lanes)
    contents = memories(config, density, seed=lanes)
    program = instructions(config, rng, 18)
    m, dut = bench_of(config, contents)

    # Contexts take turns; each instruction's rows come in order and are closed by an end.
    wanted = {False: [], True: []}
    for n, instruction in enumerate(program):
        to_values, found = rows(config, contents, instruction)
        wanted[to_values] += [(0, n % CONTEXTS, row, value) for row, value in found] + [(1, n % CONTEXTS)]
    items, values = [], []
    fields = {name: 0 for name in ("flags", "a", "c", "rows", "y")}
    simulate(m, source(dut.i, [{**fields, **i} for i in program], stall=stalls[0]),
             sink(dut.items, items, len(wanted[False]), stall=stalls[1], seed=5),
             sink(dut.values, values, len(wanted[True]), stall=stalls[1], seed=6))
    for got, want in ((items, wanted[False]), (values, wanted[True])):
        assert [(1, item.context) if item.end else (0, item.context, item.row, item.value) for item in got] == want


def test_one_row_a_cycle():
    # With every lane at work and nobody in the way, the rows leave without a gap.
    config = CoreConfig(lanes=16)
    contents = memories(config, 1.0, seed=1)
    m, dut = bench_of(config, contents)
    taken = []

    async def watch(ctx):
        ctx.set(dut.items.ready, 1)
        while True:
            _, _, valid = await ctx.tick().sample(dut.items.valid)
            taken.append(valid)
            if valid and ctx.get(dut.items.payload.end):
                return

    program = [{"opcode": Opcode.INTEGRATE, "a": 0, "rows": 8, "fence": 0, "flags": 0, "c": 0}]
    simulate(m, source(dut.i, program), watch)
    first = taken.index(1)
    assert taken[first:first + 128] == [1] * 128
