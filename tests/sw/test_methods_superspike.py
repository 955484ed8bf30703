"""SuperSpike: the van Rossum kernel, and the rule as the gradient of the distance."""

from __future__ import annotations

import math

import pytest
import torch

from relif.errors import DataError, NetworkError
from relif.methods.superspike import Kernel, SuperSpike, van_rossum
from relif.model.float import FloatNetwork
from relif.network import Network
from relif.rules import SURROGATES, Surrogate

KERNEL = Kernel(5e-3, 10e-3)


def single(kind: str = "fast_sigmoid", *, inputs: int = 5, neurons: int = 4) -> Network:
    network = Network(seed=2)
    x = network.input(inputs, name="x")
    o = network.lif(neurons, tau_mem=10e-3, tau_syn=5e-3, surrogate=Surrogate(kind=kind, width=0.8), name="o")
    network.connect(x, o, gain=0.8, range=4.0)
    return network


def deep(recurrent: bool = False) -> Network:
    network = Network(seed=2)
    x = network.input(5, name="x")
    h = network.lif(6, tau_mem=10e-3, tau_syn=5e-3, name="h")
    o = network.lif(4, tau_mem=10e-3, tau_syn=5e-3, name="o")
    for pre, post in ((x, h), (h, o), *(((h, h),) if recurrent else ())):
        network.connect(pre, post, gain=0.8, range=4.0)
    return network


def trains(batch: int, ticks: int, size: int, seed: int, rate: float = 0.3) -> torch.Tensor:
    return (torch.rand((batch, ticks, size), generator=torch.Generator().manual_seed(seed)) < rate).double()


