"""Regression: a recurrent network learns on the chip to follow analog waveforms (e-prop's pattern generation).

The input is a fixed random spike pattern; after Bellec et al. (2020), each output shall follow a sum of sinusoids.
The pattern is shown again and again, with an update at every fourth tick. At the start most of the hidden population
is silent: firing-rate regularisation and the errors wake it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from relif_hw.isa import VALUE_BITS, VALUE_FRACTION, TickFlag, event_entry, tick_entry, value_entry

from .compiler import Compiled
from .errors import BoardError, DataError
from .host.board import Board
from .model.online import OnlineLearner
from .network import Network
from .rules import EProp

__all__ = ["EPOCHS", "Player", "RegressionRun", "Waveform", "entries", "fit_regression", "on_board", "on_float",
           "random_inputs", "random_waveform", "read_waveform", "regression_network"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
EPOCHS = 150
LEARN_EVERY = 4
"""Ticks from one with a target to the next; the last tick is one."""
FREQUENCIES = (1.0, 2.0, 3.0, 5.0)
"""Hertz, of the sinusoids of a random waveform."""
INPUTS, INPUT_RATE = 50, 20.0
"""Input neurons, and their spikes a second."""
LIMIT = 2.0 ** (VALUE_BITS - 1 - VALUE_FRACTION)
"""A target value is from -LIMIT to less than LIMIT."""


@dataclass(frozen=True)
class Waveform:
    """Values (ticks, outputs) that the outputs shall follow, and the input spikes (ticks, inputs); dt in seconds."""

    inputs: BoolArray
    target: FloatArray
    dt: float = 1e-3

    def __post_init__(self) -> None:
        if self.inputs.ndim != 2 or self.target.ndim != 2 or len(self.inputs) != len(self.target):
            raise DataError(f"inputs and target must be (ticks, neurons) of equal ticks, not {self.inputs.shape} "
                            f"and {self.target.shape}")
        bad = np.argwhere(~((self.target >= -LIMIT) & (self.target <= LIMIT - 2.0**-VALUE_FRACTION)))
        if len(bad):
            tick, output = bad[0].tolist()
            raise DataError(f"the target of output {output} at tick {tick} is {self.target[tick, output]:g}; it must "
                            f"be from {-LIMIT:g} to less than {LIMIT:g}")
        flat = np.flatnonzero(np.ptp(self.target, axis=0) == 0) if self.target.size else np.array([0])
        if len(flat):
            raise DataError(f"the target of output {flat[0]} never changes: its variance is zero")

    def error(self, outputs: FloatArray) -> float:
        """The normalised mean-square error of outputs (ticks, outputs): 1 for the best constant, 0 for the target."""
        variance = np.square(self.target - self.target.mean(0)).mean()
        return float(np.square(outputs - self.target).mean() / variance)

    @property
    def learned(self) -> BoolArray:
        """Which ticks have a target, (ticks,)."""
        return np.asarray(np.arange(len(self.target))[::-1] % LEARN_EVERY == 0)


def random_inputs(seed: int, ticks: int, inputs: int = INPUTS, dt: float = 1e-3) -> BoolArray:
    """Random spikes (ticks, inputs), 20 a second."""
    return np.random.default_rng([seed, 1]).random((ticks, inputs)) < INPUT_RATE * dt


def random_waveform(seed: int, *, ticks: int = 1000, inputs: int = INPUTS, outputs: int = 3,
                    dt: float = 1e-3) -> Waveform:
    """Sums of sinusoids of random phases, and of amplitudes from 1/2 to 2, then scaled to a largest value of one."""
    random = np.random.default_rng([seed, 0])
    frequencies = np.array(FREQUENCIES)
    amplitudes, phases = (random.uniform(low, high, (len(frequencies), outputs))
                          for low, high in ((0.5, 2.0), (0.0, 2 * np.pi)))
    times = np.arange(ticks)[:, None, None] * dt
    sums = (amplitudes * np.sin(2 * np.pi * frequencies[:, None] * times + phases)).sum(1)
    return Waveform(random_inputs(seed, ticks, inputs, dt), sums / np.abs(sums).max(0), dt)


def read_waveform(path: Path, seed: int = 0, dt: float = 1e-3) -> Waveform:
    """The waveforms of a text file, a line a tick with a value for every output, separated by commas or spaces.

    The input spikes are those of `random_waveform`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            rows.append([float(part) for part in line.replace(",", " ").split()])
        except ValueError:
            raise DataError(f"{path}, line {number}: must be numbers, not {line.strip()!r}") from None
        if len(rows[-1]) != len(rows[0]):
            raise DataError(f"{path}, line {number}: there are {len(rows[-1])} values, {len(rows[0])} in the first")
    if not rows:
        raise DataError(f"{path}: there are no values")
    try:
        return Waveform(random_inputs(seed, len(rows), dt=dt), np.array(rows), dt)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


RATES = {"factored": 2.0**-6, "synaptic": 2.0**-11}
"""eta of the hidden population's weights. A trace in the synapse sums over 1/(1 - kappa) = 30 ticks."""
READOUT_RATE = 2.0**-8


