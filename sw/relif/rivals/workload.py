"""What the rivals do: a network of three populations, and its spikes, as arrays of 32-bit floats."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from relif_hw.isa import TICK_ENTRY, TickFlag

from ..compiler import Compiled
from ..errors import NetworkError
from ..network import Network, Population, decay

__all__ = ["Constants", "Model", "Rival", "Workload"]

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

SURROGATES = ("triangle", "fast_sigmoid")


class Constants(NamedTuple):
    """Numbers of the equations in `docs/design.md`, section 1; rates are those of single ticks."""

    alpha: float
    beta: float
    theta: float
    alpha_out: float
    beta_out: float
    single: bool
    """Traces P[n+1] = beta P[n] + S[n], without Q."""
    triangle: bool
    """The surrogate; if not, the fast sigmoid."""
    width: float
    height: float
    gain: float
    """Of the softmax."""
    dead_zone: float
    rate: float
    rate_out: float
    limit: float
    """Weights stay within plus and minus this."""
    limit_out: float


@dataclass(frozen=True)
class Model:
    """A network: inputs, one hidden population, recurrent or not, and a readout."""

    constants: Constants
    weights: Floats
    """(sources, hidden): sources are the inputs, and if it is recurrent then the hidden neurons."""
    weights_out: Floats
    """(readouts, hidden): by target, as it is in the core."""
    feedback: Floats
    """(readouts, hidden), its gain included."""
    inputs: int

    @classmethod
    def of(cls, network: Network) -> Self:
        """`NetworkError` for networks with more than that, or with other rules."""
        x, h, y = (_only(network, kind) for kind in ("input", "lif", "readout"))
        rule, projections = network.rule, network.projections
        into = [projections[name] for name in (f"{x.name}->{h.name}", f"{h.name}->{h.name}") if name in projections]
        out = projections[f"{h.name}->{y.name}"]
        if (rule is None or (rule.feedback, rule.loss, rule.eligibility) != ("random", "softmax", "factored")
                or rule.activity_cost or rule.trace == "spike" or h.surrogate.kind not in SURROGATES
                or h.reset != "subtract" or h.adaptive or len({(p.range, p.rate, p.plastic) for p in into}) > 1):
            raise NetworkError("the rivals know softmax, random feedback and factored traces, and one rate and range")
        part, = network.feedback(h)
        assert part.stream is not None
        weights = [network.initial_weights(p) for p in into]
        return cls(
            Constants(alpha=decay(network.dt, h.tau_syn), beta=decay(network.dt, h.tau_mem), theta=h.threshold,
                      alpha_out=decay(network.dt, y.tau_syn), beta_out=decay(network.dt, y.tau_mem),
                      single=rule.trace == "single", triangle=h.surrogate.kind == "triangle", width=h.surrogate.width,
                      height=h.surrogate.height, gain=rule.softmax_gain, dead_zone=rule.dead_zone,
                      rate=rule.rate * into[0].rate, rate_out=rule.rate * out.rate, limit=into[0].range,
                      limit_out=out.range),
            np.concatenate(weights).astype(np.float32),
            np.ascontiguousarray(network.initial_weights(out).T, dtype=np.float32),
            (part.gain * network.hashed_matrix(h, y, part.stream)).astype(np.float32), x.size)


def _only(network: Network, kind: str) -> Population:
    found = [p for p in network.populations.values() if p.kind == kind]
    if len(found) != 1:
        raise NetworkError(f"the rivals know networks of one {kind} population, not of {len(found)}")
    return found[0]


@dataclass(frozen=True)
class Workload:
    """Ticks that a network does.

    Parameters
    ----------
    network : Network
    spikes : array of bool (ticks, inputs + hidden)
        Given by the host: of hidden neurons beside those that they make themselves.
    target : array of int (ticks,)
        Class, or -1 where nothing is learned.
    reset : array of bool (ticks,)
        Where a sample begins, and states and traces are zero.
    """

    network: Network
    spikes: npt.NDArray[np.bool_]
    target: Integers
    reset: npt.NDArray[np.bool_]
    model: Model = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", Model.of(self.network))

    @classmethod
    def of(cls, compiled: Compiled, entries: npt.NDArray[np.uint16]) -> Self:
        """From what the queue of a board is given."""
        x, h = (_only(compiled.network, kind) for kind in ("input", "lif"))
        place = np.full(compiled.config.neurons, -1)
        for first, p in ((0, x), (x.size, h)):
            place[compiled.base(p):compiled.base(p) + p.size] = first + np.arange(p.size)
        ends = np.flatnonzero(entries & TICK_ENTRY)
        events = np.flatnonzero(entries < TICK_ENTRY)
        spikes = np.zeros((len(ends), x.size + h.size), dtype=bool)
        spikes[np.searchsorted(ends, events), place[entries[events]]] = True
        flags = entries[ends].astype(np.int64) >> 11 & 15
        target = np.where(flags & TickFlag.TARGET, entries[ends].astype(np.int64) & 2047, -1)
        return cls(compiled.network, spikes, target, flags & TickFlag.RESET != 0)

    def __len__(self) -> int:
        return len(self.target)


class Rival(ABC):
    """A learning network on a CPU; made from a `Workload`, whose network it starts with."""

    learns: str
    """By what, for people."""

    @abstractmethod
    def __init__(self, workload: Workload) -> None: ...

    @abstractmethod
    def prepare(self, workload: Workload) -> None:
        """Take the spikes of a workload in the form that suits best; its ticks begin with the state of now."""

    @abstractmethod
    def run(self) -> None:
        """Do the ticks that have been prepared, from the state that they begin with; weights go on learning."""

    @abstractmethod
    def weights(self) -> tuple[Floats, Floats]:
        """As in `Model`: (sources, hidden) and (readouts, hidden)."""
