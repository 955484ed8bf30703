"""Back-propagation through time with surrogate gradients (eq. 7), by autograd.

    dE/dW = sum_n dE[n]/dU[n] dU[n]/dW,    dS/dU := psi(U)

backward from the last tick; every state of every tick is kept until then: memory ~ N T.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..model.float import FloatNetwork
from ..network import Network
from .forward import Forward, Weights, plastic_of, readout_of
from .losses import Loss, total
from .memory import saved_elements

__all__ = ["Backward", "bptt"]


@dataclass(frozen=True)
class Backward:
    """A gradient, and what it took."""

    gradient: Weights
    """By plastic projection, (pre, post), summed over the batch."""
    loss: float
    state_elements: int
    """Numbers that autograd kept from the run for the way back, weights aside."""


def bptt(network: Network, spikes: Tensor, loss: Loss, *, weights: Mapping[str, Tensor] | None = None,
         reset_gradient: bool = False) -> Backward:
    """The gradient of a loss of the readout.

    Parameters
    ----------
    spikes : tensor (batch, ticks, inputs)
    weights : mapping or None
        By projection, (pre, post); others as `Network.initial_weights`.
    reset_gradient : bool
        Whether gradients flow through the reset.
    """
    names = [p.name for p in plastic_of(network)]
    model = FloatNetwork(network, dtype=torch.float64, reset_gradient=reset_gradient)
    with torch.no_grad():
        for name, matrix in Forward(network, weights=weights).weights.items():
            model.weight(name).copy_(matrix)
    with saved_elements(model.parameters()) as kept:
        value = total(loss, model(spikes).membranes[readout_of(network).name])
    parts = torch.autograd.grad(value, [model.weight(name) for name in names], materialize_grads=True)
    return Backward(dict(zip(names, parts, strict=True)), value.item(), kept.elements)
