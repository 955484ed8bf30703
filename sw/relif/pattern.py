"""Spike patterns: a network learns on the chip to fire given spikes in answer to given spikes (SuperSpike, eq. 9-13).

The output spikes; its error is the difference of its spike trains and the target's, smoothed (loss `"van_rossum"`).
The patterns are shown in turn, again and again, with an update at every tick.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from relif_hw.isa import TickFlag, event_entry, tick_entry

from .compiler import Compiled, compile
from .errors import BoardError, DataError
from .host.board import Board
from .methods.superspike import Kernel, van_rossum
from .network import Network, Population, target_input
from .rules import EProp, Surrogate

__all__ = ["BoolArray", "Pattern", "PatternRun", "fit_patterns", "pattern_network", "random_pattern", "read_pattern",
           "read_ras", "recall"]

BoolArray = npt.NDArray[np.bool_]
NO_CLASS = 2047
EPOCHS = 150
RISE, DECAY = 5e-3, 10e-3
"""Seconds: the kernel of the error, and of the distance that is reported."""


@dataclass(frozen=True)
class Pattern:
    """Input spikes (ticks, inputs) and the output spikes (ticks, outputs) that shall answer them; dt in seconds."""

    inputs: BoolArray
    target: BoolArray
    dt: float = 1e-3

    def __post_init__(self) -> None:
        if self.inputs.ndim != 2 or self.target.ndim != 2 or len(self.inputs) != len(self.target):
            raise DataError(f"inputs and target must be (ticks, neurons) of equal ticks, not {self.inputs.shape} "
                            f"and {self.target.shape}")
        if not self.target.any():
            raise DataError("the target has no spikes: there is nothing to learn")

    def distance(self, spikes: BoolArray) -> float:
        """The van Rossum distance of spikes (ticks, outputs) to the target (eq. 9)."""
        trains, target = (torch.tensor(s[None], dtype=torch.float64) for s in (spikes, self.target))
        return float(van_rossum(trains, target, Kernel(RISE, DECAY, self.dt)))


def random_pattern(seed: int, *, ticks: int = 250, inputs: int = 200, outputs: int = 8, dt: float = 1e-3) -> Pattern:
    """Random inputs of 20 spikes a second, and random targets of 10."""
    random = np.random.default_rng(seed)
    return Pattern(random.random((ticks, inputs)) < 20 * dt, random.random((ticks, outputs)) < 10 * dt, dt)


def read_ras(path: Path, dt: float = 1e-3) -> BoolArray:
    """Spikes (ticks, units) of a text file with a line a spike: its time in seconds, and its unit, from 0."""
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    spikes = []
    for number, parts in enumerate(lines, 1):
        try:
            seconds, unit = float(parts[0]), int(parts[1])
            if len(parts) != 2 or not 0 <= seconds < 1e6 or unit < 0:
                raise ValueError
        except (ValueError, IndexError):
            raise DataError(f"{path}, spike {number}: must be a time in seconds and a unit, not "
                            f"{' '.join(parts)!r}") from None
        spikes.append((int(seconds / dt + 1e-6), unit))        # a whole tick may come out just below
    if not spikes:
        raise DataError(f"{path}: there are no spikes")
    tick, unit = np.array(spikes).T
    trains = np.zeros((tick.max() + 1, unit.max() + 1), dtype=bool)
    trains[tick, unit] = True
    return trains


def read_pattern(folder: Path, dt: float = 1e-3) -> Pattern:
    """The pattern of the files `*input.ras` and `*target.ras` of a folder."""
    found = {}
    for end in ("input", "target"):
        files = sorted(folder.glob(f"*{end}.ras"))
        if len(files) != 1:
            raise DataError(f"{folder}: there must be one file *{end}.ras, not {len(files)}")
        found[end] = read_ras(files[0], dt)
    ticks = max(len(trains) for trains in found.values())
    inputs, target = (np.pad(found[end], ((0, ticks - len(found[end])), (0, 0))) for end in ("input", "target"))
    return Pattern(inputs, target, dt)


def pattern_network(pattern: Pattern, *, hidden: Sequence[int] = (), seed: int = 0, rate: float | None = None,
                    feedback: str = "random") -> Network:
    """Layers of spiking neurons from the inputs to the output, which learn by SuperSpike.

    Hidden layers spike from the start; they learn a hundred times slower than the output, or they change below it
    faster than it can follow.
    """
    network = Network(dt=pattern.dt, seed=seed)

    def layer(below: Population, size: int, name: str, *, width: float, gain: float, range: float,
              rate: float = 1.0) -> Population:
        above = network.lif(size, tau_mem=DECAY, tau_syn=RISE, name=name,
                            surrogate=Surrogate(kind="fast_sigmoid", width=width))
        network.connect(below, above, gain=gain, range=range, rate=rate, stored="source")
        return above

    below = network.input(pattern.inputs.shape[1], name="x")
    for number, size in enumerate(hidden, 1):
        below = layer(below, size, f"h{number}", width=0.25, gain=0.6, range=0.5, rate=0.01)
    output = (layer(below, pattern.target.shape[1], "o", width=4.0, gain=0.8, range=2.0**-4) if hidden else
              layer(below, pattern.target.shape[1], "o", width=1.0, gain=0.6, range=0.25))
    rate = (2.0**-11 if hidden else 2.0**-12) if rate is None else rate
    network.learn(EProp(loss="van_rossum", feedback=feedback, rate=rate, feedback_gain=2.0 if hidden else 4.0,
                        tau_rise=RISE, tau_decay=DECAY), output)
    return network


@dataclass
class PatternRun:
    """How the learning of patterns went; distances are sums over them."""

    compiled: Compiled
    untrained: float
    """Distance before learning."""
    distances: list[float] = field(default_factory=list)
    """Of each presentation of all patterns, while learning."""
    distance: float = math.nan
    """At the end, without learning."""
    spikes: list[BoolArray] = field(default_factory=list)
    """Of the output at the end, (ticks, outputs) of each pattern."""
    ticks: int = 0
    """Ticks of learning."""


def _entries(compiled: Compiled, inputs: BoolArray, target: BoolArray | None = None) -> npt.NDArray[np.uint16]:
    """Queue entries of one presentation, from rest; it is learned if it brings a target along."""
    x = compiled.base("x")
    entries: list[int] = []
    for tick, spikes in enumerate(inputs):
        entries += [event_entry(x + int(i)) for i in spikes.nonzero()[0]]
        flags = TickFlag.SEND | (TickFlag.RESET if tick == 0 else TickFlag(0))
        if target is not None:
            assert compiled.network.output is not None
            first = compiled.base(target_input(compiled.network.output))
            entries += [event_entry(first + int(i)) for i in target[tick].nonzero()[0]]
            flags |= TickFlag.TRAIN | TickFlag.TARGET
        entries.append(tick_entry(flags, NO_CLASS))
    return np.array(entries, dtype=np.uint16)


def _show(board: Board, entries: npt.NDArray[np.uint16], ticks: int, outputs: int) -> BoolArray:
    board.submit(entries)
    results = board.results()
    if len(results) != ticks:
        raise BoardError(f"the board sent {len(results)} results for {ticks} ticks")
    return np.stack([result.values for result in results])[:, :outputs] > 0


def recall(board: Board, compiled: Compiled, inputs: BoolArray, outputs: int) -> BoolArray:
    """The spikes (ticks, outputs) of the population that reports, in answer to those of the input `x`.

    The board is given no target.
    """
    return _show(board, _entries(compiled, inputs), len(inputs), outputs)


def fit_patterns(network: Network, board: Board, patterns: Sequence[Pattern], *, epochs: int = EPOCHS,
                 decay: float = 0.05, progress: Callable[[int, float], None] | None = None) -> PatternRun:
    """Learn patterns on a board: they are shown in turn, each from rest.

    Parameters
    ----------
    network : Network
        As `pattern_network` makes it: an input `x`, and an output with loss `"van_rossum"`.
    epochs : int
        Presentations of all patterns.
    decay : float
        Learning rate at the end, as a part of that at the start; geometric in between.
    progress : callable
        Called with the number of a presentation, from 1, and its distance.
    """
    if epochs < 1:
        raise DataError(f"epochs must be at least 1, not {epochs}")
    if network.rule is None or network.output is None or network.rule.loss != "van_rossum":
        raise DataError("a pattern is learned by a network with loss 'van_rossum'")
    outputs = network.output.size
    compiled = compile(network, board.config, send=[network.output])
    compiled.load(board)

    def answers() -> list[BoolArray]:
        return [recall(board, compiled, pattern.inputs, outputs) for pattern in patterns]

    def distance(answers: Sequence[BoolArray]) -> float:
        return sum(pattern.distance(spikes) for pattern, spikes in zip(patterns, answers, strict=True))

    run = PatternRun(compiled, distance(answers()))
    lessons = [_entries(compiled, pattern.inputs, pattern.target) for pattern in patterns]
    for epoch in range(epochs):
        compiled.write_rate(board, network.rule.rate * decay ** (epoch / epochs))
        run.distances.append(distance([_show(board, lesson, len(pattern.inputs), outputs)
                                       for lesson, pattern in zip(lessons, patterns, strict=True)]))
        run.ticks += sum(len(pattern.inputs) for pattern in patterns)
        if progress:
            progress(epoch + 1, run.distances[-1])
    run.spikes = answers()
    run.distance = distance(run.spikes)
    return run
