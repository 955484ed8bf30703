"""Spikes that have a derivative: a step forward, a surrogate backward (Fig. 3)."""

from __future__ import annotations

from typing import Any

import torch

from ..rules import Surrogate

__all__ = ["derivative", "spike"]


def derivative(surrogate: Surrogate, distance: torch.Tensor) -> torch.Tensor:
    """psi at `distance` = |U - theta|, as `Surrogate.derivative`."""
    v = distance / surrogate.width
    if surrogate.kind == "triangle":
        return surrogate.height * (1.0 - v).clamp(min=0.0)
    if surrogate.kind == "fast_sigmoid":
        return surrogate.height / (1.0 + v) ** 2
    if surrogate.kind == "exponential":
        return surrogate.height * torch.exp(-v)
    return surrogate.height * (v < 1.0).to(v.dtype)


class _Spike(torch.autograd.Function):
    """S = 1 if U >= theta else 0; dS/dU = psi(|U - theta|)."""

    @staticmethod
    def forward(ctx: Any, above: torch.Tensor, surrogate: Surrogate) -> torch.Tensor:
        ctx.save_for_backward(above)
        ctx.surrogate = surrogate
        return (above >= 0).to(above.dtype)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        (above,) = ctx.saved_tensors
        return grad * derivative(ctx.surrogate, above.abs()), None


def spike(membrane: torch.Tensor, threshold: float, surrogate: Surrogate) -> torch.Tensor:
    """Spikes (0.0 or 1.0) of membranes, of the same shape; differentiable by the surrogate."""
    result: torch.Tensor = _Spike.apply(membrane - threshold, surrogate)  # type: ignore[no-untyped-call]
    return result
