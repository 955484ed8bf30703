"""The probe shows what the memories hold after every tick, and leaves the board as it was."""

from __future__ import annotations

import math

import numpy as np
import pytest

import relif
from relif.model.fixed import FixedCore
from relif.probe import probe
from relif.tasks import Split, Task
from relif_hw.config import preset
from relif_hw.isa import Register, Space


class Flashes(Task):
    """Random spikes of five inputs."""

    name = "flashes"
    ticks = 12
    n_inputs = 5
    n_classes = 3
    learn_from = 4
    learn_every = 1

    def __init__(self, trace="double", seed=0):
        super().__init__(seed)
        self.trace = trace
        self.train = self.test = Split(np.full((1, 5), 0.5), np.array([1]))

    def encode(self, values):
        return np.random.default_rng(3).random((len(values), self.ticks, 5)) < values[:, None, :]

    def network(self):
        network = relif.Network(dt=1e-3, seed=self.seed)
        x, h = network.input(5, name="x"), network.lif(7, tau_mem=8e-3, tau_syn=3e-3, name="h")
        y = network.readout(3, tau_mem=math.inf, name="y")
        network.connect(x, h, range=4.0, gain=4.0)
        network.connect(h, h)
        network.connect(h, y)
        network.learn(relif.EProp(trace=self.trace))
        return network


@pytest.mark.parametrize("trace", ["double", "single", "spike"])
def test_probe(trace):
    task = Flashes(trace)
    with relif.open("model", config=preset("lanes4")) as board:
        compiled = relif.compile_network(task.network(), board.config)
        compiled.load(board)
        board.write(Space.REGISTERS, Register.TICK, [[77]])
        weights = board.read(Space.WEIGHTS)
        shown = probe(board, compiled, task, task.test.values[0], label=1)
        # Nothing was learned, and the tick register is what it was.
        assert (board.read(Space.WEIGHTS) == weights).all()
        assert board.read(Space.REGISTERS, Register.TICK, 1)[0, 0] == 77
        assert board.results() == []
        guess = relif.predict(board, compiled, task, task.test.values)

    assert {name: spikes.shape for name, spikes in shown.spikes.items()} == {"x": (12, 5), "h": (12, 7)}
    assert (shown.spikes["x"] == task.encode(task.test.values)[0]).all()
    assert {name: values.shape for name, values in shown.membranes.items()} == {"h": (12, 7), "y": (12, 3)}
    assert shown.thresholds == {"h": 1.0}
    # A neuron spikes in the ticks after which its membrane is at the threshold or above.
    assert (shown.spikes["h"] == (shown.membranes["h"] >= 1.0)).all()
    assert shown.spikes["h"].any()
    assert (shown.label, shown.prediction) == (1, guess[0])
    # A trace has one column a source; the first spike of a source moves it, in units of one spike.
    assert {len(values[0]) for values in shown.traces.values()} == {5, 7}
    first = next(values for values in shown.traces.values() if values.shape[1] == 5)
    alone = {"double": 0.0, "single": 1.0, "spike": 1.0}[trace]
    assert (first[0] == alone * shown.spikes["x"][0]).all()


def test_probe_equals_the_golden_model_at_the_end():
    task = Flashes()
    config = preset("lanes8")
    compiled = relif.compile_network(task.network(), config)
    core = FixedCore(config)
    compiled.load(core)
    core.run(task.entries(compiled, task.test.values))
    place = compiled.layout.places["y"]
    end = core.read(Space.STATE)[place.state:place.state + 2 * place.words][1::2].reshape(-1)[:3]
    with relif.open("model", config=config) as board:
        compiled.load(board)
        shown = probe(board, compiled, task, task.test.values[0])
    assert (shown.membranes["y"][-1] * (1 << config.state_fraction) == end).all()
