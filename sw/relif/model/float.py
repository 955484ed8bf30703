"""The float model: the network in PyTorch, batched and differentiable; what the core approximates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import DataError
from ..network import Network, Population, decay
from .surrogate import spike

__all__ = ["FloatNetwork", "Record"]


@dataclass(frozen=True)
class Record:
    """What happened: by population, tensors of shape (batch, ticks, neurons).

    Entry n is the state after tick n: U[n+1] and S[n+1], as the core has it when the tick is over.
    """

    membranes: dict[str, torch.Tensor]
    """Hidden populations and readouts."""
    spikes: dict[str, torch.Tensor]
    """Hidden populations."""


class FloatNetwork(nn.Module):
    """The equations of `docs/design.md`, section 1, in floating point, without learning.

    Parameters
    ----------
    network : Network
    dtype : torch.dtype
    reset_gradient : bool
        Whether gradients flow through the reset too; usually they should not. Through adaptive
        thresholds they always flow.

    `weights[name]` is the parameter (pre, post) of projection number `name` (`projection_index`).
    """

    def __init__(self, network: Network, *, dtype: torch.dtype = torch.float32,
                 reset_gradient: bool = False) -> None:
        super().__init__()
        self.network, self.dtype, self.reset_gradient = network, dtype, reset_gradient
        self.weights = nn.ParameterList(
            nn.Parameter(torch.tensor(network.initial_weights(p), dtype=dtype), requires_grad=p.plastic)
            for p in network.projections.values())

    def weight(self, name: str) -> nn.Parameter:
        """The weights (pre, post) of the projection of that name."""
        parameter: nn.Parameter = self.weights[list(self.network.projections).index(name)]
        return parameter

    def forward(self, inputs: torch.Tensor | Mapping[str, torch.Tensor],
                recorded: Mapping[str, torch.Tensor] | None = None) -> Record:
        """Run the network from rest.

        Parameters
        ----------
        inputs : tensor (batch, ticks, neurons), or a mapping of such by input population
            Spikes, 0 or 1.
        recorded : mapping of tensors (batch, ticks, neurons) by hidden population, optional
            Spikes that happened elsewhere: they are taken in the place of the model's own, whose derivatives
            they get.
        """
        events = self._events(inputs)
        batch, ticks = next(iter(events.values())).shape[:2]
        stepped = [p for p in self.network.populations.values() if p.kind != "input"]
        zero = {p.name: torch.zeros((batch, p.size), dtype=self.dtype) for p in stepped}
        current, membrane, spikes, rise = dict(zero), dict(zero), dict(zero), dict(zero)
        membranes: dict[str, list[torch.Tensor]] = {p.name: [] for p in stepped}
        trains: dict[str, list[torch.Tensor]] = {p.name: [] for p in stepped if p.kind == "lif"}
        for tick in range(ticks):
            now = {**spikes, **{name: train[:, tick] for name, train in events.items()}}
            total = dict(zero)
            for projection, weights in zip(self.network.projections.values(), self.weights, strict=True):
                total[projection.post.name] = total[projection.post.name] + now[projection.pre.name] @ weights
            for p in stepped:
                membrane[p.name] = self._membrane(p, membrane[p.name], current[p.name], spikes[p.name])
                current[p.name] = decay(self.network.dt, p.tau_syn) * current[p.name] + total[p.name]
                membranes[p.name].append(membrane[p.name])
                if p.kind == "lif":
                    above = membrane[p.name]
                    if p.adaptive:      # B[n+1] = rho B[n] + b S[n]
                        rise[p.name] = (decay(self.network.dt, p.tau_adaptation) * rise[p.name]
                                        + p.adaptation * spikes[p.name])
                        above = above - rise[p.name]
                    spikes[p.name] = spike(above, p.threshold, p.surrogate)
                    if recorded is not None:
                        own = spikes[p.name]
                        spikes[p.name] = recorded[p.name][:, tick].to(self.dtype) + own - own.detach()
                    trains[p.name].append(spikes[p.name])
        return Record({name: torch.stack(list_, 1) for name, list_ in membranes.items()},
                      {name: torch.stack(list_, 1) for name, list_ in trains.items()})

    def _membrane(self, p: Population, u: torch.Tensor, i: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        """U[n+1] = beta U[n] + I[n] - theta S[n] (eq. 4), or beta U[n] (1 - S[n]) + I[n]."""
        beta = decay(self.network.dt, p.tau_mem)
        if p.kind == "readout":
            return beta * u + i
        s = s if self.reset_gradient else s.detach()
        return beta * u * (1 - s) + i if p.reset == "zero" else beta * u + i - p.threshold * s

    def _events(self, inputs: torch.Tensor | Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        populations = [p for p in self.network.populations.values() if p.kind == "input"]
        if isinstance(inputs, torch.Tensor):
            if len(populations) != 1:
                raise DataError(f"the network has {len(populations)} input populations: give a mapping")
            inputs = {populations[0].name: inputs}
        events = {}
        for p in populations:
            if p.name not in inputs:
                raise DataError(f"spikes of input {p.name!r} are missing")
            train = inputs[p.name]
            if train.ndim != 3 or train.shape[2] != p.size:
                raise DataError(f"spikes of input {p.name!r} must have the shape (batch, ticks, {p.size}), "
                                f"not {tuple(train.shape)}")
            events[p.name] = train.to(self.dtype)
        if len({train.shape[:2] for train in events.values()}) != 1:
            raise DataError("all inputs must have the same batch and ticks, and there must be one")
        return events
