"""SuperSpike (Zenke & Ganguli 2018; eq. 9-13): spike trains learned by a three-factor rule.

The loss is the van Rossum distance, spike trains smoothed by a double-exponential kernel eps (eq. 9):

    E = 1/2 sum_n sum_i (eps * (S_i - target_i))[n]^2

With dS_i/dW_ij = psi_i P_j (eq. 10-12, without the reset), the smoothing moves onto the eligibility trace:

    dE/dW_ij = sum_n L_i[n] lambda_ij[n],    lambda_ij = eps * (psi_i P_j)
    L_i      = e_i = eps * (S_i - target_i)  in the output;  sum_k B_ki e_k  in hidden layers (eq. 13)

eps is two exponentials in turn, c[n] = a c[n-1] + x[n], y[n] = b y[n-1] + c[n], scaled to a sum of one.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import DataError, NetworkError
from ..network import Network, Population, decay
from ..rules import require_number
from .forward import Forward, Weights, hashed_feedback, refuse_readouts

__all__ = ["Kernel", "SuperSpike", "van_rossum"]


class Kernel:
    """eps[n] = (1-a) (1-b) (b^(n+1) - a^(n+1)) / (b - a), n >= 0.

    Parameters
    ----------
    tau_rise, tau_decay : float or None
        Seconds; a = exp(-dt/tau_rise), b = exp(-dt/tau_decay); None: no filter.
    dt : float
        Seconds of a tick.
    """

    def __init__(self, tau_rise: float | None, tau_decay: float | None, dt: float = 1e-3) -> None:
        require_number("dt", dt, 0.0, 1e6, open_low=True)
        for name, tau in (("tau_rise", tau_rise), ("tau_decay", tau_decay)):
            if tau is not None:
                require_number(name, tau, 0.0, 1e6, open_low=True)
        self.a, self.b = decay(dt, tau_rise), decay(dt, tau_decay)

    def filter(self, state: tuple[Tensor, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        """(c, y) one tick further, any shape; y is the smoothed x."""
        c = self.a * state[0] + (1 - self.a) * (1 - self.b) * x
        return c, self.b * state[1] + c

    def smooth(self, trains: Tensor) -> Tensor:
        """eps * S along the ticks of (batch, ticks, neurons)."""
        state, smoothed = (torch.zeros_like(trains[:, 0]), torch.zeros_like(trains[:, 0])), []
        for n in range(trains.shape[1]):
            state = self.filter(state, trains[:, n])
            smoothed.append(state[1])
        return torch.stack(smoothed, 1)


def van_rossum(trains: Tensor, targets: Tensor, kernel: Kernel) -> Tensor:
    """E of eq. 9, summed over batch, ticks and neurons; trains and targets (batch, ticks, neurons)."""
    if trains.shape != targets.shape or trains.ndim != 3:
        raise DataError(f"trains and targets must have the same shape (batch, ticks, neurons), "
                        f"not {tuple(trains.shape)} and {tuple(targets.shape)}")
    return 0.5 * kernel.smooth(trains - targets).square().sum()


class SuperSpike(Forward):
    """Spiking populations that learn the spike train of one of them.

    Parameters
    ----------
    network : Network
        Without plastic projections into readouts.
    output : str
        The spiking population that has targets.
    kernel : Kernel
    feedback : str
        B to hidden populations: `"symmetric"` (the weights to the output), `"random"` (hashed from the
        network's seed) or `"uniform"` (ones).
    weights : mapping or None
        As `Forward`.
    """

    def __init__(self, network: Network, *, output: str, kernel: Kernel, feedback: str = "symmetric",
                 weights: Mapping[str, Tensor] | None = None) -> None:
        if output not in network.populations or network.populations[output].kind != "lif":
            raise NetworkError(f"the output must be a spiking population of the network, not {output!r}")
        if feedback not in ("symmetric", "random", "uniform"):
            raise NetworkError(f"feedback must be one of symmetric, random, uniform, not {feedback!r}")
        self.output, self.kernel, self.way = network.populations[output], kernel, feedback
        super().__init__(network, weights=weights)
        refuse_readouts(self.plastic, "a readout has no spikes")
        for p in self.plastic:
            if p.post is not self.output and feedback == "symmetric" and self._forward(p.post) not in self.weights:
                raise NetworkError(f"{p.post.name!r} cannot learn with symmetric feedback: it has no projection to "
                                   f"{output!r}; use feedback='random'")
        self.feedback = {p.name: hashed_feedback(network, p, self.output.size) if feedback == "random" else
                         torch.ones((self.output.size, p.size), dtype=torch.float64) for p in self.spiking}

    def _forward(self, p: Population) -> str:
        return f"{p.name}->{self.output.name}"

    def clear(self) -> None:
        self.clear_traces()
        self.error = (self.zeros(self.output.size), self.zeros(self.output.size))
        self.eligibility = {p.name: (self.zeros(p.pre.size, p.post.size), self.zeros(p.pre.size, p.post.size))
                            for p in self.plastic}

    def learn(self, events: Tensor | Mapping[str, Tensor], target: Tensor) -> Weights:
        """From n to n+1 with the spikes of tick n and the target S[n+1], (batch, outputs); dE[n+1]/dW."""
        target = self.checked(f"the target of {self.output.name!r}", target, self.output.size)
        self.receive(events)
        self.trace()
        self.step()
        self.error = self.kernel.filter(self.error, self.spikes[self.output.name] - target)
        for p in self.plastic:
            instant = torch.einsum("bj,bi->bji", self.traces[p.name][1], self.psi(p.post))
            self.eligibility[p.name] = self.kernel.filter(self.eligibility[p.name], instant)
        return {p.name: torch.einsum("bi,bji->ji", self.signal(p.post), self.eligibility[p.name][1])
                for p in self.plastic}

    def signal(self, p: Population) -> Tensor:
        """L_i of a population, (batch, neurons)."""
        if p is self.output:
            return self.error[1]
        return self.error[1] @ (self.weights[self._forward(p)].T if self.way == "symmetric" else self.feedback[p.name])
