"""Targets: what is measured, and what stands beside it."""

from __future__ import annotations

import pytest

from counting import CASE, CONFIG, CountingBoard
from relif.targets import TARGETS, Reached, Target, reach, target_rows, targets_markdown
from relif.tasks import Digits
from relif_hw.config import PRESETS, CoreConfig

TASK_CORE = CoreConfig(lanes=4, weight_words=8192, state_words=512, neuron_words=128, name="task")


def test_all_cycles_or_the_overhead():
    # The board claims 100 cycles of INTEGRATE and 200 of LEARN in each tick, and nothing else.
    everything = reach(CountingBoard(CONFIG), Target("small", CASE, 600, density=0.1), ticks=20)
    assert everything.cycles == 300
    assert 0 < everything.limit < 300
    overhead = reach(CountingBoard(CONFIG), Target("small", CASE, 30, density=0.1, counts="overhead"), ticks=20)
    assert (overhead.cycles, overhead.limit) == (0, 0)


def test_the_limit_counts_every_word_of_the_rows_that_are_alive():
    alive = reach(CountingBoard(CONFIG), Target("small", CASE, 600, alive=True), ticks=2)
    # LEARN of 6 and 8 rows of 8 targets, and of 8 rows of 2 (or of their 2 rows of 8): words of 4 lanes. No spikes.
    assert alive.limit in (6 * 2 + 8 * 2 + 8 * 1, 6 * 2 + 8 * 2 + 2 * 2)


def test_a_task_trains_from_its_beginning():
    target = Target("task", Digits, 180)
    task = Digits(0)
    reached = reach(CountingBoard(TASK_CORE), target, ticks=task.ticks + 1)         # two samples
    assert reached.cycles == 300 and reached.limit > 0


def test_the_table():
    reached = [Reached(TARGETS[0], 45.04, 0.0), Reached(TARGETS[3], 1300.0, 1100.26)]
    assert target_rows(reached) == [
        ("lanes64", "40/100 recurrent/2, 2 % spikes, learning, without INTEGRATE and LEARN", "30", "45.0", "-", "1.50"),
        ("lanes128", "256/256 recurrent/16, 2 % spikes, learning, every trace alive", "1200", "1300.0", "1100.3",
         "1.08")]
    assert "| lanes64 | 40/100" in targets_markdown(reached, "relif bench --targets")


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_targets_name_presets(target):
    assert target.preset in PRESETS
