"""E-prop (Bellec et al. 2020): eligibility traces forward in time, a learning signal from the error.

    dE/dW_ij = sum_n L_i[n] ebar_ij[n],    e_ij[n] = psi(U_i[n]) P_j[n]         (eq. 10-12 without the reset)
    L_i[n]   = sum_k W_ki e_k[n]  (symmetric)   or   sum_k H_ki e_k[n]  (random)

The readout remembers, so an error of now is also due to spikes of the past. Its filter can be had on the trace:

    "none":  ebar = e               the factored rule: a trace per neuron, memory ~ N
    "leak":  ebar[n+1] = kappa ebar[n] + e[n+1]             kappa = beta of the readout; memory ~ N^2
    "exact": ebar[n+1] = kappa ebar[n] + c[n],  c[n+1] = alpha c[n] + e[n]      the readout's eq. 4 and 5

"leak" is Bellec's, where a spike reaches the readout within its tick. "exact" has the readout's delay and
synapse too, so that W_ki ebar_ij is dU_k/dW_ij itself: feed-forward, with symmetric feedback, it is the gradient.
What all of them leave out is the way through other neurons' spikes, sum_l W_il dS_l/dW_kj of RTRL.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import NetworkError
from ..network import Network, Population
from .forward import Forward, Weights, hashed_feedback, readout_of, refuse_readouts, take_matrix

__all__ = ["FILTERS", "EProp"]

FILTERS = ("none", "leak", "exact")
"""The readout's filter on the eligibility trace."""


class EProp(Forward):
    """E-prop of the plastic projections; recurrent, feed-forward and readout ones.

    Parameters
    ----------
    network : Network
        With one readout, or an output; plastic projections into other readouts are refused.
    feedback : str or mapping
        `"symmetric"`; `"random"`: H hashed from the network's seed, as the core has it; or matrices
        (outputs, neurons) by hidden population.
    readout_filter : str
        `"none"`, `"leak"` or `"exact"`.
    weights : mapping or None
        As `Forward`.
    """

    def __init__(self, network: Network, *, feedback: str | Mapping[str, npt.ArrayLike] = "symmetric",
                 readout_filter: str = "none", weights: Mapping[str, Tensor] | None = None) -> None:
        if readout_filter not in FILTERS:
            raise NetworkError(f"readout_filter must be one of {', '.join(FILTERS)}, not {readout_filter!r}")
        if isinstance(feedback, str) and feedback not in ("symmetric", "random"):
            raise NetworkError(f"feedback must be 'symmetric', 'random' or matrices, not {feedback!r}")
        self.readout, self.readout_filter = readout_of(network), readout_filter
        super().__init__(network, weights=weights)
        self.symmetric = feedback == "symmetric"
        self.feedback = {} if self.symmetric else {p.name: self._matrix(p, feedback) for p in self._learning()}
        refuse_readouts(self.plastic, f"the error is that of {self.readout.name!r}", but=self.readout)
        for population in self._learning():
            if self.symmetric and f"{population.name}->{self.readout.name}" not in network.projections:
                raise NetworkError(f"{population.name!r} cannot learn with symmetric feedback: it has no projection "
                                   f"to {self.readout.name!r}; use feedback='random'")

    def _learning(self) -> list[Population]:
        return list(dict.fromkeys(p.post for p in self.plastic if p.post.kind == "lif"))

    def _matrix(self, p: Population, feedback: str | Mapping[str, npt.ArrayLike]) -> Tensor:
        if isinstance(feedback, str):
            return hashed_feedback(self.network, p, self.readout.size)
        if p.name not in feedback:
            raise NetworkError(f"the feedback matrix to {p.name!r} is missing")
        return take_matrix(f"feedback to {p.name!r}", feedback[p.name], (self.readout.size, p.size))

    def clear(self) -> None:
        self.clear_traces()
        filtered = [p for p in self.plastic if p.post.kind == "lif" and self.readout_filter != "none"]
        self.eligibility = {p.name: self.zeros(p.pre.size, p.post.size) for p in filtered}
        self.charge = {name: torch.zeros_like(c) for name, c in self.eligibility.items()
                       if self.readout_filter == "exact"}

    def tick(self, events: Tensor | Mapping[str, Tensor]) -> None:
        """State and traces from n to n+1."""
        self.receive(events)
        alpha, kappa = self.constants[self.readout.name]
        if self.readout_filter == "exact":
            for name in self.eligibility:
                now = self._instant(name)
                self.eligibility[name] = kappa * self.eligibility[name] + self.charge[name]
                self.charge[name] = alpha * self.charge[name] + now
        self.trace()
        self.step()
        if self.readout_filter == "leak":
            for name in self.eligibility:
                self.eligibility[name] = kappa * self.eligibility[name] + self._instant(name)

    def _instant(self, name: str) -> Tensor:
        """e_ij = psi_i P_j, (batch, pre, post)."""
        return torch.einsum("bj,bi->bji", self.traces[name][1], self.psi(self.network.projections[name].post))

    def signal(self, population: Population, error: Tensor) -> Tensor:
        """L_i of a hidden population, (batch, neurons)."""
        if self.symmetric:
            return error @ self.weights[f"{population.name}->{self.readout.name}"].T
        return error @ self.feedback[population.name]

    def gradient(self, error: Tensor) -> Weights:
        """dE[n]/dW, as far as the rule sees it, of the error dE[n]/dU_k, (batch, outputs), of the readout."""
        error = self.checked("the error", error, self.readout.size)
        parts = {}
        for p in self.plastic:
            if p.post is self.readout:
                parts[p.name] = self.outer(p, error)
            elif self.readout_filter == "none":
                parts[p.name] = self.outer(p, self.signal(p.post, error) * self.psi(p.post))
            else:
                parts[p.name] = torch.einsum("bi,bji->ji", self.signal(p.post, error), self.eligibility[p.name])
        return parts
