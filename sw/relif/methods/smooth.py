"""Smoothed models, whose gradients are true ones (section IV.A).

*Soft threshold* (Huh & Sejnowski 2018): crossing a zone about the threshold releases a graded spike. With a
gate g of unit area, g(U) dU/dt, summed over a tick that takes the membrane from V = beta U - theta S to U:

    S[n+1] = max(0, G(U[n+1]) - G(V)),    G the integral of g, from 0 below the zone to 1 above

*Escape noise*: a spike is a coin, more likely the higher the membrane; the log-likelihood of observed spikes has
a three-factor gradient (the reset follows the observed spikes, so P_j is exact):

    p_i = 1 / (1 + exp(-(U_i - theta)/noise)),    log p(S) = sum S_i log p_i + (1 - S_i) log(1 - p_i)
    d log p(S)/dW_ij = (S_i - p_i) / noise P_j

*Rates*: the f-I curve of the LIF neuron, at the membrane J = I / (1 - beta) that its mean current would reach:

    f = 1 / (refractory + tau log(J / (J - theta)))  where J > theta, else 0;    tau = -1/log beta, in ticks

made smooth by x = softness log(1 + exp((J - theta)/softness)) in the place of J - theta.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ..errors import DataError, NetworkError
from ..network import Network, Population, decay
from ..rules import require_number
from .bptt import Backward
from .forward import Forward, Weights, in_layers, plastic_of, readout_of
from .losses import Loss, total
from .memory import saved_elements

__all__ = ["EscapeNoise", "SoftThreshold", "fi_curve", "mean_rates", "rate_gradient", "soft_threshold_gradient"]


# Soft threshold.

class SoftThreshold(Forward):
    """A network of graded spikes; weights that require gradients get them, by BPTT.

    Parameters
    ----------
    network : Network
    width : float
        The zone is from theta - width to theta + width; g is a parabola there.
    weights : mapping or None
        As `Forward`.
    """

    def __init__(self, network: Network, *, width: float = 0.5, weights: Mapping[str, Tensor] | None = None) -> None:
        self.width = require_number("width", width, 0.0, 1e6, open_low=True)
        super().__init__(network, weights=weights)

    def gate(self, distance: Tensor) -> Tensor:
        """G at U - theta."""
        v = (distance / self.width).clamp(-1, 1)
        return (2 + 3 * v - v**3) / 4

    def fire(self, population: Population, rest: Tensor, membrane: Tensor) -> Tensor:
        return (self.gate(membrane - population.threshold) - self.gate(rest - population.threshold)).clamp(min=0)


def soft_threshold_gradient(network: Network, spikes: Tensor, loss: Loss, *, width: float = 0.5,
                            weights: Mapping[str, Tensor] | None = None) -> Backward:
    """The true gradient of a loss of the readout, for spikes (batch, ticks, inputs)."""
    def run(parameters: Weights) -> Tensor:
        soft = SoftThreshold(network, width=width, weights=parameters)
        soft.reset(len(spikes))
        membranes = []
        for n in range(spikes.shape[1]):
            soft.tick(spikes[:, n])
            membranes.append(soft.membrane[readout_of(network).name])
        return total(loss, torch.stack(membranes, 1))

    return _differentiate(network, run, weights)


def _differentiate(network: Network, run: Callable[[Weights], Tensor],
                   weights: Mapping[str, Tensor] | None) -> Backward:
    """The gradient of `run` at the weights of the plastic projections."""
    parameters = Forward(network, weights=weights).weights
    plastic = [p.name for p in plastic_of(network)]
    leaves = {name: w.detach().clone().requires_grad_(name in plastic) for name, w in parameters.items()}
    with saved_elements(leaves.values()) as kept:
        value = run(leaves)
    parts = torch.autograd.grad(value, [leaves[name] for name in plastic], materialize_grads=True)
    return Backward(dict(zip(plastic, parts, strict=True)), value.item(), kept.elements)


# Escape noise.

class EscapeNoise(Forward):
    """A network whose spikes are drawn; `tick` draws them, `observe` takes those that were seen.

    Parameters
    ----------
    network : Network
        Its populations reset by subtraction.
    noise : float
        Width of the escape, in units of the membrane.
    seed : int
        Of the draws.
    weights : mapping or None
        As `Forward`.
    """

    def __init__(self, network: Network, *, noise: float = 0.2, seed: int = 0,
                 weights: Mapping[str, Tensor] | None = None) -> None:
        self.noise = require_number("noise", noise, 0.0, 1e6, open_low=True)
        self.random = torch.Generator().manual_seed(seed)
        super().__init__(network, weights=weights)
        for p in self.spiking:
            if p.reset != "subtract":
                raise NetworkError(f"{p.name}: reset must be 'subtract' for escape noise, not {p.reset!r}")

    def clear(self) -> None:
        self.clear_traces()

    def odds(self, p: Population) -> Tensor:
        """(U - theta) / noise, the logarithm of the odds of a spike, (batch, neurons)."""
        return (self.membrane[p.name] - p.threshold) / self.noise

    def fire(self, population: Population, rest: Tensor, membrane: Tensor) -> Tensor:
        return torch.bernoulli(torch.sigmoid(self.odds(population)), generator=self.random)

    def tick(self, events: Tensor | Mapping[str, Tensor]) -> None:
        """From n to n+1, with spikes that are drawn."""
        self.receive(events)
        self.trace()
        self.step()

    def observe(self, events: Tensor | Mapping[str, Tensor],
                observed: Mapping[str, Tensor]) -> tuple[Tensor, Weights]:
        """From n to n+1, with S[n+1] by spiking population, (batch, neurons), as it was seen.

        Returns
        -------
        Its log-likelihood, given all before, summed over the batch; and the gradient of that by plastic
        projection into a spiking population: to be added to the weights, not subtracted.
        """
        self.tick(events)
        likelihood, surprise = torch.zeros((), dtype=torch.float64), {}
        for p in self.spiking:
            if p.name not in observed:
                raise DataError(f"observed spikes of {p.name!r} are missing")
            s = self.checked(f"observed spikes of {p.name!r}", observed[p.name], p.size)
            odds = self.odds(p)
            likelihood = likelihood + torch.where(s > 0, nn.functional.logsigmoid(odds),
                                                  nn.functional.logsigmoid(-odds)).sum()
            surprise[p.name] = (s - torch.sigmoid(odds)) / self.noise
            self.spikes[p.name] = s
        return likelihood, {p.name: self.outer(p, surprise[p.post.name]) for p in self.plastic
                            if p.post.kind == "lif"}


# Rates.

def fi_curve(level: Tensor, *, tau: float, threshold: float = 1.0, softness: float = 0.05,
             refractory: float = 0.5) -> Tensor:
    """Spikes per tick.

    Parameters
    ----------
    level : tensor
        J: where the membrane would end without a threshold.
    tau : float
        Ticks.
    threshold, softness : float
        In units of the membrane.
    refractory : float
        Ticks. A neuron in ticks spikes at the first tick past the threshold: half a tick later, on average.
    """
    for name, value in (("tau", tau), ("threshold", threshold), ("softness", softness)):
        require_number(name, value, 0.0, 1e6, open_low=True)
    require_number("refractory", refractory, 0.0, 1e6)
    # Far below the threshold x is as good as zero; the bound keeps its logarithm, and that's slope, finite.
    x = (softness * nn.functional.softplus((level - threshold) / softness)).clamp(min=1e-100)
    return 1 / (refractory + tau * ((x + threshold).log() - x.log()))


def mean_rates(network: Network, inputs: Tensor, *, softness: float = 0.05, refractory: float = 0.5,
               weights: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Rates of spiking populations in spikes per tick, mean membranes of readouts, (batch, neurons).

    Parameters
    ----------
    network : Network
        Layers, with one input population; membranes have a time constant, and leak.
    inputs : tensor (batch, inputs)
        Spikes per tick.
    """
    sources = [p for p in network.populations.values() if p.kind == "input"]
    if len(sources) != 1:
        raise NetworkError(f"the network must have one input population, not {len(sources)}")
    if inputs.ndim != 2 or inputs.shape[1] != sources[0].size:
        raise DataError(f"rates of input {sources[0].name!r} must have the shape (batch, {sources[0].size}), "
                        f"not {tuple(inputs.shape)}")
    matrices = Forward(network, weights=weights).weights
    means = {sources[0].name: inputs.to(torch.float64)}
    readouts = [p for p in network.populations.values() if p.kind == "readout"]
    for p in [*in_layers(network), *readouts]:
        alpha, beta = decay(network.dt, p.tau_syn), decay(network.dt, p.tau_mem)
        if not 0 < beta < 1:
            raise NetworkError(f"{p.name}: tau_mem must be a finite time for rates, not {p.tau_mem!r}")
        level = torch.zeros((len(inputs), p.size), dtype=torch.float64)
        for name, into in network.projections.items():
            if into.post is p:
                level = level + means[into.pre.name] @ matrices[name] / ((1 - alpha) * (1 - beta))
        means[p.name] = level if p.kind == "readout" else fi_curve(
            level, tau=-1 / math.log(beta), threshold=p.threshold, softness=softness, refractory=refractory)
    return means


def rate_gradient(network: Network, inputs: Tensor, loss: Loss, *, softness: float = 0.05, refractory: float = 0.5,
                  weights: Mapping[str, Tensor] | None = None) -> Backward:
    """The true gradient of a loss (of tick 0) of the readout's mean membranes, for input rates (batch, inputs)."""
    def run(parameters: Weights) -> Tensor:
        means = mean_rates(network, inputs, softness=softness, refractory=refractory, weights=parameters)
        return total(loss, means[readout_of(network).name][:, None])

    return _differentiate(network, run, weights)
