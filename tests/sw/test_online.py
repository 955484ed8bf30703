"""The online rule in floating point against theory: eligibility in the synapse, thresholds, rates, analog targets."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from relif.errors import DataError, NetworkError
from relif.methods import eprop
from relif.methods.forward import Forward, accumulate
from relif.methods.losses import SoftmaxLoss, SquareLoss, total
from relif.model.float import FloatNetwork
from relif.model.online import OnlineLearner
from relif.network import Network
from relif.rules import SURROGATES, EProp, Surrogate

# Sums of the same few thousand products in another order, each rounded to 2^-53 of itself.
RELATIVE = 1e-11
TICKS = 60


def layer(kind: str = "triangle", *, recurrent: bool = False, adaptation: float = 0.0, gain: float = 0.8,
          seed: int = 4, **rule: object) -> Network:
    """Inputs, a hidden layer and a leaky readout without a synapse of its own."""
    network = Network(seed=seed)
    surrogate = Surrogate(kind=kind, width=1.5, height=0.7)
    x = network.input(5, name="x")
    h = network.lif(6, tau_mem=10e-3, tau_syn=5e-3, surrogate=surrogate, adaptation=adaptation, tau_adaptation=40e-3,
                    name="h")
    y = network.readout(3, tau_mem=15e-3, name="y")
    network.connect(x, h, gain=gain, range=4.0)
    if recurrent:
        network.connect(h, h, gain=gain / 2, range=4.0)
    network.connect(h, y, gain=gain, range=4.0)
    network.learn(EProp(**{"eligibility": "synaptic", "feedback": "symmetric", **rule}))   # type: ignore[arg-type]
    return network


def trains(ticks: int = TICKS, inputs: int = 5, seed: int = 0, rate: float = 0.3) -> np.ndarray:
    return (np.random.default_rng(seed).random((ticks, inputs)) < rate).astype(np.float64)


def waves(ticks: int = TICKS, outputs: int = 3) -> np.ndarray:
    phases = np.arange(ticks)[:, None] / 9 + np.arange(outputs)
    return np.sin(phases)


def difference(a: np.ndarray | torch.Tensor, b: np.ndarray | torch.Tensor) -> float:
    return float(np.abs(np.asarray(a) - np.asarray(b)).max() / np.abs(np.asarray(b)).max())


def gradient(network: Network, spikes: np.ndarray, loss: SquareLoss) -> np.ndarray:
    """dE/dW of x->h by BPTT, with the reset left out."""
    model = FloatNetwork(network, dtype=torch.float64)
    value = total(loss, model(torch.tensor(spikes[None])).membranes["y"])
    return torch.autograd.grad(value, model.weight("x->h"))[0].numpy()


@pytest.mark.parametrize("kind", SURROGATES)
def test_eligibility_in_the_synapse_is_the_gradient_two_ticks_of_delay_aside(kind: str) -> None:
    # A spike S[n] is in I_y[n+1] and in U_y[n+2]; from there on it leaks with kappa. So dU_k[n+2]/dW_ij is
    # W_ki E_ij[n]: with the error of two ticks later, the sum of the rule's updates is BPTT's gradient, …
    network, spikes, targets = layer(kind, loss="analog"), trains(), waves()
    learner = OnlineLearner(network)
    eligibility, signal, rule = [], [], []
    for row, target in zip(spikes, targets, strict=True):
        learner.tick(row, train=True)
        eligibility.append(learner.eligibility["x->h"])
        signal.append(learner.signal("h", {"y": learner.error(target)}))
        rule.append(learner.updates(target)["x->h"])
        assert np.array_equal(rule[-1], signal[-1] * eligibility[-1])
    exact = gradient(network, spikes, SquareLoss(torch.tensor(targets[None])))
    shifted = sum(later * e for later, e in zip(signal[2:], eligibility[:-2], strict=True))
    assert np.abs(exact).max() > 1
    assert difference(-shifted, exact) < RELATIVE
    # … and as it is, it is that of a readout that spikes reach at once, y[n] = kappa y[n-1] + W S[n], with the
    # errors of the readout that there is.
    assert difference(-sum(rule), exact) > 0.02
    model = FloatNetwork(network, dtype=torch.float64)
    record, kappa = model(torch.tensor(spikes[None])), math.exp(-1 / 15)
    y, value = torch.zeros(3, dtype=torch.float64), torch.zeros(())
    for n, target in enumerate(targets):
        y = kappa * y + record.spikes["h"][0, n] @ model.weight("h->y")
        value = value + (record.membranes["y"][0, n].detach() - torch.tensor(target)) @ y
    (at_once,) = torch.autograd.grad(value, model.weight("x->h"))
    assert difference(-sum(rule), at_once) < RELATIVE


@pytest.mark.parametrize("feedback", ["symmetric", "random"])
def test_eligibility_in_the_synapse_is_e_prop_of_the_paper(feedback: str) -> None:
    # The same in PyTorch, recurrent weights included, a sum over all ticks.
    network, spikes = layer(recurrent=True, feedback=feedback), trains()
    learner, sums = OnlineLearner(network), {name: 0.0 for name in network.projections}
    for row in spikes:
        learner.tick(row, train=True)
        for name, update in learner.updates(2).items():
            sums[name] = sums[name] + update
    reference = eprop.EProp(network, feedback=feedback, readout_filter="leak")
    for name, part in accumulate(reference, torch.tensor(spikes[None]), SoftmaxLoss(torch.tensor([2]))).items():
        assert difference(-sums[name], part) < RELATIVE
    # Traces go on at ticks with `train`, without a target too, and only there.
    before = learner.eligibility["x->h"].copy()
    learner.tick(spikes[0])
    assert np.array_equal(learner.eligibility["x->h"], before)
    learner.reset()
    assert not learner.eligibility["x->h"].any()


def test_eligibility_that_forgets_at_once_is_the_factored_rule() -> None:
    # exp(-1 ms / 1 us) is 0 in double precision.
    synaptic, factored = layer(recurrent=True, tau_eligibility=1e-6), layer(recurrent=True, eligibility="factored")
    learners = [OnlineLearner(network) for network in (synaptic, factored)]
    for row in trains():
        for learner in learners:
            learner.tick(row, train=True, target=1, rate=1e-3)
    for name in synaptic.projections:
        start = OnlineLearner(factored).weights[name]
        assert difference(learners[0].weights[name] - start, learners[1].weights[name] - start) < RELATIVE


@pytest.mark.parametrize("kind", SURROGATES)
def test_eligibility_of_an_adaptive_neuron_is_the_derivative_of_its_spikes(kind: str) -> None:
    # Any function of the spikes, sum_n sum_i c_i[n] S_i[n], has the derivative sum_n c_i[n] e_ij[n]: autograd,
    # back through the thresholds of all ticks, has the same; the reset left out, and no way through other neurons.
    network, spikes = layer(kind, adaptation=0.3), trains()
    cost = np.random.default_rng(1).normal(size=(TICKS, 6))
    learner, local = OnlineLearner(network), 0.0
    for row, c in zip(spikes, cost, strict=True):
        learner.tick(row, train=True)
        local = local + c * learner.eligibility["x->h"]
    model = FloatNetwork(network, dtype=torch.float64)
    record = model(torch.tensor(spikes[None]))
    (exact,) = torch.autograd.grad((record.spikes["h"][0] * torch.tensor(cost)).sum(), model.weight("x->h"),
                                   retain_graph=True)
    assert np.array_equal(record.spikes["h"][0, -1].detach(), learner.spikes["h"])
    assert difference(local, exact) < RELATIVE
    # D is the derivative of the threshold that acts at the next tick: one more tick, without inputs, tells it.
    record = model(torch.tensor(np.concatenate([spikes, np.zeros((1, 5))])[None]))
    after, before = record.membranes["h"][0, -1], torch.tensor(learner.d_rise["x->h"])
    learner.tick(np.zeros(5), train=True)
    (p,) = torch.autograd.grad(after.sum(), model.weight("x->h"), retain_graph=True)
    (e,) = torch.autograd.grad(record.spikes["h"][0, -1].sum(), model.weight("x->h"))
    psi = torch.tensor(learner.psi(network.populations["h"]))
    assert difference(psi * (p - before), e) < RELATIVE
    # It is no small matter: without D, the derivative would be another.
    assert difference(psi * p, e) > 0.02


def test_update_of_adaptive_neurons_is_the_error_times_that_derivative() -> None:
    network = layer(adaptation=0.3, recurrent=True, feedback="random")
    learner = OnlineLearner(network)
    for row in trains():
        learner.tick(row, train=True)
    signal = learner.signal("h", {"y": learner.error(1)})
    updates = learner.updates(1)
    assert np.array_equal(updates["x->h"], signal * learner.eligibility["x->h"])
    assert np.array_equal(updates["h->h"], signal * learner.eligibility["h->h"])
    # Into the readout it is factored, as ever.
    assert np.array_equal(updates["h->y"], np.outer(learner.traces["h->y"][1], learner.error(1)))


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_thresholds_rise_with_spikes_and_fall_again(reset: str) -> None:
    # A steady current of 1.5 thresholds; U by hand. The spike at tick n raises the threshold of tick n + 1.
    network = Network()
    x = network.input(1, name="x")
    h = network.lif(1, tau_mem=None, adaptation=1.0, tau_adaptation=5e-3, reset=reset, name="h")
    y = network.readout(1, tau_mem=1e-2, name="y")
    network.connect(x, h, weights=[[1.5]], range=2.0)
    network.connect(h, y)
    network.learn(EProp(eligibility="synaptic"))
    learner, spikes, rho = OnlineLearner(network), [], math.exp(-1 / 5)
    rise, u, s = 0.0, 0.0, 0.0
    for n in range(30):
        rise = rho * rise + s
        u = (1.5 if n else 0.0) - (s if reset == "subtract" else 0.0)      # the current comes a tick late
        s = float(u >= 1.0 + rise)
        learner.tick(np.ones(1))
        spikes.append(s)
        assert learner.rise["h"][0] == pytest.approx(rise, rel=1e-12)
        assert (learner.membrane["h"][0], learner.spikes["h"][0]) == (u, s)
    # First spike, then a pause of which the threshold must come down to 1.5, and so on.
    assert 3 < sum(spikes) < 10 and spikes[1] == 1
    record = FloatNetwork(network, dtype=torch.float64)(torch.ones((1, 30, 1)))
    assert record.spikes["h"][0, :, 0].tolist() == spikes
    # Without the rise, it spikes at every tick, or every second where the reset takes a whole threshold.
    network = Network()
    x, h = network.input(1, name="x"), network.lif(1, tau_mem=None, reset=reset, name="h")
    network.connect(x, h, weights=[[1.5]], range=2.0)
    assert FloatNetwork(network)(torch.ones((1, 30, 1))).spikes["h"].sum() == (15 if reset == "subtract" else 29)


def test_the_methods_of_the_paper_refuse_adaptive_thresholds() -> None:
    with pytest.raises(NetworkError, match="the methods know no adaptive thresholds, and 'h' has them"):
        Forward(layer(adaptation=0.1))


def test_analog_error_is_target_minus_output() -> None:
    network = layer(loss="analog", dead_zone=0.25)
    learner = OnlineLearner(network)
    learner.membrane["y"] = np.array([0.5, -1.0, 2.0])
    target = np.array([0.7, -2.0, 2.25])
    # The first is within the dead zone, the last is just out of it.
    assert learner.error(target).tolist() == [0.0, -1.0, 0.25]
    for wrong in (1, np.zeros(2)):
        with pytest.raises(DataError, match=r"the target must be 3 values, not of the shape \("):
            learner.error(wrong)
    # A readout learns the descent of half the square, which autograd has too.
    network, spikes, targets = layer(loss="analog"), trains(), waves()
    learner, model = OnlineLearner(network), FloatNetwork(network, dtype=torch.float64)
    for row in spikes:
        learner.tick(row, train=True)
    last = model(torch.tensor(spikes[None])).membranes["y"][0, -1]
    (exact,) = torch.autograd.grad(0.5 * (last - torch.tensor(targets[-1])).square().sum(), model.weight("h->y"))
    assert difference(-learner.updates(targets[-1])["h->y"], exact) < RELATIVE


def test_firing_rate_is_measured_in_spikes_a_second() -> None:
    network = layer(activity_cost=0.5, activity_target=20.0, activity_tau=50e-3, loss="analog", feedback="random")
    learner, lam, counts = OnlineLearner(network), math.exp(-1 / 50), np.zeros(6)
    for row in trains():
        counts = lam * counts + learner.spikes["h"]
        learner.tick(row, train=True)
    assert counts.any()
    rate = (1 - lam) * 1000 * counts
    assert np.allclose(learner.firing_rate("h"), rate, rtol=1e-12)
    error = np.array([0.1, -0.2, 0.3])
    (_, gain, matrix), = learner.feedback["h"]
    assert np.allclose(learner.signal("h", {"y": error}), error @ matrix * gain + 0.5 * (20.0 - rate), rtol=1e-12)
    # A neuron that spikes at every tick comes to 1000 a second within a part of exp(-n/50).
    for _ in range(500):
        learner.spikes["h"] = np.ones(6)
        learner._count()
    assert np.allclose(learner.firing_rate("h"), 1000.0, rtol=1e-3)


@pytest.mark.parametrize(("eligibility", "rate"), [("factored", 1e-4), ("synaptic", 1e-5)])
@pytest.mark.parametrize("gain", [0.1, 1.0])
def test_activity_regularisation_brings_rates_to_the_target(eligibility: str, rate: float, gain: float) -> None:
    # Nothing else to learn: the readout is silent, as it should be. Small weights are silent at first, large ones make
    # some neurons silent and others fire 100 spikes a second; in the end all fire about 40.
    wanted, network = 40.0, Network(seed=4)
    x, y = network.input(20, name="x"), network.readout(3, tau_mem=15e-3, name="y")
    h = network.lif(6, tau_mem=10e-3, tau_syn=5e-3, surrogate=Surrogate(kind="fast_sigmoid", width=2.0), name="h")
    network.connect(x, h, gain=gain, range=4.0)
    network.connect(h, y, weights=np.zeros((6, 3)))
    network.learn(EProp(eligibility=eligibility, loss="analog", activity_cost=0.01, activity_target=wanted,
                        activity_tau=0.2))
    learner = OnlineLearner(network)

    def fired(ticks: int, **learning: object) -> np.ndarray:
        spikes = np.zeros(6)
        for row in trains(ticks, 20, seed=ticks, rate=0.1):
            learner.tick(row, **learning)       # type: ignore[arg-type]
            spikes += learner.spikes["h"]
        return 1000 * spikes / ticks

    off = np.abs(fired(1000) - wanted)
    fired(5000, train=True, target=np.zeros(3), rate=rate)
    # Rates that are held to a mean by steps of each spike scatter about it.
    assert np.abs(fired(3000, train=True, target=np.zeros(3), rate=rate) - wanted).max() < 0.35 * wanted
    assert off.max() >= wanted
    assert not learner.weights["h->y"].any()
