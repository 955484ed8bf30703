"""Real-time recurrent learning (eq. 8): the exact gradient, forward in time.

With dS_i = psi(U_i) dU_i, the derivatives to every weight W_kj follow from those of the tick before:

    dU_i[n+1]/dW_kj = beta dU_i[n]/dW_kj + dI_i[n]/dW_kj  (- theta dS_i[n]/dW_kj, through the reset)
    dI_i[n+1]/dW_kj = alpha dI_i[n]/dW_kj + sum_l W_il dS_l[n]/dW_kj + [i = k] S_j[n]
    dE[n]/dW_kj     = sum_i dE[n]/dU_i dU_i[n]/dW_kj

It equals BPTT and needs no past, but a derivative of every neuron to every weight: memory ~ N^3 if recurrent.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..network import Network
from .forward import Forward, Weights, readout_of

__all__ = ["Rtrl"]


class Rtrl(Forward):
    """RTRL of the plastic projections of any network.

    Parameters
    ----------
    network : Network
        With one readout, or an output.
    weights : mapping or None
        As `Forward`.
    reset_gradient : bool
        Whether gradients flow through the reset.

    `d_membrane[i, w]` is dU_i/dW of population i and projection w, (batch, neurons, pre, post).
    """

    def __init__(self, network: Network, *, weights: Mapping[str, Tensor] | None = None,
                 reset_gradient: bool = False) -> None:
        self.reset_gradient = reset_gradient
        self.readout = readout_of(network)
        super().__init__(network, weights=weights)

    def clear(self) -> None:
        pairs = [(i, w) for i in self.stepped for w in self.plastic]
        self.d_membrane = {(i.name, w.name): self.zeros(i.size, w.pre.size, w.post.size) for i, w in pairs}
        self.d_current = {key: torch.zeros_like(d) for key, d in self.d_membrane.items()}

    def tick(self, events: Tensor | Mapping[str, Tensor]) -> None:
        """State and derivatives from n to n+1."""
        self.receive(events)
        for w in self.plastic:
            d_spikes = {i.name: _spread(self.psi(i)) * self.d_membrane[i.name, w.name] for i in self.spiking}
            for i in self.stepped:
                alpha, beta = self.constants[i.name]
                du, di = self.d_membrane[i.name, w.name], self.d_current[i.name, w.name]
                next_du = beta * du + di
                if i.kind == "lif":
                    if i.reset == "zero":       # U[n+1] = beta U[n] (1 - S[n]) + I[n]
                        next_du = beta * _spread(1 - self.spikes[i.name]) * du + di
                    if self.reset_gradient:
                        lost = _spread(beta * self.membrane[i.name]) if i.reset == "zero" else i.threshold
                        next_du = next_du - lost * d_spikes[i.name]
                next_di = alpha * di
                for name, p in self.network.projections.items():
                    if p.post is i and p.pre.kind == "lif":
                        next_di = next_di + torch.einsum("li,bljk->bijk", self.weights[name], d_spikes[p.pre.name])
                if w.post is i:
                    same = torch.eye(i.size, dtype=torch.float64)
                    next_di = next_di + torch.einsum("bj,ik->bijk", self.spikes[w.pre.name], same)
                self.d_membrane[i.name, w.name], self.d_current[i.name, w.name] = next_du, next_di
        self.step()

    def gradient(self, error: Tensor) -> Weights:
        """dE[n]/dW of the error dE[n]/dU_k, (batch, outputs), of the readout."""
        error = self.checked("the error", error, self.readout.size)
        return {w.name: torch.einsum("bi,bijk->jk", error, self.d_membrane[self.readout.name, w.name])
                for w in self.plastic}


def _spread(x: Tensor) -> Tensor:
    """(batch, neurons) beside derivatives (batch, neurons, pre, post)."""
    return x[:, :, None, None]
