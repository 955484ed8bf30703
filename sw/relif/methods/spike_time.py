"""Gradients of spike times (Mostafa 2017; eq. 15), for neurons that spike once at most; the temporal XOR of Fig. 7.

Without leak, and with synaptic currents that decay as exp(-t), time in units of their time constant:

    V(t) = sum_j W_j (1 - exp(t_j - t)),  over t_j < t;     a spike where V = theta

With z = exp(t), the spike is a ratio of sums over the causal set C, the inputs that come before it:

    z = sum_{j in C} W_j z_j / (sum_{j in C} W_j - theta)
    dz/dW_j = (z_j - z) / (sum_C W - theta),    dz/dz_j = W_j / (sum_C W - theta),    0 outside C

It is exact, and a neuron keeps one number, its time; but silent neurons (z = inf) have no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import DataError

__all__ = ["SpikeTimeNetwork", "XorRun", "fire", "first_spike_loss", "silence_cost", "train_xor"]


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, weights: Tensor, threshold: float) -> Tensor:
        """The first of all sets of the earliest inputs whose spike comes before the next input."""
        z_sorted, order = z.sort(1)
        heard = z_sorted.isfinite()[:, :, None]
        w_sorted = weights[order] * heard
        charge = w_sorted.cumsum(1) - threshold                         # (batch, inputs, neurons)
        spike = (w_sorted * torch.where(heard, z_sorted[:, :, None], 0)).cumsum(1) / charge
        after = torch.cat([z_sorted[:, 1:], torch.full_like(z_sorted[:, :1], math.inf)], 1)
        valid = heard & (charge > 0) & (spike >= z_sorted[:, :, None]) & (spike < after[:, :, None])
        first = valid.to(torch.int8).argmax(1, keepdim=True)
        fires = valid.any(1)
        out = torch.where(fires, spike.gather(1, first)[:, 0], math.inf)
        ctx.save_for_backward(z, weights, out, torch.where(fires, charge.gather(1, first)[:, 0], 1.0))
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        """Eq. 15."""
        z, weights, out, charge = ctx.saved_tensors
        causal = (z[:, :, None] < out[:, None, :]) & out.isfinite()[:, None, :]
        delta = (grad / charge)[:, None, :] * causal
        change = torch.where(causal, z[:, :, None] - out[:, None, :], 0.0)
        return (delta * weights).sum(2), (delta * change).sum(0), None


def fire(z: Tensor, weights: Tensor, threshold: float = 1.0) -> Tensor:
    """Spike times of a layer, as exp(t); infinity: silent.

    Parameters
    ----------
    z : tensor (batch, inputs)
        exp(t) of the inputs, more than 0; infinity: silent.
    weights : tensor (inputs, neurons)
    threshold : float
    """
    if z.ndim != 2 or weights.ndim != 2 or z.shape[1] != weights.shape[0]:
        raise DataError(f"spike times (batch, inputs) and weights (inputs, neurons) must fit, "
                        f"not {tuple(z.shape)} and {tuple(weights.shape)}")
    if not (z > 0).all():
        raise DataError(f"exp(t) of a spike must be more than 0, not {z[~(z > 0)][0].item():g}")
    if not threshold > 0:
        raise DataError(f"the threshold must be more than 0, not {threshold!r}")
    result: Tensor = _Fire.apply(z, weights, threshold)     # type: ignore[no-untyped-call]
    return result


class SpikeTimeNetwork(nn.Module):
    """Layers of neurons that spike once at most; `weights` (pre, post) in double precision.

    Parameters
    ----------
    sizes : sequence of int
        Inputs, hidden layers, outputs.
    seed : int
    """

    def __init__(self, sizes: Sequence[int], *, seed: int = 0) -> None:
        super().__init__()
        if len(sizes) < 2 or min(sizes) < 1:
            raise DataError(f"sizes must be those of two layers at least, each at least 1, not {list(sizes)!r}")
        random = torch.Generator().manual_seed(seed)
        # A mean of 2/inputs: twice the threshold if all inputs spike, so nearly every neuron does.
        self.weights = nn.ParameterList(
            nn.Parameter(2 / pre + torch.randn((pre, post), generator=random, dtype=torch.float64) / math.sqrt(pre))
            for pre, post in pairwise(sizes))

    def forward(self, times: Tensor) -> Tensor:
        """Spike times (batch, outputs) of the output for those (batch, inputs) of the input; infinity: silent."""
        z = times.to(torch.float64).exp()
        for weights in self.weights:
            z = fire(z, weights)
        return z.log()


def first_spike_loss(times: Tensor, classes: Tensor, latest: float = 10.0) -> Tensor:
    """-log softmax(-t)_class, mean over the batch: the right output is to be first; silence counts as `latest`."""
    return nn.functional.cross_entropy(-times.clamp(max=latest), classes)


def silence_cost(weights: Sequence[Tensor], margin: float = 1.2) -> Tensor:
    """sum of max(0, margin - sum_j W_j) over all neurons: what brings silent ones back."""
    return torch.stack([(margin - w.sum(0)).clamp(min=0).sum() for w in weights]).sum()


@dataclass(frozen=True)
class XorRun:
    """How the temporal XOR went."""

    right: int
    """Patterns, of four, for which the right output spikes first."""
    steps: int
    network: SpikeTimeNetwork


def train_xor(seed: int = 0, *, hidden: int = 4, late: float = 2.0, steps: int = 1500, rate: float = 0.1) -> XorRun:
    """Learn the temporal XOR (Fig. 7): 2 inputs early (0) or late, 2 outputs, the first spike decides.

    Parameters
    ----------
    seed : int
        Of the weights at the start.
    hidden : int
    late : float
        Time of a late input, in time constants.
    steps : int
        At most; it ends when all four are right by a softmax of 0.75.
    rate : float
        Of Adam.
    """
    inputs = torch.tensor([[0, 0], [0, late], [late, 0], [late, late]], dtype=torch.float64)
    classes = torch.tensor([0, 1, 1, 0])
    network = SpikeTimeNetwork((2, hidden, 2), seed=seed)
    weights = list(network.parameters())
    stepper = torch.optim.Adam(weights, lr=rate)
    for step in range(steps + 1):
        times = network(inputs)
        sure = torch.softmax(-times.detach().clamp(max=10.0), 1).gather(1, classes[:, None])
        if step == steps or bool((sure > 0.75).all()):
            break
        stepper.zero_grad()
        (first_spike_loss(times, classes) + silence_cost(weights)).backward()       # type: ignore[no-untyped-call]
        stepper.step()
    return XorRun(int((times.argmin(1) == classes).sum()), step, network)
