"""The learning tick as a loop: `ticks` is plain Python, which Numba compiles.

Event-driven where it pays: rows of weights are added for spikes alone, and updated for traces alone that have not
decayed away, as in the core. What is left are loops over contiguous 32-bit floats, which vectorise.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .workload import Constants, Floats, Model, Rival, Workload

__all__ = ["Loop", "State", "ticks"]

LIVE = 2.0**-15
"""A trace below this is dead: the core's are, at its resolution or above it."""


class State(NamedTuple):
    """What a network remembers from tick to tick."""

    spikes: Floats
    """Of sources, (inputs + hidden,)."""
    current: Floats
    membrane: Floats
    current_out: Floats
    membrane_out: Floats
    q: Floats
    """Traces of sources with the constants of the hidden population."""
    p: Floats
    q_out: Floats
    """Of hidden neurons with those of the readout."""
    p_out: Floats

    @classmethod
    def of(cls, model: Model) -> State:
        """At rest."""
        (sources, hidden), readouts = model.weights.shape, len(model.weights_out)
        sizes = (model.inputs + hidden, hidden, hidden, readouts, readouts, sources, sources, hidden, hidden)
        return cls(*(np.zeros(size, dtype=np.float32) for size in sizes))


def ticks(first: npt.NDArray[np.int64], events: npt.NDArray[np.int64], target: npt.NDArray[np.int64],
          reset: npt.NDArray[np.bool_], w: Floats, w_out: Floats, back: Floats, start: State, state: State,
          c: Constants) -> None:
    """Do ticks 0 to len(target) from the state `start`, which is left as it is, and end in `state`.

    The events of tick n are events[first[n]:first[n + 1]], of inputs and hidden neurons.
    """
    for k in range(len(start)):
        state[k][:] = start[k]
    s, current, u, current_out, u_out, q, p, q_out, p_out = state
    sources, hidden = w.shape
    readouts, inputs = len(w_out), len(s) - hidden
    total, d = np.zeros(hidden, dtype=np.float32), np.zeros(hidden, dtype=np.float32)
    e = np.zeros(readouts, dtype=np.float32)
    alpha, beta, theta = np.float32(c.alpha), np.float32(c.beta), np.float32(c.theta)
    alpha_out, beta_out, zero, one = np.float32(c.alpha_out), np.float32(c.beta_out), np.float32(0), np.float32(1)
    limit, limit_out, width = np.float32(c.limit), np.float32(c.limit_out), np.float32(c.width)
    height, rate, rate_out = np.float32(c.height), np.float32(c.rate), np.float32(c.rate_out)
    for n in range(len(target)):
        if reset[n]:
            for part in (s, current, u, current_out, u_out, q, p, q_out, p_out):
                part[:] = zero
        for k in range(first[n], first[n + 1]):
            s[events[k]] = one

        # I[n+1] = alpha I[n] + sum_j W_ij S_j[n], U[n+1] = beta U[n] + I[n] - theta S[n]
        total[:] = zero
        for k in range(readouts):
            u_out[k] = beta_out * u_out[k] + current_out[k]
            current_out[k] = alpha_out * current_out[k]
        for j in range(sources):
            if s[j] != zero:
                for i in range(hidden):
                    total[i] += w[j, i]
        for j in range(hidden):
            if s[inputs + j] != zero:
                for k in range(readouts):
                    current_out[k] += w_out[k, j]

        # Q[n+1] = alpha Q[n] + S[n], P[n+1] = beta P[n] + Q[n]
        for j in range(sources):
            if c.single:
                p[j] = beta * p[j] + s[j]
            else:
                p[j] = beta * p[j] + q[j]
                q[j] = alpha * q[j] + s[j]
        for j in range(hidden):
            if c.single:
                p_out[j] = beta_out * p_out[j] + s[inputs + j]
            else:
                p_out[j] = beta_out * p_out[j] + q_out[j]
                q_out[j] = alpha_out * q_out[j] + s[inputs + j]

        for i in range(hidden):
            u[i] = beta * u[i] + current[i] - theta * s[inputs + i]
            current[i] = alpha * current[i] + total[i]
            s[inputs + i] = one if u[i] >= theta else zero
        for j in range(inputs):
            s[j] = zero
        if target[n] < 0:
            continue

        # e = [k = target] - softmax; d_i = rate psi_i sum_k H_ki e_k
        top = u_out.max()
        for k in range(readouts):
            e[k] = np.exp(c.gain * (u_out[k] - top))
        e *= -one / e.sum()
        e[target[n]] += one
        wrong = False
        d[:] = zero
        for k in range(readouts):
            if abs(e[k]) < c.dead_zone:
                e[k] = zero
            else:
                wrong = True
                for i in range(hidden):
                    d[i] += back[k, i] * e[k]
        if not wrong:
            continue
        for i in range(hidden):
            v = abs(u[i] - theta) / width
            psi = max(zero, one - v) if c.triangle else one / ((one + v) * (one + v))
            d[i] *= rate * height * psi

        # W_ij += d_i P_j
        for j in range(sources):
            if p[j] > LIVE:
                for i in range(hidden):
                    w[j, i] = min(max(w[j, i] + p[j] * d[i], -limit), limit)
        for k in range(readouts):
            if e[k] != zero:
                step = rate_out * e[k]
                for j in range(hidden):
                    w_out[k, j] = min(max(w_out[k, j] + step * p_out[j], -limit_out), limit_out)


class Loop(Rival):
    """`ticks`, compiled by Numba for one core; all ticks of a workload in one call."""

    learns = "the core's rule, at every tick"

    def __init__(self, workload: Workload) -> None:
        # Imported here: an optional package, which takes a second to import.
        import numba

        self._start(workload, numba.njit(fastmath=True)(ticks))

    def _start(self, workload: Workload, function: Any) -> None:
        self.model, self.function = workload.model, function
        self.w, self.w_out = self.model.weights.copy(), self.model.weights_out.copy()
        self.state = State.of(self.model)
        self.prepare(workload)

    def prepare(self, workload: Workload) -> None:
        """Spikes as lists of events."""
        self.start = State(*(part.copy() for part in self.state))
        tick, self.events = np.nonzero(workload.spikes)
        self.first = np.searchsorted(tick, np.arange(len(workload) + 1))
        self.target, self.reset = workload.target, workload.reset

    def run(self) -> None:
        """Do the ticks that have been prepared."""
        self.function(self.first, self.events, self.target, self.reset, self.w, self.w_out, self.model.feedback,
                      self.start, self.state, self.model.constants)

    def weights(self) -> tuple[Floats, Floats]:
        """(sources, hidden) and (readouts, hidden)."""
        return self.w, self.w_out
