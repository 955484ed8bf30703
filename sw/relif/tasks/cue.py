"""The task `cue-accumulation`: seven cues from the left or the right, a delay, then: which side had more?

The evidence accumulation task of e-prop (Bellec et al. 2020): 40 inputs in four groups of ten, which spike at
random at each tick of 1 ms. Left and right cues (40 spikes a second) last 100 ms each, with 50 ms between them;
after a delay of 1050 ms a third group asks for the decision for 150 ms, while there is a target; the fourth is
noise (10 spikes a second) all the time. 2250 ticks in all. The network must hold the count for more than a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from ..network import Network
from ..rules import EProp, Surrogate, published
from .base import Split, Task

__all__ = ["CueAccumulation"]

CUES, CUE, GAP, DELAY, RECALL = 7, 100, 50, 1050, 150
"""Cues of a trial; ticks of a cue, after each, of the delay, and of the decision."""
GROUP = 10
FAST, SLOW = 0.04, 0.01
"""Spikes a tick of a group that speaks, and of the noise."""
LIKELY = 0.7
"""Probability of a cue from the side that most come from."""


class CueAccumulation(Task):
    """Left or right; 40 inputs, 100 recurrent neurons, 2 readouts.

    The values of a sample are its seven cues (0 left, 1 right) and the number of its noise, as a part of 2^32.

    Parameters
    ----------
    seed : int
        Seed of trials, weights, feedback, rounding and order.
    hidden : sequence of int
        Neurons of the recurrent population.
    rule : str
        What it learns with, one of `relif.rules.PUBLISHED`.
    trials, tests : int
        Trials to learn from, and held out.
    """

    name = "cue-accumulation"
    summary = "which side gave more of seven cues, a second later (e-prop)"
    ticks = CUES * (CUE + GAP) + DELAY + RECALL
    epochs = 3
    decay = 0.03
    learn_from = ticks - RECALL
    learn_every = 10
    n_inputs = 4 * GROUP
    n_classes = 2
    hidden: Sequence[int] = (100,)
    bptt_epochs = 5

    def __init__(self, seed: int = 0, *, hidden: Sequence[int] | None = None, rule: str = "dfa",
                 data: str | Path | None = None, trials: int = 200, tests: int = 200) -> None:
        super().__init__(seed, hidden=hidden, rule=rule, data=data)
        if len(self.hidden) != 1:
            raise DataError(f"{self.name} has one recurrent hidden population, not {len(self.hidden)}")
        random = np.random.default_rng([seed, 0xC0E])
        side = random.integers(2, size=trials + tests)
        cues = (random.random((len(side), CUES)) < np.where(side, LIKELY, 1 - LIKELY)[:, None]).astype(np.int64)
        noise = random.integers(1 << 32, size=len(side)) / (1 << 32)
        values, classes = np.column_stack([cues, noise]), (cues.sum(1) > CUES // 2).astype(np.int64)
        self.train = Split(values[:trials], classes[:trials])
        self.test = Split(values[trials:], classes[trials:])

    def encode(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        spikes = np.zeros((len(values), self.ticks, self.n_inputs), dtype=bool)
        for sample, row in enumerate(values):
            rates = np.zeros((self.ticks, 4))
            for cue, side in enumerate(row[:CUES].astype(np.int64)):
                rates[cue * (CUE + GAP):cue * (CUE + GAP) + CUE, side] = FAST
            rates[self.learn_from:, 2] = FAST
            rates[:, 3] = SLOW
            random = np.random.default_rng(round(row[CUES] * (1 << 32)))
            spikes[sample] = random.random((self.ticks, self.n_inputs)) < rates.repeat(GROUP, 1)
        return spikes

    def network(self) -> Network:
        network = Network(dt=1e-3, seed=self.seed)
        x = network.input(self.n_inputs, name="x")
        rule = published(self.rule)
        h = network.lif(self.hidden[0], tau_mem=4.0, surrogate=Surrogate(kind=rule.surrogate, width=4.0), name="h",
                        adaptation=0.1 if rule.adaptive else 0.0, tau_adaptation=1.0)
        y = network.readout(self.n_classes, tau_mem=60e-3, name="y")
        network.connect(x, h, range=2**-3, gain=0.8)
        network.connect(h, h, range=2**-5, gain=0.0, rate=2.8)
        # A trace of the synapse sums over the readout's 60 ticks: of such, less is learned at a time.
        summed = rule.settings.get("eligibility") == "synaptic" and not rule.adaptive
        rate = 3.25e-4 * (0.03 if summed else 1.0)
        network.connect(h, y, range=2**-1, gain=0.43, rate=34.0 * 3.25e-4 / rate)
        network.learn(EProp(**{"rate": rate, "trace": "single", "softmax_gain": 2.0, **rule.settings}))
        return network
