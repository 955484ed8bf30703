"""The three-factor rule in floating point: what the core's learning approximates, equation by equation.

One sample at a time, an update at every tick with a target, and the core's own feedback matrix. Only the
number formats differ from the core, so their cost can be told.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..errors import DataError, NetworkError
from ..network import Network, Population, decay

__all__ = ["OnlineLearner", "Target"]

FloatArray = npt.NDArray[np.float64]
Target = int | npt.NDArray[np.floating]
"""Of a tick: a class, or with loss `"analog"` a value for every output."""


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
        self._synaptic = [p for p in network.plastic() if network.synaptic(p)]
        self.reset()

    def reset(self) -> None:
        """Everything but the weights to zero: a new sample."""
        zeros = {p.name: np.zeros(p.size) for p in self.network.populations.values()}
        self.current = {name: z.copy() for name, z in zeros.items()}
        self.membrane = {name: z.copy() for name, z in zeros.items()}
        self.spikes = {name: z.copy() for name, z in zeros.items()}
        self.traces = {p.name: (zeros[p.pre.name], zeros[p.pre.name]) for p in self.network.plastic()}
        self.rise = {p.name: zeros[p.name] for p in self._stepped if p.adaptive}
        self.counts = {p.name: zeros[p.name] for p in self.network.learning_populations()}
        self.eligibility = {p.name: np.zeros((p.pre.size, p.post.size)) for p in self._synaptic}
        self.d_rise = {p.name: np.zeros((p.pre.size, p.post.size)) for p in self._synaptic if p.post.adaptive}

    def tick(self, events: FloatArray | Mapping[str, FloatArray], *, train: bool = False,
             target: Target | None = None, rate: float = 0.0) -> None:
        """From the state at n to that at n+1, with the spikes (inputs,) of the host.

        Parameters
        ----------
        events : array, or a mapping of such by input population
        train : bool
            Keep the traces.
        target : int, array (outputs,) or None
            Class, or values for loss `"analog"` (of no use to loss `"van_rossum"`); if there is one, learn.
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
            self._count()
        for p in self._stepped:
            self._step(p, total[p.name])
        if train:
            self._keep_eligibility()
        if target is not None:
            self.learn(target, rate)

    def _step(self, p: Population, arriving: FloatArray) -> None:
        """Eq. 4 and 5; B[n+1] = rho B[n] + b S[n]; S[n+1] = 1 if U[n+1] >= theta + B[n+1]."""
        alpha, beta = self._decays[p.name]
        u, i, s = self.membrane[p.name], self.current[p.name], self.spikes[p.name]
        if p.kind == "readout":
            u = beta * u + i
        else:
            u = beta * u * (1 - s) + i if p.reset == "zero" else beta * u + i - p.threshold * s
            if p.adaptive:
                self.rise[p.name] = decay(self.network.dt, p.tau_adaptation) * self.rise[p.name] + p.adaptation * s
            self.spikes[p.name] = (u >= p.threshold + self.rise.get(p.name, 0.0)).astype(np.float64)
        self.membrane[p.name], self.current[p.name] = u, alpha * i + arriving

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

    def _count(self) -> None:
        """f[n+1] = lambda f[n] + S[n]."""
        for name, count in self.counts.items():
            self.counts[name] = decay(self.network.dt, self.rule.activity_tau) * count + self.spikes[name]

    def _keep_eligibility(self) -> None:
        """E[n+1] = kappa E[n] + psi P; of adaptive neurons e[n+1] = psi (P - D[n]), D[n+1] = rho D[n] + b e[n+1].

        D is the derivative of the threshold, B, to the weights.
        """
        for p in self._synaptic:
            left, psi, trace = self.network.eligibility_decay(p), self.psi(p.post), self.traces[p.name][1][:, None]
            if p.post.adaptive:
                e = psi * (trace - self.d_rise[p.name])
                self.eligibility[p.name] = e
                self.d_rise[p.name] = left * self.d_rise[p.name] + p.post.adaptation * e
            else:
                self.eligibility[p.name] = left * self.eligibility[p.name] + psi * trace

    def psi(self, p: Population) -> FloatArray:
        """The surrogate derivative of a spike to its membrane, psi(|U - theta - B|)."""
        above = self.membrane[p.name] - p.threshold - self.rise.get(p.name, 0.0)
        return np.asarray(p.surrogate.derivative(np.abs(above)))

    def firing_rate(self, population: str) -> FloatArray:
        """Spikes a second of the neurons of a population that learns, over the last `activity_tau` or so."""
        return (1 - decay(self.network.dt, self.rule.activity_tau)) / self.network.dt * self.counts[population]

    def error(self, target: Target, readout: str | None = None) -> FloatArray:
        """e_k, minus the gradient of the loss with respect to the readout; zero within the dead zone."""
        u = self.membrane[readout or self.output.name]
        if self.rule.loss == "softmax":
            exp = np.exp(self.rule.softmax_gain * (u - u.max()))
            e: FloatArray = -exp / exp.sum()
            e[target] += 1.0
        elif self.rule.loss == "analog":
            if np.shape(target) != u.shape:
                raise DataError(f"the target must be {len(u)} values, not of the shape {np.shape(target)}")
            e = target - u
        else:
            e = -u
            if self.rule.loss == "mse":
                e[target] += self.rule.target
        e[np.abs(e) < self.rule.dead_zone] = 0.0
        return e

    def signal(self, population: str, factor: dict[str, FloatArray]) -> FloatArray:
        """L_i of a hidden population, from errors and post factors by population, and from its firing rates."""
        parts = []
        for source, gain, matrix in self.feedback[population]:
            back = self.weights[f"{population}->{source}"].T if matrix is None else matrix
            parts.append(gain * (factor[source] @ back))
        if self.rule.activity_cost > 0:
            parts.append(self.rule.activity_cost * (self.rule.activity_target - self.firing_rate(population)))
        return np.asarray(sum(parts))

    def updates(self, target: Target) -> dict[str, FloatArray]:
        """L_i e_ij of every plastic projection, (pre, post): the weights' change at rate 1."""
        factor = {p.name: self.error(target, p.name) for p in self.network.error_populations()}
        if self.rule.activity_cost == 0 and not any(e.any() for e in factor.values()):
            return {}
        for p in reversed(self.network.learning_populations()):
            factor[p.name] = self.signal(p.name, factor)
            if self.rule.eligibility == "factored":
                factor[p.name] *= self.psi(p)
        return {p.name: factor[p.post.name] * self.eligibility[p.name] if p.name in self.eligibility else
                np.outer(self.traces[p.name][1], factor[p.post.name]) for p in self.network.plastic()}

    def learn(self, target: Target, rate: float) -> None:
        """W_ij += eta L_i e_ij; factored, e_ij = psi_i P_j."""
        for name, update in self.updates(target).items():
            p, weights = self.network.projections[name], self.weights[name]
            weights += rate * p.rate * update
            if self.saturate:
                np.clip(weights, -p.range, p.range, out=weights)
