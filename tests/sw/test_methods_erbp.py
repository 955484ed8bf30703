"""eRBP: error spikes keep the books, and the update is that of direct feedback with a box and a raw spike."""

from __future__ import annotations

import pytest
import torch

from relif.errors import DataError, NetworkError
from relif.methods.erbp import Erbp
from relif.network import Network
from relif.rules import Surrogate, feedback_matrix, feedback_seed

BOX = Surrogate(kind="boxcar", width=1.0)


def layers(inputs: int = 6, hidden: int = 8, outputs: int = 3, gain: float = 1.0) -> Network:
    network = Network(seed=7)
    x = network.input(inputs, name="x")
    h = network.lif(hidden, tau_mem=10e-3, tau_syn=4e-3, surrogate=BOX, name="h")
    o = network.lif(outputs, tau_mem=10e-3, tau_syn=4e-3, surrogate=BOX, name="o")
    network.connect(x, h, gain=gain, range=4.0)
    network.connect(h, o, gain=gain, range=4.0)
    return network


def trains(ticks: int, size: int, seed: int, rate: float = 0.4) -> torch.Tensor:
    return (torch.rand((ticks, 1, size), generator=torch.Generator().manual_seed(seed)) < rate).double()


@pytest.mark.parametrize("threshold", [1.0, 2.5])
def test_error_spikes_count_what_is_too_many_and_too_few(threshold: float) -> None:
    method = Erbp(layers(), output="o", error_threshold=threshold)
    missing = torch.zeros((1, 3), dtype=torch.float64)
    errors = []
    for row, target in zip(trains(200, 6, 0), trains(200, 3, 1, 0.2), strict=True):
        method.learn(row, target)
        missing += method.spikes["o"] - target - threshold * method.error
        errors.append(method.error)
        # What has not yet been told by an error spike is less than one.
        assert torch.allclose(missing, method.count, rtol=0, atol=1e-12)
        assert method.count.abs().max() < threshold
    # Errors are spikes with a sign, of both signs.
    assert set(torch.stack(errors).unique().tolist()) == {-1.0, 0.0, 1.0}


@pytest.mark.parametrize("tau_dendrite", [None, 5e-3])
def test_update_is_direct_feedback_times_box_times_raw_spike(tau_dendrite: float | None) -> None:
    network = layers(gain=0.4)
    method = Erbp(network, output="o", tau_dendrite=tau_dendrite)
    h = torch.tensor(feedback_matrix(feedback_seed(7), 1, 3, 8))
    dendrite, changed = torch.zeros((1, 8), dtype=torch.float64), 0
    previous = torch.zeros((1, 8), dtype=torch.float64)
    for row, target in zip(trains(200, 6, 0), trains(200, 3, 1, 0.2), strict=True):
        parts = method.learn(row, target)
        dendrite = dendrite * method.leak + method.error @ h
        inside = ((method.membrane["h"] - 1.0).abs() < 1.0).double()
        assert torch.allclose(parts["x->h"], torch.outer(row[0], (dendrite * inside)[0]), rtol=0, atol=1e-12)
        # Without a presynaptic spike a row does not change.
        assert (parts["x->h"][row[0] == 0] == 0).all() and (parts["h->o"][previous[0] == 0] == 0).all()
        changed += int((parts["x->h"] != 0).sum())
        previous = method.spikes["h"]
    assert changed > 100


def test_it_learns_to_fire_for_the_class() -> None:
    network = layers(inputs=9, hidden=24, gain=0.4)
    method, random = Erbp(network, output="o"), torch.Generator().manual_seed(0)
    right = []
    for _ in range(80):
        labels = torch.randint(0, 3, (8,), generator=random)
        rates = 0.05 + 0.35 * (torch.arange(9)[None] // 3 == labels[:, None])
        active = torch.nn.functional.one_hot(labels, 3).double()
        method.reset(8)
        count = torch.zeros((8, 3), dtype=torch.float64)
        for n in range(40):
            # The right neuron is to fire at every other tick, the others not at all.
            parts = method.learn((torch.rand((8, 9), generator=random) < rates).double(), active * (n % 2))
            for name, part in parts.items():
                method.weights[name] -= 1e-3 * part
            count += method.spikes["o"]
        right.append((count.argmax(1) == labels).double().mean().item())
    assert sum(right[-20:]) / 20 > 0.9


def test_memory_is_linear() -> None:
    def kept(n: int, ticks: int = 3) -> int:
        method = Erbp(layers(n, n, n), output="o")
        for row in trains(ticks, n, 0):
            method.learn(row, row)
        return method.state_elements()

    assert kept(64) == 2 * kept(32) and kept(8, ticks=30) == kept(8)


def test_what_is_wrong_is_named() -> None:
    network = layers()
    with pytest.raises(NetworkError, match="the output must be a spiking population of the network, not 'y'"):
        Erbp(network, output="y")
    with pytest.raises(NetworkError, match="error_threshold must be a number more than 0 .*, not 0"):
        Erbp(network, output="o", error_threshold=0)
    with pytest.raises(NetworkError, match="tau_dendrite must be a number more than 0 .*, not -1"):
        Erbp(network, output="o", tau_dendrite=-1)
    with pytest.raises(NetworkError, match="the feedback matrix of 'h' is missing"):
        Erbp(network, output="o", matrices={})
    with pytest.raises(DataError, match=r"the target of 'o' must have the shape \(1, 3\), not \(1, 2\)"):
        Erbp(network, output="o").learn(torch.zeros((1, 6)), torch.zeros((1, 2)))
    network.connect("h", network.readout(2, tau_mem=None, name="y"))
    with pytest.raises(NetworkError, match="projection h->y cannot learn: a readout has no spikes; connect it with"):
        Erbp(network, output="o")
    network = layers()
    g = network.lif(2, tau_mem=None, name="g")
    network.connect("x", g)
    with pytest.raises(NetworkError, match="g: the surrogate of eRBP must be 'boxcar', not 'triangle'"):
        Erbp(network, output="o")
