"""The three-factor rule in floating point: what the core's learning approximates, equation by equation.

One sample at a time, an update at every tick with a target, and the core's own feedback matrix. Only the
number formats differ from the core, so their cost can be told.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..errors import NetworkError
from ..network import Network, decay

__all__ = ["OnlineLearner"]

FloatArray = npt.NDArray[np.float64]


class OnlineLearner:
    """A network in NumPy that learns while it runs.

    Parameters
    ----------
    network : Network
        With a learning rule. Weights start at `Network.initial_weights`.
    saturate : bool
        Keep weights within the ranges of their projections, as the core does.
    """

    def __init__(self, network: Network, *, saturate: bool = True) -> None:
        inputs = [p.name for p in network.populations.values() if p.kind == "input"]
        if network.rule is None or network.output is None or not inputs:
            raise NetworkError("online learning needs an input population and a learning rule")
        self.network, self.rule, self.output, self.inputs = network, network.rule, network.output, inputs
        self.saturate = saturate
        self.weights = {name: network.initial_weights(p) for name, p in network.projections.items()}
        self.feedback = {
            p.name: [(f.source.name, f.gain, None if f.stream is None else network.hashed_matrix(p, f.source, f.stream))
                     for f in network.feedback(p)]
            for p in network.learning_populations()
        }
        self._stepped = [p for p in network.populations.values() if p.kind != "input"]
        self._decays = {p.name: (decay(network.dt, p.tau_syn), decay(network.dt, p.tau_mem))
                        for p in self._stepped}
        self.reset()

    def reset(self) -> None:
        """Everything but the weights to zero: a new sample."""
        zeros = {p.name: np.zeros(p.size) for p in self.network.populations.values()}
        self.current = {name: z.copy() for name, z in zeros.items()}
        self.membrane = {name: z.copy() for name, z in zeros.items()}
        self.spikes = {name: z.copy() for name, z in zeros.items()}
        self.traces = {p.name: (zeros[p.pre.name], zeros[p.pre.name]) for p in self.network.plastic()}

    def tick(self, events: FloatArray | Mapping[str, FloatArray], *, train: bool = False,
             target: int | None = None, rate: float = 0.0) -> None:
        """From the state at n to that at n+1, with the spikes (inputs,) of the host.

        Parameters
        ----------
        events : array, or a mapping of such by input population
        train : bool
            Keep the traces.
        target : int or None
            Class (of no use to loss `"van_rossum"`); if there is one, learn.
        rate : float
            eta of this tick.
        """
        if isinstance(events, Mapping):
            self.spikes.update(events)
        else:
            self.spikes[self.inputs[0]] = events
        active = {name: s.nonzero()[0] for name, s in self.spikes.items()}
        total = {p.name: np.zeros(p.size) for p in self._stepped}
        for name, projection in self.network.projections.items():
            if len(active[projection.pre.name]):
                total[projection.post.name] += self.weights[name][active[projection.pre.name]].sum(0)
        if train:
            self._trace()
        for p in self._stepped:
            alpha, beta = self._decays[p.name]
            u, i, s = self.membrane[p.name], self.current[p.name], self.spikes[p.name]
            if p.kind == "readout":
                u = beta * u + i
            else:
                u = beta * u * (1 - s) + i if p.reset == "zero" else beta * u + i - p.threshold * s
                self.spikes[p.name] = (u >= p.threshold).astype(np.float64)
            self.membrane[p.name], self.current[p.name] = u, alpha * i + total[p.name]
        if target is not None:
            self.learn(target, rate)

    def _trace(self) -> None:
        """Q[n+1] = alpha Q[n] + S[n]; P[n+1] = beta P[n] + Q[n], decays of the target."""
        for p in self.network.plastic():
            alpha, beta = self._decays[p.post.name]
            q, trace = self.traces[p.name]
            s = self.spikes[p.pre.name]
            if self.rule.trace == "double":
                self.traces[p.name] = alpha * q + s, beta * trace + q
            else:
                self.traces[p.name] = q, s + (beta * trace if self.rule.trace == "single" else 0.0)

    def error(self, target: int, readout: str | None = None) -> FloatArray:
        """e_k, minus the gradient of the loss with respect to the readout; zero within the dead zone."""
        u = self.membrane[readout or self.output.name]
        if self.rule.loss == "softmax":
            exp = np.exp(self.rule.softmax_gain * (u - u.max()))
            e: FloatArray = -exp / exp.sum()
            e[target] += 1.0
        else:
            e = -u
            if self.rule.loss == "mse":
                e[target] += self.rule.target
        e[np.abs(e) < self.rule.dead_zone] = 0.0
        return e

    def signal(self, population: str, factor: dict[str, FloatArray]) -> FloatArray:
        """L_i of a hidden population, from errors and post factors by population."""
        parts = []
        for source, gain, matrix in self.feedback[population]:
            back = self.weights[f"{population}->{source}"].T if matrix is None else matrix
            parts.append(gain * (factor[source] @ back))
        return np.asarray(sum(parts))

    def updates(self, target: int) -> dict[str, FloatArray]:
        """d_i P_j of every plastic projection, (pre, post): the weights' change at rate 1."""
        factor = {p.name: self.error(target, p.name) for p in self.network.error_populations()}
        if not any(e.any() for e in factor.values()):
            return {}
        for p in reversed(self.network.learning_populations()):
            distance = np.abs(self.membrane[p.name] - p.threshold)
            factor[p.name] = self.signal(p.name, factor) * p.surrogate.derivative(distance)
        return {p.name: np.outer(self.traces[p.name][1], factor[p.post.name]) for p in self.network.plastic()}

    def learn(self, target: int, rate: float) -> None:
        """W_ij += eta d_i P_j."""
        for name, update in self.updates(target).items():
            p, weights = self.network.projections[name], self.weights[name]
            weights += rate * p.rate * update
            if self.saturate:
                np.clip(weights, -p.range, p.range, out=weights)
