"""The host's own driver at the two wires of a `SerialDevice`, bit by bit.

CLOCK_HZ and BAUDRATE are those of the gateware. The bits of the host have a clock of their own, in picoseconds.
"""

from __future__ import annotations

import json
import os
import random
from contextlib import contextmanager

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import Event, First, Timer, ValueChange
from cocotb.utils import get_sim_time

from networks import training_run
from relif.host.board import LinkBoard, ModelBoard
from relif.host.protocol import Frame, encode_frame
from relif_hw.config import CoreConfig
from relif_hw.frames import ACCESS, FrameType
from relif_hw.isa import Space

CLOCK_HZ, BAUDRATE = float(os.environ["CLOCK_HZ"]), float(os.environ["BAUDRATE"])
CONFIG = CoreConfig(**json.loads(os.environ["CONFIG"]))
BIT = 1e12 / BAUDRATE
"""Picoseconds of a bit."""
SILENCE = 12 * 256 * BIT
"""Picoseconds without a byte after which a read comes back empty: as 0.1 s do on a real port."""


class Wires:
    """A host's UART, 8N1, whose clock is off by `error`; a transport whose time is that of the simulation."""

    name = "wires"

    def __init__(self, dut, error: float = 0.0) -> None:
        self.dut, self.bit = dut, BIT / (1 + error)
        self.queue, self.wake = bytearray(), Event()
        self.came, self.news = bytearray(), Event()
        self.sent = self.received = 0
        self.pauses = self.damaged = 0
        self.first = self.last = None
        """Times of the first and the last start bit that came."""
        self.hurt = lambda number: None
        """Given the number of a byte, what the line does in its place: (bits, level) in turn."""
        self.tasks = [cocotb.start_soon(self._send()), cocotb.start_soon(self._receive())]

    async def until(self, time: float) -> None:
        left = round(time) - get_sim_time("ps")
        if left > 0:
            await Timer(left, unit="ps")

    async def levels(self, pairs, start: float | None = None) -> float:
        """Drive levels for so many bits each; when the last one ends."""
        time = get_sim_time("ps") if start is None else start
        for bits, level in pairs:
            self.dut.rx.value = level
            time += bits * self.bit
            await self.until(time)
        self.dut.rx.value = 1
        return time

    async def _send(self) -> None:
        await Timer(round(20 * BIT), unit="ps")
        time = None
        while True:
            if not self.queue:
                time = None
                self.wake.clear()
                await self.wake.wait()
                self.pauses += 1
            byte = self.queue.pop(0)
            bits = [0, *(byte >> k & 1 for k in range(8)), 1]
            runs = [(1, bits[0])]
            for level in bits[1:]:
                runs[-1:] = [(runs[-1][0] + 1, level)] if level == runs[-1][1] else [runs[-1], (1, level)]
            time = await self.levels(self.hurt(self.sent) or runs, time)
            self.sent += 1

    async def _receive(self) -> None:
        tx = self.dut.tx
        await Timer(round(BIT), unit="ps")              # a simulator begins with all wires low
        while True:
            while tx.value:
                await ValueChange(tx)
            start = get_sim_time("ps")
            byte = 0
            for k in range(10):
                await self.until(start + (k + 0.5) * self.bit)
                if k in (0, 9):
                    if int(tx.value) != (k == 9):
                        self.damaged += 1
                        self.dut._log.info(f"bit {k} of byte {self.received} at {start} ps is wrong")
                else:
                    byte |= int(tx.value) << (k - 1)
            self.came.append(byte)
            self.received += 1
            self.first, self.last = self.first or start, start
            self.news.set()

    # The transport, called in the host's thread.

    def write(self, data: bytes) -> None:
        self.queue += data
        self.wake.set()

    def read(self, timeout: float) -> bytes:
        return self._read()

    @resume
    async def _read(self) -> bytes:
        self.news.clear()
        while not self.came:
            before = self.sent
            await First(self.news.wait(), Timer(round(SILENCE), unit="ps"))
            if not self.came and self.sent == before:
                return b""
        data, self.came[:] = bytes(self.came), b""
        return data

    def close(self) -> None:
        pass


