"""How far the core is on its way, in cycles: those of a tick, and the lanes' use of them.

All cycles are counted by the simulated board. The *limit* of a tick is one word of P weights in a cycle: the words of
the rows that INTEGRATE and LEARN had to do, and nothing else. What is aimed at in seconds is in `rate_targets`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from relif_hw.isa import TICK_ENTRY, Opcode

from .bench import LEARNING, NETWORKS, Case, Measurement, counted, network, percent, spikes
from .compiler import Compiled, compile
from .first_samples import FirstSamples
from .host.board import Board
from .outcome import Outcome, rest
from .tasks import CueAccumulation, Digits, Task

__all__ = ["CYCLE_TARGETS", "USE_PRESET", "USE_TARGETS", "CycleTarget", "Reached", "UseTarget", "reach"]

Queue = npt.NDArray[np.uint16]

SMALL, MIDDLE, LARGE = NETWORKS


@dataclass(frozen=True, kw_only=True)
class CycleTarget:
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
    why : str
        What there is between this and the limit.
    """

    preset: str
    what: Case | type[Task]
    cycles: int
    why: str
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


_BETWEEN = ("the lanes wait for ERROR, which goes through the readouts three times, longer than TRACE and STEP; "
            "the hashed weights of FEEDBACK are no words of a memory; the start of INTEGRATE and LEARN")
CYCLE_TARGETS = (
    CycleTarget(preset="lanes64", what=SMALL, density=0.02, counts="overhead", cycles=30,
                why="TRACE, STEP, FEEDBACK and POST have two words each, and the ways through the pipeline are longer: "
                    "sums by target, membranes, errors, signals and post factors each wait for the one before"),
    CycleTarget(preset="lanes64", what=CueAccumulation, cycles=40,
                why="most ticks have few spikes and no target: TRACE, STEP, the search, and the way of sums by target"),
    CycleTarget(preset="lanes128", what=Digits, cycles=180,
                why="the instructions on neurons, the search for rows, and the way through the pipeline"),
    CycleTarget(preset="lanes128", what=MIDDLE, density=0.02, alive=True, cycles=1200, why=_BETWEEN),
    CycleTarget(preset="lanes128", what=LARGE, density=0.02, cycles=2100, why=_BETWEEN),
)


@dataclass(frozen=True)
class Reached:
    """What became of a target: cycles of a mean tick."""

    target: CycleTarget
    cycles: float
    limit: float
    """Words that INTEGRATE and LEARN had to do; 0 for the overhead, which has no work."""

    @property
    def outcome(self) -> Outcome:
        """Beside what was aimed at."""
        aim, cycles, limit = self.target.cycles, self.cycles, self.limit
        return Outcome(
            what=f"cycles of a tick: {self.target.name}", core=self.target.preset, aim=str(aim),
            reached=f"{cycles:.1f}", limit=f"{limit:.1f}" if limit else "-",
            values={"aim": aim, "reached": cycles, "limit": limit or None}, ratio=cycles / aim, met=cycles <= aim,
            rest=rest(None if cycles <= aim else f"{cycles - aim:.1f} cycles",
                      f"{cycles - limit:.1f} cycles" if limit else None, self.target.why))


def reach(board: Board, target: CycleTarget, *, seed: int = 0, ticks: int = 64) -> Reached:
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


def _synthetic(target: CycleTarget, board: Board, seed: int, ticks: int) -> tuple[Compiled, Queue, Queue]:
    assert isinstance(target.what, Case)
    compiled = compile(network(target.what, seed), board.config)
    before = 0.5 if target.alive else target.density
    return compiled, *spikes(target.what, compiled, target.density, ticks, LEARNING, seed, before)


def _of_a_task(target: CycleTarget, board: Board, seed: int, ticks: int) -> tuple[Compiled, Queue, Queue]:
    assert not isinstance(target.what, Case)
    task = target.what(seed)
    training = FirstSamples(task, board.config, -(-ticks // task.ticks))
    return training.compiled, training.entries[:0], training.entries


@dataclass(frozen=True, kw_only=True)
class UseTarget:
    """Use of the lanes by an instruction, at least, in projections whose rows fill them: see `bench`."""

    instruction: Opcode
    density: float
    use: float
    why: str

    def outcome(self, core: str, measurements: Iterable[Measurement]) -> Outcome:
        """Of what `bench.measure` found, the network with the least use counts."""
        name = self.instruction.name
        found = {m.network: use for m in measurements
                 if m.mode == "learning" and m.density == self.density and (use := m.filled_use[name]) is not None}
        what = f"use of the lanes by {name}, {100 * self.density:g} % spikes, rows that fill them"
        aim = f"{100 * self.use:g} %"
        if not found:
            return Outcome(what=what, core=core, aim=aim, reached="-", limit="100 %", ratio=None, met=None,
                           values={"aim": self.use, "reached": None, "limit": 1.0}, rest="no network's rows fill them")
        network, use = min(found.items(), key=lambda item: item[1])
        return Outcome(
            what=what, core=core, aim=aim, reached=f"{percent(use)} ({network})", limit="100 %",
            values={"aim": self.use, "reached": use, "limit": 1.0}, ratio=use / self.use, met=use >= self.use,
            rest=rest(None if use >= self.use else f"{100 * (self.use - use):.1f} % of the lanes",
                      f"{100 * (1 - use):.1f} %", self.why))


USE_PRESET = "lanes32"
"""The core of `relif bench`, on which lane use is measured."""
USE_TARGETS = tuple(
    UseTarget(instruction=instruction, density=density, use=0.97, why=why)
    for instruction, why in (
        (Opcode.INTEGRATE, "the first word waits for the search, once a tick, and few spikes leave few words to share "
                           "that"),
        (Opcode.LEARN, "its start and drain"))
    for density in (0.02, 0.10))
