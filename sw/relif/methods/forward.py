"""The network in time, tick by tick, with the state in the open: what the forward methods carry along.

    U_i[n+1] = beta U_i[n] + I_i[n] - theta S_i[n]              (eq. 4)
    I_i[n+1] = alpha I_i[n] + sum_j W_ij S_j[n]                 (eq. 5)
    S_i[n]   = 1 if U_i[n] >= theta else 0

and, of use to most of them, the presynaptic trace with the constants of the postsynaptic population,

    Q_j[n+1] = alpha Q_j[n] + S_j[n]
    P_j[n+1] = beta P_j[n] + Q_j[n]

which is dU_i[n+1]/dW_ij as long as neither the reset nor a spike of its own leads back to the neuron.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Protocol

import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import DataError, NetworkError
from ..model.surrogate import derivative
from ..network import Network, Population, Projection, decay
from ..rules import feedback_matrix, feedback_seed
from .losses import Loss
from .memory import count_elements

__all__ = ["Forward", "Weights", "accumulate", "hashed_feedback", "in_layers", "plastic_of", "readout_of",
           "refuse_readouts", "take_matrix"]

Weights = dict[str, Tensor]
"""By projection, (pre, post)."""


def take_matrix(where: str, matrix: npt.ArrayLike | Tensor, shape: tuple[int, ...]) -> Tensor:
    """A matrix of finite numbers in double precision; `DataError` for another shape, NaN or infinity."""
    tensor = torch.as_tensor(matrix, dtype=torch.float64)
    if tuple(tensor.shape) != shape:
        raise DataError(f"{where} must have the shape {shape}, not {tuple(tensor.shape)}")
    if not tensor.isfinite().all():
        raise DataError(f"{where} must be finite numbers; there are {int((~tensor.isfinite()).sum())} others")
    return tensor


def readout_of(network: Network) -> Population:
    """The readout that has the error: the network's output, or the only readout."""
    if network.output is not None and network.output.kind == "readout":
        return network.output
    readouts = [p for p in network.populations.values() if p.kind == "readout"]
    if len(readouts) != 1:
        raise NetworkError(f"the network must have one readout, or an output: there are {len(readouts)}")
    return readouts[0]


def plastic_of(network: Network) -> list[Projection]:
    """The projections that learn; `NetworkError` if there are none."""
    plastic = [p for p in network.projections.values() if p.plastic]
    if not plastic:
        raise NetworkError("no projection of the network is plastic: there is nothing to learn")
    return plastic


def refuse_readouts(plastic: Iterable[Projection], why: str, *, but: Population | None = None) -> None:
    """`NetworkError` where a plastic projection goes into a readout other than `but`."""
    for p in plastic:
        if p.post.kind == "readout" and p.post is not but:
            raise NetworkError(f"projection {p.name} cannot learn: {why}; connect it with plastic=False")


def in_layers(network: Network) -> list[Population]:
    """Spiking populations from the input on, each after all that it gets spikes from; `NetworkError` if recurrent."""
    sources: dict[str, list[str]] = {p.name: [] for p in network.populations.values() if p.kind == "lif"}
    for projection in network.projections.values():
        if projection.post.kind == projection.pre.kind == "lif":
            sources[projection.post.name].append(projection.pre.name)
    try:
        return [network.populations[name] for name in TopologicalSorter(sources).static_order()]
    except CycleError as error:
        raise NetworkError(f"a network of layers is needed, but there is a cycle: "
                           f"{' -> '.join(error.args[1])}") from None


def hashed_feedback(network: Network, population: Population, outputs: int) -> Tensor:
    """H, (outputs, neurons), -255/256 to 255/256: random, fixed, and the core's own for that network."""
    stream = list(network.populations).index(population.name)
    return torch.tensor(feedback_matrix(feedback_seed(network.seed), stream, outputs, population.size))


