"""The generated Verilog of a core against the golden model: every memory after every step.

SCENARIOS names the files of the scenarios, one a line. In every other one of them streams stand still now
and then, on either side, and accesses do not wait until the core is idle. With WRONG the golden model is
given a weight that the core has not, to show that the bench notices. The top is `core_harness`.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer

from relif_hw.isa import Space, TickFlag, space_shape, tick_entry
from scenarios import Lockstep, Scenario, Step

FILES = {Path(name).stem: Path(name) for name in os.environ["SCENARIOS"].splitlines()}
PAUSES = 0.15
"""Probability of an idle cycle, or of one of back-pressure."""
WRONG = "WRONG" in os.environ
PERIOD = 10
"""Nanoseconds of a cycle."""
CYCLES = 200_000
"""A step or a memory that takes longer hangs."""


class Driver:
    """The core's streams: idle cycles and back-pressure come from a seeded generator."""

    def __init__(self, dut, pauses: float, seed: str) -> None:
        self.dut, self.pauses, self.random = dut, pauses, random.Random(seed)
        self.edge = RisingEdge(dut.clk)
        self.results: list[int] = []

    def pause(self) -> bool:
        return self.pauses > 0 and self.random.random() < self.pauses

    async def interrupt(self) -> None:
        """Let the core begin a tick of the program that is there, and another one; stop it anywhere."""
        self.dut.entries_valid.value = 1
        self.dut.entries_payload.value = tick_entry(TickFlag.TRAIN | TickFlag.TARGET | TickFlag.SEND)
        for _ in range(self.random.randrange(2000)):
            await self.edge

    async def reset(self, cycles: int) -> None:
        for name in ("entries", "access", "wdata"):
            getattr(self.dut, f"{name}_valid").value = 0
            getattr(self.dut, f"{name}_payload").value = 0
        self.dut.results_ready.value = 0
        self.dut.pauses.value = int(256 * self.pauses)
        self.dut.clear.value = 1
        self.dut.rst.value = 1
        for _ in range(cycles):
            await self.edge
        self.dut.rst.value = 0

    async def put(self, name: str, values) -> None:
        """Send values on a stream; valid stays high from one to the next unless there is a pause."""
        payload, valid, ready = (getattr(self.dut, f"{name}_{part}") for part in ("payload", "valid", "ready"))
        for value in values:
            while self.pause():
                valid.value = 0
                await self.edge
            payload.value = value
            valid.value = 1
            for _ in range(CYCLES):
                await self.edge
                if ready.value:
                    break
            else:
                raise AssertionError(f"{name} is not taken within {CYCLES} cycles")
        valid.value = 0

    async def collect(self) -> None:
        """Take results for ever."""
        valid, ready = self.dut.results_valid, self.dut.results_ready
        taking = True
        ready.value = 1
        while True:
            await self.edge
            if taking and valid.value:
                self.results.append(self.dut.results_payload.value.to_unsigned())
            if self.pauses:
                taking = not self.pause()
                ready.value = taking

    async def access(self, space: Space, write: bool, address: int, words: int) -> None:
        await self.put("access", [int(space) | write << 4 | address << 5 | words << 21])

    async def write(self, space: Space, address: int, values) -> None:
        await self.access(space, True, address, len(values))
        await self.put("wdata", [int(value) & 0xFFFF_FFFF for value in values.reshape(-1)])

    async def read(self, config, space: Space) -> list[int]:
        """All elements of a memory, through the recorder."""
        words, width = space_shape(config, space)[:2]
        expected = words * width
        if not expected:                    # a factored core has no eligibility traces
            return []
        self.dut.clear.value = 1
        await self.edge
        self.dut.clear.value = 0
        await self.access(space, False, 0, words)
        waited, cycles = 0, expected + 4 * words + 8
        while (count := self.dut.count.value.to_unsigned()) < expected:
            assert waited < CYCLES + 100 * expected, f"{space.name}: {count} of {expected} elements"
            await Timer(cycles * PERIOD, unit="ns")
            waited, cycles = waited + cycles, 32
        await self.edge
        assert self.dut.count.value.to_unsigned() == expected
        number = int(str(self.dut.record.value)[-32 * expected:], 2)
        raw = number.to_bytes(4 * expected, "little")
        return [int.from_bytes(raw[k:k + 4], "little") for k in range(0, len(raw), 4)]

    async def step(self, step: Step) -> None:
        """Write, send the entries, and wait for the core to be idle; or not, when the next access must."""
        for space, address, values in step.writes:
            await self.write(space, address, values)
        await self.put("entries", step.entries)
        if self.pauses and self.random.random() < 0.5:
            return
        for _ in range(CYCLES):
            await self.edge
            if self.dut.idle.value:
                return
        raise AssertionError(f"the core is not idle {CYCLES} cycles after a step")


@cocotb.test(timeout_time=500, timeout_unit="ms")
@cocotb.parametrize(name=list(FILES))
async def scenario(dut, name: str) -> None:
    lockstep = Lockstep(Scenario.load(FILES[name]))
    driver = Driver(dut, PAUSES * (list(FILES).index(name) % 2), name)
    Clock(dut.clk, PERIOD, unit="ns").start()
    # In the middle of what the program of the scenario before does.
    await driver.interrupt()
    await driver.reset(1 << lockstep.config.neuron_address_bits)

    # The host writes every memory; a reset has emptied the accumulators alone, which it cannot write.
    for space, values in lockstep.images():
        await driver.write(space, 0, values)
    if WRONG:
        lockstep.model.memory[Space.WEIGHTS][0, -1, -1] ^= 1

    # An accumulator is empty if all its bits are zero, or the bit above them that tells whether it has begun.
    width = len(dut.core.core.lanes.accumulators[0]) // lockstep.config.lanes
    told = 1 if width > lockstep.config.accumulator_bits else width
    # After each step all is as the golden model says, and the one memory that the host cannot read is empty.
    for number, step in enumerate(lockstep.scenario.steps):
        want = lockstep.run(step)
        collector = cocotb.start_soon(driver.collect())
        await driver.step(step)
        registers = await driver.read(lockstep.config, Space.REGISTERS)
        collector.cancel()
        lockstep.compare(number, Space.REGISTERS, registers)
        lockstep.compare_results(number, driver.results, want)
        driver.results.clear()
        assert bool(dut.fault.value) == lockstep.fault, f"{name}, step {number}: fault is {dut.fault.value}"
        for word, sums in enumerate(dut.core.core.lanes.accumulators):
            bits = str(sums.value)
            assert not any(bits[n:n + told].strip("0") for n in range(0, len(bits), width)), (
                f"{name}, step {number}: accumulators [{word}] is {bits}")
        for space in list(Space)[1:]:
            lockstep.compare(number, space, await driver.read(lockstep.config, space))
