"""Event-driven random back-propagation (eRBP: Neftci et al. 2017; Fig. 5c), all of it in spikes.

Error neurons count the output's spikes against the target's, and spike themselves, with a sign:

    A_k[n+1] = A_k[n] + S_k[n+1] - target_k[n+1] - c E_k[n+1],    E_k = +1 if A_k >= c, -1 if A_k <= -c, else 0

Each hidden neuron gets them through a fixed random H into a dendrite T; on a presynaptic spike, weights change:

    T_i[n+1]    = lambda T_i[n] + sum_k H_ki E_k[n+1]
    dE[n]/dW_ij = T_i box(U_i) S_j[n]

So it is direct feedback alignment with a boxcar surrogate and the raw presynaptic spike in the place of P_j: an
update costs one comparison and one addition, and only where a spike arrives.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import NetworkError
from ..network import Network, decay
from ..rules import require_number
from .forward import Forward, Weights, hashed_feedback, refuse_readouts, take_matrix

__all__ = ["Erbp"]


class Erbp(Forward):
    """Spiking populations that learn the firing of one of them.

    Parameters
    ----------
    network : Network
        Populations with a plastic input need a boxcar surrogate; plastic projections into readouts are refused.
    output : str
        The spiking population that has targets.
    error_threshold : float
        c, spikes too many or too few for one error spike.
    tau_dendrite : float or None
        Seconds; lambda = exp(-dt/tau_dendrite). None: an error spike acts for its tick only.
    matrices : mapping or None
        H (outputs, neurons) by hidden population; None: hashed from the network's seed.
    weights : mapping or None
        As `Forward`.
    """

    def __init__(self, network: Network, *, output: str, error_threshold: float = 1.0,
                 tau_dendrite: float | None = None, matrices: Mapping[str, npt.ArrayLike] | None = None,
                 weights: Mapping[str, Tensor] | None = None) -> None:
        if output not in network.populations or network.populations[output].kind != "lif":
            raise NetworkError(f"the output must be a spiking population of the network, not {output!r}")
        self.output = network.populations[output]
        self.error_threshold = require_number("error_threshold", error_threshold, 0.0, 1e6, open_low=True)
        if tau_dendrite is not None:
            require_number("tau_dendrite", tau_dendrite, 0.0, 1e6, open_low=True)
        self.leak = decay(network.dt, tau_dendrite)
        super().__init__(network, weights=weights)
        refuse_readouts(self.plastic, "a readout has no spikes")
        for p in self.plastic:
            if p.post.surrogate.kind != "boxcar":
                raise NetworkError(f"{p.post.name}: the surrogate of eRBP must be 'boxcar', "
                                   f"not {p.post.surrogate.kind!r}")
        self.feedback = {output: torch.eye(self.output.size, dtype=torch.float64)}
        for h in self.spiking:
            if h is not self.output:
                if matrices is not None and h.name not in matrices:
                    raise NetworkError(f"the feedback matrix of {h.name!r} is missing")
                self.feedback[h.name] = (
                    hashed_feedback(network, h, self.output.size) if matrices is None else
                    take_matrix(f"feedback of {h.name!r}", matrices[h.name], (self.output.size, h.size)))

    def clear(self) -> None:
        self.before = {p.pre.name: self.zeros(p.pre.size) for p in self.plastic}
        self.count = self.zeros(self.output.size)
        self.error = self.zeros(self.output.size)
        self.dendrite = {p.name: self.zeros(p.size) for p in self.spiking}

    def learn(self, events: Tensor | Mapping[str, Tensor], target: Tensor) -> Weights:
        """From n to n+1 with the spikes of tick n and the target's S[n+1], (batch, outputs); dE[n+1]/dW."""
        target = self.checked(f"the target of {self.output.name!r}", target, self.output.size)
        self.receive(events)
        self.before = {name: self.spikes[name] for name in self.before}
        self.step()
        count = self.count + self.spikes[self.output.name] - target
        self.error = count.sign() * (count.abs() >= self.error_threshold)
        self.count = count - self.error_threshold * self.error
        for name, t in self.dendrite.items():
            self.dendrite[name] = self.leak * t + self.error @ self.feedback[name]
        return {p.name: self.before[p.pre.name].T @ (self.dendrite[p.post.name] * self.psi(p.post))
                for p in self.plastic}
