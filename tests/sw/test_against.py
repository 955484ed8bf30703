"""The rivals learn what the float model learns; the comparison counts, divides and shows, with fakes for packages."""

from __future__ import annotations

import importlib.util
import json
import math

import numpy as np
import pytest

from counting import CASE, CONFIG, CountingBoard
from relif import against, rivals
from relif.against import Comparison, against_case, against_markdown, against_plain, against_rows, columns
from relif.bench import LEARNING, network, spikes
from relif.cli import RIVALS, main
from relif.compiler import compile
from relif.errors import NetworkError
from relif.model.online import OnlineLearner
from relif.network import Network
from relif.rivals import dense, loop
from relif.rivals.workload import Model, Rival, Workload
from relif.rules import EProp, Surrogate
from relif_hw.config import CoreConfig
from relif_hw.isa import TickFlag, event_entry, tick_entry


class PlainLoop(loop.Loop):
    """The loop as Python runs it: what Numba would compile."""

    def __init__(self, workload: Workload) -> None:
        self._start(workload, loop.ticks)


def small(*, recurrent: bool, trace: str, kind: str, dead_zone: float = 0.0) -> Network:
    """Five inputs, seven hidden neurons that spike often, three readouts."""
    net = Network(dt=1e-3, seed=4)
    x = net.input(5)
    h = net.lif(7, tau_mem=10e-3, tau_syn=4e-3, surrogate=Surrogate(kind=kind, width=1.5, height=0.8))
    y = net.readout(3, tau_mem=math.inf, tau_syn=2e-3 if trace == "double" else None)
    net.connect(x, h, gain=3.0, range=2.0)
    if recurrent:
        net.connect(h, h, gain=1.0, range=2.0)
    net.connect(h, y, rate=0.5, range=0.25)
    net.learn(EProp(trace=trace, rate=2.0**-5, softmax_gain=2.0, dead_zone=dead_zone, feedback_gain=1.5))
    return net


def workload(net: Network, ticks: int = 60) -> Workload:
    """Random spikes, samples of 20 ticks, a target at every other tick; now and then a spike of a hidden neuron."""
    random = np.random.default_rng(3)
    part = np.repeat([0.4, 0.02], (5, 7))
    target = np.where(np.arange(ticks) % 2, random.integers(3, size=ticks), -1)
    return Workload(net, random.random((ticks, 12)) < part, target, np.arange(ticks) % 20 == 0)


def float_model(work: Workload) -> tuple[np.ndarray, np.ndarray]:
    """What `OnlineLearner` ends with, as the rivals have it."""
    learner = OnlineLearner(work.network)
    x, h, y = work.network.populations
    for row, target, reset in zip(work.spikes, work.target, work.reset, strict=True):
        if reset:
            learner.reset()
        learner.tick({x: row[:5].astype(float), h: np.maximum(learner.spikes[h], row[5:])}, train=True,
                     target=None if target < 0 else int(target), rate=learner.rule.rate)
    into = [learner.weights[name] for name in (f"{x}->{h}", f"{h}->{h}") if name in learner.weights]
    return np.concatenate(into), learner.weights[f"{h}->{y}"].T


@pytest.mark.parametrize("make", [PlainLoop, dense.Dense], ids=["loop", "dense"])
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize(("trace", "kind", "dead_zone"), [
    ("single", "triangle", 0.0), ("double", "fast_sigmoid", 0.0), ("double", "triangle", 0.3)])
def test_a_rival_learns_what_the_float_model_learns(make, recurrent, trace, kind, dead_zone):
    work = workload(small(recurrent=recurrent, trace=trace, kind=kind, dead_zone=dead_zone))
    rival = make(work)
    rival.run()
    for got, want, start in zip(rival.weights(), float_model(work), (work.model.weights, work.model.weights_out),
                                strict=True):
        assert np.abs(want - start).max() > 0.01
        # 60 ticks of floats of 24 bits.
        np.testing.assert_allclose(got, want, atol=60 * 2.0**-23)


def test_a_workload_is_what_the_queue_is_given():
    compiled = compile(network(CASE, 0), CONFIG)
    x, h = compiled.base("x"), compiled.base("h")
    queue = [event_entry(x + 2), event_entry(h + 7), tick_entry(TickFlag.RESET | LEARNING, 1),
             event_entry(x), tick_entry(TickFlag.TRAIN, 1)]
    work = Workload.of(compiled, np.array(queue, dtype=np.uint16))
    assert [np.flatnonzero(row).tolist() for row in work.spikes] == [[2, 6 + 7], [0]]
    assert (work.target.tolist(), work.reset.tolist(), len(work)) == ([1, -1], [True, False], 2)
    first, events = PlainLoop(work).first, PlainLoop(work).events
    assert (first.tolist(), events.tolist()) == ([0, 2, 3], [2, 13, 0])


def test_networks_that_the_rivals_do_not_know():
    net = small(recurrent=True, trace="single", kind="triangle")
    net.learn(EProp(feedback="symmetric"))
    with pytest.raises(NetworkError, match="the rivals know softmax, random feedback and factored traces"):
        Model.of(net)
    net.lif(3, tau_mem=10e-3)
    with pytest.raises(NetworkError, match="the rivals know networks of one lif population, not of 2"):
        Model.of(net)


