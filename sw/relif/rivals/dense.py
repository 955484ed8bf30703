"""The learning tick in tensors of PyTorch, on one thread, without gradients: they are worked out by the rule."""

from __future__ import annotations

import numpy as np
import torch

from .loop import State
from .workload import Floats, Rival, Workload

__all__ = ["Dense"]


class Dense(Rival):
    """One operation of PyTorch for each line of the equations, in place wherever it can be."""

    learns = "the core's rule, at every tick"

    def __init__(self, workload: Workload) -> None:
        model = workload.model
        self.inputs, self.constants = model.inputs, model.constants
        self.w, self.w_out = torch.tensor(model.weights), torch.tensor(model.weights_out)
        self.back = torch.tensor(model.feedback)
        self.state = tuple(torch.from_numpy(part) for part in State.of(model))
        self.prepare(workload)

    def prepare(self, workload: Workload) -> None:
        """Spikes as an index for each tick."""
        self.start = tuple(part.clone() for part in self.state)
        self.events = [torch.from_numpy(np.flatnonzero(row)) for row in workload.spikes]
        self.target, self.reset = workload.target.tolist(), workload.reset.tolist()

    def run(self) -> None:
        """Do the ticks that have been prepared."""
        with torch.inference_mode():
            for part, start in zip(self.state, self.start, strict=True):
                part.copy_(start)
            for events, target, reset in zip(self.events, self.target, self.reset, strict=True):
                self._tick(events, target, reset)

    def _tick(self, events: torch.Tensor, target: int, reset: bool) -> None:
        c = self.constants
        s, current, u, current_out, u_out, q, p, q_out, p_out = self.state
        if reset:
            for part in self.state:
                part.zero_()
        s[events] = 1.0
        own = s[self.inputs:]
        total = self.w[s[:len(self.w)].nonzero()[:, 0]].sum(0)
        u_out.mul_(c.beta_out).add_(current_out)
        current_out.mul_(c.alpha_out).addmv_(self.w_out, own)
        if c.single:
            p.mul_(c.beta).add_(s[:len(p)])
            p_out.mul_(c.beta_out).add_(own)
        else:
            p.mul_(c.beta).add_(q)
            q.mul_(c.alpha).add_(s[:len(q)])
            p_out.mul_(c.beta_out).add_(q_out)
            q_out.mul_(c.alpha_out).add_(own)
        u.mul_(c.beta).add_(current).sub_(own, alpha=c.theta)
        current.mul_(c.alpha).add_(total)
        torch.ge(u, c.theta, out=own)
        s[:self.inputs] = 0.0
        if target >= 0:
            self._learn(target)

    def _learn(self, target: int) -> None:
        c = self.constants
        _, _, u, _, u_out, _, p, _, p_out = self.state
        e = (u_out * -c.gain).neg_().softmax(0).neg_()
        e[target] += 1.0
        e.mul_(e.abs() >= c.dead_zone)
        v = (u - c.theta).abs_().div_(c.width)
        psi = (1.0 - v).clamp_(min=0.0) if c.triangle else (1.0 + v).pow_(-2.0)
        d = (e @ self.back).mul_(psi)
        self.w.addr_(p, d, alpha=c.rate * c.height).clamp_(-c.limit, c.limit)
        self.w_out.addr_(e, p_out, alpha=c.rate_out).clamp_(-c.limit_out, c.limit_out)

    def weights(self) -> tuple[Floats, Floats]:
        """(sources, hidden) and (readouts, hidden)."""
        return self.w.numpy(), self.w_out.numpy()
