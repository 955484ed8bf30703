"""The task digits, its encoder and its training loop, on the golden model as a board."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

from relif import baselines
from relif.compiler import compile
from relif.encode import phase_accumulator, queue_entries
from relif.errors import BoardError, DataError, NetworkError
from relif.host.board import ModelBoard
from relif.network import Network
from relif.rules import PUBLISHED
from relif.tasks import TASKS, Digits, Split, digits
from relif.training import Progress, Run, evaluate, fit, order, predict
from relif_hw.config import preset
from relif_hw.isa import TICK_ENTRY, Space, TickFlag

CORE = preset("lanes32")


class FewDigits(Digits):
    """The first digits of the split."""

    decay = 0.5

    def __init__(self, seed: int = 0, samples: int = 110) -> None:
        super().__init__(seed)
        self.train = Split(self.train.values[:samples], self.train.classes[:samples])
        self.test = Split(self.test.values[:60], self.test.classes[:60])

    def network(self) -> Network:
        """The default network, but with a faster readout: there is less time."""
        network = super().network()
        readout = network.projections["h->y"]
        network.projections["h->y"] = dataclasses.replace(readout, rate=3 * readout.rate)
        return network


def unpack(entries: np.ndarray) -> list[tuple[list[int], TickFlag, int]]:
    """Ticks of a queue: events, flags, target."""
    ticks, events = [], []
    for entry in entries.tolist():
        if entry & TICK_ENTRY:
            ticks.append((events, TickFlag(entry >> 11 & 15), entry & 2047))
            events = []
        else:
            events.append(entry)
    assert events == []
    return ticks


def test_phase_accumulator_spikes_as_often_as_the_value_says() -> None:
    values = np.random.default_rng(0).random((5, 64))
    values[0, :3] = 0.0, 1.0, 0.5
    for rate in (0.5, 1.0):
        spikes = phase_accumulator(values, 32, rate)
        assert spikes.shape == (5, 32, 64)
        # The number of spikes is exact to one, in the whole sample and in every part of it.
        for ticks in (8, 16, 32):
            assert np.abs(spikes[:, :ticks].sum(1) - values * rate * ticks).max() < 1.001
    # Zero is silent, one spikes at every tick, a half at every other one.
    assert spikes[0, :, 0].sum() == 0 and spikes[0, :, 1].all()
    assert (spikes[0, :, 2].reshape(16, 2).sum(1) == 1).all()
    # Inputs do not all spike at once.
    equal = phase_accumulator(np.full((1, 64), 0.25), 4)[0].sum(1)
    assert equal.min() >= 14 and equal.max() <= 18


@pytest.mark.parametrize(("value", "text"), [(-0.1, "-0.1"), (1.5, "1.5"), (np.nan, "nan"), (np.inf, "inf")])
def test_encoder_refuses_values_out_of_range(value: float, text: str) -> None:
    values = np.zeros((2, 3))
    values[1, 2] = value
    with pytest.raises(DataError, match=rf"value \[1, 2\] is {text}; it must be from 0 to 1"):
        phase_accumulator(values, 8)


def test_queue_entries_are_events_then_the_tick() -> None:
    spikes = np.zeros((2, 3, 4), dtype=bool)
    spikes[0, 0, [1, 3]] = spikes[0, 2, 0] = spikes[1, 1, 2] = True
    flags = [TickFlag.RESET, TickFlag(0), TickFlag.TARGET | TickFlag.SEND]
    assert unpack(queue_entries(spikes, 32, flags, [7, 1])) == [
        ([33, 35], TickFlag.RESET, 7), ([], TickFlag(0), 7), ([32], TickFlag.TARGET | TickFlag.SEND, 7),
        ([], TickFlag.RESET, 1), ([34], TickFlag(0), 1), ([], TickFlag.TARGET | TickFlag.SEND, 1)]
    with pytest.raises(DataError, match="target classes must be 0 to 2047, not 1 to 3000"):
        queue_entries(spikes, 0, flags, [1, 3000])
    with pytest.raises(ValueError, match="event address must be 0 to 16383"):
        queue_entries(spikes, 32766, flags, [0, 0])


def test_split_is_stratified_and_by_seed() -> None:
    task = digits(0)
    assert TASKS["digits"] is digits
    assert (len(task.train), len(task.test)) == (1437, 360)
    assert task.train.values.min() == 0.0 and task.train.values.max() == 1.0
    for label, count in Counter(task.test.classes.tolist()).items():
        assert 33 <= count <= 38 and 0 <= label <= 9
    # No sample is in both parts, and together they are all of the digits, whatever the seed.
    def samples(split: Split) -> Counter[bytes]:
        return Counter(row.tobytes() for row in split.values)

    everything = samples(task.train) + samples(task.test)
    other = digits(1)
    assert everything == samples(other.train) + samples(other.test)
    assert samples(task.test) != samples(other.test)
    assert sum(everything.values()) == 1797
    again = digits(0)
    assert (again.test.values == task.test.values).all() and (again.train.classes == task.train.classes).all()


def test_ticks_of_a_training_sample() -> None:
    task = FewDigits(samples=3)
    compiled = compile(task.network(), CORE)
    ticks = unpack(task.training_entries(compiled, task.train))
    assert len(ticks) == 3 * task.ticks
    for sample, label in enumerate(task.train.classes):
        part = ticks[sample * task.ticks:(sample + 1) * task.ticks]
        # A new sample starts from rest, every tick keeps traces, and the last one reports…
        assert [bool(f & TickFlag.RESET) for _, f, _ in part] == [True] + [False] * (task.ticks - 1)
        assert [bool(f & TickFlag.SEND) for _, f, _ in part] == [False] * (task.ticks - 1) + [True]
        assert all(f & TickFlag.TRAIN for _, f, _ in part)
        # … the class is learned late in the sample, and at its last tick.
        learned = [tick for tick, (_, f, _) in enumerate(part) if f & TickFlag.TARGET]
        assert learned == list(range(5, 12, 2))
        assert {target for _, _, target in part} == {label}
        # Events are those of the encoder.
        spikes = task.encode(task.train.values[sample:sample + 1])[0]
        assert [events for events, _, _ in part] == [row.nonzero()[0].tolist() for row in spikes]


def test_evaluation_never_sees_a_label() -> None:
    task = FewDigits()
    compiled = compile(task.network(), CORE)
    for _, flags, target in unpack(task.entries(compiled, task.test.values)):
        assert not flags & (TickFlag.TARGET | TickFlag.TRAIN) and target == 0
    # And it leaves the network as it is.
    with ModelBoard(CORE) as board:
        compiled.load(board)
        before = board.read(Space.WEIGHTS)
        predict(board, compiled, task, task.test.values)
        assert (board.read(Space.WEIGHTS) == before).all()


def test_order_follows_from_seed_and_epoch() -> None:
    assert sorted(order(0, 0, 50)) == list(range(50))
    assert (order(0, 1, 50) == order(0, 1, 50)).all()
    assert (order(0, 1, 50) != order(0, 0, 50)).any() and (order(1, 0, 50) != order(0, 0, 50)).any()


@pytest.fixture(scope="module")
def trained() -> tuple[Run, list[Progress], float]:
    """Two epochs of a few digits."""
    task, seen = FewDigits(), list[Progress]()
    with ModelBoard(CORE) as board:
        run = fit(task.network(), board, task, epochs=2, progress=seen.append, test_every=1)
        return run, seen, evaluate(board, run.compiled, task, task.test)


def test_training_learns(trained: tuple[Run, list[Progress], float]) -> None:
    run, seen, accuracy = trained
    assert accuracy > 0.45 and run.train_accuracy is not None and run.train_accuracy > 0.45
    assert [(p.epoch, p.samples, p.total) for p in seen] == [(e, 110, 110) for e in (1, 2)]
    assert [e.test_accuracy is not None for e in run.history] == [True, True]
    assert run.tick == 2 * 110 * run.task.ticks       # evaluation in between has not moved it


def test_training_that_stops_and_goes_on_ends_the_same(trained: tuple[Run, list[Progress], float]) -> None:
    task, saved = FewDigits(), list[Run]()

    def keep(run: Run) -> None:
        saved.append(dataclasses.replace(run, weights=dict(run.weights), history=list(run.history)))

    with ModelBoard(CORE) as board:
        with pytest.raises(KeyboardInterrupt):
            fit(task.network(), board, task, epochs=2, checkpoint=lambda run: (keep(run), _stop(run))[0])
    # Another board, another process: what is kept is enough to go on.
    with ModelBoard(CORE) as board:
        run = fit(task.network(), board, task, epochs=2, resume=saved[-1])
    assert (run.epoch, run.tick) == (2, trained[0].tick)
    assert [e.train_accuracy for e in run.history] == [e.train_accuracy for e in trained[0].history]
    for name, weights in trained[0].weights.items():
        assert (run.weights[name] == weights).all()


def _stop(run: Run) -> None:
    if run.epoch == 1:
        raise KeyboardInterrupt


def test_training_on_other_lanes_ends_the_same(trained: tuple[Run, list[Progress], float]) -> None:
    task = FewDigits()
    with ModelBoard(preset("lanes8")) as board:
        run = fit(task.network(), board, task, epochs=2)
    for name, weights in trained[0].weights.items():
        assert (run.weights[name] == weights).all()


def test_refuses() -> None:
    task = FewDigits(samples=2)
    network = task.network()
    compiled = compile(network, CORE)
    with pytest.raises(DataError, match="class 10 does not exist: digits has classes 0 to 9"):
        task.training_entries(compiled, Split(task.train.values, np.array([3, 10])))
    with pytest.raises(DataError, match="do not match 3 classes"):
        Split(task.train.values, np.array([0, 1, 2]))
    other = Network()
    other.connect(other.input(63, name="x"), other.readout(10, tau_mem=1.0, name="y"))
    with pytest.raises(DataError, match="needs a network with one input population of 64"):
        task.entries(compile(other, CORE), task.test.values)
    with ModelBoard(CORE) as board:
        with pytest.raises(NetworkError, match="the network has no learning rule"):
            fit(other, board, task)
        with pytest.raises(DataError, match="epochs must be at least 1, not 0"):
            fit(network, board, task, epochs=0)
        with pytest.raises(DataError, match="there are no samples to evaluate"):
            evaluate(board, compiled, task, Split(np.zeros((0, 64)), np.zeros(0, dtype=np.int64)))
        with pytest.raises(NetworkError, match="the run to resume is that of another network"):
            fit(FewDigits(1).network(), board, task, resume=Run(compiled=compiled, task=task, epochs=1))
    with ModelBoard(preset("lanes8")) as board:
        with pytest.raises(BoardError, match="compiled for core 'lanes32', but board 'model' is 'lanes8'"):
            fit(network, board, task, resume=Run(compiled=compiled, task=task, epochs=1))


def test_baselines_on_a_few_digits() -> None:
    task = FewDigits(samples=200)
    assert baselines.linear_accuracy(task) > 0.8
    assert baselines.bptt_accuracy(task, epochs=6) > 0.75
    assert baselines.online_accuracy(task, epochs=3) > 0.75


@pytest.mark.parametrize("hidden", [(256,), (128, 128, 128)])
@pytest.mark.parametrize("rule", PUBLISHED)
def test_every_published_rule_fits_a_default_core(rule: str, hidden: tuple[int, ...]) -> None:
    network = Digits(rule=rule, hidden=hidden).network()
    assert network.rule is not None
    assert {key: getattr(network.rule, key) for key in PUBLISHED[rule].settings} == PUBLISHED[rule].settings
    assert tuple(p.size for p in network.populations.values() if p.kind == "lif") == hidden
    assert all(p.adaptive == PUBLISHED[rule].adaptive for p in network.populations.values() if p.kind == "lif")
    compile(network, preset("synaptic32") if network.needs_eligibility_memory else CORE)


def test_refuses_rules_and_networks_that_there_are_not() -> None:
    with pytest.raises(NetworkError, match="no rule is called 'hebb'; there are dfa, e-prop, e-prop-synaptic, lsnn"):
        Digits(rule="hebb")
    with pytest.raises(DataError, match="digits: the network needs a hidden population"):
        Digits(hidden=())
