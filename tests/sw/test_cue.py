"""The task cue-accumulation: its trials, its spikes, and its network on the default core."""

from __future__ import annotations

import numpy as np
import pytest

from relif.compiler import compile
from relif.errors import DataError
from relif.host.board import ModelBoard
from relif.rules import PUBLISHED
from relif.tasks import CueAccumulation, Split
from relif.training import evaluate, fit
from relif_hw.config import preset
from relif_hw.isa import Space, TickFlag

CORE, SYNAPTIC = preset("lanes32"), preset("synaptic32")


def test_the_class_is_the_side_of_most_cues() -> None:
    task = CueAccumulation(3)
    assert (len(task.train), len(task.test), task.ticks) == (200, 200, 2250)
    for split in (task.train, task.test):
        assert np.array_equal(split.classes, split.values[:, :7].sum(1) >= 4)
        assert 0.35 < split.classes.mean() < 0.65
        assert set(np.unique(split.values[:, :7])) == {0.0, 1.0}
    # Every trial has noise of its own: none is in both splits.
    assert len(np.unique(np.concatenate([task.train.values[:, 7], task.test.values[:, 7]]))) == 400
    assert not np.array_equal(CueAccumulation(4).train.values, task.train.values)


def test_spikes_come_when_their_group_speaks() -> None:
    task = CueAccumulation(0)
    values = np.tile([0, 1, 1, 0, 0, 0, 1, 0.0], (300, 1))
    values[:, 7] = np.arange(300) / 300
    spikes = task.encode(values).reshape(300, 2250, 4, 10).mean((0, 3))
    for cue, side in enumerate([0, 1, 1, 0, 0, 0, 1]):
        start = 150 * cue
        # 300 trials of 100 ticks and ten inputs: the mean of 300,000 draws of 0.04 is within 0.002 (5 deviations).
        assert spikes[start:start + 100, side].mean() == pytest.approx(0.04, abs=0.002)
        assert not spikes[start:start + 100, 1 - side].any()
        assert not spikes[start + 100:start + 150, :2].any()
    assert not spikes[1050:, :2].any()
    assert not spikes[:2100, 2].any()
    # As above: more draws, of which five deviations are less.
    assert spikes[2100:, 2].mean() == pytest.approx(0.04, abs=0.002)
    assert spikes[:, 3].mean() == pytest.approx(0.01, abs=0.001)
    assert np.array_equal(task.encode(values[:2]), task.encode(values[:2]))


def test_targets_come_at_the_end_and_only_in_training() -> None:
    task = CueAccumulation(0)
    targets = np.flatnonzero(task.flags(True) & TickFlag.TARGET)
    assert (targets[0], targets[-1], len(targets)) == (2109, 2249, 15)
    assert not (task.flags(False) & (TickFlag.TARGET | TickFlag.TRAIN)).any()


@pytest.mark.parametrize("rule", PUBLISHED)
def test_every_rule_fits_a_default_core(rule: str) -> None:
    network = CueAccumulation(rule=rule).network()
    compile(network, SYNAPTIC if network.needs_eligibility_memory else CORE)
    assert network.populations["h"].adaptive == PUBLISHED[rule].adaptive


def test_a_trial_is_learned_and_another_answered() -> None:
    task = CueAccumulation(0, trials=1, tests=1)
    with ModelBoard(CORE) as board:
        run = fit(task.network(), board, task, epochs=1)
        start = run.compiled.take_weights(run.compiled.images[Space.WEIGHTS])
        assert all((run.weights[name] != start[name]).any() for name in run.weights)
        assert evaluate(board, run.compiled, task, Split(task.test.values, task.test.classes)) in (0.0, 1.0)


def test_refuses_two_hidden_populations() -> None:
    with pytest.raises(DataError, match="cue-accumulation has one recurrent hidden population, not 2"):
        CueAccumulation(hidden=(50, 50))
