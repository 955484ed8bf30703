"""What a task is: samples with classes, an encoder, a network and the settings that suit them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from relif_hw.isa import TickFlag

from ..compiler import Compiled
from ..encode import queue_entries
from ..errors import DataError
from ..network import Network
from ..rules import published

__all__ = ["Split", "Task"]


@dataclass(frozen=True)
class Split:
    """Samples: values (samples, inputs) from 0 to 1 and classes (samples,)."""

    values: npt.NDArray[np.floating]
    classes: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or len(self.values) != len(self.classes):
            raise DataError(f"values of shape {self.values.shape} do not match {len(self.classes)} classes")

    def __len__(self) -> int:
        return len(self.classes)


class Task(ABC):
    """Classification of samples that are presented for a fixed number of ticks each.

    Parameters
    ----------
    seed : int
        Seed of the split, the network and the order of the samples.
    hidden : sequence of int, optional
        Neurons of the default network's hidden populations, one after the other.
    rule : str
        What the default network learns with, one of `relif.rules.PUBLISHED`.
    data : path, optional
        Folder with the samples, for tasks that do not bring their own; default: $RELIF_DATA.
    """

    name: str
    summary: str
    """One line that says what is classified."""
    ticks: int
    """Ticks of a sample."""
    epochs: int
    """Passes over the training samples by default."""
    decay: float
    """Learning rate at the end of a run, as a part of that at its start; geometric in between."""
    learn_from: int
    """First tick with a target."""
    learn_every: int
    """Ticks from one with a target to the next; the last tick is one."""
    n_inputs: int
    n_classes: int
    train: Split
    test: Split

    hidden: Sequence[int] = ()
    rule: str
    takes_data = False
    bptt_epochs = 30
    """Passes of the BPTT that the task is compared with."""

    def __init__(self, seed: int = 0, *, hidden: Sequence[int] | None = None, rule: str = "dfa",
                 data: str | Path | None = None) -> None:
        published(rule)
        self.seed, self.rule = seed, rule
        if data is not None and not self.takes_data:
            raise DataError(f"{self.name} brings its own samples: it takes no data, but {data} was given")
        data = data or os.environ.get("RELIF_DATA") or None
        self.data = Path(data) if data is not None else None
        if hidden is not None:
            if not hidden:
                raise DataError(f"{self.name}: the network needs a hidden population")
            self.hidden = tuple(hidden)

    @abstractmethod
    def encode(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        """Spikes (samples, ticks, inputs) of values (samples, inputs)."""

    @abstractmethod
    def network(self) -> Network:
        """The default network with its learning rule: one input and one readout population."""

    def target_ticks(self) -> npt.NDArray[np.bool_]:
        """Which of a training sample's ticks have a target, (ticks,)."""
        tick = np.arange(self.ticks)
        return np.asarray((tick >= self.learn_from) & ((self.ticks - 1 - tick) % self.learn_every == 0))

    def flags(self, train: bool) -> npt.NDArray[np.int64]:
        """`TickFlag` of each tick of a sample: reset at the first one, send at the last one."""
        flags = np.zeros(self.ticks, dtype=np.int64)
        if train:
            flags |= np.where(self.target_ticks(), TickFlag.TRAIN | TickFlag.TARGET, TickFlag.TRAIN)
        flags[0] |= TickFlag.RESET
        flags[-1] |= TickFlag.SEND
        return flags

    def training_entries(self, compiled: Compiled, split: Split) -> npt.NDArray[np.uint16]:
        """Queue entries that show samples with their classes, to be learned."""
        wrong = split.classes[(split.classes < 0) | (split.classes >= self.n_classes)]
        if len(wrong):
            raise DataError(f"class {wrong[0]} does not exist: {self.name} has classes 0 to "
                            f"{self.n_classes - 1}")
        return queue_entries(self.encode(split.values), self._base(compiled), self.flags(True), split.classes)

    def entries(self, compiled: Compiled, values: npt.NDArray[np.floating]) -> npt.NDArray[np.uint16]:
        """Queue entries that show samples to be classified. There is no way to give a class."""
        return queue_entries(self.encode(values), self._base(compiled), self.flags(False),
                             np.zeros(len(values), dtype=np.int64))

    def _base(self, compiled: Compiled) -> int:
        inputs = [p for p in compiled.network.populations.values() if p.kind == "input"]
        if len(inputs) != 1 or inputs[0].size != self.n_inputs:
            raise DataError(f"task {self.name} needs a network with one input population of {self.n_inputs}, "
                            f"not {[p.size for p in inputs]}")
        return compiled.base(inputs[0])
