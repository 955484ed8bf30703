"""Spike times: the closed form is the first crossing, eq. 15 its derivative, and the temporal XOR is learned."""

from __future__ import annotations

import math

import pytest
import torch

from differences import differences, uniform
from relif.errors import DataError
from relif.methods.memory import saved_elements
from relif.methods.spike_time import SpikeTimeNetwork, fire, first_spike_loss, train_xor


def potential(t: torch.Tensor, times: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """V(t) of one neuron, by its definition."""
    since = t[:, None] - times
    return (weights * torch.where(since > 0, 1 - torch.exp(-since), 0.0)).sum(1)


def test_closed_form_is_the_first_crossing() -> None:
    # Weights of both signs: some neurons stay silent, some cross, fall back and must not be missed.
    times, weights = uniform(20, 8, seed=0, low=0, high=3), uniform(8, 30, seed=1, low=-1, high=1.2)
    out = fire(times.exp(), weights).log()
    grid = torch.linspace(0, 12, 2001, dtype=torch.float64)
    for b in range(20):
        for i in range(30):
            t = out[b, i]
            v = potential(grid, times[b], weights[:, i])
            # Between points of the grid V moves by less than 6 e-3 x 8: it can be above 1 only that little before.
            assert (v[grid < t] < 1 + 1e-9).all()
            if t.isfinite():
                assert potential(t[None], times[b], weights[:, i]).item() == pytest.approx(1, abs=1e-12)
    assert 0.2 < out.isfinite().double().mean() < 0.8


def test_a_shift_in_time_shifts_the_spikes() -> None:
    network, times = SpikeTimeNetwork((3, 10, 4), seed=1), uniform(5, 3, seed=0, low=0, high=2)
    assert torch.allclose(network(times + 1.5), network(times) + 1.5, rtol=0, atol=1e-12)


def test_gradients_of_weights_and_times_are_the_differences() -> None:
    network = SpikeTimeNetwork((4, 8, 6, 3), seed=2)
    times = uniform(5, 4, seed=3, low=0, high=2).requires_grad_()
    classes = torch.tensor([0, 1, 2, 0, 1])
    assert network(times).isfinite().double().mean() > 0.6

    def loss() -> torch.Tensor:
        return first_spike_loss(network(times), classes)

    parameters = [*network.parameters(), times]
    for x, gradient in zip(parameters, torch.autograd.grad(loss(), parameters), strict=True):
        # A causal set that changes within the step makes no jump, only a kink: none here.
        assert torch.allclose(gradient, differences(loss, x.data), rtol=1e-6, atol=1e-9)
        assert gradient.abs().max() > 1e-3


def test_silence_is_infinite_and_has_no_gradient() -> None:
    z = torch.tensor([[1.0, 2.0, math.inf]], dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([[0.4, 0.8, 0.1], [0.4, 0.8, 0.1], [9.0, 9.0, 9.0]], dtype=torch.float64,
                           requires_grad=True)
    # A silent input adds nothing; a sum of weights below the threshold never gets there.
    out = fire(z, weights)
    assert out.isfinite().tolist() == [[False, True, False]]
    assert out[0, 1].item() == pytest.approx((0.8 + 1.6) / (1.6 - 1))
    for gradient in torch.autograd.grad(out[:, [0, 2]].clamp(max=9).sum() + out[0, 1], [z, weights]):
        assert gradient.isfinite().all()
    (gradient,) = torch.autograd.grad(fire(z, weights)[0, 1], weights)
    assert (gradient[:, [0, 2]] == 0).all() and gradient[2, 1] == 0 and (gradient[:2, 1] < 0).all()


def test_temporal_xor_is_learned_from_every_seed() -> None:
    for seed in range(10):
        run = train_xor(seed)
        assert run.right == 4, seed
        # Not from the start: it was learned.
        assert run.steps > 0
    # What the network says for itself: the right output is first, whenever the pattern comes.
    inputs = torch.tensor([[0, 0], [0, 2], [2, 0], [2, 2]], dtype=torch.float64)
    assert run.network(inputs + 5).argmin(1).tolist() == [0, 1, 1, 0]


def test_memory_is_a_few_numbers_for_each_neuron() -> None:
    def kept(n: int) -> int:
        network = SpikeTimeNetwork((n, 2 * n, n))
        with saved_elements(network.parameters()) as count:
            network(torch.rand((1, n), generator=torch.Generator().manual_seed(0)).double())
        return count.elements

    assert kept(32) < 32 * 12 and kept(64) == 2 * kept(32)


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(DataError, match=r"must fit, not \(1, 2\) and \(3, 1\)"):
        fire(torch.ones((1, 2)), torch.ones((3, 1)))
    with pytest.raises(DataError, match=r"exp\(t\) of a spike must be more than 0, not -1"):
        fire(-torch.ones((1, 2)), torch.ones((2, 1)))
    with pytest.raises(DataError, match="the threshold must be more than 0, not 0"):
        fire(torch.ones((1, 2)), torch.ones((2, 1)), 0)
    with pytest.raises(DataError, match=r"sizes must be those of two layers at least, each at least 1, not \[3\]"):
        SpikeTimeNetwork([3])
