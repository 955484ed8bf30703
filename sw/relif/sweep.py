"""Many training runs at once on the golden model: seeds, learning rates, whatever leaves the program's shape alone.

The runs are the replicas of one `FixedCore`. Each ends with the weights that `training.fit` would give it on a board
of its own, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from relif_hw.config import CoreConfig

from .compiler import compile
from .errors import DataError, NetworkError
from .host.board import Result
from .model.fixed import FixedCore
from .network import Network
from .tasks.base import Split, Task
from .training import CHUNK, Epoch, Run, guessed_classes, order

__all__ = ["Together"]

IntArray = npt.NDArray[np.int64]


class Together:
    """Runs that train together, one replica each.

    Parameters
    ----------
    members : sequence of (Task, Network)
        At least one. The tasks have as many samples of as many ticks, with targets at the same ones (`DataError`); the
        networks differ in nothing but seeds, rates, decays and thresholds (`BoardError` when they run).
    config : CoreConfig
        Of the core; `CompileError` if a network does not fit it.
    epochs : int
        Passes over the samples, at least 1.

    Members
    -------
    runs : list of Run
        One for each member, as `training.fit` returns it; but nobody takes the time of single runs: their `seconds`
        are 0.
    """

    def __init__(self, members: Sequence[tuple[Task, Network]], config: CoreConfig, *, epochs: int) -> None:
        if not members or epochs < 1:
            raise DataError(f"at least 1 network and 1 epoch are needed, not {len(members)} and {epochs}")
        shapes = {(len(task.train), len(task.test), task.flags(True).tobytes()) for task, _ in members}
        if len(shapes) > 1:
            raise DataError("tasks that train together need as many samples, of as many ticks, with the same targets")
        self.runs = [Run(compiled=compile(network, config), task=task, epochs=epochs) for task, network in members]
        self.core = FixedCore(config, replicas=len(members))
        for number, run in enumerate(self.runs):
            if run.compiled.network.rule is None:
                raise NetworkError("the network has no learning rule: call its learn()")
            run.compiled.load(self.core.replica(number))

    def fit(self, progress: Callable[[int, int], None] = lambda done, total: None) -> list[Run]:
        """Train all runs to their end; `progress` is called with samples done and in all, of each run."""
        samples = len(self.runs[0].task.train)
        total = self.runs[0].epochs * samples
        while self.runs[0].epoch < self.runs[0].epochs:
            epoch = self.runs[0].epoch
            orders = [order(run.task.seed, epoch, samples) for run in self.runs]
            right = np.zeros(len(self.runs), dtype=np.int64)
            for start in range(0, samples, CHUNK):
                right += self._chunk([indices[start:start + CHUNK] for indices in orders], epoch * samples + start)
                progress(epoch * samples + min(start + CHUNK, samples), total)
            for number, run in enumerate(self.runs):
                run.epoch += 1
                run.fetch(self.core.replica(number))
                run.history.append(Epoch(run.epoch, int(right[number]) / samples, 0.0))
        return self.runs

    def _chunk(self, indices: Sequence[IntArray], done: int) -> IntArray:
        """Samples between two settings of the learning rate; how many of each run's were right."""
        queues, classes = [], []
        for number, (run, chunk) in enumerate(zip(self.runs, indices, strict=True)):
            task, rule = run.task, run.compiled.network.rule
            assert rule is not None
            part = done / (run.epochs * len(task.train))
            run.compiled.write_rate(self.core.replica(number), rule.rate * task.decay**part)
            samples = Split(task.train.values[chunk], task.train.classes[chunk])
            queues.append(task.training_entries(run.compiled, samples))
            classes.append(samples.classes)
        return self._right(queues, classes)

    def _right(self, queues: Sequence[npt.NDArray[np.uint16]], classes: Sequence[IntArray]) -> IntArray:
        counts = []
        for run, sent, truth in zip(self.runs, self.core.run_each(queues), classes, strict=True):
            guessed = guessed_classes(run.compiled, [Result(*one) for one in sent], len(truth))
            counts.append(int((guessed == truth).sum()))
        return np.array(counts)

    def evaluate(self) -> list[float]:
        """Part of the test samples that each run classifies rightly. Afterwards the tick registers are further on."""
        samples = len(self.runs[0].task.test)
        if not samples:
            raise DataError("there are no samples to evaluate")
        right = np.zeros(len(self.runs), dtype=np.int64)
        for start in range(0, samples, CHUNK):
            part = slice(start, start + CHUNK)
            right += self._right([run.task.entries(run.compiled, run.task.test.values[part]) for run in self.runs],
                                 [run.task.test.classes[part] for run in self.runs])
        return [count / samples for count in right.tolist()]