def regression_network(waveform: Waveform, *, hidden: int = 128, seed: int = 0, rate: float | None = None,
                       eligibility: str = "factored") -> Network:
    """A recurrent population between the inputs and leaky readouts, with random feedback.

    Parameters
    ----------
    rate : float, optional
        eta of the hidden population's weights; the readout's keep their part of it.
    eligibility : str
        `"factored"`, or `"synaptic"` for a core that has a memory for it.
    """
    network = Network(dt=waveform.dt, seed=seed)
    x = network.input(waveform.inputs.shape[1], name="x")
    h = network.lif(hidden, tau_mem=20e-3, name="h")
    y = network.readout(waveform.target.shape[1], tau_mem=30e-3, name="y")
    usual = RATES.get(eligibility, 1.0)
    # Where they are stored is given, so that cores of all sizes learn the same, bit for bit.
    network.connect(x, h, gain=0.7, range=0.5, stored="source")
    network.connect(h, h, gain=0.0, range=0.125, rate=1 / 8, stored="source")
    network.connect(h, y, gain=0.05, range=2**-4, rate=READOUT_RATE / usual, stored="target")
    network.learn(EProp(feedback="random", loss="analog", rate=usual if rate is None else rate,
                        eligibility=eligibility, activity_cost=2e-3, activity_target=10.0))
    return network


Player = Callable[[float | None], FloatArray]
"""Shows the input pattern from rest, and learns at that rate, or not (None); returns the outputs (ticks, outputs)."""


@dataclass
class RegressionRun:
    """How the learning of waveforms went; errors are normalised mean squares."""

    untrained: float
    """Error before learning."""
    errors: list[float] = field(default_factory=list)
    """Of each presentation, while learning."""
    error: float = math.nan
    """At the end, without learning."""
    outputs: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    """At the end, (ticks, outputs)."""
    ticks: int = 0
    """Ticks of learning."""


def fit_regression(play: Player, waveform: Waveform, rate: float, *, epochs: int = EPOCHS, decay: float = 0.03,
                   progress: Callable[[int, float], None] | None = None) -> RegressionRun:
    """Learn waveforms, wherever the network runs.

    Parameters
    ----------
    play : Player
        `on_board` or `on_float`.
    rate : float
        eta of the first presentation.
    epochs : int
        Presentations.
    decay : float
        Learning rate at the end, as a part of that at the start; geometric in between.
    progress : callable
        Called with the number of a presentation, from 1, and its error.
    """
    if epochs < 1:
        raise DataError(f"epochs must be at least 1, not {epochs}")
    run = RegressionRun(waveform.error(play(None)))
    for epoch in range(epochs):
        run.errors.append(waveform.error(play(rate * decay ** (epoch / epochs))))
        run.ticks += len(waveform.target)
        if progress:
            progress(epoch + 1, run.errors[-1])
    run.outputs = play(None)
    run.error = waveform.error(run.outputs)
    return run


def entries(compiled: Compiled, waveform: Waveform, train: bool) -> npt.NDArray[np.uint16]:
    """Queue entries of one presentation; only with `train` they bring the target values along, and are learned."""
    x, values = compiled.base("x"), np.rint(waveform.target * 2**VALUE_FRACTION).astype(np.int64)
    queue: list[int] = []
    for tick, spikes in enumerate(waveform.inputs):
        queue += [event_entry(x + int(i)) for i in spikes.nonzero()[0]]
        flags = TickFlag.SEND | (TickFlag.RESET if tick == 0 else TickFlag(0))
        if train:
            flags |= TickFlag.TRAIN
            if waveform.learned[tick]:
                queue += [value_entry(int(value)) for value in values[tick]]
                flags |= TickFlag.TARGET
        queue.append(tick_entry(flags))
    return np.array(queue, dtype=np.uint16)


def on_board(board: Board, compiled: Compiled, waveform: Waveform) -> Player:
    """Shows waveforms to a board, on which the compiled network has been loaded; it sends its output."""
    queues = {train: entries(compiled, waveform, train) for train in (False, True)}
    unit = 2.0**-board.config.state_fraction

    def play(rate: float | None) -> FloatArray:
        if rate is not None:
            compiled.write_rate(board, rate)
        board.submit(queues[rate is not None])
        results = board.results()
        if len(results) != len(waveform.target):
            raise BoardError(f"the board sent {len(results)} results for {len(waveform.target)} ticks")
        return np.asarray(unit * np.stack([result.values for result in results]), dtype=np.float64)

    return play


def on_float(learner: OnlineLearner, waveform: Waveform) -> Player:
    """Shows waveforms to the float model."""
    inputs = waveform.inputs.astype(np.float64)

    def play(rate: float | None) -> FloatArray:
        learner.reset()
        outputs = np.empty_like(waveform.target)
        for tick, spikes in enumerate(inputs):
            target = waveform.target[tick] if rate is not None and waveform.learned[tick] else None
            learner.tick(spikes, train=rate is not None, target=target, rate=rate or 0.0)
            outputs[tick] = learner.membrane[learner.output.name]
        return outputs

    return play