@contextmanager
def wires(dut, error: float = 0.0):
    Clock(dut.clk, 2 * round(5e11 / CLOCK_HZ), unit="ps").start()
    dut.rst.value = 0
    dut.rx.value = 1
    line = Wires(dut, error)
    yield line
    for task in line.tasks:
        task.cancel()
    assert line.damaged == 0, f"{line.damaged} start or stop bits of the board are wrong"


def opened(line: Wires) -> LinkBoard:
    """Silence is told by the transport in simulated time, not by the host's clock."""
    return LinkBoard(line, config=CONFIG, retry=60.0)


def images(seed: int):
    rng = np.random.default_rng(seed)
    weights = rng.integers(-128, 128, (CONFIG.weight_words, CONFIG.lanes))
    state = rng.integers(-2**15, 2**15, (CONFIG.state_words, CONFIG.lanes))
    return weights, state


def exchange(line: Wires, seed: int, **after):
    """Open, look at what is there, write and read everything."""
    board = opened(line)
    for space, values in after.items():
        got = board.read(Space[space])
        assert (got == values).all(), f"{space}: {(got != values).sum()} elements are not as they were"
    weights, state = images(seed)
    board.write(Space.WEIGHTS, 0, weights)
    board.write(Space.STATE, 0, state)
    assert (board.read(Space.WEIGHTS) == weights).all()
    assert (board.read(Space.STATE) == state).all()
    board.close()
    return board.session.repeated


@cocotb.test(timeout_time=200, timeout_unit="ms")
@cocotb.parametrize(error=[-0.02, 0.02])
async def the_hosts_clock_is_off(dut, error: float) -> None:
    with wires(dut, error) as line:
        assert await bridge(exchange)(line, 1) == 0


def _trouble(kind: str):
    """What the line does between two conversations."""
    rng = random.Random(kind)
    glitches = [pair for _ in range(200) for pair in ((rng.uniform(0.02, 0.48), 0), (rng.uniform(0.05, 4), 1))]
    toggles = [(rng.uniform(0.1, 9), k & 1) for k in range(400)]
    noise = [(1, level) for byte in rng.randbytes(600)
             for level in (0, *(byte >> k & 1 for k in range(8)), 1)]
    frame = encode_frame(Frame(FrameType.WRITE, 0, 0, 0, ACCESS.pack(Space.WEIGHTS, 0, 40) + bytes(160)))
    half = [(1, level) for byte in frame[:90] for level in (0, *(byte >> k & 1 for k in range(8)), 1)]
    return {"break": [(3000, 0), (20, 1)], "glitches": [*glitches, (20, 1)], "toggles": [*toggles, (20, 1)],
            "noise": noise, "half a frame": half, "half a frame and a break": [*half, (50, 0), (2, 1)],
            "a break in a byte": [*half[:95], (25, 0), (2, 1)]}[kind]


TROUBLES = ["break", "glitches", "toggles", "noise", "half a frame", "half a frame and a break",
            "a break in a byte"]


@cocotb.test(timeout_time=300, timeout_unit="ms")
async def trouble_between_conversations(dut) -> None:
    with wires(dut) as line:
        await bridge(exchange)(line, 0)
        for seed, kind in enumerate(TROUBLES):
            await line.levels(_trouble(kind))
            weights, state = images(seed)
            await bridge(exchange)(line, seed + 1, WEIGHTS=weights, STATE=state)


def _hurt(kind: str, rng: random.Random):
    def hurt(number: int):
        if number < 40 or rng.random() > 0.004:
            return None
        levels = [(1, level) for level in (0, *(rng.randrange(2) for _ in range(8)))]
        return {"stop bits": [*levels, (1, 0), (3, 1)], "breaks": [(rng.uniform(12, 60), 0), (2, 1)],
                "gone": [(10, 1)], "changed": [*levels, (1, 1)]}[kind]
    return hurt


@cocotb.test(timeout_time=500, timeout_unit="ms")
@cocotb.parametrize(kind=["stop bits", "breaks", "gone", "changed"])
async def trouble_in_frames(dut, kind: str) -> None:
    # Frames are sent again until they are whole.
    with wires(dut) as line:
        line.hurt = _hurt(kind, random.Random(kind))
        assert await bridge(exchange)(line, 20) > 0


