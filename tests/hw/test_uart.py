"""The UART, edge by edge: another clock drives its wires, in Amaranth's simulator."""

import random
import re

import pytest
from amaranth import Module
from amaranth.sim import Simulator
from streams import sink, source

from relif.host.protocol import Frame, encode_frame
from relif_hw.config import PRESETS
from relif_hw.frames import FrameType
from relif_hw.receiver import Receiver
from relif_hw.uart import MAX_CLOCKS, MIN_CLOCKS, Uart, bit_phase

PAIRS = [(12e6, 3e6), (24e6, 3e6), (25e6, 3e6), (48e6, 3e6), (50e6, 3e6), (50e6, 12e6), (48e6, 12e6), (12e6, 2e6),
         (12e6, 1e6), (25e6, 1e6), (12e6, 921600), (27e6, 2e6), (100e6, 3e6), (12e6, 115200), (16e6, 460800),
         (3686400, 921600), (2e6, 19200)]
"""Clock and baud rate, in hertz."""

BYTES = [0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80, 0x7F, 0xFE, *random.Random(3).choices(range(256), k=24)]


def wave(data, *, idle=0, stop=1):
    """Levels of a line, one for each bit."""
    bits = []
    for byte in data:
        bits += [0, *(byte >> k & 1 for k in range(8)), stop] + [1] * idle
    return bits


def receive(clock_hz, baudrate, levels, *, phase=0.5):
    """What a `Uart` makes of levels, given as bits of the host's line or as (bits, level)."""
    dut, got = Uart(clock_hz, baudrate if isinstance(baudrate, (int, float)) else baudrate[0]), []
    rate = baudrate if isinstance(baudrate, (int, float)) else baudrate[1]
    sim = Simulator(dut)
    sim.add_clock(1 / clock_hz)

    async def host(ctx):
        ctx.set(dut.rx, 1)
        await ctx.delay((20 + phase) / clock_hz)
        for level in levels:
            length, level = level if isinstance(level, tuple) else (1, level)
            ctx.set(dut.rx, level)
            await ctx.delay(length / rate)
        ctx.set(dut.rx, 1)
        await ctx.delay(12 / rate + 8 / clock_hz)

    async def take(ctx):
        ctx.set(dut.o.ready, 1)
        async for *_, valid, payload in ctx.tick().sample(dut.o.valid, dut.o.payload):
            if valid:
                got.append(payload)

    sim.add_testbench(host)
    sim.add_testbench(take, background=True)
    sim.run()
    return got


@pytest.mark.parametrize("error", [-0.02, 0, 0.02], ids=["slow", "exact", "fast"])
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[1]:.0f} at {pair[0] / 1e6:g} MHz")
def test_received_without_a_pause(pair, error):
    clock_hz, baudrate = pair
    for phase in (0.03, 0.35, 0.97):
        assert receive(clock_hz, (baudrate, baudrate * (1 + error)), wave(BYTES), phase=phase) == BYTES


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[1]:.0f} at {pair[0] / 1e6:g} MHz")
def test_sent_without_a_pause(pair):
    clock_hz, baudrate = pair
    dut, edges = Uart(clock_hz, baudrate), []
    sim = Simulator(dut)
    sim.add_clock(1 / clock_hz)
    sim.add_testbench(source(dut.i, BYTES))

    async def watch(ctx):
        clock = 0
        async for *_, level in ctx.tick().sample(dut.tx):
            if edges or not level:
                edges.append(level)
            clock += 1
            if len(edges) > (10 * len(BYTES) + 12) * clock_hz / baudrate:
                return

    sim.add_testbench(watch)
    sim.run()
    # A host samples each bit in its middle, with a clock that is 2 % off, from each start bit on.
    bit = clock_hz / baudrate
    for error in (-0.02, 0, 0.02):
        at, got = 0, []
        while 0 in edges[at:]:
            at += edges[at:].index(0)
            levels = [edges[int(at + (k + 0.5) * bit * (1 + error))] for k in range(10)]
            assert levels[0] == 0 and levels[9] == 1
            got.append(sum(level << k for k, level in enumerate(levels[1:9])))
            at += int(9.5 * bit * (1 + error))
        assert got == BYTES
    # No pause: the last byte, which ends with its highest ones, ended when it had to, to two clocks and 0.1 %.
    ones = next(k for k in range(9) if not BYTES[-1] >> (7 - k) & 1) if BYTES[-1] != 0xFF else 8
    last = len(edges) - edges[::-1].index(0)
    assert abs(last - (10 * len(BYTES) - 1 - ones) * bit) <= 2 + 1e-3 * len(edges)


