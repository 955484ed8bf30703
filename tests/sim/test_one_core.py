"""The choice of a rule is a setting: two cores, one without and one with eligibility traces of single synapses, run
every rule, each as one bitstream that stays loaded while the rules change."""

from __future__ import annotations

import dataclasses
import math
from functools import cache

import numpy as np
import pytest

import relif
from networks import random_network
from relif.compiler import compile
from relif.network import Network
from relif.rules import FEEDBACKS, LOSSES, PUBLISHED, EProp, Surrogate
from relif_hw.config import CoreConfig
from relif_hw.isa import Space, TickFlag, event_entry, tick_entry, value_entry
from relif_sim.library import library

FACTORED = CoreConfig(name="factored", lanes=8, weight_words=512, state_words=128, neuron_words=32, program_length=64,
                      max_outputs=16, queue_depth=64)
SYNAPTIC = dataclasses.replace(FACTORED, name="synaptic", eligibility_words=256)
TICKS = 48


@cache
def boards(config: CoreConfig):
    """The simulated board, opened once, and the golden model."""
    return relif.open("sim", config=config), relif.open("model", config=config)


@pytest.fixture(scope="module", autouse=True)
def _closed():
    yield
    for config in (FACTORED, SYNAPTIC):
        for board in boards(config):
            board.close()
    boards.cache_clear()


def published(name: str) -> Network:
    """A recurrent hidden population and a readout, with a published rule."""
    rule = PUBLISHED[name]
    net = Network(seed=7)
    x = net.input(12, name="x")
    h = net.lif(20, tau_mem=8e-3, surrogate=Surrogate(kind=rule.surrogate), name="h",
                **({"adaptation": 0.5, "tau_adaptation": 0.1} if rule.adaptive else {}))
    y = net.readout(4, tau_mem=20e-3, name="y")
    net.connect(x, h, gain=1.5, range=2.0)
    net.connect(h, h, gain=0.5, range=1.0)
    net.connect(h, y, range=1.0)
    net.learn(EProp(**{"rate": 2.0**-6, "trace": "single", **rule.settings}))
    return net


def unpublished(feedback: str, loss: str) -> Network:
    """Every feedback with every loss, layer upon layer."""
    net = Network(seed=8)
    below = net.input(10, name="x")
    hidden = []
    for number in range(2):
        hidden.append(net.lif(9, tau_mem=8e-3, tau_syn=4e-3, name=f"h{number}"))
        net.connect(below, hidden[-1], gain=1.5, range=2.0)
        below = hidden[-1]
    output = net.lif(3, tau_mem=8e-3, name="y") if loss == "van_rossum" else net.readout(3, tau_mem=math.inf, name="y")
    for layer in hidden:
        net.connect(layer, output, range=1.0, stored="target")
    net.learn(EProp(feedback=feedback, loss=loss, rate=2.0**-6, activity_cost=1e-3), output)
    return net


NETWORKS = {
    **{name: (published, name) for name in PUBLISHED},
    **{f"{feedback} {loss}": (unpublished, feedback, loss) for feedback in FEEDBACKS for loss in LOSSES
       if (feedback, loss) != ("local", "van_rossum")},
    **{f"random {seed}": (random_network, seed, 12, 2.0, 1, True) for seed in range(4)},
}


def run(board, net: Network) -> list[np.ndarray]:
    """Random samples of six ticks, learned from the third on; then everything that the board has and sent."""
    compiled = compile(net, board.config)
    compiled.load(board)
    random, entries = np.random.default_rng(9), []
    assert net.output is not None and net.rule is not None
    for tick in range(TICKS):
        for population in net.populations.values():
            if population.kind == "input":
                spikes = np.flatnonzero(random.random(population.size) < 0.3)
                entries += [event_entry(compiled.base(population) + int(i)) for i in spikes]
        if net.rule.loss == "analog":
            entries += [value_entry(int(v)) for v in random.integers(-1024, 1024, net.output.size)]
        flags = TickFlag.TRAIN | TickFlag.SEND | (TickFlag.TARGET if tick % 6 >= 2 else TickFlag(0))
        flags |= TickFlag.RESET if tick % 6 == 0 else TickFlag(0)
        entries.append(tick_entry(flags, int(random.integers(net.output.size))))
    board.submit(np.array(entries, dtype=np.uint16))
    sent = [result.values for result in board.results()]
    before = compiled.images[Space.WEIGHTS]
    learned = board.read(Space.WEIGHTS, 0, len(before))
    assert (learned != before).any()
    spaces = [Space.STATE, Space.POST, *([Space.ELIGIBILITY] if board.config.synaptic else [])]
    return [*sent, learned, *(board.read(space) for space in spaces)]


@pytest.mark.timeout(900)           # compiles the simulated boards where they are not in the cache
@pytest.mark.parametrize("name", NETWORKS)
def test_one_bitstream_runs_it(name):
    make, *arguments = NETWORKS[name]
    net = make(*arguments)
    # What keeps traces in synapses, or adapts thresholds, runs on the synaptic core; what does not, on both.
    for config in [SYNAPTIC] if net.needs_eligibility_memory else [FACTORED, SYNAPTIC]:
        sim, model = boards(config)
        for got, want in zip(run(sim, net), run(model, net), strict=True):
            assert (got == want).all()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("config", [FACTORED, SYNAPTIC], ids=["factored", "synaptic"])
def test_no_rule_has_compiled_anything(config):
    boards(config)
    said: list[str] = []
    library(config, progress=said.append)       # follows from the configuration and the sources alone
    assert said == []
