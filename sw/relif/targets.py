"""How far the core is on its way: cycles of a tick beside what is aimed at, and beside what its memories allow.

All cycles are counted by the simulated board. The *limit* is one word of P weights in a cycle: the words of the rows
that INTEGRATE and LEARN had to do, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from relif_hw.isa import TICK_ENTRY, Opcode

from .bench import LEARNING, NETWORKS, WARM_UP, Case, counted, entries, network
from .compiler import Compiled, compile
from .host.board import Board
from .tasks import CueAccumulation, Digits, Split, Task
from .training import order

__all__ = ["TARGETS", "TARGET_COLUMNS", "Reached", "Target", "reach", "target_plain", "target_rows",
           "targets_markdown"]

Queue = npt.NDArray[np.uint16]

SMALL, MIDDLE, LARGE = NETWORKS


@dataclass(frozen=True)
class Target:
    """Cycles of a mean tick, at most.

    Parameters
    ----------
    preset : str
        The core.
    what : Case or type of Task
        Synthetic spikes, with a target at every tick; or a task's training from its beginning.
    density : float
        Of synthetic spikes.
    alive : bool
        Half of the neurons spiked in each tick before, so that no trace is zero.
    counts : str
        `all` cycles, or the `overhead`: those that are neither INTEGRATE nor LEARN.
    cycles : int
        The aim.
    """

    preset: str
    what: Case | type[Task]
    cycles: int
    density: float = 0.0
    alive: bool = False
    counts: Literal["all", "overhead"] = "all"

    @property
    def name(self) -> str:
        """As tables call it."""
        if not isinstance(self.what, Case):
            return f"{self.what.name}, training"
        overhead = ", without INTEGRATE and LEARN" if self.counts == "overhead" else ""
        alive = ", every trace alive" if self.alive else ""
        return f"{self.what.name}, {100 * self.density:g} % spikes, learning{alive}{overhead}"


TARGETS = (
    Target("lanes64", SMALL, 30, density=0.02, counts="overhead"),
    Target("lanes64", CueAccumulation, 40),
    Target("lanes128", Digits, 180),
    Target("lanes128", MIDDLE, 1200, density=0.02, alive=True),
    Target("lanes128", LARGE, 2100, density=0.02),
)


@dataclass(frozen=True)
class Reached:
    """What became of a target: cycles of a mean tick."""

    target: Target
    cycles: float
    limit: float
    """Words that INTEGRATE and LEARN had to do; 0 for the overhead, which has no work."""


def reach(board: Board, target: Target, *, seed: int = 0, ticks: int = 64) -> Reached:
    """Measure one target on a simulated board of its preset, over so many ticks, of a task over whole samples.

    `BoardError` if the golden model, which runs along, ends with other weights.
    """
    compiled, warm, measured = (_synthetic if isinstance(target.what, Case) else _of_a_task)(target, board, seed, ticks)
    spent, work = counted(board, compiled, warm, measured, target.name)
    number = int((measured >= TICK_ENTRY).sum())
    overhead = sum(cycles for opcode, cycles in spent.items() if opcode not in (Opcode.INTEGRATE, Opcode.LEARN))
    if target.counts == "overhead":
        return Reached(target, overhead / number, 0.0)
    return Reached(target, sum(spent.values()) / number, sum(w.words for w in work.values()) / number)


def _synthetic(target: Target, board: Board, seed: int, ticks: int) -> tuple[Compiled, Queue, Queue]:
    assert isinstance(target.what, Case)
    compiled = compile(network(target.what, seed), board.config)
    random = np.random.default_rng([seed, target.what.inputs, round(1000 * target.density)])
    before = 0.5 if target.alive else target.density
    warm, measured = (entries(target.what, compiled, density, number, LEARNING, random)
                      for density, number in ((before, WARM_UP), (target.density, ticks)))
    return compiled, warm, measured


def _of_a_task(target: Target, board: Board, seed: int, ticks: int) -> tuple[Compiled, Queue, Queue]:
    assert not isinstance(target.what, Case)
    task = target.what(seed)
    compiled = compile(task.network(), board.config)
    samples = -(-ticks // task.ticks)
    chosen = order(seed, 0, len(task.train))[:samples]
    queue = task.training_entries(compiled, Split(task.train.values[chosen], task.train.classes[chosen]))
    return compiled, queue[:0], queue


TARGET_COLUMNS = ("core", "cycles of a tick", "aim", "reached", "limit", "reached / aim")


def target_rows(reached: Iterable[Reached]) -> list[tuple[str, ...]]:
    """The cells of a table with `TARGET_COLUMNS`."""
    return [(one.target.preset, one.target.name, str(one.target.cycles), f"{one.cycles:.1f}",
             f"{one.limit:.1f}" if one.limit else "-", f"{one.cycles / one.target.cycles:.2f}") for one in reached]


def target_plain(reached: Reached) -> dict[str, Any]:
    """What was reached in JSON's types."""
    target = reached.target
    return {"preset": target.preset, "name": target.name, "aim": target.cycles, "cycles": reached.cycles,
            "limit": reached.limit or None}


def targets_markdown(reached: Iterable[Reached], command: str) -> str:
    """The table for `docs/performance.md`, under the command that made it."""
    lines = [f"    {command}", "", "| " + " | ".join(TARGET_COLUMNS) + " |",
             "| --- | --- " + "| ---: " * (len(TARGET_COLUMNS) - 2) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in target_rows(reached)]
    return "\n".join(lines) + "\n"
