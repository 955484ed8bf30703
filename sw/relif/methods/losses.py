"""Losses of a readout, a term at every tick, and the errors that they hand to a forward method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ..errors import DataError

__all__ = ["Loss", "SoftmaxLoss", "SquareLoss", "total"]


class Loss(Protocol):
    """E = sum_n E[n], E[n] a function of the membranes U (batch, outputs) after tick n."""

    def value(self, membrane: Tensor, tick: int) -> Tensor:
        """E[n], summed over the batch."""

    def error(self, membrane: Tensor, tick: int) -> Tensor:
        """dE[n]/dU_k, (batch, outputs): the core's e_k with the opposite sign."""


@dataclass(frozen=True)
class SoftmaxLoss:
    """E[n] = -log softmax(gain U)_class, at every tick from `learn_from` on.

    Parameters
    ----------
    classes : tensor of int (batch,)
    gain : float
    learn_from : int
    """

    classes: Tensor
    gain: float = 1.0
    learn_from: int = 0

    def value(self, membrane: Tensor, tick: int) -> Tensor:
        if tick < self.learn_from:
            return membrane.sum() * 0.0
        return nn.functional.cross_entropy(self.gain * membrane, self._classes(membrane), reduction="sum")

    def error(self, membrane: Tensor, tick: int) -> Tensor:
        if tick < self.learn_from:
            return torch.zeros_like(membrane)
        right = nn.functional.one_hot(self._classes(membrane), membrane.shape[1])
        return self.gain * (torch.softmax(self.gain * membrane, 1) - right)

    def _classes(self, membrane: Tensor) -> Tensor:
        batch, outputs = membrane.shape
        if tuple(self.classes.shape) != (batch,):
            raise DataError(f"classes must have the shape {(batch,)}, not {tuple(self.classes.shape)}")
        if int(self.classes.min()) < 0 or int(self.classes.max()) >= outputs:
            raise DataError(f"classes must be from 0 to {outputs - 1}, not {self.classes.tolist()}")
        return self.classes


@dataclass(frozen=True)
class SquareLoss:
    """E[n] = 1/2 sum_k (U_k - target_k[n])^2, at every tick.

    Parameters
    ----------
    targets : tensor (batch, ticks, outputs)
    """

    targets: Tensor

    def value(self, membrane: Tensor, tick: int) -> Tensor:
        return 0.5 * self.error(membrane, tick).square().sum()

    def error(self, membrane: Tensor, tick: int) -> Tensor:
        if self.targets.ndim != 3 or self.targets.shape[::2] != membrane.shape or tick >= self.targets.shape[1]:
            raise DataError(f"targets must have the shape (batch, ticks, outputs) = ({membrane.shape[0]}, more than "
                            f"{tick}, {membrane.shape[1]}), not {tuple(self.targets.shape)}")
        return membrane - self.targets[:, tick]


def total(loss: Loss, membranes: Tensor) -> Tensor:
    """E, differentiable, of membranes (batch, ticks, outputs)."""
    return torch.stack([loss.value(membranes[:, n], n) for n in range(membranes.shape[1])]).sum()
