"""SpikeProp: crossings are found to the last bit, and their derivatives are the differences."""

from __future__ import annotations

import math

import pytest
import torch

from differences import differences, uniform
from relif.errors import DataError
from relif.methods.memory import saved_elements
from relif.methods.spikeprop import Response, fire

RESPONSE = Response(delays=(0.0, 1.0, 2.5), tau=2.0, step=0.1)


def potential(t: float, times: torch.Tensor, weights: torch.Tensor) -> float:
    """u(t) of one neuron, by its definition."""
    u = 0.0
    for j, spike in enumerate(times.tolist()):
        for k, delay in enumerate(RESPONSE.delays):
            s = (t - spike - delay) / RESPONSE.tau
            u += weights[j, k].item() * (s * math.exp(1 - s) if s > 0 else 0.0)
    return u


def test_spike_is_the_first_crossing() -> None:
    times, weights = uniform(4, 5, seed=0, low=0, high=4), uniform(5, 3, 6, seed=1, low=-0.25, high=0.45)
    out = fire(times, weights, RESPONSE)
    for b in range(4):
        for i in range(6):
            t = out[b, i].item()
            end = min(t, RESPONSE.horizon)
            assert all(potential(end * k / 200, times[b], weights[:, :, i]) < 1 for k in range(199))
            if t < math.inf:
                assert potential(t, times[b], weights[:, :, i]) == pytest.approx(1, abs=1e-12)
    assert 0.2 < out.isfinite().double().mean() < 1


def test_slope_is_the_derivative_of_the_response() -> None:
    s = torch.linspace(-1, 9, 41, dtype=torch.float64) + 0.01
    difference = (RESPONSE.eps(s + 1e-6) - RESPONSE.eps(s - 1e-6)) / 2e-6
    assert torch.allclose(RESPONSE.slope(s), difference, rtol=1e-6, atol=1e-9)
    # It peaks at tau, with one.
    assert RESPONSE.eps(torch.tensor(2.0)) == 1


def test_gradients_of_weights_and_times_through_two_layers_are_the_differences() -> None:
    times = uniform(3, 4, seed=0, low=0, high=2).requires_grad_()
    first = uniform(4, 3, 5, seed=1, low=-0.1, high=0.5).requires_grad_()
    second = uniform(5, 3, 2, seed=2, low=-0.1, high=0.5).requires_grad_()
    targets = uniform(3, 2, seed=3, low=5, high=7)

    def loss() -> torch.Tensor:
        return 0.5 * (fire(fire(times, first, RESPONSE), second, RESPONSE) - targets).square().sum()

    assert loss().isfinite()
    parameters = [times, first, second]
    for x, gradient in zip(parameters, torch.autograd.grad(loss(), parameters), strict=True):
        # The response has a kink where a spike arrives (its slope starts at e/tau), so the step must not straddle one:
        # none of these does. Times are found to 1e-15, hence differences to 1e-10.
        assert torch.allclose(gradient, differences(loss, x.data), rtol=1e-6, atol=1e-8)
        assert gradient.abs().max() > 1e-2


def test_silence_is_infinite_and_has_no_gradient() -> None:
    times = torch.tensor([[0.0, math.inf]], dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([[[0.2, 2.0]], [[5.0, 5.0]]], dtype=torch.float64, requires_grad=True)
    out = fire(times, weights, Response(tau=2.0))
    assert out.isfinite().tolist() == [[False, True]]
    by_time, by_weight = torch.autograd.grad(out.clamp(max=20).sum(), [times, weights])
    # The silent input has none, the silent neuron has none; the other comes earlier with more weight…
    assert by_time.tolist() == [[1.0, 0.0]]
    assert by_weight[1].tolist() == [[0.0, 0.0]] and by_weight[0, 0, 0] == 0 and by_weight[0, 0, 1] < 0


def test_it_learns_spike_times() -> None:
    times = uniform(4, 6, seed=5, low=0, high=3)
    targets = torch.tensor([[4.0, 5.0], [5.0, 4.0], [4.5, 4.5], [5.0, 5.0]], dtype=torch.float64)
    response = Response(delays=(0.0, 0.5, 1.0, 1.5, 2.0, 2.5), tau=3.0, step=0.1)
    weights = uniform(6, 6, 2, seed=6, low=0.0, high=0.1).requires_grad_()
    losses = []
    for _ in range(250):
        loss = 0.5 * (fire(times, weights, response) - targets).square().sum()
        losses.append(loss.item())
        (gradient,) = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            weights -= 5e-4 * gradient
    assert losses[-1] < 0.05 * losses[0]


def test_memory_is_a_few_numbers_for_each_neuron() -> None:
    def kept(n: int) -> int:
        weights = torch.full((n, 3, n), 1 / n, dtype=torch.float64, requires_grad=True)
        with saved_elements([weights]) as count:
            fire(torch.zeros((1, n), dtype=torch.float64), weights, RESPONSE)
        return count.elements

    assert kept(32) == 2 * 32 and kept(64) == 2 * 64


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(DataError, match="tau must be more than 0 and finite, not 0"):
        Response(tau=0)
    with pytest.raises(DataError, match=r"delays must be at least 0 and finite, and one at least, not \(-1.0,\)"):
        Response(delays=(-1.0,))
    with pytest.raises(DataError, match=r"weights must have the shape .* not \(2, 1, 1\) for \(1, 2\)"):
        fire(torch.zeros((1, 2)), torch.ones((2, 1, 1)), RESPONSE)
    with pytest.raises(DataError, match="spike times must be at least 0, not -1"):
        fire(-torch.ones((1, 2)), torch.ones((2, 3, 1)), RESPONSE)
