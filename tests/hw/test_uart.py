"""The UART against a line that is sampled and driven in continuous time."""

from __future__ import annotations

import re

import pytest
from amaranth.sim import Simulator

from relif_hw.uart import Uart, phase_step

PAIRS = [(12e6, 3e6), (12e6, 1e6), (24e6, 3e6), (25e6, 3e6), (48e6, 3e6), (48e6, 12e6), (50e6, 3e6), (37e6, 3e6),
         (12e6, 115200)]
BYTES = bytes([0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80, 0x7E, 0xC3])


def levels(data: bytes) -> list[int]:
    """The bits of bytes sent back to back."""
    return [bit for byte in data for bit in (0, *(byte >> n & 1 for n in range(8)), 1)]


def receive(uart: Uart, line, cycles: int, offset: float = 0.0) -> tuple[bytes, int]:
    """What the UART receives of `line(time in cycles)`, and how often it saw a low stop bit."""
    got, broken = [], 0

    async def bench(ctx):
        nonlocal broken
        ctx.set(uart.o.ready, 1)
        for cycle in range(cycles):
            ctx.set(uart.rx, line(cycle + offset))
            if ctx.get(uart.o.valid):
                got.append(ctx.get(uart.o.payload))
            broken += ctx.get(uart.broken)
            await ctx.tick()

    simulate(uart, bench)
    return bytes(got), broken


def simulate(uart: Uart, bench) -> None:
    simulator = Simulator(uart)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def wave(bits: list[int], cycles: float, start: float = 7.3):
    """The level of a line at a time in clock cycles: bits of so many cycles, then rest."""
    def line(time: float) -> int:
        index = int((time - start) // cycles)
        return bits[index] if 0 <= index < len(bits) else 1
    return line


@pytest.mark.parametrize(("clock", "baudrate"), PAIRS)
@pytest.mark.parametrize("error", [-0.02, 0.0, 0.02])
def test_receives_at_any_phase_and_two_percent_off(clock, baudrate, error):
    cycles = clock / baudrate * (1 + error)
    length = int(10 * len(BYTES) * cycles + 40)
    for offset in (0.0, 0.25, 0.5, 0.75) if cycles < 20 else (0.0,):
        assert receive(Uart(clock, baudrate), wave(levels(BYTES), cycles), length, offset) == (BYTES, 0), offset


@pytest.mark.parametrize(("clock", "baudrate"), PAIRS)
def test_sends_bits_of_the_right_length_without_a_gap(clock, baudrate):
    uart, cycles, trace = Uart(clock, baudrate), clock / baudrate, []
    total = int(10 * len(BYTES) * cycles + 3 * cycles)

    async def source(ctx):
        ctx.set(uart.i.valid, 1)
        for byte in BYTES:
            ctx.set(uart.i.payload, byte)
            await ctx.tick().until(uart.i.ready)
        ctx.set(uart.i.valid, 0)

    async def watch(ctx):
        for _ in range(total):
            trace.append(ctx.get(uart.tx))
            await ctx.tick()

    simulator = Simulator(uart)
    simulator.add_clock(1e-6)
    simulator.add_testbench(source)
    simulator.add_testbench(watch)
    simulator.run()
    start = trace.index(0)
    # An edge is up to a cycle late; sampled in its middle every bit is right.
    assert [trace[int(start + (n + 0.5) * cycles)] for n in range(10 * len(BYTES))] == levels(BYTES)


def test_a_glitch_is_no_start_bit():
    def line(time: float) -> int:
        return 0 if 10 <= time < 17 or 60 <= time < 67 else wave(levels(b"Q"), 16, 100)(time)
    assert receive(Uart(48e6, 3e6), line, 400) == (b"Q", 0)


def test_a_break_gives_no_byte_and_ends_with_the_line_high():
    def line(time: float) -> int:
        return 0 if 10 <= time < 2000 else wave(levels(b"ok"), 16, 2020)(time)
    assert receive(Uart(48e6, 3e6), line, 2500) == (b"ok", 1)


def test_a_low_stop_bit_drops_the_byte():
    bits = levels(b"a") + levels(b"b")[:-1] + [0, 1] + levels(b"c")
    assert receive(Uart(48e6, 3e6), wave(bits, 16), 700) == (b"ac", 1)


@pytest.mark.parametrize(("clock", "baudrate", "message"), [
    (10e6, 3e6, "at a clock of 10 MHz the baud rate must be from 2441 to 2500000, not 3e+06"),
    (48e6, 9600, "must be from 11719 to 12000000, not 9600"),
    (12e6, 0, "not 0"),
])
def test_refuses_what_it_cannot_time(clock, baudrate, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        phase_step(clock, baudrate)
