"""Training and evaluation of a task on a board, whichever it is.

An epoch shows every training sample once, in an order that follows from (seed, epoch) alone. Samples
go out in chunks; between two chunks the learning rate is written, and the board does all of it in
order. So a run depends on nothing but its arguments: boards with equal cores end with equal weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt

from relif_hw.isa import Register, Space

from .compiler import Compiled, compile
from .errors import BoardError, DataError, NetworkError
from .host.board import Board, Result
from .model.fixed import Replica
from .network import Network
from .tasks.base import Split, Task

__all__ = ["CHUNK", "Epoch", "Progress", "Run", "evaluate", "fit", "guessed_classes", "order",
           "predict"]

CHUNK = 48
"""Samples between two settings of the learning rate."""
FLIGHT = 4
"""Chunks that are submitted before their results are waited for."""

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to."""

    epoch: int
    """Number, from 1."""
    train_accuracy: float
    """Part of the training samples that were right when they were shown, while learning."""
    seconds: float
    test_accuracy: float | None = None
    """Where it was asked for: part of the test samples that are right after this epoch."""


@dataclass(frozen=True)
class Progress:
    """Where a run is: for progress bars."""

    epoch: int
    """Running epoch, from 1."""
    epochs: int
    samples: int
    """Samples of it that are done."""
    total: int
    """Samples of an epoch."""
    accuracy: float
    """Of these samples, when they were shown."""


@dataclass
class Run:
    """A training run at the end of an epoch: what a checkpoint holds and what goes on from it.

    Parameters
    ----------
    compiled : Compiled
    task : Task
    epochs : int
        Epochs of the whole run; the learning rate's decay stretches over all of them.
    epoch : int
        Epochs that are done.
    weights : dict of str to integer array (pre, post)
    tick : int
        The tick register.
    history : list of Epoch
    """

    compiled: Compiled
    task: Task
    epochs: int
    epoch: int = 0
    weights: dict[str, IntArray] = field(default_factory=dict)
    tick: int = 0
    history: list[Epoch] = field(default_factory=list)

    @property
    def train_accuracy(self) -> float | None:
        """Of the last epoch, while learning."""
        return self.history[-1].train_accuracy if self.history else None

    def history_dicts(self) -> list[dict[str, float | None]]:
        """The history in JSON's types."""
        return [asdict(epoch) for epoch in self.history]

    def fetch(self, board: Board | Replica) -> None:
        """Read weights and tick register from the board."""
        words = self.compiled.layout.weight_words
        self.weights = self.compiled.take_weights(board.read(Space.WEIGHTS, 0, words))
        self.tick = int(board.read(Space.REGISTERS, Register.TICK, 1)[0, 0])

    def store(self, board: Board) -> None:
        """Write everything to the board: the compiled network, then weights and tick if there are any."""
        self.compiled.load(board)
        if self.weights:
            image = np.zeros((self.compiled.layout.weight_words, self.compiled.config.lanes), dtype=np.int64)
            for name, integers in self.weights.items():
                self.compiled.put_weights(image, name, integers)
            board.write(Space.WEIGHTS, 0, image)
        board.write(Space.REGISTERS, Register.TICK, np.array([[self.tick]], dtype=np.int64))


def order(seed: int, epoch: int, samples: int) -> IntArray:
    """The order in which epoch `epoch` (from 0) shows the training samples."""
    return np.random.default_rng([seed, epoch]).permutation(samples)


