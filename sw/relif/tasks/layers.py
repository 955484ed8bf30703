"""The default network of image tasks: hidden populations one after the other, and a readout without leak."""

from __future__ import annotations

import math
from typing import Any

from ..network import Network
from ..rules import EProp, Surrogate, published
from .base import Task

__all__ = ["layered"]


def layered(task: Task, *, tau_mem: float, between: float, **settings: Any) -> Network:
    """The network of a task's hidden populations, which learns by the task's rule.

    Parameters
    ----------
    tau_mem : float
        Of the hidden populations, seconds.
    between : float
        Range of the weights between hidden populations.
    settings
        Of `EProp`; those of the rule go before them.
    """
    rule = published(task.rule)
    network = Network(dt=1e-3, seed=task.seed)
    below, hidden = network.input(task.n_inputs, name="x"), []
    for number, size in enumerate(task.hidden, 1):
        h = network.lif(size, tau_mem=tau_mem, surrogate=Surrogate(kind=rule.surrogate, width=1.5),
                        name=f"h{number}" if len(task.hidden) > 1 else "h")
        network.connect(below, h, range=2.0 if number == 1 else between, gain=0.6 if number == 1 else 0.42)
        below = h
        hidden.append(h)
    y = network.readout(task.n_classes, tau_mem=math.inf, name="y")
    # Symmetric feedback goes through weights to the readout: every population then has some, and what is small in
    # them is made up for.
    symmetric = rule.settings.get("feedback") == "symmetric"
    for h in hidden if symmetric else hidden[-1:]:
        network.connect(h, y, range=2**-5, gain=0.0375, rate=0.00111, stored="target")
    if symmetric:
        settings = {"feedback_gain": 64.0, **settings}
    network.learn(EProp(**{"trace": "single", "softmax_gain": 2.0, **settings, **rule.settings}))
    return network
