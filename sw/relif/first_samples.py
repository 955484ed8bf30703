"""The beginning of a task's training, as several benches take it, and the weights that it must end with."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from relif_hw.config import CoreConfig
from relif_hw.isa import Space

from .compiler import Compiled, compile
from .errors import BoardError
from .host.board import Board, ModelBoard
from .tasks.base import Split, Task
from .training import CHUNK, order

__all__ = ["FirstSamples", "check_weights"]

Queue = npt.NDArray[np.uint16]
IntArray = npt.NDArray[np.int64]


def check_weights(board: Board, wanted: IntArray, after: str) -> None:
    """`BoardError`, which says after what, unless the board's weights are these, bit for bit.

    `wanted` has the words from the first one on, as many as are to be compared.
    """
    if not np.array_equal(board.read(Space.WEIGHTS, 0, len(wanted)), wanted):
        raise BoardError(f"{board.name}: after {after}, its weights are not the model's")


@dataclass
class FirstSamples:
    """So many samples of the first epoch, in its order.

    Parameters
    ----------
    task : Task
        Whose seed is that of the order, too.
    config : CoreConfig
    number : int
        Samples; of an epoch that has fewer, all.
    """

    task: Task
    config: CoreConfig
    number: int
    model_seconds: float = field(default=0.0, init=False)
    """Time of the processor that the golden model took for `weights`."""

    @cached_property
    def compiled(self) -> Compiled:
        """The task's network for the core."""
        return compile(self.task.network(), self.config)

    @cached_property
    def _samples(self) -> IntArray:
        return order(self.task.seed, 0, len(self.task.train))[:self.number]

    @property
    def ticks(self) -> int:
        """Of all samples."""
        return len(self._samples) * self.task.ticks

    def chunk(self, start: int) -> Queue:
        """Entries of the `CHUNK` samples from `start` on, or of those that are left."""
        part, train = self._samples[start:start + CHUNK], self.task.train
        return self.task.training_entries(self.compiled, Split(train.values[part], train.classes[part]))

    @property
    def starts(self) -> range:
        """Of all chunks."""
        return range(0, len(self._samples), CHUNK)

    @cached_property
    def entries(self) -> Queue:
        """Of all samples."""
        return np.concatenate([self.chunk(start) for start in self.starts])

    @cached_property
    def weights(self) -> IntArray:
        """The words that the golden model ends with, as many as the network takes."""
        model = ModelBoard(self.config)
        self.compiled.load(model)
        entries = self.entries
        start = time.process_time()
        model.submit(entries)
        self.model_seconds = time.process_time() - start
        return model.read(Space.WEIGHTS, 0, len(self.compiled.images[Space.WEIGHTS]))
