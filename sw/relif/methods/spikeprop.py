"""SpikeProp (Bohte, Kok & La Poutre 2002): the derivative of a threshold crossing as an implicit function.

A neuron's potential sums a response for every input spike and every delay d of its synapses; it spikes once, at
the first time t that the potential reaches the threshold:

    u(t) = sum_j sum_d W_jd eps(t - t_j - d),    eps(s) = s/tau exp(1 - s/tau), s > 0;    u(t) = theta

From u(t; W, t_j) = theta, however W and t_j change:

    dt/dW_jd = - eps(t - t_j - d) / u'(t),    dt/dt_j = sum_d W_jd eps'(t - t_j - d) / u'(t)

It knows nothing of spikes that appear or vanish: silent neurons (t = infinity) have no gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import DataError

__all__ = ["Response", "fire"]


@dataclass(frozen=True, kw_only=True)
class Response:
    """A layer's neurons and synapses; times in the units of `tau`.

    Parameters
    ----------
    delays : tuple of float
        Of the synapses between any two neurons, at least 0.
    tau : float
        Time to the peak of eps, which is 1.
    threshold : float
    horizon : float
        Neurons that have not spiked by then are silent.
    step : float
        Crossings are looked for at this distance, then found exactly; a shorter excursion may be missed.
    least_slope : float
        u' is taken to be this at least, so that a grazing spike does not throw the weights away.
    """

    delays: tuple[float, ...] = (0.0,)
    tau: float = 1.0
    threshold: float = 1.0
    horizon: float = 20.0
    step: float = 0.05
    least_slope: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("tau", "threshold", "horizon", "step", "least_slope"):
            if not 0 < getattr(self, name) < math.inf:
                raise DataError(f"{name} must be more than 0 and finite, not {getattr(self, name)!r}")
        if not self.delays or not all(0 <= d < math.inf for d in self.delays):
            raise DataError(f"delays must be at least 0 and finite, and one at least, not {self.delays!r}")

    def eps(self, s: Tensor) -> Tensor:
        """The response s after a spike has arrived."""
        s = s.clamp(min=0) / self.tau
        return s * (1 - s).exp()

    def slope(self, s: Tensor) -> Tensor:
        """eps'."""
        v = s.clamp(min=0) / self.tau
        return torch.where(s > 0, (1 - v) * (1 - v).exp() / self.tau, 0.0)

    def since(self, t: Tensor, times: Tensor) -> Tensor:
        """t - t_j - d, (batch, *, inputs, delays), of t (batch, *) and t_j (batch, inputs)."""
        arrivals = times[:, :, None] + torch.tensor(self.delays, dtype=times.dtype)
        return t[..., None, None] - arrivals.reshape(len(times), *[1] * (t.ndim - 1), *arrivals.shape[1:])


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, times: Tensor, weights: Tensor, response: Response) -> Tensor:
        grid = torch.arange(0.0, response.horizon + response.step, response.step, dtype=times.dtype)
        potential = torch.einsum("bgjd,jdi->bgi", response.eps(response.since(grid.expand(len(times), -1), times)),
                                 weights)
        above = potential >= response.threshold
        high = grid[above.to(torch.int8).argmax(1)]         # (batch, neurons): the first point at or above
        low = high - response.step
        for _ in range(60):                                 # halving 2^60 times ends at the last bit
            middle = (low + high) / 2
            u = torch.einsum("bijd,jdi->bi", response.eps(response.since(middle, times)), weights)
            low = torch.where(u < response.threshold, middle, low)
            high = torch.where(u < response.threshold, high, middle)
        out = torch.where(above.any(1), high, math.inf)
        ctx.save_for_backward(times, weights, out)
        ctx.response = response
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        times, weights, out = ctx.saved_tensors
        response: Response = ctx.response
        fires = out.isfinite()
        since = response.since(torch.where(fires, out, 0.0), times)         # (batch, neurons, inputs, delays)
        rise = torch.einsum("bijd,jdi->bij", response.slope(since), weights)
        delta = torch.where(fires, grad, 0.0) / rise.sum(2).clamp(min=response.least_slope)
        return (torch.einsum("bi,bij->bj", delta, rise),
                -torch.einsum("bi,bijd->jdi", delta, response.eps(since)), None)


def fire(times: Tensor, weights: Tensor, response: Response) -> Tensor:
    """Spike times (batch, neurons) of a layer; infinity: silent.

    Parameters
    ----------
    times : tensor (batch, inputs)
        At least 0; infinity: silent.
    weights : tensor (inputs, delays, neurons)
    response : Response
    """
    shape = (times.shape[-1], len(response.delays))
    if times.ndim != 2 or weights.ndim != 3 or tuple(weights.shape[:2]) != shape:
        raise DataError(f"weights must have the shape (inputs, delays, neurons) = {(*shape, 'any')}, for times "
                        f"(batch, inputs), not {tuple(weights.shape)} for {tuple(times.shape)}")
    if not (times >= 0).all():
        raise DataError(f"spike times must be at least 0, not {times[~(times >= 0)][0].item():g}")
    result: Tensor = _Fire.apply(times, weights, response)      # type: ignore[no-untyped-call]
    return result
