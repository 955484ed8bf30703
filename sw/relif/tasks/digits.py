"""The task `digits`: scikit-learn's 1797 handwritten digits of 8 x 8 pixels, in ten classes.

1437 samples train and 360 test, a split by seed with equal parts of every class. A pixel (0 to 16,
divided by 16) is the rate of a phase accumulator: white spikes at every tick, for 12 ticks.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..encode import phase_accumulator
from ..network import Network
from ..rules import EProp, Surrogate
from .base import Split, Task

__all__ = ["Digits"]


class Digits(Task):
    """Handwritten digits; 64 inputs, 256 hidden neurons, 10 readouts.

    Parameters
    ----------
    seed : int
        Seed of split, weights, feedback, rounding and order.
    hidden : int
        Hidden neurons of the default network.
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

    def __init__(self, seed: int = 0, *, hidden: int = 256) -> None:
        # Imported here because scikit-learn takes a second to import and only this task needs it.
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        super().__init__(seed)
        self.hidden = hidden
        values, classes = load_digits(return_X_y=True)
        parts = train_test_split(values / 16.0, classes.astype(np.int64), test_size=0.2, stratify=classes,
                                 random_state=seed)
        self.train, self.test = Split(parts[0], parts[2]), Split(parts[1], parts[3])

    def encode(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        return phase_accumulator(values, self.ticks, rate=1.0)

    def network(self) -> Network:
        network = Network(dt=1e-3, seed=self.seed)
        x = network.input(self.n_inputs, name="x")
        h = network.lif(self.hidden, tau_mem=4.2e-3, surrogate=Surrogate(width=1.5), name="h")
        y = network.readout(self.n_classes, tau_mem=math.inf, name="y")
        network.connect(x, h, range=2.0, gain=0.6)
        network.connect(h, y, range=2**-5, gain=0.0375, rate=0.00111, stored="target")
        network.learn(EProp(feedback="random", loss="softmax", rate=0.0146, trace="single", dead_zone=0.06,
                            softmax_gain=2.0))
        return network
