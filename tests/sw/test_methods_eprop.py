"""E-prop: where it is the gradient, where the factored rule is, and where neither can be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from relif.errors import DataError, NetworkError
from relif.methods.bptt import bptt
from relif.methods.eprop import FILTERS, EProp
from relif.methods.forward import accumulate
from relif.methods.losses import SoftmaxLoss
from relif.methods.rtrl import Rtrl
from relif.model.online import OnlineLearner
from relif.network import Network
from relif.rules import SURROGATES, Surrogate
from relif.rules import EProp as CoreRule

# Sums of the same terms in another order, in double precision.
RELATIVE = 1e-9
LOSS = SoftmaxLoss(torch.tensor([0, 2, 1]), learn_from=3)


def layer(kind: str = "triangle", *, inputs: int = 4, recurrent: bool = False, reset: str = "subtract",
          tau_mem: float | None = 15e-3, tau_syn: float | None = 4e-3, gain: float = 0.8) -> Network:
    network = Network(seed=4)
    surrogate = Surrogate(kind=kind, width=1.5, height=0.7)
    x = network.input(inputs, name="x")
    h = network.lif(6, tau_mem=10e-3, tau_syn=5e-3, reset=reset, surrogate=surrogate, name="h")
    y = network.readout(3, tau_mem=tau_mem, tau_syn=tau_syn, name="y")
    network.connect(x, h, gain=gain, range=4.0)
    if recurrent:
        network.connect(h, h, gain=0.75 * gain, range=4.0)
    network.connect(h, y, gain=gain, range=4.0)
    return network


def trains(batch: int = 3, ticks: int = 40, inputs: int = 4) -> torch.Tensor:
    return (torch.rand((batch, ticks, inputs), generator=torch.Generator().manual_seed(0)) < 0.3).double()


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("tau_syn", [4e-3, None])
@pytest.mark.parametrize("kind", SURROGATES)
def test_with_the_readouts_exact_filter_and_symmetric_feedback_it_is_rtrl_in_a_feedforward_layer(
        kind: str, tau_syn: float | None) -> None:
    network = layer(kind, tau_syn=tau_syn)
    spikes = trains()
    exact = accumulate(Rtrl(network), spikes, LOSS)
    local = accumulate(EProp(network, readout_filter="exact"), spikes, LOSS)
    for name, part in exact.items():
        assert difference(local[name], part) < RELATIVE
        assert part.abs().max() > 0.1
    # So it is BPTT too.
    assert difference(local["x->h"], bptt(network, spikes, LOSS).gradient["x->h"]) < RELATIVE


@pytest.mark.parametrize("kind", SURROGATES)
def test_factored_eligibility_is_rtrls_derivative_of_each_spike_in_a_feedforward_layer(kind: str) -> None:
    # psi_i P_j is dS_i/dW_ij at every tick, for every synapse; and dS_i/dW_kj is zero for every other k.
    network, spikes = layer(kind), trains()
    rtrl, rule = Rtrl(network), EProp(network)
    for method in (rtrl, rule):
        method.reset(3)
    for n in range(40):
        rtrl.tick(spikes[:, n])
        rule.tick(spikes[:, n])
        psi, trace = rule.psi(network.populations["h"]), rule.traces["x->h"][1]
        factored = torch.einsum("bi,bj,ik->bijk", psi, trace, torch.eye(6, dtype=torch.float64))
        assert torch.allclose(psi[:, :, None, None] * rtrl.d_membrane["h", "x->h"], factored, rtol=0, atol=1e-12)
    assert factored.abs().max() > 0.1


@pytest.mark.parametrize("readout_filter", FILTERS)
def test_weights_of_the_last_layer_get_their_gradient_in_any_network_with_any_feedback(readout_filter: str) -> None:
    network, spikes = layer(recurrent=True), trains()
    exact = accumulate(Rtrl(network), spikes, LOSS)["h->y"]
    for feedback in ("symmetric", "random"):
        rule = EProp(network, feedback=feedback, readout_filter=readout_filter)
        assert difference(accumulate(rule, spikes, LOSS)["h->y"], exact) < RELATIVE


def test_recurrent_weights_must_not_get_their_gradient() -> None:
    # The way through other neurons' spikes is left out, so hidden weights differ, however exact the filter…
    network, spikes = layer(recurrent=True), trains()
    exact = accumulate(Rtrl(network), spikes, LOSS)
    local = accumulate(EProp(network, readout_filter="exact"), spikes, LOSS)
    for name in ("x->h", "h->h"):
        assert difference(local[name], exact[name]) > 0.05
        # … but what is left still points downhill.
        assert torch.cosine_similarity(local[name].flatten(), exact[name].flatten(), dim=0) > 0.3
    # Without recurrent weights on the way, the same network has the gradient again, of the zero weights too.
    still = {"h->h": torch.zeros((6, 6))}
    exact = accumulate(Rtrl(network, weights=still), spikes, LOSS)
    local = accumulate(EProp(network, weights=still, readout_filter="exact"), spikes, LOSS)
    for name in ("x->h", "h->h"):
        assert difference(local[name], exact[name]) < RELATIVE


@pytest.mark.parametrize("readout_filter", ["none", "leak"])
def test_without_the_readouts_own_filter_it_must_not_be_the_gradient(readout_filter: str) -> None:
    network, spikes = layer(), trains()
    exact = accumulate(Rtrl(network), spikes, LOSS)["x->h"]
    local = accumulate(EProp(network, readout_filter=readout_filter), spikes, LOSS)["x->h"]
    assert difference(local, exact) > 0.05
    assert torch.cosine_similarity(local.flatten(), exact.flatten(), dim=0) > 0.3


def test_random_feedback_and_gradients_through_the_reset_must_not_be_the_gradient() -> None:
    spikes = trains()
    network = layer()
    local = accumulate(EProp(network, readout_filter="exact"), spikes, LOSS)["x->h"]
    random = accumulate(EProp(network, feedback="random", readout_filter="exact"), spikes, LOSS)["x->h"]
    through = accumulate(Rtrl(network, reset_gradient=True), spikes, LOSS)["x->h"]
    assert difference(random, local) > 0.05
    assert difference(local, through) > 0.05
    # A reset to zero cuts the membrane's memory of the weights, which P_j does not know.
    network = layer(reset="zero")
    local = accumulate(EProp(network, readout_filter="exact"), spikes, LOSS)["x->h"]
    assert difference(local, accumulate(Rtrl(network), spikes, LOSS)["x->h"]) > 0.05


def test_transposed_weights_as_feedback_matrices_are_symmetric_feedback() -> None:
    network, spikes = layer(recurrent=True), trains()
    transposed = {"h": network.initial_weights(network.projections["h->y"]).T.copy()}
    for readout_filter in FILTERS:
        symmetric = accumulate(EProp(network, readout_filter=readout_filter), spikes, LOSS)
        given = accumulate(EProp(network, feedback=transposed, readout_filter=readout_filter), spikes, LOSS)
        for name, part in symmetric.items():
            # A matrix and a transposed view of one may take different ways through the library of products.
            assert difference(given[name], part) < RELATIVE


def test_factored_rule_is_e_prop_with_a_readout_without_leak() -> None:
    # kappa = 0: the filtered trace is the instantaneous one.
    network, spikes = layer(recurrent=True, tau_mem=None), trains()
    leak = accumulate(EProp(network, readout_filter="leak"), spikes, LOSS)
    none = accumulate(EProp(network, readout_filter="none"), spikes, LOSS)
    for name, part in none.items():
        assert difference(leak[name], part) < RELATIVE


def test_exact_filter_is_bellecs_leak_two_ticks_later() -> None:
    # Without a synapse of its own, the readout only adds its two ticks of delay.
    network, spikes = layer(recurrent=True, tau_syn=None), trains()
    exact, leak = EProp(network, readout_filter="exact"), EProp(network, readout_filter="leak")
    past = []
    for method in (exact, leak):
        method.reset(3)
    for n in range(40):
        exact.tick(spikes[:, n])
        leak.tick(spikes[:, n])
        past.append(leak.eligibility["h->h"])
        if n >= 2:
            assert torch.allclose(exact.eligibility["h->h"], past[n - 2], rtol=0, atol=1e-12)
    assert past[-1].abs().max() > 0.1


def test_factored_rule_with_random_feedback_is_the_cores() -> None:
    # The same H, the same errors with the opposite sign, the same traces, tick by tick.
    network, spikes = layer(recurrent=True), trains(batch=1)
    network.learn(CoreRule(feedback="random", loss="softmax"))
    core, rule = OnlineLearner(network), EProp(network, feedback="random")
    loss = SoftmaxLoss(torch.tensor([2]))
    for n in range(40):
        core.tick(spikes[0, n].numpy(), train=True)
        rule.tick(spikes[:, n])
        for name, update in core.updates(2).items():
            gradient = rule.gradient(loss.error(rule.membrane["y"], n))[name]
            assert np.allclose(-gradient.numpy(), update, rtol=0, atol=1e-12)


def test_it_learns_with_every_filter_and_feedback() -> None:
    # Three classes, each with active inputs of its own; an update at every tick.
    labels = torch.arange(9) % 3
    active = 0.05 + 0.45 * (torch.arange(6)[None] // 2 == labels[:, None])
    loss = SoftmaxLoss(labels, learn_from=5)
    # The rates allow for the sums of the filters, 1/(1 - kappa) and 1/((1 - kappa)(1 - alpha)): about 15 and 75.
    for readout_filter, rate in (("none", 1e-3), ("leak", 1e-3 / 15), ("exact", 1e-3 / 75)):
        for feedback in ("symmetric", "random"):
            random = torch.Generator().manual_seed(1)
            rule = EProp(layer(recurrent=True, inputs=6, gain=0.2), feedback=feedback, readout_filter=readout_filter)
            losses = []
            for _ in range(30):
                rule.reset(9)
                value = 0.0
                for n in range(20):
                    rule.tick((torch.rand((9, 6), generator=random) < active).double())
                    value += loss.value(rule.membrane["y"], n).item()
                    for name, part in rule.gradient(loss.error(rule.membrane["y"], n)).items():
                        rule.weights[name] -= rate * part
                losses.append(value)
            assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_memory_is_linear_when_factored_and_quadratic_with_a_trace_per_synapse() -> None:
    def kept(readout_filter: str, n: int, ticks: int = 3) -> int:
        network = Network(seed=2)
        x, h = network.input(n, name="x"), network.lif(2 * n, tau_mem=10e-3, tau_syn=5e-3, name="h")
        y = network.readout(n, tau_mem=10e-3, tau_syn=5e-3, name="y")
        for pre, post in ((x, h), (h, h), (h, y)):
            network.connect(pre, post)
        rule = EProp(network, readout_filter=readout_filter)
        for row in trains(1, ticks, n)[0]:
            rule.tick(row[None])
            rule.gradient(torch.ones((1, n)))
        return rule.state_elements()

    # I, U, S of the neurons and Q, P of the three projections: 19 n, exactly linear.
    assert kept("none", 32) == 9 * 32 + 10 * 32
    assert kept("none", 64) == 2 * kept("none", 32)
    # Besides these, a number for each synapse into h, or two with the readout's synapse.
    assert kept("leak", 64) - kept("none", 64) == 64 * 128 + 128 * 128
    assert kept("exact", 64) - kept("none", 64) == 2 * (64 * 128 + 128 * 128)
    for readout_filter in ("leak", "exact"):
        assert kept(readout_filter, 64) / kept(readout_filter, 32) == pytest.approx(4, rel=0.05)
    # Time costs nothing.
    for readout_filter in FILTERS:
        assert kept(readout_filter, 8, ticks=30) == kept(readout_filter, 8)


def test_what_is_wrong_is_named() -> None:
    network = layer()
    with pytest.raises(NetworkError, match="readout_filter must be one of none, leak, exact, not 'kappa'"):
        EProp(network, readout_filter="kappa")
    with pytest.raises(NetworkError, match="feedback must be 'symmetric', 'random' or matrices, not 'local'"):
        EProp(network, feedback="local")
    with pytest.raises(NetworkError, match="the feedback matrix to 'h' is missing"):
        EProp(network, feedback={})
    with pytest.raises(DataError, match=r"feedback to 'h' must have the shape \(3, 6\), not \(6, 3\)"):
        EProp(network, feedback={"h": np.zeros((6, 3))})
    h = network.populations["h"]
    g = network.lif(2, tau_mem=None, name="g")
    network.connect(g, h)
    network.connect(h, g)
    with pytest.raises(NetworkError, match="'g' cannot learn with symmetric feedback: it has no projection to 'y'"):
        EProp(network)
    network = layer()
    network.learn(CoreRule())
    network.connect("h", network.readout(2, tau_mem=None, name="z"))
    with pytest.raises(NetworkError, match="projection h->z cannot learn: the error is that of 'y'; connect it with"):
        EProp(network)
