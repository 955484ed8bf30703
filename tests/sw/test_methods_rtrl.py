"""RTRL and BPTT are the same gradient, forward and backward; what each of them keeps in memory."""

from __future__ import annotations

import math

import pytest
import torch

from relif.errors import DataError, NetworkError
from relif.methods.bptt import bptt
from relif.methods.forward import Forward, accumulate
from relif.methods.losses import Loss, SoftmaxLoss, SquareLoss
from relif.methods.memory import saved_elements
from relif.methods.rtrl import Rtrl
from relif.model.float import FloatNetwork
from relif.network import Network
from relif.rules import SURROGATES, Surrogate

# Both sum the same terms in double precision, in another order: 60 ticks of rounding at 2^-53, amplified by the
# cancellation of terms, stay far below this.
RELATIVE = 1e-9


def recurrent(kind: str = "triangle", *, reset: str = "subtract", n: int = 5, seed: int = 8) -> Network:
    """x -> h, h -> h, h -> g, g -> h, both to the readout; synapses with and without memory."""
    network = Network(seed=seed)
    surrogate = Surrogate(kind=kind, width=1.5, height=0.8)
    x = network.input(4, name="x")
    h = network.lif(n, tau_mem=10e-3, tau_syn=4e-3, reset=reset, surrogate=surrogate, name="h")
    g = network.lif(n - 1, tau_mem=math.inf, threshold=1.3, reset=reset, surrogate=surrogate, name="g")
    y = network.readout(3, tau_mem=15e-3, tau_syn=3e-3, name="y")
    for pre, post, gain in ((x, h, 1.2), (h, h, 0.8), (h, g, 0.8), (g, h, 0.8), (h, y, 0.7), (g, y, 0.7)):
        network.connect(pre, post, gain=gain, range=4.0)
    return network


def trains(batch: int, ticks: int, inputs: int = 4, seed: int = 0) -> torch.Tensor:
    return (torch.rand((batch, ticks, inputs), generator=torch.Generator().manual_seed(seed)) < 0.3).double()


def relative(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """The largest difference of any projection, relative to its largest gradient."""
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max() / b[name].abs().max()) for name in b)


LOSSES: dict[str, Loss] = {
    "softmax": SoftmaxLoss(torch.tensor([0, 2, 1]), gain=0.7, learn_from=5),
    "square": SquareLoss(torch.rand((3, 40, 3), generator=torch.Generator().manual_seed(9), dtype=torch.float64)),
}


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_forward_is_the_float_network(reset: str) -> None:
    network, spikes = recurrent(reset=reset), trains(3, 40)
    record = FloatNetwork(network, dtype=torch.float64)(spikes)
    forward = Forward(network)
    forward.reset(3)
    for n in range(40):
        forward.tick(spikes[:, n])
        for name, membranes in record.membranes.items():
            # The same operations, but for the order of two sums.
            assert torch.allclose(forward.membrane[name], membranes[:, n], rtol=0, atol=1e-12)
    assert record.spikes["h"].mean() > 0.05 and record.spikes["g"].mean() > 0.05