# The comparison.

class FakeRival(Rival):
    learns = "heart"

    def __init__(self, workload: Workload) -> None:
        self.prepared = [workload]

    def prepare(self, workload):
        self.prepared.append(workload)

    def run(self):
        pass

    def weights(self):
        return self.prepared[0].model.weights, self.prepared[0].model.weights_out


def test_seconds_per_tick_is_a_median_of_long_repetitions():
    now = 0.0
    took = iter([64.0, *[0.125] * 2, 0.5, *[0.0625] * 4])

    class Slow(FakeRival):
        def run(self):
            nonlocal now
            now += next(took)

    work = workload(small(recurrent=False, trace="single", kind="triangle"))
    # The first run is not measured; a repetition is as many as make 0.2 s: of 1/8 s two, of 1/2 s one, of 1/16 s four.
    seconds = against.seconds_per_tick(Slow(work), 10, 3, lambda: now)
    assert seconds == 0.0125
    assert next(took, None) is None


def test_the_spikes_of_board_and_rivals_are_the_same(monkeypatch):
    made = []

    class Kept(FakeRival):
        def __init__(self, workload):
            super().__init__(workload)
            made.append(self)

    monkeypatch.setattr(against, "LONG", 0.0)
    monkeypatch.setitem(rivals.RIVALS, "numba", Kept)
    compared = against_case(CountingBoard(CONFIG), CASE, ("numba",), clock=30e6, seed=5, ticks=8, repetitions=1)
    assert [(c.network, c.spikes, c.cycles) for c in compared] == [
        ("6/8 recurrent/2", "2.0 %", 300), ("6/8 recurrent/2", "10.0 %", 300)]
    assert all(c.core == 300 / 30e6 for c in compared)
    compiled = compile(network(CASE, 5), CONFIG)
    for rival, density in zip(made, (0.02, 0.1), strict=True):
        for work, entries in zip(rival.prepared, spikes(CASE, compiled, density, 8, LEARNING, 5), strict=True):
            assert (work.spikes == Workload.of(compiled, entries).spikes).all()


def test_digits_are_compared_as_they_are_trained(monkeypatch):
    monkeypatch.setattr(against, "LONG", 0.0)
    monkeypatch.setitem(rivals.RIVALS, "torch", FakeRival)
    config = CoreConfig(lanes=32, weight_words=1024)
    compared = against.against_digits(CountingBoard(config), ("torch",), clock=1e6, seed=0, repetitions=1)
    assert (compared.network, compared.spikes, compared.cycles) == ("digits 64/256/10", "own", 300)
    assert compared.core == 300 / 1e6


COMPARED = [Comparison(network="a", spikes="2.0 %", cycles=360.0, core=1e-5, rivals={"numba": 5e-6, "torch": 1e-4}),
            Comparison(network="b", spikes="own", cycles=36.0, core=1e-6, rivals={"numba": 1e-6, "torch": 2e-6})]


def test_tables(monkeypatch):
    names = ("numba", "torch")
    assert columns(names) == ("network", "spikes", "cycles/tick", "core us/tick", "numba us/tick", "numba / core",
                              "torch us/tick", "torch / core")
    assert against_rows(COMPARED) == [("a", "2.0 %", "360.0", "10.0", "5.0", "0.50", "100.0", "10.00"),
                                      ("b", "own", "36.0", "1.0", "1.0", "1.00", "2.0", "2.00")]
    monkeypatch.setitem(rivals.RIVALS, "numba", FakeRival)
    text = against_markdown(COMPARED, names, CONFIG, 36e6, "one of 2 cores", "relif bench")
    assert text.startswith("    relif bench\n\nCore `small` at 36 MHz; the others on one of 2 cores.\n")
    assert "* numba: learns by heart." in text
    assert "| a | 2.0 % | 360.0 | 10.0 | 5.0 | 0.50 | 100.0 | 10.00 |\n" in text
    assert json.loads(json.dumps(against_plain(COMPARED[0])))["ratios"] == {"numba": 0.5, "torch": 10.0}


# The command's arguments.

def test_names_of_rivals():
    assert tuple(rivals.RIVALS) == RIVALS


@pytest.mark.parametrize(("arguments", "code", "message"), [
    (["--against", "numba,julia"], 2, "argument --against: must be some of numba, torch, snntorch, not 'julia'"),
    (["--against", "torch", "--clock", "0"], 2, "argument --clock: must be a positive number, not 0"),
    (["--against", "torch", "--repetitions", "0"], 2, "argument --repetitions: must be at least 1, not 0"),
    (["--against", "torch", "--link"], 2, "argument --link: not allowed with argument --against"),
    (["--targets", "--preset", "lanes4"], 1,
     "relif: --targets measures cores of its own: it takes neither --preset nor --config"),
    (["--against", "torch,snntorch"], 1,
     "relif: bench against snntorch: snntorch is not installed (pip install 'relif[baselines]')"),
])
def test_arguments_that_make_no_sense(capsys, monkeypatch, arguments, code, message):
    found = importlib.util.find_spec
    monkeypatch.setattr(rivals, "find_spec", lambda name: None if name == "snntorch" else found(name))
    assert main(["bench", *arguments]) == code
    assert message in capsys.readouterr().err
