"""Smoothed models: their gradients are true ones, and in the limit they are the spiking network."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from relif.errors import DataError, NetworkError
from relif.methods.bptt import Backward
from relif.methods.forward import Forward
from relif.methods.losses import SoftmaxLoss
from relif.methods.smooth import (
    EscapeNoise,
    SoftThreshold,
    fi_curve,
    mean_rates,
    rate_gradient,
    soft_threshold_gradient,
)
from relif.network import Network


def layers(*, recurrent: bool = False, reset: str = "subtract", n: int = 5, gain: float = 0.8) -> Network:
    network = Network(seed=4)
    x = network.input(n - 1, name="x")
    h = network.lif(n, tau_mem=10e-3, tau_syn=4e-3, reset=reset, name="h")
    g = network.lif(n - 1, tau_mem=10e-3, reset=reset, name="g")
    y = network.readout(3, tau_mem=15e-3, name="y")
    for pre, post in ((x, h), (h, g), (g, y), (h, y), *(((h, h), (g, h)) if recurrent else ())):
        network.connect(pre, post, gain=gain, range=4.0)
    return network


def trains(batch: int, ticks: int, size: int = 4) -> torch.Tensor:
    return (torch.rand((batch, ticks, size), generator=torch.Generator().manual_seed(0)) < 0.3).double()


def starts(network: Network) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(network.initial_weights(p)) for name, p in network.projections.items()}


def differences(f: Callable[[dict[str, torch.Tensor]], float], weights: dict[str, torch.Tensor],
                name: str, step: float = 1e-6) -> torch.Tensor:
    """Central differences of f to every weight of a projection."""
    result = torch.zeros_like(weights[name])
    for index in range(result.numel()):
        values = []
        for move in (step, -step):
            moved = weights[name].clone()
            moved.view(-1)[index] += move
            values.append(f(weights | {name: moved}))
        result.view(-1)[index] = (values[0] - values[1]) / (2 * step)
    return result


def check(run: Callable[[dict[str, torch.Tensor]], Backward], weights: dict[str, torch.Tensor]) -> None:
    """The gradient of every projection against the differences, to 1e-6 of its largest."""
    gradient = run(weights).gradient
    assert gradient.keys() == weights.keys()
    for name, part in gradient.items():
        assert part.abs().max() > 1e-4
        # Differences are off by the rounding of the loss, 1e-16 x 1e2 / 1e-6, and by the curvature times 1e-12.
        assert (part - differences(lambda w: run(w).loss, weights, name)).abs().max() < 1e-6 * part.abs().max()


# Soft threshold.

@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_gradient_of_the_soft_threshold_is_the_differences(reset: str) -> None:
    network = layers(recurrent=True, reset=reset, n=4, gain=0.8)
    loss = SoftmaxLoss(torch.tensor([0, 2]))
    spikes = trains(2, 20, 3)
    check(lambda w: soft_threshold_gradient(network, spikes, loss, width=0.6, weights=w), starts(network))


def test_soft_threshold_releases_graded_spikes_of_unit_size() -> None:
    soft = SoftThreshold(layers(), width=0.5)
    distance = torch.linspace(-1, 1, 41, dtype=torch.float64)
    gate = soft.gate(distance)
    assert (gate[distance <= -0.5] == 0).all() and (gate[distance >= 0.5] == 1).all() and (gate.diff() >= 0).all()
    # Its slope is the gate: a parabola of unit area, that is zero at the edges of the zone.
    inside = (0.25 * torch.linspace(-1, 1, 9, dtype=torch.float64)).requires_grad_()
    (slope,) = torch.autograd.grad(soft.gate(inside).sum(), inside)
    assert torch.allclose(slope, 0.75 * (1 - (inside / 0.5) ** 2) / 0.5, rtol=0, atol=1e-12)
    soft.reset(3)
    released = []
    for n in range(40):
        soft.tick(trains(3, 40)[:, n])
        released.append(soft.spikes["h"])
    values = torch.stack(released)
    assert values.min() == 0 and values.max() <= 1
    # Spikes of all sizes.
    assert ((values > 0.05) & (values < 0.95)).sum() > 20


def test_with_a_narrow_zone_it_is_the_spiking_network() -> None:
    network = layers(gain=0.25)
    hard, soft = Forward(network), SoftThreshold(network, width=1e-6)
    for method in (hard, soft):
        method.reset(3)
    count = 0
    for n in range(60):
        for method in (hard, soft):
            method.tick(trains(3, 60)[:, n])
        # No membrane stops within the zone, and none stays above the threshold after its reset.
        assert torch.equal(soft.spikes["h"], hard.spikes["h"]) and torch.equal(soft.spikes["g"], hard.spikes["g"])
        count += int(hard.spikes["h"].sum())
    assert count > 20


def test_memory_of_the_soft_threshold_grows_with_neurons_and_ticks() -> None:
    def kept(n: int, ticks: int) -> int:
        loss = SoftmaxLoss(torch.tensor([0]))
        return soft_threshold_gradient(layers(n=n), trains(1, ticks, n - 1), loss).state_elements

    # The readout of three and the layers of n - 1 do not quite double.
    assert kept(32, 40) / kept(32, 20) == pytest.approx(2, rel=0.05)
    assert kept(64, 20) / kept(32, 20) == pytest.approx(2, rel=0.1)


# Escape noise.

def observed(network: Network, ticks: int, seed: int = 1) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    random = torch.Generator().manual_seed(seed)
    trains_of = {p.name: (torch.rand((2, ticks, p.size), generator=random) < 0.2).double()
                 for p in network.populations.values() if p.kind == "lif"}
    return trains(2, ticks), trains_of


def log_likelihood(network: Network, spikes: torch.Tensor, seen: dict[str, torch.Tensor],
                   weights: dict[str, torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
    noisy = EscapeNoise(network, noise=0.4, weights=weights)
    noisy.reset(len(spikes))
    value, total = 0.0, {name: torch.zeros_like(w) for name, w in weights.items()}
    for n in range(spikes.shape[1]):
        part, gradient = noisy.observe(spikes[:, n], {name: s[:, n] for name, s in seen.items()})
        value += part.item()
        for name, g in gradient.items():
            total[name] += g
    return value, total


def test_likelihood_gradient_is_the_differences() -> None:
    # Recurrent: the observed spikes, not the weights, say what other neurons did.
    network = layers(recurrent=True)
    spikes, seen = observed(network, 15)
    weights = starts(network)
    _, gradient = log_likelihood(network, spikes, seen, weights)
    for name in ("x->h", "h->h", "g->h", "h->g"):
        by_hand = differences(lambda w: log_likelihood(network, spikes, seen, w)[0], weights, name)
        # The likelihood is some -100, so the differences are off by 1e-14 / 1e-6.
        assert (gradient[name] - by_hand).abs().max() < 1e-6 * gradient[name].abs().max()
        assert gradient[name].abs().max() > 0.1
    # Readouts take no part.
    assert gradient["h->y"].abs().max() == 0


def test_likelihood_of_observed_spikes_can_be_raised() -> None:
    network = layers(recurrent=True)
    spikes, seen = observed(network, 15)
    weights, values = starts(network), []
    for _ in range(30):
        value, gradient = log_likelihood(network, spikes, seen, weights)
        values.append(value)
        weights = {name: w + 1e-4 * gradient[name] for name, w in weights.items()}
    assert values[-1] > 0.8 * values[0] and all(b > a for a, b in zip(values, values[1:], strict=False))


def test_spikes_are_drawn_with_their_probability() -> None:
    network = layers()
    noisy = EscapeNoise(network, noise=0.5, seed=3)
    noisy.reset(4000)
    spikes = trains(1, 6).expand(4000, 6, 4)
    for n in range(6):
        noisy.tick(spikes[:, n])
        chance = torch.sigmoid(noisy.odds(network.populations["h"]))
        # 4000 coins: the mean is within 5 standard deviations of 0.5/sqrt(4000), but for one case in a million.
        assert (noisy.spikes["h"].mean(0) - chance.mean(0)).abs().max() < 5 * 0.5 / math.sqrt(4000)
    # The same seed, the same spikes.
    again = EscapeNoise(network, noise=0.5, seed=3)
    again.reset(4000)
    for n in range(6):
        again.tick(spikes[:, n])
    assert torch.equal(again.spikes["h"], noisy.spikes["h"])
    # Without noise it is the spiking network.
    hard, cold = Forward(network), EscapeNoise(network, noise=1e-9)
    for n in range(6):
        hard.tick(spikes[:1, n])
        cold.tick(spikes[:1, n])
        assert torch.equal(cold.spikes["g"], hard.spikes["g"])


# Rates.

def test_gradient_of_rates_is_the_differences() -> None:
    network, loss = layers(gain=0.4), SoftmaxLoss(torch.tensor([0, 2, 1]))
    inputs = torch.rand((3, 4), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    check(lambda w: rate_gradient(network, inputs, loss, weights=w), starts(network))


def test_fi_curve_is_that_of_the_simulated_neuron() -> None:
    # One input that spikes at every tick: a constant current. 4000 ticks, the first 200 left out.
    network = Network()
    drives = [0.02, 0.09, 0.1, 0.12, 0.15, 0.2, 0.3, 0.5]
    x = network.input(1, name="x")
    h = network.lif(8, tau_mem=10e-3, tau_syn=2e-3, reset="zero", name="h")
    alpha, beta = math.exp(-1 / 2), math.exp(-1 / 10)
    network.connect(x, h, weights=[[(1 - alpha) * drive for drive in drives]])
    forward, count = Forward(network), torch.zeros(8, dtype=torch.float64)
    for n in range(4200):
        forward.tick(torch.ones((1, 1)))
        count += forward.spikes["h"][0] if n >= 200 else 0
    rate = mean_rates(network, torch.ones((1, 1)), softness=1e-3)["h"][0]
    for i, drive in enumerate(drives):
        level = drive / (1 - beta)
        if level <= 1:
            # Below the threshold: none, but for what the softness lets through.
            assert count[i] == 0 and rate[i] < 0.01
        else:
            # It takes k ticks to the threshold, and the simulated neuron rounds that up.
            k = 10 * math.log(level / (level - 1))
            period = math.ceil(k)
            assert abs(count[i].item() - 4000 / period) <= 1
            assert 1 / (k + 1) < rate[i].item() < 1 / k


def test_fi_curve_rises_and_has_a_finite_slope_everywhere() -> None:
    level = torch.linspace(-1e4, 1e4, 4001, dtype=torch.float64, requires_grad=True)
    rate = fi_curve(level, tau=10.0)
    (slope,) = torch.autograd.grad(rate.sum(), level)
    assert slope.isfinite().all() and (slope >= 0).all() and (rate.diff() >= 0).all()
    # Up to one spike for each refractory time.
    assert rate[0] < 0.01 and rate[-1].item() == pytest.approx(2, rel=0.01)


def test_rates_learn_and_the_weights_suit_the_spiking_network() -> None:
    # Weights that the rates have learned are run by spiking neurons: the right readout is highest.
    network = Network(seed=0)
    x, h = network.input(6, name="x"), network.lif(16, tau_mem=10e-3, reset="zero", name="h")
    y = network.readout(3, tau_mem=30e-3, name="y")
    network.connect(x, h, gain=0.3)
    network.connect(h, y, gain=0.1)
    labels = torch.tensor([0, 1, 2])
    inputs = 0.05 + 0.35 * (torch.arange(6)[None] // 2 == labels[:, None]).double()
    weights, losses = starts(network), []
    for _ in range(60):
        result = rate_gradient(network, inputs, SoftmaxLoss(labels), softness=0.2, weights=weights)
        losses.append(result.loss)
        weights = {name: w - 0.003 * result.gradient[name] for name, w in weights.items()}
    assert losses[-1] < 0.3 * losses[0]
    forward = Forward(network, weights=weights)
    forward.reset(60)
    random = torch.Generator().manual_seed(0)
    mean = torch.zeros((60, 3), dtype=torch.float64)
    for _ in range(200):
        forward.tick((torch.rand((60, 6), generator=random) < inputs.repeat(20, 1)).double())
        mean += forward.membrane["y"]
    assert (mean.argmax(1) == labels.repeat(20)).double().mean() > 0.95


def test_memory_of_rates_is_linear_and_knows_no_time() -> None:
    def kept(n: int) -> int:
        return rate_gradient(layers(n=n), torch.ones((1, n - 1)), SoftmaxLoss(torch.tensor([0]))).state_elements

    # Of the readout some numbers do not grow.
    assert kept(128) / kept(64) == pytest.approx(2, rel=0.05)


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(NetworkError, match="width must be a number more than 0 .*, not 0"):
        SoftThreshold(layers(), width=0)
    with pytest.raises(NetworkError, match="noise must be a number more than 0 .*, not -1"):
        EscapeNoise(layers(), noise=-1)
    with pytest.raises(NetworkError, match="h: reset must be 'subtract' for escape noise, not 'zero'"):
        EscapeNoise(layers(reset="zero"))
    with pytest.raises(DataError, match="observed spikes of 'g' are missing"):
        EscapeNoise(layers()).observe(torch.zeros((1, 4)), {"h": torch.zeros((1, 5))})
    with pytest.raises(DataError, match=r"observed spikes of 'h' must have the shape \(1, 5\), not \(1, 4\)"):
        EscapeNoise(layers()).observe(torch.zeros((1, 4)), {"h": torch.zeros((1, 4))})
    with pytest.raises(NetworkError, match="a network of layers is needed, but there is a cycle: "):
        mean_rates(layers(recurrent=True), torch.ones((1, 4)))
    with pytest.raises(DataError, match=r"rates of input 'x' must have the shape \(batch, 4\), not \(1, 3\)"):
        mean_rates(layers(), torch.ones((1, 3)))
    with pytest.raises(NetworkError, match="softness must be a number more than 0 .*, not 0"):
        fi_curve(torch.ones(1), tau=10.0, softness=0)
    network = layers()
    network.connect("g", network.lif(2, tau_mem=math.inf, name="k"))
    with pytest.raises(NetworkError, match="k: tau_mem must be a finite time for rates, not inf"):
        mean_rates(network, torch.ones((1, 4)))
