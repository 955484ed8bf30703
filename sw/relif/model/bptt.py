"""Back-propagation through time with a surrogate gradient: the reference that the core is compared with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from .float import FloatNetwork

__all__ = ["Encode", "classify", "train"]

Encode = Callable[[npt.NDArray[np.floating]], npt.NDArray[np.bool_]]


def train(model: FloatNetwork, encode: Encode, values: npt.NDArray[np.floating], classes: npt.NDArray[np.int64], *,
          readout: str, epochs: int, rate: float = 3e-3, batch: int = 32, learn_from: int = 0,
          gain: float = 1.0, seed: int = 0, optimizer: str = "adam",
          progress: Callable[[int, float], None] | None = None) -> list[float]:
    """Train by minibatches; the loss is the softmax cross-entropy at every tick from `learn_from` on.

    Parameters
    ----------
    encode : function
        Makes spikes (samples, ticks, inputs) of values (samples, ...); it is given a batch at a time.
    values : array (samples, ...)
    classes : array (samples,)
    readout : str
        Readout population.
    rate : float
        Step of the optimizer at the start; it ends at zero, along half a cosine.
    gain : float
        Softmax of gain U.
    optimizer : str
        `"adam"` or `"sgd"`.
    progress : callable
        Called with epoch (from 1) and mean loss.

    Returns
    -------
    list of float
        Mean loss of each epoch.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer]
    stepper = kind(parameters, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(stepper, epochs)
    order = torch.Generator().manual_seed(seed)
    labels = torch.from_numpy(classes)
    losses = []
    for epoch in range(epochs):
        total = 0.0
        for chunk in torch.randperm(len(labels), generator=order).split(batch):  # type: ignore[no-untyped-call]
            membranes = model(torch.from_numpy(encode(values[chunk.numpy()]))).membranes[readout][:, learn_from:] * gain
            loss = nn.functional.cross_entropy(membranes.flatten(0, 1),
                                               labels[chunk].repeat_interleave(membranes.shape[1]))
            stepper.zero_grad()
            loss.backward()     # type: ignore[no-untyped-call]
            stepper.step()
            total += loss.item() * len(chunk)
        schedule.step()
        losses.append(total / len(labels))
        if progress:
            progress(epoch + 1, losses[-1])
    return losses


def classify(model: FloatNetwork, encode: Encode, values: npt.NDArray[np.floating], *, readout: str,
             batch: int = 200) -> npt.NDArray[np.int64]:
    """The class of each sample: the highest readout after its last tick."""
    guesses = []
    with torch.no_grad():
        for start in range(0, len(values), batch):
            record = model(torch.from_numpy(encode(values[start:start + batch])))
            guesses.append(record.membranes[readout][:, -1].argmax(1).numpy())
    return np.concatenate(guesses)
