"""Local errors (DECOLLE, DCLL: Kaiser, Mostafa & Neftci 2020; eq. 14): every layer learns on its own.

Each hidden layer has a readout of its own through a fixed random G, and the target of the top:

    Y_k  = sum_i G_ki S_i,    E[n] = sum over layers of 1/2 sum_k (Y_k[n] - target_k[n])^2
    dE[n]/dW_ij = psi_i P_j sum_k G_ki (Y_k[n] - target_k[n])

No error passes from layer to layer and none waits for a later tick: a trace per neuron is all, memory ~ N. For
feed-forward layers it is the gradient of each layer's own loss to its own weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import NetworkError
from ..network import Network
from .forward import Forward, Weights, hashed_feedback, refuse_readouts, take_matrix

__all__ = ["Decolle"]


class Decolle(Forward):
    """Spiking layers with a fixed random readout each.

    Parameters
    ----------
    network : Network
        Without plastic projections into readouts.
    outputs : int
        Size of the target.
    readouts : mapping or None
        G (outputs, neurons) by hidden population; None: uniform in +-sqrt(3/neurons), hashed from the
        network's seed.
    weights : mapping or None
        As `Forward`.
    """

    def __init__(self, network: Network, *, outputs: int, readouts: Mapping[str, npt.ArrayLike] | None = None,
                 weights: Mapping[str, Tensor] | None = None) -> None:
        if outputs < 1:
            raise NetworkError(f"outputs must be at least 1, not {outputs}")
        super().__init__(network, weights=weights)
        refuse_readouts(self.plastic, "the readouts of local errors are fixed")
        self.outputs, self.feedback = outputs, {}
        for h in self.spiking:
            if readouts is not None and h.name not in readouts:
                raise NetworkError(f"the readout of {h.name!r} is missing")
            self.feedback[h.name] = (
                hashed_feedback(network, h, outputs) * (3 / h.size)**0.5 if readouts is None else
                take_matrix(f"readout of {h.name!r}", readouts[h.name], (outputs, h.size)))

    def clear(self) -> None:
        self.clear_traces()

    def tick(self, events: Tensor | Mapping[str, Tensor]) -> None:
        """State and traces from n to n+1."""
        self.receive(events)
        self.trace()
        self.step()

    def readouts(self) -> dict[str, Tensor]:
        """Y of every layer, (batch, outputs)."""
        return {p.name: self.spikes[p.name] @ self.feedback[p.name].T for p in self.spiking}

    def loss(self, target: Tensor) -> dict[str, Tensor]:
        """E[n] of every layer, summed over the batch, for the target (batch, outputs)."""
        target = self.checked("the target", target, self.outputs)
        return {name: 0.5 * (y - target).square().sum() for name, y in self.readouts().items()}

    def gradient(self, target: Tensor) -> Weights:
        """dE[n]/dW for the target (batch, outputs)."""
        target = self.checked("the target", target, self.outputs)
        delta = {p.name: self.psi(p) * ((self.readouts()[p.name] - target) @ self.feedback[p.name])
                 for p in self.spiking}
        return {p.name: self.outer(p, delta[p.post.name]) for p in self.plastic}

    def predict(self) -> dict[str, Tensor]:
        """The class that every layer's readout has now, (batch,)."""
        return {name: torch.argmax(y, 1) for name, y in self.readouts().items()}