class Forward:
    """A network at rest that is run tick by tick.

    Parameters
    ----------
    network : Network
    weights : mapping or None
        By projection, (pre, post); projections that are left out start at `Network.initial_weights`.

    `current`, `membrane` and `spikes` are I, U and S by population, each (batch, neurons).
    """

    def __init__(self, network: Network, *, weights: Mapping[str, Tensor] | None = None) -> None:
        for population in network.populations.values():
            if population.adaptive:
                raise NetworkError(f"the methods know no adaptive thresholds, and {population.name!r} has them: "
                                   f"relif.model.float and relif.model.online do")
        given = dict(weights or {})
        if unknown := set(given) - set(network.projections):
            raise DataError(f"{sorted(unknown)[0]!r} is no projection of this network; "
                            f"there are {', '.join(network.projections) or 'none'}")
        self.network = network
        self.weights: Weights = {
            name: take_matrix(f"weights of {name}", given.get(name, network.initial_weights(p)),
                              (p.pre.size, p.post.size))
            for name, p in network.projections.items()}
        self.stepped = [p for p in network.populations.values() if p.kind != "input"]
        self.spiking = [p for p in self.stepped if p.kind == "lif"]
        self.plastic = [p for p in network.projections.values() if p.plastic]
        self.constants = {p.name: (decay(network.dt, p.tau_syn), decay(network.dt, p.tau_mem)) for p in self.stepped}
        self.reset()

    def reset(self, batch: int = 1) -> None:
        """Everything but the weights to zero, for a batch of that size."""
        if batch < 1:
            raise DataError(f"batch must be at least 1, not {batch}")
        self.batch = batch
        self.current = {p.name: self.zeros(p.size) for p in self.stepped}
        self.membrane = {p.name: self.zeros(p.size) for p in self.stepped}
        self.spikes = {p.name: self.zeros(p.size) for p in self.network.populations.values() if p.kind != "readout"}
        self.clear()

    def clear(self) -> None:
        """What a method carries besides the network's own state, to zero."""

    def zeros(self, *shape: int) -> Tensor:
        """State at rest, (batch, *shape)."""
        return torch.zeros((self.batch, *shape), dtype=torch.float64)

    def tick(self, events: Tensor | Mapping[str, Tensor]) -> None:
        """From the state at n to that at n+1; spikes (batch, inputs), or a mapping of such by input population."""
        self.receive(events)
        self.step()

    def receive(self, events: Tensor | Mapping[str, Tensor]) -> None:
        """Take S[n] of the inputs."""
        inputs = [p for p in self.network.populations.values() if p.kind == "input"]
        if isinstance(events, Tensor):
            if len(inputs) != 1:
                raise DataError(f"the network has {len(inputs)} input populations: give a mapping")
            events = {inputs[0].name: events}
        for p in inputs:
            if p.name not in events:
                raise DataError(f"spikes of input {p.name!r} are missing")
            self.spikes[p.name] = self.checked(f"spikes of input {p.name!r}", events[p.name], p.size)

    def checked(self, where: str, values: Tensor, size: int) -> Tensor:
        """`values` in double precision, if they have the shape (batch, size)."""
        if tuple(values.shape) != (self.batch, size):
            raise DataError(f"{where} must have the shape {(self.batch, size)}, not {tuple(values.shape)}")
        return values.to(torch.float64)

    def step(self) -> None:
        """Eq. 4 and 5, all populations from the state at n."""
        arriving = {p.name: self.zeros(p.size) for p in self.stepped}
        for name, w in self.network.projections.items():
            arriving[w.post.name] = arriving[w.post.name] + self.spikes[w.pre.name] @ self.weights[name]
        for p in self.stepped:
            (alpha, beta), u, i = self.constants[p.name], self.membrane[p.name], self.current[p.name]
            s = self.spikes[p.name] if p.kind == "lif" else self.zeros(p.size)
            rest = beta * u * (1 - s) if p.reset == "zero" else beta * u - p.threshold * s
            self.membrane[p.name] = rest + i
            self.current[p.name] = alpha * i + arriving[p.name]
            if p.kind == "lif":
                self.spikes[p.name] = self.fire(p, rest, self.membrane[p.name])

    def fire(self, population: Population, rest: Tensor, membrane: Tensor) -> Tensor:
        """S of a population whose membranes the current has taken from `rest` to `membrane`."""
        return (membrane >= population.threshold).to(torch.float64)

    def psi(self, population: Population) -> Tensor:
        """The surrogate derivative of a spike to its membrane, (batch, neurons)."""
        distance = (self.membrane[population.name] - population.threshold).abs()
        return derivative(population.surrogate, distance)

    # The presynaptic trace.

    def clear_traces(self) -> None:
        """Q and P of every plastic projection, each (batch, pre), to zero."""
        self.traces = {p.name: (self.zeros(p.pre.size), self.zeros(p.pre.size)) for p in self.plastic}

    def trace(self) -> None:
        """Q and P from n to n+1, with S[n]."""
        for p in self.plastic:
            (alpha, beta), (q, trace) = self.constants[p.post.name], self.traces[p.name]
            self.traces[p.name] = alpha * q + self.spikes[p.pre.name], beta * trace + q

    def outer(self, projection: Projection, delta: Tensor) -> Tensor:
        """sum over the batch of P_j delta_i, (pre, post)."""
        return self.traces[projection.name][1].T @ delta

    def state_elements(self) -> int:
        """Numbers that are held between two ticks, weights and fixed feedback aside: those of all tensors."""
        return count_elements({k: v for k, v in vars(self).items() if k not in ("weights", "feedback")})


class _Method(Protocol):
    """What `accumulate` needs of a forward method."""

    network: Network
    membrane: dict[str, Tensor]

    def reset(self, batch: int = 1) -> None: ...
    def tick(self, events: Tensor | Mapping[str, Tensor]) -> None: ...
    def gradient(self, error: Tensor) -> Weights: ...


def accumulate(method: _Method, spikes: Tensor, loss: Loss) -> Weights:
    """The sum over all ticks of `method.gradient`, from rest, with the weights left as they are.

    Parameters
    ----------
    spikes : tensor (batch, ticks, inputs)
    loss : Loss
        Of the readout's membranes.
    """
    readout = readout_of(method.network).name
    method.reset(len(spikes))
    total: Weights = {}
    for n in range(spikes.shape[1]):
        method.tick(spikes[:, n])
        for name, part in method.gradient(loss.error(method.membrane[readout], n)).items():
            total[name] = total[name] + part if name in total else part
    return total