@pytest.mark.parametrize("pair", PAIRS[:6], ids=lambda pair: f"{pair[1]:.0f} at {pair[0] / 1e6:g} MHz")
def test_what_is_no_byte_is_dropped(pair):
    good = wave(b"\x41", idle=1)
    # A stop bit that is low: the byte is lost, and the next one is whole again.
    assert receive(*pair, [*good, *wave(b"\x00", stop=0), 1, 1, *good]) == [0x41, 0x41]
    assert receive(*pair, [*good, *wave(b"\xA5", stop=0), 1, 1, *good]) == [0x41, 0x41]
    # A break, of whatever length, delivers nothing; nor does one that cuts a byte short.
    for length in (10, 11, 14.3, 57, 1000):
        assert receive(*pair, [*good, (length, 0), 1, *good, *good]) == [0x41, 0x41, 0x41]
    assert receive(*pair, [*good, *wave(b"\x41")[:4], (30, 0), 1, *good]) == [0x41, 0x41]
    # Glitches of less than half a bit, at any distance.
    for width in (0.1, 0.3, 0.48):
        glitches = [(width, 0), (0.9, 1), (width, 0), (1.17, 1), (width, 0), (2.3, 1)]
        assert receive(*pair, [*good, *glitches, *good]) == [0x41, 0x41]


def test_a_byte_waits_until_the_next_one_is_whole():
    dut, got = Uart(12e6, 3e6), []
    sim = Simulator(dut)
    sim.add_clock(1 / 12e6)

    async def host(ctx):
        for level in wave(BYTES):
            ctx.set(dut.rx, level)
            for _ in range(4):
                await ctx.tick()

    async def late(ctx):
        for _ in BYTES:
            await ctx.tick().until(dut.o.valid)
            for _ in range(36):
                await ctx.tick()
            ctx.set(dut.o.ready, 1)
            *_, payload = await ctx.tick().sample(dut.o.payload)
            ctx.set(dut.o.ready, 0)
            got.append(payload)

    sim.add_testbench(host, background=True)
    sim.add_testbench(late)
    sim.run_until(1e-3)
    assert got == BYTES


@pytest.mark.parametrize(("preset", "longest"), [("lanes4", 3), ("lanes1", 8)])
def test_the_receiver_pauses_for_a_few_cycles_only(preset, longest):
    # The reason why there is no FIFO: whatever comes, a byte a cycle, `Receiver` takes it in time.
    rng, dut, wire = random.Random(8), Receiver(PRESETS[preset]), bytearray()
    for seq in range(60):
        kind = FrameType.ENTRIES if seq < 20 else rng.choice(list(FrameType))
        frame = encode_frame(Frame(kind, seq, 0, 0, rng.randbytes(rng.choice([0, 1, 60, 246]))))
        if seq < 20:
            wire += frame                       # taken, one after the other
            continue
        if rng.random() < 0.3:
            frame = frame[:-9] + frame[-1:]
        wire += frame + rng.randbytes(rng.choice([0, 0, 3, 300])) + bytes(rng.choice([0, 1, 5]))
    pauses = [0]
    sim = Simulator(dut)
    sim.add_clock(1e-6)

    async def watch(ctx):
        async for *_, ready in ctx.tick().sample(dut.i.ready):
            pauses[-1:] = [pauses[-1], 0] if ready else [pauses[-1] + 1]

    async def ring(ctx):
        while True:
            late = ctx.get(dut.expected) == 20
            ctx.set(dut.full, late and rng.random() < 0.2)
            ctx.set(dut.closed, late and rng.random() < 0.1)
            await ctx.tick()

    sim.add_testbench(source(dut.i, wire))
    sim.add_testbench(watch, background=True)
    sim.add_testbench(ring, background=True)
    sim.run()
    assert max(pauses) == longest


def test_the_phase_is_narrow_where_it_can_be():
    assert bit_phase(12e6, 3e6) == (2, 1)
    assert bit_phase(48_000_000, 3_000_000) == (4, 1)
    for clock_hz, baudrate in PAIRS:
        width, step = bit_phase(clock_hz, baudrate)
        assert width <= 16 and abs(step / 2**width * clock_hz / baudrate - 1) <= 1e-3


def test_pairs_out_of_bounds_are_refused():
    words = re.escape("a bit must take 4 to 65536 clocks, not 3: with clock_hz=12000000, baudrate must be 183.1054688 "
                      "to 3000000, not 4000000; or clock_hz 16000000 to 2.62144e+11")
    with pytest.raises(ValueError, match=words):
        bit_phase(12_000_000, 4_000_000)
    with pytest.raises(ValueError, match="not 1e.05: with clock_hz=100000000, baudrate must be 1525"):
        bit_phase(100e6, 1000)
    for wrong in (0, -1, float("inf"), float("nan"), True, "3M"):
        with pytest.raises(ValueError, match=f"baudrate must be a number above 0, not {wrong!r}"):
            bit_phase(12e6, wrong)
        with pytest.raises(ValueError, match=f"clock_hz must be a number above 0, not {wrong!r}"):
            bit_phase(wrong, 3e6)
    assert MIN_CLOCKS == 4 and MAX_CLOCKS == 65536
    assert bit_phase(65536, 1) == (16, 1)


@pytest.mark.parametrize("stall", [0.0, 0.9])
def test_there_and_back(stall):
    # One UART's wire is the other one's; the sender's source stalls.
    m, got = Module(), []
    m.submodules.here = here = Uart(25e6, 3e6)
    m.submodules.there = there = Uart(25e6, 3e6)
    m.d.comb += there.rx.eq(here.tx)
    sim = Simulator(m)
    sim.add_clock(1 / 25e6)
    sim.add_testbench(source(here.i, BYTES, stall=stall))
    sim.add_testbench(sink(there.o, got, len(BYTES)))
    sim.run_until(1e-3)
    assert got == BYTES
