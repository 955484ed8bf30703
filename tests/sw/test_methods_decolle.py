"""DECOLLE: each layer's update is the gradient of its own loss, and of nothing else."""

from __future__ import annotations

import pytest
import torch

from relif.errors import DataError, NetworkError
from relif.methods.decolle import Decolle
from relif.model.float import FloatNetwork
from relif.network import Network
from relif.rules import SURROGATES, Surrogate


def layers(kind: str = "triangle", *, recurrent: bool = False, n: int = 6) -> Network:
    network = Network(seed=2)
    surrogate = Surrogate(kind=kind, width=1.2)
    x = network.input(n, name="x")
    a = network.lif(n, tau_mem=10e-3, tau_syn=5e-3, surrogate=surrogate, name="a")
    b = network.lif(n, tau_mem=20e-3, surrogate=surrogate, name="b")
    for pre, post in ((x, a), (a, b), *(((a, a),) if recurrent else ())):
        network.connect(pre, post, gain=0.7, range=4.0)
    return network


def trains(batch: int, ticks: int, size: int = 6) -> torch.Tensor:
    return (torch.rand((batch, ticks, size), generator=torch.Generator().manual_seed(0)) < 0.3).double()


TARGETS = torch.rand((3, 40, 2), generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def both(network: Network) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], Decolle, FloatNetwork]:
    """By projection: the rule's sum over ticks, and autograd's gradient of the target layer's local loss."""
    method, model, spikes = Decolle(network, outputs=2), FloatNetwork(network, dtype=torch.float64), trains(3, 40)
    record = model(spikes)
    loss = {name: 0.5 * (record.spikes[name] @ g.T - TARGETS).square().sum() for name, g in method.feedback.items()}
    method.reset(3)
    rule = {name: torch.zeros_like(w) for name, w in method.weights.items()}
    sums = dict.fromkeys(loss, 0.0)
    for n in range(40):
        method.tick(spikes[:, n])
        for name, part in method.gradient(TARGETS[:, n]).items():
            rule[name] += part
        for name, value in method.loss(TARGETS[:, n]).items():
            sums[name] += value.item()
    assert sums == {name: pytest.approx(value.item()) for name, value in loss.items()}
    exact = {name: torch.autograd.grad(loss[p.post.name], model.weight(name), retain_graph=True)[0]
             for name, p in network.projections.items()}
    return rule, exact, method, model


@pytest.mark.parametrize("kind", SURROGATES)
def test_update_is_the_gradient_of_the_layers_own_loss(kind: str) -> None:
    rule, exact, method, _ = both(layers(kind))
    for name, part in exact.items():
        # The same terms in another order, in double precision.
        assert torch.allclose(rule[name], part, rtol=0, atol=1e-11 * float(part.abs().max()))
        assert part.abs().max() > 0.1
    assert all(0 < method.spikes[name].mean() < 1 for name in "ab")


def test_recurrent_layer_must_not_get_the_gradient_but_one_after_it_does() -> None:
    rule, exact, _, _ = both(layers(recurrent=True))
    for name in ("x->a", "a->a"):
        assert (rule[name] - exact[name]).abs().max() > 0.05 * exact[name].abs().max()
    assert torch.allclose(rule["a->b"], exact["a->b"], rtol=0, atol=1e-11 * float(exact["a->b"].abs().max()))


def test_no_error_passes_from_layer_to_layer() -> None:
    # Another readout above changes nothing below.
    network = layers()
    first = Decolle(network, outputs=2)
    other = Decolle(network, outputs=2, readouts=first.feedback | {"b": -first.feedback["b"]})
    for row, target in zip(trains(1, 20)[0], TARGETS[0], strict=False):
        for method in (first, other):
            method.tick(row[None])
        one, two = first.gradient(target[None]), other.gradient(target[None])
        assert torch.equal(one["x->a"], two["x->a"])
    assert not torch.equal(one["a->b"], two["a->b"])


def test_every_layer_learns_its_class() -> None:
    network = Network(seed=3)
    x = network.input(9, name="x")
    a, b = (network.lif(30, tau_mem=10e-3, tau_syn=3e-3, name=name) for name in "ab")
    network.connect(x, a, gain=0.5)
    network.connect(a, b, gain=0.5)
    method, random = Decolle(network, outputs=3), torch.Generator().manual_seed(0)
    right: dict[str, list[float]] = {"a": [], "b": []}
    for _ in range(60):
        labels = torch.randint(0, 3, (8,), generator=random)
        rates = 0.1 + 0.4 * (torch.arange(9)[None] // 3 == labels[:, None])
        target = torch.nn.functional.one_hot(labels, 3).double()
        method.reset(8)
        votes = {name: torch.zeros((8, 3), dtype=torch.float64) for name in "ab"}
        for n in range(20):
            method.tick((torch.rand((8, 9), generator=random) < rates).double())
            for name, y in method.readouts().items():
                votes[name] += y
            if n >= 5:
                for name, part in method.gradient(target).items():
                    method.weights[name] -= 1e-3 * part
        for name, vote in votes.items():
            right[name].append((vote.argmax(1) == labels).double().mean().item())
    assert all(sum(r[-15:]) / 15 > 0.8 for r in right.values())


def test_memory_is_linear() -> None:
    def kept(n: int, ticks: int = 3) -> int:
        method = Decolle(layers(n=n), outputs=2)
        for row in trains(1, ticks, n)[0]:
            method.tick(row[None])
            method.gradient(torch.zeros((1, 2)))
        return method.state_elements()

    assert kept(32) == 7 * 32 + 4 * 32 and kept(64) == 2 * kept(32) and kept(8, ticks=30) == kept(8)


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(NetworkError, match="outputs must be at least 1, not 0"):
        Decolle(layers(), outputs=0)
    with pytest.raises(NetworkError, match="the readout of 'b' is missing"):
        Decolle(layers(), outputs=2, readouts={"a": torch.zeros((2, 6))})
    with pytest.raises(DataError, match=r"readout of 'a' must have the shape \(2, 6\), not \(6, 2\)"):
        Decolle(layers(), outputs=2, readouts={"a": torch.zeros((6, 2)), "b": torch.zeros((2, 6))})
    with pytest.raises(DataError, match=r"the target must have the shape \(1, 2\), not \(1, 3\)"):
        Decolle(layers(), outputs=2).gradient(torch.zeros((1, 3)))
    network = layers()
    network.connect("b", network.readout(2, tau_mem=None, name="y"))
    with pytest.raises(NetworkError, match="projection b->y cannot learn: the readouts of local errors are fixed"):
        Decolle(network, outputs=2)