def learned(method: SuperSpike, spikes: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
    method.reset(len(spikes))
    total = {p.name: torch.zeros((p.pre.size, p.post.size), dtype=torch.float64) for p in method.plastic}
    for n in range(spikes.shape[1]):
        for name, part in method.learn(spikes[:, n], targets[:, n]).items():
            total[name] += part
    return total


def test_kernel_is_the_double_exponential() -> None:
    impulse = torch.zeros((1, 400, 1), dtype=torch.float64)
    impulse[0, 0] = 1
    response = KERNEL.smooth(impulse)[0, :, 0]
    a, b, n = math.exp(-1 / 5), math.exp(-1 / 10), torch.arange(1, 401, dtype=torch.float64)
    assert torch.allclose(response, (1 - a) * (1 - b) * (b**n - a**n) / (b - a), rtol=0, atol=1e-15)
    # It rises, falls, and has a sum of one, but for the tail past 400 ticks.
    assert 0 < response.argmax() < 20 and response.sum().item() == pytest.approx(1, abs=1e-15)
    # No time constants: the spikes themselves. Equal trains have no distance.
    assert torch.equal(Kernel(None, None).smooth(impulse), impulse)
    assert van_rossum(impulse, impulse, KERNEL) == 0
    # One spike too many costs half the kernel's energy, wherever it is.
    assert van_rossum(impulse, impulse * 0, KERNEL).item() == pytest.approx(0.5 * response.square().sum().item())


@pytest.mark.parametrize("kind", SURROGATES)
def test_update_of_a_single_layer_is_the_gradient_of_the_van_rossum_distance(kind: str) -> None:
    network, spikes, targets = single(kind), trains(3, 50, 5, 0), trains(3, 50, 4, 1, 0.1)
    model = FloatNetwork(network, dtype=torch.float64)
    record = model(spikes)
    assert 0.1 < record.spikes["o"].mean() < 0.9
    (gradient,) = torch.autograd.grad(van_rossum(record.spikes["o"], targets, KERNEL), model.weight("x->o"))
    # The same terms in another order, in double precision.
    assert torch.allclose(learned(SuperSpike(network, output="o", kernel=KERNEL), spikes, targets)["x->o"], gradient,
                          rtol=0, atol=1e-11 * float(gradient.abs().max()))
    assert gradient.abs().max() > 0.01


def test_with_a_gradient_through_the_reset_it_must_not_be() -> None:
    network, spikes, targets = single(), trains(3, 50, 5, 0), trains(3, 50, 4, 1, 0.1)
    model = FloatNetwork(network, dtype=torch.float64, reset_gradient=True)
    (gradient,) = torch.autograd.grad(van_rossum(model(spikes).spikes["o"], targets, KERNEL), model.weight("x->o"))
    rule = learned(SuperSpike(network, output="o", kernel=KERNEL), spikes, targets)["x->o"]
    assert (rule - gradient).abs().max() > 0.05 * gradient.abs().max()


@pytest.mark.parametrize("recurrent", [False, True])
def test_hidden_layers_must_not_get_their_gradient_but_the_output_does(recurrent: bool) -> None:
    network, spikes, targets = deep(recurrent), trains(3, 50, 5, 0), trains(3, 50, 4, 1, 0.1)
    model = FloatNetwork(network, dtype=torch.float64)
    loss = van_rossum(model(spikes).spikes["o"], targets, KERNEL)
    names = list(network.projections)
    exact = dict(zip(names, torch.autograd.grad(loss, [model.weight(name) for name in names]), strict=True))
    rule = learned(SuperSpike(network, output="o", kernel=KERNEL), spikes, targets)
    assert torch.allclose(rule["h->o"], exact["h->o"], rtol=0, atol=1e-11 * float(exact["h->o"].abs().max()))
    # Hidden neurons get the error without psi and the filters of the layer between: no gradient.
    for name in set(names) - {"h->o"}:
        assert (rule[name] - exact[name]).abs().max() > 0.05 * exact[name].abs().max()


@pytest.mark.parametrize(("feedback", "rate"), [("symmetric", 5e-3), ("random", 2e-3), ("uniform", 2e-3)])
def test_it_learns_a_spike_train(feedback: str, rate: float) -> None:
    # Frozen noise in, spikes at three times out, of one neuron (the first figure of SuperSpike, in small).
    network = Network(seed=1)
    x, h = network.input(40, name="x"), network.lif(8, tau_mem=10e-3, tau_syn=5e-3, name="h")
    o = network.lif(1, tau_mem=10e-3, tau_syn=5e-3, surrogate=Surrogate(kind="fast_sigmoid", width=0.5), name="o")
    network.connect(x, h, gain=0.2)
    network.connect(h, o, gain=0.2)
    spikes, targets = trains(1, 100, 40, 5, rate=0.03), torch.zeros((1, 100, 1), dtype=torch.float64)
    targets[0, [30, 60, 85]] = 1
    method = SuperSpike(network, output="o", kernel=KERNEL, feedback=feedback)
    distances = []
    for _ in range(45):
        method.reset()
        own = []
        for n in range(100):
            for name, part in method.learn(spikes[:, n], targets[:, n]).items():
                method.weights[name] -= rate * part
            own.append(method.spikes["o"])
        distances.append(van_rossum(torch.stack(own, 1), targets, KERNEL).item())
    assert sum(distances[-10:]) / 10 < 0.5 * distances[0]


def test_memory_is_two_numbers_for_each_synapse() -> None:
    def kept(n: int, ticks: int = 3) -> int:
        method = SuperSpike(single(inputs=n, neurons=n), output="o", kernel=KERNEL)
        learned(method, trains(1, ticks, n, 0), trains(1, ticks, n, 1))
        return method.state_elements()

    # Besides I, U, S, two of the error, Q, P and the input's spikes.
    assert kept(32) == 2 * 32**2 + 8 * 32
    assert kept(128) / kept(64) == pytest.approx(4, rel=0.05)
    assert kept(8, ticks=30) == kept(8)


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(NetworkError, match="the output must be a spiking population of the network, not 'x'"):
        SuperSpike(single(), output="x", kernel=KERNEL)
    with pytest.raises(NetworkError, match="feedback must be one of symmetric, random, uniform, not 'none'"):
        SuperSpike(single(), output="o", kernel=KERNEL, feedback="none")
    with pytest.raises(NetworkError, match="'o' cannot learn with symmetric feedback: it has no projection to 'h'"):
        SuperSpike(deep(), output="h", kernel=KERNEL)
    with pytest.raises(NetworkError, match="tau_rise must be a number more than 0 .*, not -1"):
        Kernel(-1, 10e-3)
    with pytest.raises(DataError, match=r"the target of 'o' must have the shape \(1, 4\), not \(1, 3\)"):
        SuperSpike(single(), output="o", kernel=KERNEL).learn(torch.zeros((1, 5)), torch.zeros((1, 3)))
    with pytest.raises(DataError, match=r"the same shape .* not \(1, 2, 3\) and \(1, 2, 4\)"):
        van_rossum(torch.zeros((1, 2, 3)), torch.zeros((1, 2, 4)), KERNEL)
    network = deep()
    network.connect("h", network.readout(2, tau_mem=None, name="y"))
    with pytest.raises(NetworkError, match="projection h->y cannot learn: a readout has no spikes"):
        SuperSpike(network, output="o", kernel=KERNEL)
