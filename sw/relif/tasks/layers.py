"""The default network of image tasks: hidden populations one after the other, and a readout without leak."""

from __future__ import annotations

import math
from typing import Any

from ..network import Network
from ..rules import EProp, Surrogate, published
from .base import Task

__all__ = ["layered"]

TAU_ELIGIBILITY = 4e-3
"""Seconds, of traces of single synapses."""
ADAPTATION, TAU_ADAPTATION = 0.1, 0.1
"""Rise of an adaptive threshold at a spike, and the seconds in which it falls."""


def layered(task: Task, *, tau_mem: float, between: float, first: tuple[float, float] = (2.0, 0.6),
            last: tuple[float, float, float] = (2**-5, 0.0375, 0.00111), width: float = 1.5,
            **settings: Any) -> Network:
    """The network of a task's hidden populations, which learns by the task's rule.

    Parameters
    ----------
    tau_mem : float
        Of the hidden populations, seconds.
    between : float
        Range of the weights between hidden populations.
    first : (float, float)
        Range and gain of the weights from the input.
    last : (float, float, float)
        Range, gain and rate of the weights to the readout.
    width : float
        Of the surrogate.
    settings
        Of `EProp`; those of the rule go before them.
    """
    rule = published(task.rule)
    network = Network(dt=1e-3, seed=task.seed)
    below, hidden = network.input(task.n_inputs, name="x"), []
    for number, size in enumerate(task.hidden, 1):
        h = network.lif(size, tau_mem=tau_mem, surrogate=Surrogate(kind=rule.surrogate, width=width),
                        adaptation=ADAPTATION if rule.adaptive else 0.0, tau_adaptation=TAU_ADAPTATION,
                        name=f"h{number}" if len(task.hidden) > 1 else "h")
        span, gain = first if number == 1 else (between, 0.42)
        network.connect(below, h, range=span, gain=gain)
        below = h
        hidden.append(h)
    y = network.readout(task.n_classes, tau_mem=math.inf, name="y")
    # Symmetric feedback goes through weights to the readout: every population then has some, and what is small in
    # them is made up for.
    symmetric = rule.settings.get("feedback") == "symmetric"
    span, gain, rate = last
    for h in hidden if symmetric else hidden[-1:]:
        network.connect(h, y, range=span, gain=gain, rate=rate, stored="target")
    if rule.settings.get("eligibility") == "synaptic":
        # As the readout does not leak: a time in which most of what a synapse has done is seen.
        settings = {"tau_eligibility": TAU_ELIGIBILITY, **settings}
    if symmetric:
        settings = {"feedback_gain": 64.0, **settings}
    network.learn(EProp(**{"trace": "single", "softmax_gain": 2.0, **settings, **rule.settings}))
    return network
