"""Ways of an error back to hidden layers (Fig. 5a, 5b, 5c), at every tick, with factored eligibility.

    dE[n]/dW_ij = delta_i P_j,    delta_k = dE[n]/dU_k at the readout, and in hidden layers

    "symmetric":  delta_i = psi_i sum_k W_ki delta_k     back-propagation through the layers (5a)
    "layerwise":  delta_i = psi_i sum_k G_ki delta_k     feedback alignment, layer by layer (5b)
    "direct":     delta_i = psi_i sum_k H_ki e_k         direct feedback alignment, from the readout (5c)

k runs over all neurons that i projects to, or over the outputs. (Lillicrap et al. 2016; Nokland 2016.)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy.typing as npt
from torch import Tensor

from ..errors import NetworkError
from ..network import Network
from ..rules import feedback_matrix, feedback_seed
from .forward import Forward, Weights, hashed_feedback, in_layers, readout_of, refuse_readouts, take_matrix

__all__ = ["WAYS", "FeedbackLearner"]

WAYS = ("symmetric", "layerwise", "direct")


class FeedbackLearner(Forward):
    """Layers that learn from the error of the readout.

    Parameters
    ----------
    network : Network
        With one readout, or an output; feed-forward, unless the feedback is direct.
    way : str
        `"symmetric"`, `"layerwise"` or `"direct"`.
    matrices : mapping or None
        Fixed feedback: `"layerwise"`: G (post, pre) by projection out of a hidden population; `"direct"`: H
        (outputs, neurons) by hidden population. None: uniform in -1 to 1, hashed from the network's seed.
    weights : mapping or None
        As `Forward`.
    """

    def __init__(self, network: Network, *, way: str = "symmetric",
                 matrices: Mapping[str, npt.ArrayLike] | None = None,
                 weights: Mapping[str, Tensor] | None = None) -> None:
        if way not in WAYS:
            raise NetworkError(f"way must be one of {', '.join(WAYS)}, not {way!r}")
        if matrices is not None and way == "symmetric":
            raise NetworkError("symmetric feedback is that of the weights: matrices cannot be given")
        self.way, self.readout = way, readout_of(network)
        super().__init__(network, weights=weights)
        refuse_readouts(self.plastic, f"the error is that of {self.readout.name!r}", but=self.readout)
        self.backward = [] if way == "direct" else in_layers(network)[::-1]
        self.feedback = self._feedback(matrices)

    def _feedback(self, matrices: Mapping[str, npt.ArrayLike] | None) -> dict[str, Tensor]:
        if self.way == "symmetric":
            return {}
        if self.way == "direct":
            hashed = {p.name: hashed_feedback(self.network, p, self.readout.size) for p in self.spiking}
        else:
            seed = feedback_seed(self.network.seed)
            hashed = {name: take_matrix(name, feedback_matrix(seed, index, p.post.size, p.pre.size),
                                        (p.post.size, p.pre.size))
                      for index, (name, p) in enumerate(self.network.projections.items()) if p.pre.kind == "lif"}
        if matrices is None:
            return hashed
        if missing := set(hashed) - set(matrices):
            raise NetworkError(f"the feedback matrix of {sorted(missing)[0]!r} is missing")
        return {name: take_matrix(f"feedback of {name!r}", matrices[name], tuple(h.shape))
                for name, h in hashed.items()}

    def clear(self) -> None:
        self.clear_traces()

    def tick(self, events: Tensor | Mapping[str, Tensor]) -> None:
        """State and traces from n to n+1."""
        self.receive(events)
        self.trace()
        self.step()

    def deltas(self, error: Tensor) -> dict[str, Tensor]:
        """delta by population, (batch, neurons), of the error dE[n]/dU_k, (batch, outputs), of the readout."""
        delta = {self.readout.name: self.checked("the error", error, self.readout.size)}
        if self.way == "direct":
            return delta | {p.name: self.psi(p) * (error @ self.feedback[p.name]) for p in self.spiking}
        for p in self.backward:
            signal = self.zeros(p.size)
            for name, out in self.network.projections.items():
                if out.pre is p and out.post.name in delta:
                    back = self.weights[name].T if self.way == "symmetric" else self.feedback[name]
                    signal = signal + delta[out.post.name] @ back
            delta[p.name] = self.psi(p) * signal
        return delta

    def gradient(self, error: Tensor) -> Weights:
        """dE[n]/dW, as far as the rule sees it, of the error dE[n]/dU_k, (batch, outputs), of the readout."""
        delta = self.deltas(error)
        return {p.name: self.outer(p, delta[p.post.name]) for p in self.plastic}
