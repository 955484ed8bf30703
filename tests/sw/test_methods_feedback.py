"""Ways of the error back to hidden layers: which are back-propagation, and when the others are."""

from __future__ import annotations

import pytest
import torch

from relif.errors import DataError, NetworkError
from relif.methods.bptt import bptt
from relif.methods.eprop import EProp
from relif.methods.feedback import WAYS, FeedbackLearner
from relif.methods.forward import Weights, accumulate
from relif.methods.losses import SoftmaxLoss
from relif.network import Network
from relif.rules import SURROGATES, Surrogate
from relif.rules import EProp as EPropRule

# The same sums in another order, in double precision.
EXACT = 1e-12


def memoryless(surrogate: Surrogate, *, reset: str = "zero") -> Network:
    """x -> a -> b -> y and x -> b, a -> y: under constant input a multi-layer perceptron of threshold units.

    Without memory and with a reset to zero, U[n+1] = sum_j W_ij S_j[n-1]: two ticks a layer, then all is constant.
    """
    network = Network(seed=6)
    x = network.input(5, name="x")
    a = network.lif(6, tau_mem=None, threshold=0.5, reset=reset, surrogate=surrogate, name="a")
    b = network.lif(4, tau_mem=None, threshold=0.5, reset=reset, surrogate=surrogate, name="b")
    y = network.readout(3, tau_mem=None, name="y")
    for pre, post in ((x, a), (a, b), (b, y), (x, b), (a, y)):
        network.connect(pre, post, gain=1.5, range=4.0)
    return network


def chain(surrogate: Surrogate) -> Network:
    """x -> a -> b -> y, memoryless."""
    network = Network(seed=6)
    x = network.input(5, name="x")
    a = network.lif(6, tau_mem=None, threshold=0.5, reset="zero", surrogate=surrogate, name="a")
    b = network.lif(4, tau_mem=None, threshold=0.5, reset="zero", surrogate=surrogate, name="b")
    y = network.readout(3, tau_mem=None, name="y")
    for pre, post in ((x, a), (a, b), (b, y)):
        network.connect(pre, post, gain=1.5, range=4.0)
    return network


TICKS = 8
LOSS = SoftmaxLoss(torch.tensor([0, 2, 1, 1]), learn_from=TICKS - 1)
INPUTS = (torch.rand((4, 1, 5), generator=torch.Generator().manual_seed(3)) < 0.6).double().expand(4, TICKS, 5)


def transposed(network: Network) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(network.initial_weights(p)).T for name, p in network.projections.items()
            if p.pre.kind == "lif"}


def largest(a: Weights, b: Weights, names: tuple[str, ...] | None = None) -> float:
    return max(float((a[name] - b[name]).abs().max() / b[name].abs().max()) for name in names or tuple(b))


@pytest.mark.parametrize("kind", SURROGATES)
def test_symmetric_feedback_is_back_propagation_through_the_layers(kind: str) -> None:
    network = memoryless(Surrogate(kind=kind, width=2.0))
    backward = bptt(network, INPUTS, LOSS).gradient
    learner = FeedbackLearner(network)
    assert largest(accumulate(learner, INPUTS, LOSS), backward) < EXACT
    assert all(part.abs().max() > 1e-2 for part in backward.values())
    # Some units spike and some do not.
    assert 0.1 < learner.spikes["a"].mean() < 0.9 and 0.1 < learner.spikes["b"].mean() < 0.9


@pytest.mark.parametrize("kind", SURROGATES)
def test_feedback_alignment_with_transposed_weights_is_back_propagation(kind: str) -> None:
    network = memoryless(Surrogate(kind=kind, width=2.0))
    backward = bptt(network, INPUTS, LOSS).gradient
    given = FeedbackLearner(network, way="layerwise", matrices=transposed(network))
    assert largest(accumulate(given, INPUTS, LOSS), backward) < EXACT
    # With random ones it is not, but for the weights into the readout, which need no feedback.
    random = accumulate(FeedbackLearner(network, way="layerwise"), INPUTS, LOSS)
    assert largest(random, backward, ("b->y", "a->y")) < EXACT
    assert largest(random, backward, ("x->a",)) > 0.1 and largest(random, backward, ("a->b",)) > 0.1


@pytest.mark.parametrize("kind", SURROGATES)
def test_direct_feedback_alignment_with_transposed_weights_is_back_propagation_in_the_last_hidden_layer(
        kind: str) -> None:
    network = chain(Surrogate(kind=kind, width=2.0))
    backward = bptt(network, INPUTS, LOSS).gradient
    back = transposed(network)
    matrices = {"b": back["b->y"], "a": back["b->y"] @ back["a->b"]}
    direct = accumulate(FeedbackLearner(network, way="direct", matrices=matrices), INPUTS, LOSS)
    assert largest(direct, backward, ("a->b", "b->y")) < EXACT
    # One layer further back it leaves out psi of the layer between…
    if kind != "boxcar":
        assert largest(direct, backward, ("x->a",)) > 0.01
    # … and so is back-propagation where that is one: a wide box.
    network = chain(Surrogate(kind="boxcar", width=16.0))
    direct = accumulate(FeedbackLearner(network, way="direct", matrices=matrices), INPUTS, LOSS)
    assert largest(direct, bptt(network, INPUTS, LOSS).gradient) < EXACT


