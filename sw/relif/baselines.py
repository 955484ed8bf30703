"""What a result on a board is compared with: the same samples by other means, on the host.

Each function takes a task and returns the part of its test samples that come out right.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from .model import bptt
from .model.float import FloatNetwork
from .model.online import OnlineLearner
from .network import Network
from .tasks.base import Task
from .training import order

__all__ = ["bptt_accuracy", "linear_accuracy", "online_accuracy", "online_test", "online_train"]


def linear_accuracy(task: Task) -> float:
    """A linear classifier of the values themselves: scikit-learn's logistic regression."""
    # Imported here because scikit-learn takes a second to import.
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=2000).fit(task.train.values, task.train.classes)
    return float(model.score(task.test.values, task.test.classes))


def online_train(task: Task, network: Network | None = None, *, epochs: int | None = None,
                 progress: Callable[[int, float], None] | None = None) -> OnlineLearner:
    """Train the float model by the rule of the core, in the order and at the rates of `training.fit`."""
    learner = OnlineLearner(task.network() if network is None else network)
    epochs = task.epochs if epochs is None else epochs
    targets = task.target_ticks()
    samples = len(task.train)
    for epoch in range(epochs):
        right = 0
        for done, index in enumerate(order(task.seed, epoch, samples)):
            rate = learner.rule.rate * task.decay ** ((epoch + done / samples) / epochs)
            label = int(task.train.classes[index])
            spikes = task.encode(task.train.values[index:index + 1])[0].astype(np.float64)
            learner.reset()
            for tick in range(task.ticks):
                target = label if targets[tick] else None
                learner.tick(spikes[tick], train=True, target=target, rate=rate)
            right += int(learner.membrane[learner.output.name].argmax() == label)
        if progress:
            progress(epoch + 1, right / samples)
    return learner


def online_accuracy(task: Task, network: Network | None = None, *, epochs: int | None = None) -> float:
    """The float model with the same rule."""
    return online_test(task, online_train(task, network, epochs=epochs))


def online_test(task: Task, learner: OnlineLearner) -> float:
    """Part of the test samples that a trained float model classifies rightly."""
    model = FloatNetwork(learner.network)
    for name, weights in learner.weights.items():
        model.weight(name).data[:] = _tensor(weights, model)
    guesses = bptt.classify(model, task.encode, task.test.values, readout=learner.output.name)
    return float((guesses == task.test.classes).mean())


def bptt_accuracy(task: Task, network: Network | None = None, *, epochs: int | None = None) -> float:
    """The float model, trained by back-propagation through time."""
    epochs = task.bptt_epochs if epochs is None else epochs
    network = task.network() if network is None else network
    assert network.output is not None and network.rule is not None
    model = FloatNetwork(network)
    bptt.train(model, task.encode, task.train.values, task.train.classes, readout=network.output.name,
               epochs=epochs, learn_from=task.learn_from, gain=network.rule.softmax_gain, seed=task.seed)
    guesses = bptt.classify(model, task.encode, task.test.values, readout=network.output.name)
    return float((guesses == task.test.classes).mean())


def _tensor(weights: npt.NDArray[np.float64], model: FloatNetwork) -> torch.Tensor:
    return torch.tensor(weights, dtype=model.dtype)
