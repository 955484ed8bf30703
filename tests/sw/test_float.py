"""The float model against the golden one, and its gradients against theory."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from relif.compiler import Compiled, compile
from relif.model import bptt
from relif.model.fixed import FixedCore
from relif.model.float import FloatNetwork
from relif.model.online import OnlineLearner
from relif.network import Network
from relif.rules import SURROGATES, EProp, Surrogate
from relif_hw.config import CoreConfig
from relif_hw.isa import Space, TickFlag, event_entry, tick_entry

CORE = CoreConfig(lanes=8, weight_bits=16, weight_words=1024, state_words=256, neuron_words=32)
UNIT = 2.0**-CORE.state_fraction
RATES = {"double": 2.0**-8, "single": 2.0**-6, "spike": 2.0**-2}


def two_layers(seed: int = 0, **rule: object) -> Network:
    network = Network(seed=seed)
    x = network.input(6, name="x")
    h = network.lif(8, tau_mem=10e-3, tau_syn=5e-3, surrogate=Surrogate(width=2.0), name="h")
    y = network.readout(3, tau_mem=20e-3, name="y")
    network.connect(x, h, gain=0.2)
    network.connect(h, y, gain=0.2)
    network.learn(EProp(**{"rate": 2**-8, **rule}))     # type: ignore[arg-type]
    return network


def trains(ticks: int, inputs: int, seed: int = 0, rate: float = 0.4) -> np.ndarray:
    return np.random.default_rng(seed).random((ticks, inputs)) < rate


def run_fixed(compiled: Compiled, core: FixedCore, spikes: np.ndarray, flags: TickFlag = TickFlag(0),
              target: int = 0) -> dict[str, np.ndarray]:
    """Membranes after every tick, in units of 1, by population."""
    record: dict[str, list[np.ndarray]] = {
        p.name: [] for p in compiled.network.populations.values() if p.kind != "input"}
    for tick, row in enumerate(spikes):
        first = TickFlag.RESET if tick == 0 else TickFlag(0)
        core.run(np.array([*(event_entry(int(i)) for i in row.nonzero()[0]), tick_entry(flags | first, target)]))
        state = core.read(Space.STATE)
        for name, values in record.items():
            place = compiled.layout.places[name]
            membrane = state[place.state + 1:place.state + 2 * place.words:2].reshape(-1)
            values.append(membrane[:place.population.size] * UNIT)
    return {name: np.array(values) for name, values in record.items()}


def run_float(network: Network, spikes: np.ndarray) -> dict[str, np.ndarray]:
    with torch.no_grad():
        record = FloatNetwork(network, dtype=torch.float64)(torch.from_numpy(spikes)[None])
    return {name: values[0].numpy() for name, values in record.membranes.items()}


DECAYS = {
    "fast": (5e-3, 2e-3), "no filter": (20e-3, None), "no leak": (math.inf, 5e-3), "no memory": (None, None),
    "seconds": (4.0, 50e-3),
}


@pytest.mark.parametrize("case", DECAYS)
def test_impulse_response_of_the_fixed_model_is_that_of_the_float_model(case: str) -> None:
    # 16 equal synapses give 16 runs of the rounding's noise; one spike, then 400 silent ticks.
    tau_mem, tau_syn = DECAYS[case]
    network = Network()
    x, y = network.input(1, name="x"), network.readout(16, tau_mem=tau_mem, tau_syn=tau_syn, name="y")
    network.connect(x, y, weights=np.full((1, 16), 0.25))
    spikes = np.zeros((400, 1), dtype=bool)
    spikes[0] = True
    compiled, core = compile(network, CORE), FixedCore(CORE)
    compiled.load(core)
    fixed, exact = run_fixed(compiled, core, spikes)["y"], run_float(network, spikes)["y"]
    # Rounding moves I and U by less than one unit each tick, without bias and independently: after n
    # ticks U is off by a standard deviation of at most sqrt(n) units for its own rounding and, since
    # the noise of I arrives filtered, sum(alpha^k) times as much for that of I.
    alpha = 0.0 if tau_syn is None else math.exp(-1e-3 / tau_syn)
    sigma = UNIT * np.sqrt(np.arange(1, 401)) * (1 + 1 / (1 - alpha)) / 2
    # A decay is off by 2^-18 at the most, so a state of up to `peak` drifts by that part of it per tick.
    peak = np.abs(exact).max()
    decays = peak * np.arange(1, 401) * 2.0 ** -(CORE.decay_fraction + 1) * (1 + 1 / (1 - alpha))
    assert (np.abs(fixed - exact) <= 5 * sigma[:, None] + decays[:, None]).all()
    # The mean of the runs is four times as close: there is no bias.
    assert (np.abs(fixed.mean(1) - exact[:, 0]) <= 5 * sigma / 4 + decays).all()


@pytest.mark.parametrize(("reset", "seed"), [("subtract", 2), ("zero", 36)])
def test_spiking_network_of_the_fixed_model_follows_the_float_model(reset: str, seed: int) -> None:
    # Weights are whole units of the state, so INTEGRATE rounds nothing: what is left is the decays' noise.
    # As long as no membrane passes nearer to the threshold than that, the spikes are the same.
    network = Network(seed=5)
    x = network.input(6, name="x")
    h = network.lif(8, tau_mem=10e-3, tau_syn=5e-3, reset=reset, name="h")
    y = network.readout(3, tau_mem=20e-3, name="y")
    random = np.random.default_rng(5)
    for pre, post, gain in ((x, h, 0.08), (h, h, 0.03), (h, y, 0.03)):
        network.connect(pre, post, weights=np.rint(random.normal(0, gain, (pre.size, post.size)) / UNIT) * UNIT)
    spikes = trains(40, 6, seed=seed)
    exact = run_float(network, spikes)
    noise = 40 * UNIT
    assert np.abs(exact["h"] - 1.0).min() > noise and (exact["h"] >= 1.0).sum() > 10
    compiled, core = compile(network, CORE), FixedCore(CORE)
    compiled.load(core)
    fixed = run_fixed(compiled, core, spikes)
    assert ((fixed["h"] >= 1.0) == (exact["h"] >= 1.0)).all()
    assert np.abs(fixed["h"] - exact["h"]).max() < noise
    assert np.abs(fixed["y"] - exact["y"]).max() < noise


@pytest.mark.parametrize("feedback", ["random", "symmetric"])
@pytest.mark.parametrize("loss", ["softmax", "mse"])
@pytest.mark.parametrize("trace", ["double", "single", "spike"])
def test_update_of_the_fixed_model_is_the_rule(feedback: str, loss: str, trace: str) -> None:
    # Twenty ticks keep traces, then one has a target: an update of 16-bit weights, at steps of 2^-15.
    rate = RATES[trace]
    network = two_layers(seed=1, feedback=feedback, loss=loss, trace=trace, rate=rate)
    spikes = trains(21, 6, seed=3)
    spikes[-1] = True
    learner = OnlineLearner(network)
    compiled, core = compile(network, CORE), FixedCore(CORE)
    compiled.load(core)
    start = compiled.take_weights(core.read(Space.WEIGHTS))
    for name, integers in start.items():
        learner.weights[name] = compiled.to_floats(name, integers)
    for row in spikes:
        learner.tick(row.astype(np.float64), train=True)
    assert np.abs(learner.membrane["h"] - 1.0).min() > 20 * UNIT
    updates = learner.updates(target=1)
    run_fixed(compiled, core, spikes[:-1], TickFlag.TRAIN)
    core.run(np.array([*range(6), tick_entry(TickFlag.TRAIN | TickFlag.TARGET, 1)]))
    # A step of psi's table is 1/8 here, so psi is off by 1/32 at the most; L by the errors' 8-bit
    # exponential; traces by their rounding; and the update by one step of the weights.
    step = 2.0 ** (network.populations["h"].surrogate.shift(CORE.state_fraction) - CORE.state_fraction)
    assert step == 1 / 8
    end = compiled.take_weights(core.read(Space.WEIGHTS))
    signal = np.abs(learner.error(1)).sum()
    for name, update in updates.items():
        change = compiled.to_floats(name, end[name] - start[name])
        largest = np.abs(learner.traces[name][1]).max()
        slack = rate * largest * signal * (1 / 32 + 0.01 if name == "x->h" else 0.005)
        assert np.abs(change - rate * update).max() <= slack + 1.01 * compiled.lsb(name)
        assert np.abs(update).max() * rate > 20 * compiled.lsb(name)


def deep(feedback: str, loss: str, rate: float) -> Network:
    """Two hidden populations and a readout, or a spiking output in its place."""
    network = Network(seed=4)
    x = network.input(6, name="x")
    h = network.lif(8, tau_mem=10e-3, tau_syn=5e-3, surrogate=Surrogate(width=2.0), name="h")
    g = network.lif(7, tau_mem=15e-3, surrogate=Surrogate(width=2.0), name="g")
    y = (network.lif(5, tau_mem=10e-3, surrogate=Surrogate(width=2.0), name="y") if loss == "van_rossum" else
         network.readout(5, tau_mem=20e-3, name="y"))
    network.connect(x, h, gain=0.3)
    network.connect(h, g, gain=0.8, stored="target")
    network.connect(g, y, gain=0.8, stored="target")
    if feedback == "symmetric":
        network.connect(h, y, gain=0.2, stored="target")
    network.learn(EProp(feedback=feedback, loss=loss, trace="single", rate=rate, feedback_gain=2.0), y)
    return network


@pytest.mark.parametrize(("feedback", "loss"), [
    ("layers", "softmax"), ("layers", "mse"), ("local", "softmax"), ("local", "mse"),
    ("random", "van_rossum"), ("symmetric", "van_rossum"), ("layers", "van_rossum")])
def test_update_through_layers_is_the_rule(feedback: str, loss: str) -> None:
    # As above, with two hidden populations; target spikes, where there are any, come at every tick.
    rate = 2.0**-7
    network = deep(feedback, loss, rate)
    learner, compiled, core = OnlineLearner(network), compile(network, CORE), FixedCore(CORE)
    compiled.load(core)
    start = compiled.take_weights(core.read(Space.WEIGHTS))
    for name, integers in start.items():
        learner.weights[name] = compiled.to_floats(name, integers)
    random = np.random.default_rng(7)
    for tick in range(30):
        trains = {name: random.random(network.populations[name].size) < 0.4 for name in learner.inputs}
        learner.tick({name: train.astype(np.float64) for name, train in trains.items()}, train=True)
        events = [event_entry(compiled.event_address(name, int(i)))
                  for name, train in trains.items() for i in train.nonzero()[0]]
        core.run(np.array([*events, tick_entry(TickFlag.TRAIN | (TickFlag.TARGET if tick == 29 else 0), 1)]))
        # No membrane is so near its threshold that the numbers' formats decide over a spike.
        for name in ("h", "g"):
            base = compiled.base(name)
            spikes = core.read(Space.SPIKES).reshape(-1)[base:base + network.populations[name].size]
            assert np.array_equal(spikes, learner.spikes[name])
    factors = {p.name: learner.error(1, p.name) for p in network.error_populations()}
    updates = learner.updates(target=1)
    end = compiled.take_weights(core.read(Space.WEIGHTS))
    assert {name for name, update in updates.items() if np.abs(update).max() * rate > 8 * compiled.lsb(name)} == {
        p.name for p in network.plastic()}
    for name, update in updates.items():
        # The table of psi has steps of 1/8, which at slopes of 1/2 are off by 1/32; a signal passes two of them.
        # The largest signal is that of all errors together at the largest weight on the way.
        signal = 2.0 * 2.0 * sum(np.abs(e).sum() for e in factors.values())
        slack = rate * np.abs(learner.traces[name][1]).max() * signal * 2 * (1 / 32 + 0.01)
        change = compiled.to_floats(name, end[name] - start[name])
        assert np.abs(change - rate * update).max() <= min(slack, 0.2 * rate * np.abs(update).max()) \
            + 1.01 * compiled.lsb(name)


@pytest.mark.parametrize("kind", SURROGATES)
def test_factored_eligibility_is_the_gradient_of_one_tick(kind: str) -> None:
    # With the reset left out of the gradient, psi_i P_j is exactly dS_i[n+1]/dW_ij (eq. 10 to 12)…
    network = Network(seed=2)
    x = network.input(6, name="x")
    h = network.lif(8, tau_mem=10e-3, tau_syn=5e-3, surrogate=Surrogate(kind=kind, width=1.5), name="h")
    y = network.readout(3, tau_mem=20e-3, tau_syn=3e-3, name="y")
    network.connect(x, h, gain=0.2)
    network.connect(h, y)
    network.learn(EProp(feedback="random", loss="softmax", trace="double"))
    spikes = trains(30, 6, seed=1)
    learner = OnlineLearner(network)
    for row in spikes:
        learner.tick(row.astype(np.float64), train=True)
    updates = learner.updates(target=2)
    model = FloatNetwork(network, dtype=torch.float64)
    record = model(torch.from_numpy(spikes)[None])
    assert record.spikes["h"].sum() > 20
    # … so that with L_i = sum_k H_ki e_k as dE/dS_i of the last tick, autograd has the rule's update;
    signal = torch.from_numpy(learner.signal("h", {"y": learner.error(2)}))
    (gradient,) = torch.autograd.grad((record.spikes["h"][0, -1] * signal).sum(), model.weight("x->h"),
                                      retain_graph=True)
    assert np.allclose(gradient.numpy(), updates["x->h"], atol=1e-12)
    assert np.abs(updates["x->h"]).max() > 1e-2
    # and for the readout, the rule is the descent of the cross-entropy itself.
    loss = torch.nn.functional.cross_entropy(record.membranes["y"][:, -1], torch.tensor([2]))
    (gradient,) = torch.autograd.grad(loss, model.weight("h->y"))
    assert np.allclose(-gradient.numpy(), updates["h->y"], atol=1e-12)


def test_gradients_are_the_differences_where_the_network_is_smooth() -> None:
    # The readout's membranes are linear in its weights, as long as the hidden spikes stay the same.
    network = two_layers()
    model = FloatNetwork(network, dtype=torch.float64)
    spikes = torch.from_numpy(np.stack([trains(25, 6, seed=s) for s in range(4)]))

    def loss() -> torch.Tensor:
        membranes = model(spikes).membranes["y"]
        return torch.nn.functional.cross_entropy(membranes.flatten(0, 1), torch.arange(4).repeat_interleave(25) % 3)

    weights = model.weight("h->y")
    (gradient,) = torch.autograd.grad(loss(), weights)
    for i, k in ((0, 0), (3, 1), (7, 2)):
        with torch.no_grad():
            weights[i, k] += 1e-5
            above = loss().item()
            weights[i, k] -= 2e-5
            below = loss().item()
            weights[i, k] += 1e-5
        assert gradient[i, k].item() == pytest.approx((above - below) / 2e-5, rel=1e-6, abs=1e-9)


def test_gradients_flow_back_through_time() -> None:
    # A spike at tick 0 reaches the readout four ticks later, no earlier, and its gradient comes back.
    network = Network()
    x, h = network.input(1, name="x"), network.lif(1, tau_mem=10e-3, name="h", surrogate=Surrogate(width=4.0))
    y = network.readout(1, tau_mem=math.inf, name="y")
    network.connect(x, h, weights=[[1.5]], range=2.0)
    network.connect(h, y, weights=[[0.5]])
    model = FloatNetwork(network, dtype=torch.float64)
    spikes = torch.zeros((1, 6, 1))
    spikes[0, 0] = 1
    record = model(spikes)
    assert record.spikes["h"][0, :, 0].tolist() == [0, 1, 0, 0, 0, 0]
    assert record.membranes["y"][0, :, 0].tolist() == [0, 0, 0, 0.5, 0.5, 0.5]
    for tick in range(6):
        (gradient,) = torch.autograd.grad(record.membranes["y"][0, tick, 0], model.weight("x->h"), retain_graph=True)
        assert (gradient.item() != 0) == (tick >= 3)


def test_bptt_learns() -> None:
    # Three classes, each with two of the six inputs active.
    network = two_layers()
    random = np.random.default_rng(0)
    classes = random.integers(0, 3, 60)
    active = np.arange(6)[None, None, :] // 2 == classes[:, None, None]
    spikes = (random.random((60, 20, 6)) < 0.3) & active
    model = FloatNetwork(network)
    losses = bptt.train(model, np.asarray, spikes, classes, readout="y", epochs=12, rate=2e-2, batch=20, learn_from=5)
    assert losses[-1] < losses[0] / 2
    assert (bptt.classify(model, np.asarray, spikes, readout="y") == classes).mean() > 0.9


def test_online_rule_learns_in_every_setting() -> None:
    random = np.random.default_rng(0)
    classes = random.integers(0, 3, 150)
    for feedback in ("random", "symmetric"):
        for loss in ("softmax", "mse"):
            learner = OnlineLearner(two_layers(feedback=feedback, loss=loss))
            right = 0
            for sample, label in enumerate(classes):
                learner.reset()
                for tick in range(16):
                    events = ((random.random(6) < 0.4) & (np.arange(6) // 2 == label)).astype(np.float64)
                    learner.tick(events, train=True, target=int(label) if tick >= 4 else None, rate=0.002)
                right += int(sample >= 100 and learner.membrane["y"].argmax() == label)
            assert right >= 45