def test_in_time_it_is_the_factored_rule() -> None:
    # One hidden layer with memory: all three ways are e-prop without the readout's filter.
    network = Network(seed=1)
    x, h = network.input(5, name="x"), network.lif(6, tau_mem=10e-3, tau_syn=5e-3, name="h")
    y = network.readout(3, tau_mem=10e-3, name="y")
    network.connect(x, h)
    network.connect(h, y)
    spikes = (torch.rand((4, 30, 5), generator=torch.Generator().manual_seed(3)) < 0.4).double()
    loss = SoftmaxLoss(torch.tensor([0, 2, 1, 1]))
    for way, feedback in (("symmetric", "symmetric"), ("direct", "random")):
        learner = accumulate(FeedbackLearner(network, way=way), spikes, loss)
        assert largest(learner, accumulate(EProp(network, feedback=feedback), spikes, loss)) < EXACT


@pytest.mark.parametrize("way", WAYS)
def test_every_way_learns_through_two_hidden_layers(way: str) -> None:
    network = Network(seed=0)
    surrogate = Surrogate(width=1.0)
    x = network.input(9, name="x")
    a = network.lif(24, tau_mem=10e-3, tau_syn=3e-3, surrogate=surrogate, name="a")
    b = network.lif(24, tau_mem=10e-3, tau_syn=3e-3, surrogate=surrogate, name="b")
    y = network.readout(3, tau_mem=10e-3, name="y")
    for pre, post, gain in ((x, a, 0.6), (a, b, 0.6), (b, y, 0.1)):
        network.connect(pre, post, gain=gain)
    learner = FeedbackLearner(network, way=way)
    random = torch.Generator().manual_seed(0)
    right = []
    for _ in range(60):
        labels = torch.randint(0, 3, (8,), generator=random)
        rates = 0.1 + 0.4 * (torch.arange(9)[None] // 3 == labels[:, None])
        loss = SoftmaxLoss(labels, learn_from=6)
        learner.reset(8)
        for n in range(20):
            learner.tick((torch.rand((8, 9), generator=random) < rates).double())
            for name, part in learner.gradient(loss.error(learner.membrane["y"], n)).items():
                learner.weights[name] -= 2e-4 * part
        right.append((learner.membrane["y"].argmax(1) == labels).double().mean().item())
    assert sum(right[-15:]) / 15 > 0.85


def test_memory_is_linear() -> None:
    def kept(n: int) -> int:
        network = Network(seed=2)
        x, h = network.input(n, name="x"), network.lif(2 * n, tau_mem=10e-3, tau_syn=5e-3, name="h")
        y = network.readout(n, tau_mem=10e-3, tau_syn=5e-3, name="y")
        network.connect(x, h)
        network.connect(h, y)
        learner = FeedbackLearner(network, way="direct")
        learner.tick(torch.ones((1, n)))
        return learner.state_elements()

    assert kept(32) == 9 * 32 + 6 * 32 and kept(64) == 2 * kept(32)


def test_what_is_wrong_is_named() -> None:
    network = memoryless(Surrogate())
    with pytest.raises(NetworkError, match="way must be one of symmetric, layerwise, direct, not 'random'"):
        FeedbackLearner(network, way="random")
    with pytest.raises(NetworkError, match="symmetric feedback is that of the weights: matrices cannot be given"):
        FeedbackLearner(network, matrices={})
    with pytest.raises(NetworkError, match="the feedback matrix of 'a' is missing"):
        FeedbackLearner(network, way="direct", matrices={"b": torch.zeros((3, 4))})
    with pytest.raises(DataError, match=r"feedback of 'a->b' must have the shape \(4, 6\), not \(6, 4\)"):
        FeedbackLearner(network, way="layerwise", matrices={
            name: torch.zeros((6, 4)) if name == "a->b" else g for name, g in transposed(network).items()})
    other = Network()
    x, y = other.input(2, name="x"), other.readout(2, tau_mem=None, name="y")
    other.connect(x, y)
    other.learn(EPropRule())
    other.connect(x, other.readout(2, tau_mem=None, name="z"))
    with pytest.raises(NetworkError, match="projection x->z cannot learn: the error is that of 'y'; connect it with"):
        FeedbackLearner(other)
    network.connect("b", "a")
    with pytest.raises(NetworkError, match="a network of layers is needed, but there is a cycle: (a -> b|b -> a)"):
        FeedbackLearner(network)
    FeedbackLearner(network, way="direct")
