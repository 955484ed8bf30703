"""The task `digits`: scikit-learn's 1797 handwritten digits of 8 x 8 pixels, in ten classes.

1437 samples train and 360 test, a split by seed with equal parts of every class. A pixel (0 to 16,
divided by 16) is the rate of a phase accumulator: white spikes at every tick, for 12 ticks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..encode import phase_accumulator
from ..network import Network
from ..rules import EProp, Surrogate, published
from .base import Split, Task

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
    hidden = (256,)

    def __init__(self, seed: int = 0, *, hidden: Sequence[int] | None = None, rule: str = "dfa") -> None:
        # Imported here because scikit-learn takes a second to import and only this task needs it.
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        super().__init__(seed, hidden=hidden, rule=rule)
        values, classes = load_digits(return_X_y=True)
        parts = train_test_split(values / 16.0, classes.astype(np.int64), test_size=0.2, stratify=classes,
                                 random_state=seed)
        self.train, self.test = Split(parts[0], parts[2]), Split(parts[1], parts[3])

    def encode(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        return phase_accumulator(values, self.ticks, rate=1.0)

    def network(self) -> Network:
        rule, deep = published(self.rule), len(self.hidden) > 1
        tau, between = (5.9e-3, 0.5) if deep else (4.2e-3, 2.0)
        network = Network(dt=1e-3, seed=self.seed)
        below, hidden = network.input(self.n_inputs, name="x"), []
        for number, size in enumerate(self.hidden, 1):
            h = network.lif(size, tau_mem=tau, surrogate=Surrogate(kind=rule.surrogate, width=1.5),
                            name=f"h{number}" if deep else "h")
            network.connect(below, h, range=2.0 if number == 1 else between, gain=0.6 if number == 1 else 0.42)
            below = h
            hidden.append(h)
        y = network.readout(self.n_classes, tau_mem=math.inf, name="y")
        # Symmetric feedback goes through weights to the readout: every population then has some.
        for h in hidden if rule.settings.get("feedback") == "symmetric" else hidden[-1:]:
            network.connect(h, y, range=2**-5, gain=0.0375, rate=0.00111, stored="target")
        settings: dict[str, Any] = {"loss": "softmax", "rate": 0.0146, "trace": "single", "dead_zone": 0.06,
                                    "softmax_gain": 2.0, "local_gain": 0.7}
        if self.rule == "erbp":
            settings["rate"] *= 4       # a spike is smaller than a trace
        if deep:
            settings |= {"rate": 0.0102, "dead_zone": 0.042}
        network.learn(EProp(**settings | rule.settings))
        return network
