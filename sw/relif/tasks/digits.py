"""The task `digits`: scikit-learn's 1797 handwritten digits of 8 x 8 pixels, in ten classes.

1437 samples train and 360 test, a split by seed with equal parts of every class. A pixel (0 to 16,
divided by 16) is the rate of a phase accumulator: white spikes at every tick, for 12 ticks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..encode import phase_accumulator
from ..network import Network
from .base import Split, Task
from .layers import layered

__all__ = ["Digits"]


class Digits(Task):
    """Handwritten digits; 64 inputs, 256 hidden neurons, 10 readouts.

    Parameters
    ----------
    seed : int
        Seed of split, weights, feedback, rounding and order.
    hidden : sequence of int
        Neurons of the default network's hidden populations.
    rule : str
        What it learns with, one of `relif.rules.PUBLISHED`.
    """

    name = "digits"
    summary = "1797 handwritten digits of 8 x 8 pixels, from scikit-learn"
    ticks = 12
    epochs = 8
    decay = 0.1
    learn_from = 5
    learn_every = 2
    n_inputs = 64
    n_classes = 10
    hidden: Sequence[int] = (256,)

    def __init__(self, seed: int = 0, *, hidden: Sequence[int] | None = None, rule: str = "dfa",
                 data: str | Path | None = None) -> None:
        # Imported here because scikit-learn takes a second to import and only this task needs it.
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        super().__init__(seed, hidden=hidden, rule=rule, data=data)
        values, classes = load_digits(return_X_y=True)
        parts = train_test_split(values / 16.0, classes.astype(np.int64), test_size=0.2, stratify=classes,
                                 random_state=seed)
        self.train, self.test = Split(parts[0], parts[2]), Split(parts[1], parts[3])

    def encode(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        return phase_accumulator(values, self.ticks, rate=1.0)

    def network(self) -> Network:
        if len(self.hidden) > 1:
            return layered(self, tau_mem=5.9e-3, between=0.5, rate=0.0102, dead_zone=0.042, local_gain=0.7)
        rate = 0.0146 * (4 if self.rule == "erbp" else 1)       # a spike is smaller than a trace
        return layered(self, tau_mem=4.2e-3, between=2.0, rate=rate, dead_zone=0.06, local_gain=0.7)
