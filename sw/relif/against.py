"""The core against programs on a CPU (`rivals`): the same networks, the same spikes, in the same run.

The core's time is counted, not taken: cycles of the simulated board over a clock that is given. A rival's is CPU time
of one core, of the same ticks from the same state again and again for `LONG` seconds, and the median of some
repetitions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from statistics import median
from typing import Any

from relif_hw.config import CoreConfig
from relif_hw.isa import Opcode

from .bench import DENSITIES, LEARNING, Case, measure, network, percent, profiled, spikes
from .compiler import compile
from .host.board import Board
from .rivals import RIVALS
from .rivals.workload import Rival, Workload
from .tasks.base import Split
from .tasks.digits import Digits

__all__ = ["Comparison", "against_case", "against_digits", "against_markdown", "against_plain", "against_rows",
           "columns", "seconds_per_tick", "versions"]

LONG = 0.2
"""Seconds of a repetition, at least."""
WARM_UP, SAMPLES = 4, 24
"""Digits that are shown before, and while it is measured."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a learning tick of one network takes, on average."""

    network: str
    spikes: str
    """Part of the neurons that spike in a tick, or "own"."""
    cycles: float
    """Of the core."""
    core: float
    """Seconds of the core."""
    rivals: dict[str, float]
    """Seconds of CPU time of the others."""

    def ratio(self, name: str) -> float:
        """How many times the core's time a rival takes: above 1 the core is faster."""
        return self.rivals[name] / self.core


def seconds_per_tick(rival: Rival, ticks: int, repetitions: int,
                     clock: Callable[[], float] = time.process_time) -> float:
    """Median of repetitions, each of them long enough for the clock; what is compiled, is so before."""
    rival.run()
    times = []
    for _ in range(repetitions):
        runs, start = 0, clock()
        while (passed := clock() - start) < LONG or not runs:
            rival.run()
            runs += 1
        times.append(passed / runs / ticks)
    return median(times)


def _rivals(names: Sequence[str], warm: Workload, measured: Workload, repetitions: int) -> dict[str, float]:
    seconds = {}
    for name in names:
        rival = RIVALS[name](warm)
        rival.run()
        rival.prepare(measured)
        seconds[name] = seconds_per_tick(rival, len(measured), repetitions)
    return seconds


def against_case(board: Board, case: Case, names: Sequence[str], *, clock: float, seed: int, ticks: int,
                 repetitions: int) -> list[Comparison]:
    """A network of `bench` while it learns, at each of its densities.

    Parameters
    ----------
    board : Board
        A simulated one, on which `bench.measure` counts cycles; it raises what that does.
    names : sequence of str
        Of `rivals.RIVALS`.
    clock : float
        Of the core, in Hz.
    seed, ticks
        As of `bench.measure`.
    repetitions : int
        Of which the median is taken.
    """
    compiled = compile(network(case, seed), board.config)
    counted = [m for m in measure(board, case, seed=seed, ticks=ticks) if m.mode == "learning"]
    comparisons = []
    for density, measurement in zip(DENSITIES, counted, strict=True):
        warm, measured = (Workload.of(compiled, entries)
                          for entries in spikes(case, compiled, density, ticks, LEARNING, seed))
        comparisons.append(Comparison(
            network=case.name, spikes=percent(density), cycles=measurement.cycles_per_tick,
            core=measurement.cycles_per_tick / clock, rivals=_rivals(names, warm, measured, repetitions)))
    return comparisons


def against_digits(board: Board, names: Sequence[str], *, clock: float, seed: int, repetitions: int) -> Comparison:
    """The task `digits` as it is trained: a target in 4 of the 12 ticks of a sample. See `against_case`."""
    task = Digits(seed)
    compiled = compile(task.network(), board.config)
    warm, measured = (task.training_entries(compiled, Split(task.train.values[part], task.train.classes[part]))
                      for part in (slice(WARM_UP), slice(WARM_UP, WARM_UP + SAMPLES)))
    compiled.load(board)
    cycles = []
    for entries in (warm, measured):
        before = _busy(board)
        board.submit(entries)
        board.results()
        cycles.append(_busy(board) - before)
    ticks = SAMPLES * task.ticks
    return Comparison(
        network=f"digits {task.n_inputs}/{task.hidden[0]}/{task.n_classes}", spikes="own", cycles=cycles[1] / ticks,
        core=cycles[1] / ticks / clock,
        rivals=_rivals(names, Workload.of(compiled, warm), Workload.of(compiled, measured), repetitions))


def _busy(board: Board) -> int:
    return sum(cycles for opcode, (cycles, _) in profiled(board).profile().items() if opcode is not Opcode.END)


def columns(names: Sequence[str]) -> tuple[str, ...]:
    """Heads of the table."""
    return ("network", "spikes", "cycles/tick", "core us/tick",
            *(head for name in names for head in (f"{name} us/tick", f"{name} / core")))


def against_rows(comparisons: Sequence[Comparison]) -> list[tuple[str, ...]]:
    """The comparisons as the cells of a table with `columns`."""
    return [(c.network, c.spikes, f"{c.cycles:.1f}", f"{1e6 * c.core:.1f}",
             *(cell for name, seconds in c.rivals.items()
               for cell in (f"{1e6 * seconds:.1f}", f"{c.ratio(name):.2f}")))
            for c in comparisons]


def against_markdown(comparisons: Sequence[Comparison], names: Sequence[str], config: CoreConfig, clock: float,
                     cpu: str, command: str) -> str:
    """The table for `docs/performance.md`, under the command that made it."""
    lines = [f"    {command}", "",
             f"Core `{config.name}` at {clock / 1e6:g} MHz; the others on {cpu}.", "",
             *(f"* {name}: learns by {RIVALS[name].learns}." for name in names), "",
             "| " + " | ".join(columns(names)) + " |", "| --- | --- " + "| ---: " * (len(columns(names)) - 2) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in against_rows(comparisons)]
    return "\n".join(lines) + "\n"


def against_plain(comparison: Comparison) -> Mapping[str, Any]:
    """A comparison in JSON's types."""
    return {**asdict(comparison), "ratios": {name: comparison.ratio(name) for name in comparison.rivals}}


def versions(names: Sequence[str]) -> str:
    """Packages of the rivals and their versions."""
    return ", ".join(f"{name} {metadata.version(name)}" for name in names)