def fit(network: Network, board: Board, task: Task, *, epochs: int | None = None, seed: int | None = None,
        resume: Run | None = None, progress: Callable[[Progress], None] | None = None,
        checkpoint: Callable[[Run], None] | None = None, test_every: int = 0) -> Run:
    """Train a network on a board.

    Parameters
    ----------
    network : Network
        One input population of the task's size, and a learning rule.
    epochs : int
        Passes in all (also when resumed); default: the task's.
    seed : int
        Seed of the samples' order; default: the task's.
    resume : Run
        Go on from here: its weights, tick and epoch.
    progress : callable
        Called as samples are done.
    checkpoint : callable
        Called with the run at the end of every epoch, when it has been read back from the board.
    test_every : int
        Evaluate the test split after every so many epochs; 0: never.

    Returns
    -------
    Run
        With the weights at the end, which the board has too.
    """
    epochs = task.epochs if epochs is None else epochs
    seed = task.seed if seed is None else seed
    if epochs < 1:
        raise DataError(f"epochs must be at least 1, not {epochs}")
    if network.rule is None:
        raise NetworkError("the network has no learning rule: call its learn()")
    run = resume or Run(compiled=compile(network, board.config), task=task, epochs=epochs)
    if run.compiled.network.digest != network.digest:
        raise NetworkError("the run to resume is that of another network")
    if run.compiled.config != board.config:
        raise BoardError(f"the run to resume was compiled for core {run.compiled.config.name!r}, but board "
                         f"{board.name!r} is {board.config.name!r}: compile its network for that")
    run.epochs = epochs
    run.store(board)
    while run.epoch < epochs:
        start = time.monotonic()
        right = _epoch(run, board, seed, network.rule.rate, progress)
        seconds = time.monotonic() - start
        run.epoch += 1
        run.fetch(board)
        tested = test_every and run.epoch % test_every == 0
        test = evaluate(board, run.compiled, task, task.test) if tested else None
        board.write(Space.REGISTERS, Register.TICK, np.array([[run.tick]], dtype=np.int64))
        run.history.append(Epoch(run.epoch, right / len(task.train), seconds, test))
        if checkpoint:
            checkpoint(run)
    return run


def _epoch(run: Run, board: Board, seed: int, rate: float,
           progress: Callable[[Progress], None] | None) -> int:
    """One pass over the training samples; returns how many were right."""
    task, train = run.task, run.task.train
    indices = order(seed, run.epoch, len(train))
    steps = run.epochs * len(train)
    right = done = submitted = 0
    while done < len(train):
        while submitted < min(len(train), done + FLIGHT * CHUNK):
            chunk = indices[submitted:submitted + CHUNK]
            part = (run.epoch * len(train) + submitted) / steps
            run.compiled.write_rate(board, rate * task.decay**part)
            samples = Split(train.values[chunk], train.classes[chunk])
            board.submit(task.training_entries(run.compiled, samples))
            submitted += len(chunk)
        guesses = guessed_classes(run.compiled, board.results(), submitted - done)
        right += int((guesses == train.classes[indices[done:submitted]]).sum())
        done = submitted
        if progress:
            progress(Progress(run.epoch + 1, run.epochs, done, len(train), right / done))
    return right


def guessed_classes(compiled: Compiled, results: Sequence[Result], samples: int) -> IntArray:
    """The class whose readout is highest (the first of equals), for each sample's results."""
    number = _readout_number(compiled)
    values = [result.values for result in results if result.stream == number and result.kind == 0]
    if len(values) != samples:
        raise BoardError(f"the board sent {len(values)} results for {samples} samples")
    return np.array([int(np.argmax(v)) for v in values], dtype=np.int64)


def _readout_number(compiled: Compiled) -> int:
    output = compiled.network.output
    readouts = [p for p in compiled.network.populations.values() if p.kind == "readout"]
    if output is None and len(readouts) != 1:
        raise NetworkError(f"the network must have one readout to tell a class, not {len(readouts)}")
    return compiled.population_number(output or readouts[0])


def predict(board: Board, compiled: Compiled, task: Task, values: npt.NDArray[np.floating]) -> IntArray:
    """Classes of samples, by the network on the board. Learns nothing; the board is given no class."""
    guesses = []
    for start in range(0, len(values), FLIGHT * CHUNK):
        part = values[start:start + FLIGHT * CHUNK]
        board.submit(task.entries(compiled, part))
        guesses.append(guessed_classes(compiled, board.results(), len(part)))
    return np.concatenate(guesses) if guesses else np.zeros(0, dtype=np.int64)


def evaluate(board: Board, compiled: Compiled, task: Task, split: Split) -> float:
    """Part of a split's samples that the network on the board classifies rightly."""
    if not len(split):
        raise DataError("there are no samples to evaluate")
    return float((predict(board, compiled, task, split.values) == split.classes).mean())
