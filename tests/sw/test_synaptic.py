"""Eligibility per synapse, adaptive thresholds, regulated activity and analog targets: golden model beside float model.

The same small networks and spikes on both. A box that is wider than membranes reach makes the surrogate the same
constant in both, so that all that differs is rounding.
"""

from __future__ import annotations

import numpy as np
import pytest

from relif.compiler import Compiled, compile
from relif.errors import CompileError
from relif.model.fixed import FixedCore
from relif.model.online import OnlineLearner
from relif.network import Network
from relif.rules import EProp, Surrogate
from relif_hw.config import CoreConfig, preset
from relif_hw.isa import Opcode, Space, TickFlag, event_entry, tick_entry, value_entry

CORE = CoreConfig(name="wide", lanes=8, weight_bits=16, weight_words=512, eligibility_words=256, state_words=128,
                  neuron_words=16, accumulator_bits=28)
TRAIN, TARGET, RESET = TickFlag.TRAIN, TickFlag.TARGET, TickFlag.RESET
TICKS = 60


def network(*, adaptation: float = 0.0, **rule: object) -> Network:
    net = Network(seed=5)
    x = net.input(6, name="x")
    h = net.lif(10, tau_mem=10e-3, tau_syn=5e-3, surrogate=Surrogate(kind="boxcar", width=16.0, height=0.5),
                adaptation=adaptation, tau_adaptation=50e-3, name="h")
    y = net.readout(3, tau_mem=20e-3, name="y")
    net.connect(x, h, gain=0.2, range=4.0)
    net.connect(h, h, gain=0.1, range=2.0, rate=0.5)
    net.connect(h, y, gain=1.0, range=4.0)
    net.learn(EProp(**{"eligibility": "synaptic", "loss": "analog", "rate": 2.0**-16, **rule}))   # type: ignore[arg-type]
    return net


class Pair:
    """The golden model and the float model of a network, given the same."""

    def __init__(self, net: Network, config: CoreConfig = CORE) -> None:
        self.compiled: Compiled = compile(net, config)
        self.core, self.learner = FixedCore(config), OnlineLearner(net)
        self.compiled.load(self.core)
        self.learner.weights = {name: self.compiled.to_floats(name, w) for name, w in self.integers().items()}
        self.start = {name: w.copy() for name, w in self.learner.weights.items()}

    def integers(self) -> dict[str, np.ndarray]:
        return self.compiled.take_weights(self.core.read(Space.WEIGHTS))

    def weights(self, name: str) -> np.ndarray:
        return self.compiled.to_floats(name, self.integers()[name])

    def eligibility(self, name: str) -> np.ndarray:
        """What the core's traces stand for, (pre, post)."""
        s = self.compiled.layout.stored[name]
        words = self.core.read(Space.ELIGIBILITY)[s.base:s.base + s.rows * s.row_words]
        return words.reshape(s.rows, -1)[:, :s.post.population.size] / s.unit

    def run(self, ticks: int, *, learn: bool, silent: int | None = None, seed: int = 0, likely: float = 0.3) -> None:
        """Random spikes; input `silent` has none. The float model takes the spikes of the core's hidden neurons."""
        random = np.random.default_rng(seed)
        self.learner.reset()
        base, hidden = self.compiled.base("x"), self.compiled.base("h")
        for tick in range(ticks):
            spikes = (random.random(6) < likely).astype(np.float64)
            if silent is not None:
                spikes[silent] = 0.0
            values = np.round(1024 * np.sin(tick / 7 + np.arange(3))).astype(np.int64)
            target = values / 1024 if self.compiled.network.rule.loss == "analog" else 0
            flags = TRAIN | (TARGET if learn else TickFlag(0)) | (RESET if tick == 0 else TickFlag(0))
            entries = [event_entry(base + int(i)) for i in spikes.nonzero()[0]]
            self.core.run(np.array([*entries, *map(value_entry, values.tolist()), tick_entry(flags)]))
            self.learner.tick(spikes, train=True, target=target if learn else None,
                              rate=self.compiled.network.rule.rate)
            fired = self.core.read(Space.SPIKES).reshape(-1)[hidden:hidden + 10]
            self.learner.spikes["h"] = fired.astype(np.float64)


def close(got: np.ndarray, want: np.ndarray, part: float) -> bool:
    return bool(np.abs(got - want).max() < part * np.abs(want).max())