@cocotb.test(timeout_time=200, timeout_unit="ms")
async def reset_in_the_middle(dut) -> None:
    # As when power or the PLL's lock fails: half a frame has come, then half an answer has gone. The board then
    # introduces itself to the next host, and nothing of the half frame was done.
    with wires(dut) as line:
        await bridge(exchange)(line, 0)
        answer = encode_frame(Frame(FrameType.READ, 0, 0, 0, ACCESS.pack(Space.STATE, 0, 60)))
        for seed, bytes_back in ((0, 0), (1, 100)):
            if bytes_back:
                line.queue += encode_frame(Frame(FrameType.HELLO, 5, 5, 0, b"")) + answer
                line.wake.set()
                while len(line.came) < bytes_back:
                    await Timer(round(BIT), unit="ps")
            else:
                await line.levels(_trouble("half a frame")[:95])
            await Timer(round(3.3 * BIT), unit="ps")
            dut.rst.value = 1
            await Timer(round(2 * BIT), unit="ps")
            dut.rst.value = 0
            assert dut.tx.value == 1
            await Timer(round(20 * BIT), unit="ps")
            line.came.clear()
            line.damaged = 0                # a byte was cut off
            weights, state = images(seed)
            await bridge(exchange)(line, seed + 1, WEIGHTS=weights, STATE=state)


@cocotb.test(timeout_time=1000, timeout_unit="ms")
async def back_to_back(dut) -> None:
    size = CONFIG.weight_words * CONFIG.lanes
    rounds = -(-50_000 // size)

    def write(board):
        for seed in range(rounds):
            board.write(Space.WEIGHTS, 0, images(seed)[0])
        board.results()

    def read(board):
        words = CONFIG.weight_words
        for _ in range(rounds):
            board.session.send(FrameType.READ, ACCESS.pack(Space.WEIGHTS, 0, words))
        board.session.wait(lambda: len(board.session.data) >= rounds * size)
        return bytes(board.session.data)

    with wires(dut) as line:
        board = await bridge(opened)(line)
        # In: one bit follows the other, without a pause but at the beginning and for acknowledgements at the end.
        begin, sent, pauses = get_sim_time("ps"), line.sent, line.pauses
        await bridge(write)(board)
        count = line.sent - sent
        spent = get_sim_time("ps") - begin
        dut._log.info(f"in: {count} bytes, {line.pauses - pauses} pauses, {count / spent * 1e12:.0f} bytes/s")
        assert count >= 50_000 and line.pauses - pauses <= 3
        assert count / spent * 1e12 > 0.99 * BAUDRATE / 10
        # Out: the pauses are those in which a frame of 256 bytes is gathered, a byte a cycle.
        line.first, received = None, line.received
        data = await bridge(read)(board)
        count, spent = line.received - received, line.last - line.first + 10 * BIT
        dut._log.info(f"out: {count} bytes, {count / spent * 1e12:.0f} bytes/s")
        assert data == images(rounds - 1)[0].astype(np.int8).tobytes() * rounds
        assert count >= 50_000
        gather = 300 / CLOCK_HZ
        assert count / spent * 1e12 > 256 / (256 * 10 / BAUDRATE + gather)
        # Nothing was lost, nothing had to be sent again.
        assert board.session.repeated == 0


@cocotb.test(timeout_time=1000, timeout_unit="ms")
async def training(dut) -> None:
    scenario, _ = training_run(CONFIG)

    def run(board):
        for space in (Space.WEIGHTS, Space.STATE):      # other tests have left something there
            board.write(space, 0, 0 * board.read(space))
        for space, address, values in scenario.loads:
            board.write(Space(space), address, np.array(values))
        for step in scenario.steps:
            board.submit(np.array(step.entries))
        results = [result.values.tolist() for result in board.results()]
        return results, board.read(Space.WEIGHTS)

    with wires(dut) as line:
        board = await bridge(opened)(line)
        results, weights = await bridge(run)(board)
        want_results, want = run(ModelBoard(CONFIG))
        assert results == want_results
        assert (weights == want).all()
        assert board.session.repeated == 0