@pytest.mark.parametrize("loss", LOSSES)
def test_error_is_the_derivative_of_the_loss(loss: str) -> None:
    membrane = torch.randn((3, 3), generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    for tick in (2, 20):
        (gradient,) = torch.autograd.grad(LOSSES[loss].value(membrane, tick), membrane)
        assert torch.allclose(gradient, LOSSES[loss].error(membrane, tick), rtol=0, atol=1e-14)


@pytest.mark.parametrize("reset_gradient", [False, True])
@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("kind", SURROGATES)
def test_rtrl_is_bptt_in_a_recurrent_network(kind: str, reset: str, reset_gradient: bool) -> None:
    network, spikes = recurrent(kind, reset=reset), trains(3, 40)
    for loss in LOSSES.values():
        backward = bptt(network, spikes, loss, reset_gradient=reset_gradient).gradient
        forward = accumulate(Rtrl(network, reset_gradient=reset_gradient), spikes, loss)
        assert relative(forward, backward) < RELATIVE
        # The gradient is not trivial anywhere, least of all on the recurrent ways.
        assert all(g.abs().max() > 1e-3 for g in backward.values())


def test_the_reset_and_the_surrogate_matter() -> None:
    # What the test above compares differs between its cases: otherwise it would show nothing.
    network, spikes, loss = recurrent(), trains(3, 40), LOSSES["softmax"]
    plain = bptt(network, spikes, loss).gradient
    assert relative(bptt(network, spikes, loss, reset_gradient=True).gradient, plain) > 1e-2
    assert relative(bptt(recurrent("exponential"), spikes, loss).gradient, plain) > 1e-2
    assert relative(bptt(recurrent(reset="zero"), spikes, loss).gradient, plain) > 1e-2


def test_rtrl_can_learn_at_every_tick_and_leaves_fixed_projections_alone() -> None:
    network = Network(seed=1)
    x, h = network.input(4, name="x"), network.lif(5, tau_mem=10e-3, name="h")
    y = network.readout(3, tau_mem=15e-3, name="y")
    network.connect(x, h, plastic=False)
    network.connect(h, h, gain=0.5)
    network.connect(h, y)
    rtrl, spikes = Rtrl(network), trains(1, 60)
    loss = SoftmaxLoss(torch.tensor([1]))
    losses = []
    for _ in range(2):
        rtrl.reset()
        for n in range(60):
            rtrl.tick(spikes[:, n])
            losses.append(loss.value(rtrl.membrane["y"], n).item())
            for name, part in rtrl.gradient(loss.error(rtrl.membrane["y"], n)).items():
                rtrl.weights[name] -= 0.02 * part
    assert sum(losses[60:]) < 0.8 * sum(losses[:60])
    assert set(rtrl.gradient(torch.zeros((1, 3)))) == {"h->h", "h->y"}


def grown(n: int) -> Network:
    """All sizes proportional to n."""
    network = Network(seed=2)
    x, h = network.input(n, name="x"), network.lif(2 * n, tau_mem=10e-3, tau_syn=5e-3, name="h")
    y = network.readout(n, tau_mem=10e-3, name="y")
    for pre, post in ((x, h), (h, h), (h, y)):
        network.connect(pre, post)
    return network


def test_memory_of_bptt_grows_with_neurons_and_ticks() -> None:
    def kept(n: int, ticks: int) -> int:
        return bptt(grown(n), trains(1, ticks, n), SquareLoss(torch.zeros((1, ticks, n)))).state_elements

    # The few numbers that do not grow (factors, the start of the sums) are less than 5 in 100.
    assert kept(16, 80) / kept(16, 40) == pytest.approx(2, rel=0.05)
    assert kept(32, 40) / kept(16, 40) == pytest.approx(2, rel=0.05)
    # At least the membranes' distances and the spikes of every tick are among them.
    assert kept(16, 40) >= 40 * (32 + 32)


def test_memory_of_rtrl_grows_with_the_cube_of_neurons_and_not_with_ticks() -> None:
    def kept(n: int, ticks: int = 3) -> int:
        rtrl = Rtrl(grown(n))
        for row in trains(1, ticks, n)[0]:
            rtrl.tick(row[None])
        return rtrl.state_elements()

    # I and U of 3n neurons to 2n^2 + 4n^2 + 2n^2 weights, besides 10n of I, U and S: the cube rules.
    assert kept(8) == 2 * (3 * 8) * (8 * 8**2) + 2 * (3 * 8) + 3 * 8
    assert kept(16) / kept(8) == pytest.approx(8, rel=0.01)
    assert kept(8, ticks=30) == kept(8)


def test_saved_elements_counts_a_tensor_once_and_parameters_not() -> None:
    weights = torch.ones((3, 3), requires_grad=True)
    x = torch.ones((2, 3))
    with saved_elements([weights]) as kept:
        y = x @ weights             # keeps x
        z = x @ weights             # keeps x again
        (y * z).sum()               # keeps y and z
    assert kept.elements == 3 * 6


def test_what_is_wrong_is_named() -> None:
    network = recurrent()
    rtrl = Rtrl(network)
    with pytest.raises(DataError, match=r"spikes of input 'x' must have the shape \(1, 4\), not \(1, 5\)"):
        rtrl.tick(torch.zeros((1, 5)))
    with pytest.raises(DataError, match="spikes of input 'x' are missing"):
        rtrl.tick({})
    with pytest.raises(DataError, match=r"the error must have the shape \(1, 3\), not \(1, 2\)"):
        rtrl.gradient(torch.zeros((1, 2)))
    with pytest.raises(DataError, match="'x->y' is no projection of this network; there are x->h, "):
        Rtrl(network, weights={"x->y": torch.zeros((4, 3))})
    with pytest.raises(DataError, match="'x->y' is no projection of this network; there are x->h, "):
        bptt(network, trains(1, 4), LOSSES["softmax"], weights={"x->y": torch.zeros((4, 3))})
    with pytest.raises(DataError, match=r"weights of x->h must have the shape \(4, 5\), not \(5, 4\)"):
        Rtrl(network, weights={"x->h": torch.zeros((5, 4))})
    with pytest.raises(DataError, match="weights of x->h must be finite numbers; there are 20 others"):
        Rtrl(network, weights={"x->h": torch.full((4, 5), math.nan)})
    with pytest.raises(DataError, match="batch must be at least 1, not 0"):
        rtrl.reset(0)
    with pytest.raises(DataError, match=r"classes must be from 0 to 2, not \[3\]"):
        bptt(network, trains(1, 4), SoftmaxLoss(torch.tensor([3])))
    with pytest.raises(DataError, match=r"targets must have the shape .* = \(1, more than 2, 3\), not \(1, 2, 3\)"):
        bptt(network, trains(1, 4), SquareLoss(torch.zeros((1, 2, 3))))
    fixed = Network()
    fixed.connect(fixed.input(2), fixed.readout(2, tau_mem=None), plastic=False)
    with pytest.raises(NetworkError, match="no projection of the network is plastic: there is nothing to learn"):
        bptt(fixed, trains(1, 4, 2), LOSSES["softmax"])
    network.readout(2, tau_mem=None)
    with pytest.raises(NetworkError, match="the network must have one readout, or an output: there are 2"):
        Rtrl(network)