@pytest.mark.parametrize("adaptation", [0.0, 0.4])
def test_traces_are_those_of_the_float_model(adaptation):
    pair = Pair(network(adaptation=adaptation))
    pair.run(TICKS, learn=False)
    stored = pair.learner.d_rise if adaptation else pair.learner.eligibility
    # A hundred roundings to a unit each, of traces of thousands of units.
    for name in ("x->h", "h->h"):
        assert np.abs(stored[name]).max() * pair.compiled.layout.stored[name].unit > 2000
        assert close(pair.eligibility(name), stored[name], 0.02)
    # Nothing has been learned.
    assert all((pair.weights(name) == pair.start[name]).all() for name in pair.start)


@pytest.mark.parametrize("rule", [{}, {"activity_cost": 1e-3, "activity_target": 20.0}], ids=["plain", "regulated"])
@pytest.mark.parametrize("adaptation", [0.0, 0.4])
def test_weights_change_as_in_the_float_model(adaptation, rule):
    # Rates at which membranes stay within reach of the box.
    pair = Pair(network(adaptation=adaptation, rate=2.0**-11 if adaptation else 2.0**-16, **rule))
    pair.run(TICKS, learn=True)
    for name in pair.start:
        change, want = pair.weights(name) - pair.start[name], pair.learner.weights[name] - pair.start[name]
        unit = 2.0 ** -pair.compiled.layout.stored[name].exponent
        assert np.abs(want).max() > 10 * unit
        # Sixty random roundings, each within a unit, of which the mean is exact: 8 units. The rest is that of factors
        # of 18 bits, and of errors that follow from weights that differ by as much.
        assert np.abs(change - want).max() < 8 * unit + 0.05 * np.abs(want).max(), name


def test_regulated_activity_comes_to_its_target():
    def rate(cost: float) -> float:
        pair, rates = Pair(network(loss="mse", target=0.0, feedback_gain=0.001, activity_cost=cost,
                                   activity_target=30.0, activity_tau=0.05, rate=2.0**-12)), []
        for sample in range(15):
            pair.run(100, learn=True, seed=sample, likely=0.1)
            rates.append(pair.learner.firing_rate("h").mean())
        return float(np.mean(rates[-5:]))

    assert abs(rate(0.01) - 30.0) < 0.5 * abs(rate(0.0) - 30.0)


def test_rows_of_sources_that_were_silent_since_the_reset_stay_zero():
    pair = Pair(network())
    pair.run(30, learn=True)
    pair.run(30, learn=True, silent=4, seed=1)
    rows = pair.eligibility("x->h")
    assert (rows[4] == 0).all() and (rows[[0, 1, 2, 3, 5]] != 0).any(1).all()


def test_the_learning_rate_is_in_post():
    pair = Pair(network())
    changed = pair.compiled.rate_instructions(2.0**-17)
    opcodes = {pair.compiled.program[address].opcode for address in changed}
    assert opcodes == {Opcode.POST, Opcode.LEARN}            # of the hidden population, and of the readout's weights
    (address,) = pair.compiled.posts
    assert abs(pair.compiled.program[address].x - 2 * changed[address].x) <= 1


def test_a_factored_core_refuses_by_name():
    with pytest.raises(CompileError, match="eligibility 'synaptic' needs a core with an eligibility memory; "
                                           "preset 'synaptic16' would hold it"):
        compile(network(), preset("lanes32"))
    net = Network()
    x, h = net.input(3), net.lif(4, tau_mem=10e-3, adaptation=1.0, tau_adaptation=0.1, name="h")
    net.connect(x, h)
    with pytest.raises(CompileError, match="the adaptive thresholds of 'h' need a core with an eligibility memory"):
        compile(net, preset("lanes32"))


def test_traces_and_rows_per_target_do_not_go_together():
    net = Network()
    x, h, y = net.input(3), net.lif(4, tau_mem=10e-3), net.readout(2, tau_mem=20e-3)
    net.connect(x, h, stored="target")
    net.connect(h, y)
    net.learn(EProp(eligibility="synaptic"))
    with pytest.raises(CompileError, match="input0->lif0 keeps eligibility traces of single synapses, in rows per "
                                           "source, but it is stored per target"):
        compile(net, CORE)


def test_a_memory_that_is_too_short_is_named():
    net = network()
    with pytest.raises(CompileError, match="the eligibility memory has 16 words of 8, but 32 are needed"):
        compile(net, CoreConfig(lanes=8, eligibility_words=16))
