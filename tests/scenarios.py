"""Scenarios: what a core is given, and what the golden model says must come of it.

A scenario is a configuration, what its memories start with, and a list of steps. After every step the
core must be the same as the golden model in every memory, must have sent the same results, and its
`fault` must be right. The benches in Amaranth's simulator and the cocotb benches of the generated
Verilog run the same scenarios; a file carries them to the latter.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from relif.model.fixed import FixedCore, Sent
from relif_hw.config import CoreConfig
from relif_hw.isa import INSTRUCTION_WORDS, TICK_ENTRY, VALUE_ENTRY, Instruction, Space, space_shape

__all__ = ["IntArray", "Load", "Lockstep", "Scenario", "Step", "program_image", "result_elements"]

IntArray = npt.NDArray[np.int64]
Load = tuple[Space, int, IntArray]
"""Whole words, shape (words, elements), for a space from a word address on."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What the host writes first, and the queue entries that it sends then (any number of ticks)."""

    entries: list[int]
    writes: list[Load] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A configuration, the memories' contents (zero where nothing is loaded), and the steps."""

    name: str
    config: CoreConfig
    loads: list[Load]
    steps: list[Step]

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps({
            "name": self.name, "config": dataclasses.asdict(self.config), "loads": _plain(self.loads),
            "steps": [{"entries": step.entries, "writes": _plain(step.writes)} for step in self.steps],
        }), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Scenario:
        """The inverse of `save`."""
        table = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            name=table["name"], config=CoreConfig(**table["config"]), loads=_arrays(table["loads"]),
            steps=[Step(entries=step["entries"], writes=_arrays(step["writes"])) for step in table["steps"]])


def _plain(loads: list[Load]) -> list[list[object]]:
    return [[int(space), address, np.asarray(values).tolist()] for space, address, values in loads]


def _arrays(loads: list[list[object]]) -> list[Load]:
    return [(Space(space), address, np.array(values, dtype=np.int64)) for space, address, values in loads]


def program_image(program: list[Instruction]) -> IntArray:
    """A tick program as words of `Space.PROGRAM`."""
    return np.array([i.encode() for i in program], dtype=np.int64).reshape(-1, INSTRUCTION_WORDS)


def result_elements(config: CoreConfig, sent: list[Sent]) -> list[int]:
    """What the stream `results` carries for that: per SEND a header and its elements, 32 bits each."""
    elements = []
    for stream, kind, values in sent:
        if kind == 0:
            body = [int(value) & 0xFFFF_FFFF for value in values]
        else:
            chunk = min(32, config.lanes)
            bits = np.asarray(values).reshape(-1, chunk)
            body = [sum(int(bit) << position for position, bit in enumerate(word)) for word in bits]
        elements += [len(body) | kind << 16 | stream << 24, *body]
    return elements


class Lockstep:
    """The golden model beside a core under test, and the comparison of the two."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.config = scenario.config
        self.model = FixedCore(self.config)
        self.fault = False
        for space, address, values in scenario.loads:
            self.model.write(space, address, values)

    def images(self) -> list[tuple[Space, IntArray]]:
        """The whole contents of every memory as they must be now."""
        return [(space, self.model.read(space)) for space in Space]

    def run(self, step: Step) -> list[int]:
        """Do a step; returns the elements that the core must send for it."""
        for space, address, values in step.writes:
            self.model.write(space, address, values)
        spikes = self.config.neuron_words * self.config.lanes
        values = 0
        for entry in step.entries:
            values = 0 if entry & TICK_ENTRY else values + bool(entry & VALUE_ENTRY)
            self.fault |= spikes <= entry < VALUE_ENTRY or values > self.config.max_outputs
        return result_elements(self.config, self.model.run(np.array(step.entries, dtype=np.int64)))

    def compare(self, number: int, space: Space, elements: list[int]) -> None:
        """`AssertionError` unless a memory, read as 32-bit elements, equals the model's after a step."""
        words, width, _, signed = space_shape(self.config, space)
        where = f"{self.scenario.name}, step {number}, {space.name}"
        assert len(elements) == words * width, f"{where}: {len(elements)} elements, not {words * width}"
        got = np.array(elements, dtype=np.int64)
        if signed:
            got -= (got >> 31) << 32
        got, want = got.reshape(words, width), self.model.read(space)
        bad = np.argwhere(got != want)
        assert len(bad) == 0, f"{where}: {len(bad)} of {got.size} elements differ: " + "; ".join(
            f"[{word}, {element}] is {got[word, element]}, not {want[word, element]}"
            for word, element in bad[:4].tolist())

    def compare_results(self, number: int, got: list[int], want: list[int]) -> None:
        """`AssertionError` unless the core has sent what it must have sent in a step."""
        assert got == want, (f"{self.scenario.name}, step {number}: sent {[hex(e) for e in got[:8]]} ({len(got)}), "
                             f"not {[hex(e) for e in want[:8]]} ({len(want)})")
