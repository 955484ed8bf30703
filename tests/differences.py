"""What the benches of gradients share: random tensors, and central differences."""

from __future__ import annotations

from collections.abc import Callable

import torch

__all__ = ["differences", "uniform"]


def uniform(*shape: int, seed: int, low: float, high: float) -> torch.Tensor:
    """Numbers from `low` to `high`, in double precision."""
    return low + (high - low) * torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def differences(f: Callable[[], torch.Tensor], x: torch.Tensor, step: float = 1e-5) -> torch.Tensor:
    """Central differences of f to every element of x: off by step^2 of the curvature, and 1e-10 of rounding."""
    result = torch.zeros_like(x)
    with torch.no_grad():
        for i in range(x.numel()):
            start = x.view(-1)[i].item()
            values = []
            for move in (step, -step):
                x.view(-1)[i] = start + move
                values.append(f().item())
            x.view(-1)[i] = start
            result.view(-1)[i] = (values[0] - values[1]) / (2 * step)
    return result
