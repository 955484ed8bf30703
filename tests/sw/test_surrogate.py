"""Surrogate derivatives: the formula, the core's table, and the gradient in PyTorch are the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from relif.model.surrogate import derivative, spike
from relif.rules import SURROGATES, Surrogate
from relif_hw.numerics import SURROGATE_ENTRIES


@pytest.mark.parametrize("kind", SURROGATES)
@pytest.mark.parametrize("width", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("fraction", [10, 12])
def test_table_is_the_formula_in_steps(kind: str, width: float, fraction: int) -> None:
    surrogate = Surrogate(kind=kind, width=width, height=0.9)
    table = surrogate.table(fraction)
    step = 2.0 ** (surrogate.shift(fraction) - fraction)
    assert len(table) == SURROGATE_ENTRIES
    # The table uses at least half of its entries, and its last one lies past the reach.
    assert 15 * step < surrogate.reach <= 31 * step
    # Every entry is the formula in the middle of its step, to half a unit.
    middle = (np.arange(SURROGATE_ENTRIES) + 0.5) * step
    assert np.abs(table / 128 - surrogate.derivative(middle)).max() <= 0.5 / 128
    # Away from the threshold it falls; triangle and box end in zero, so far neurons learn nothing.
    assert (np.diff(table) <= 0).all()
    assert table[-1] == 0 if kind != "fast_sigmoid" else table[-1] <= 3


@pytest.mark.parametrize("kind", SURROGATES)
def test_gradient_of_a_spike_is_the_formula(kind: str) -> None:
    surrogate = Surrogate(kind=kind, width=0.7, height=1.3)
    membrane = torch.linspace(-2, 4, 61, dtype=torch.float64, requires_grad=True)
    spikes = spike(membrane, 1.0, surrogate)
    # Forward it is a step: the threshold itself spikes.
    assert (spikes == (membrane >= 1.0)).all()
    # Backward it is psi.
    (gradient,) = torch.autograd.grad((spikes * 2.0).sum(), membrane)
    distance = (membrane.detach() - 1.0).abs()
    assert np.allclose(gradient.numpy(), 2.0 * surrogate.derivative(distance.numpy()))
    assert torch.allclose(derivative(surrogate, distance) * 2.0, gradient)


def test_height_is_the_value_at_the_threshold() -> None:
    for kind in SURROGATES:
        assert Surrogate(kind=kind, width=2.0, height=0.5).derivative(0.0) == 0.5
