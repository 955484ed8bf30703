"""A network of the same size in snnTorch: `Leaky` neurons, automatic derivatives, stochastic gradient descent.

It learns from the cross-entropy of every tick with a target, and forgets the graph after each tick (back-propagation
truncated to one tick): the nearest to the core's rule that snnTorch offers. `Leaky` has no synaptic current, which is
less to do than the core does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .workload import Floats, Rival, Workload

__all__ = ["Leaky"]


class Leaky(Rival):
    """Layers of PyTorch, neurons of snnTorch with its own surrogate gradient (`surrogate.fast_sigmoid`)."""

    learns = "back-propagation truncated to one tick, at every tick"

    def __init__(self, workload: Workload) -> None:
        # Imported here: an optional package.
        import snntorch

        model, c = workload.model, workload.model.constants
        self.inputs, self.hidden, self.gain = model.inputs, model.weights.shape[1], c.gain
        self.into = torch.tensor(model.weights.T).contiguous().requires_grad_()
        self.out = torch.tensor(model.weights_out).requires_grad_()
        grad = snntorch.surrogate.fast_sigmoid()
        self.neurons: Any = snntorch.Leaky(beta=c.beta, threshold=c.theta, spike_grad=grad)
        self.readout: Any = snntorch.Leaky(beta=c.beta_out, threshold=c.theta, spike_grad=grad,
                                           reset_mechanism="none")
        self.optimizer = torch.optim.SGD([self.into, self.out], lr=c.rate)
        self._rest()
        self.prepare(workload)

    def _rest(self) -> None:
        self.u, self.u_out = torch.zeros(1, self.hidden), torch.zeros(1, len(self.out))
        self.spikes = torch.zeros(1, self.hidden)

    def prepare(self, workload: Workload) -> None:
        """Spikes as dense rows."""
        self.start = self.u, self.u_out, self.spikes
        spikes = torch.from_numpy(workload.spikes.astype(np.float32))
        self.events = list(zip(spikes[:, None, :self.inputs], spikes[:, None, self.inputs:], strict=True))
        self.target, self.reset = workload.target.tolist(), workload.reset.tolist()

    def run(self) -> None:
        """Do the ticks that have been prepared."""
        self.u, self.u_out, self.spikes = self.start
        for (events, given), target, reset in zip(self.events, self.target, self.reset, strict=True):
            if reset:
                self._rest()
            with torch.set_grad_enabled(target >= 0):
                self._tick(events, given)
            if target >= 0:
                loss = torch.nn.functional.cross_entropy(self.gain * self.u_out, torch.tensor([target]))
                self.optimizer.zero_grad()
                loss.backward()                                         # type: ignore[no-untyped-call]
                self.optimizer.step()
                self.u, self.u_out, self.spikes = self.u.detach(), self.u_out.detach(), self.spikes.detach()

    def _tick(self, events: torch.Tensor, given: torch.Tensor) -> None:
        recurrent = self.into.shape[1] > self.inputs
        sources = torch.cat([events, self.spikes], 1) if recurrent else events
        self.spikes, self.u = self.neurons(sources @ self.into.T, self.u)
        self.spikes = self.spikes + given * (1.0 - self.spikes.detach())
        _, self.u_out = self.readout(self.spikes @ self.out.T, self.u_out)

    def weights(self) -> tuple[Floats, Floats]:
        """(sources, hidden) and (readouts, hidden)."""
        return self.into.detach().numpy().T, self.out.detach().numpy()
