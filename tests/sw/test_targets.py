"""Targets in cycles: what is measured, and what stands beside it."""

from __future__ import annotations

import pytest

from counting import CASE, CONFIG, CountingBoard
from relif.bench import Measurement
from relif.outcome import OUTCOME_COLUMNS, Outcome, installed, outcome_rows, outcomes_markdown, rest
from relif.targets import CYCLE_TARGETS, USE_PRESET, USE_TARGETS, CycleTarget, Reached, UseTarget, reach
from relif.tasks import Digits
from relif_hw.config import PRESETS, CoreConfig
from relif_hw.isa import Opcode

TASK_CORE = CoreConfig(lanes=4, weight_words=8192, state_words=512, neuron_words=128, name="task")


def small(cycles=600, **options):
    return CycleTarget(preset="small", what=CASE, cycles=cycles, why="so it is", **options)


def test_all_cycles_or_the_overhead():
    # The board claims 100 cycles of INTEGRATE and 200 of LEARN in each tick, and nothing else.
    everything = reach(CountingBoard(CONFIG), small(density=0.1), ticks=20)
    assert everything.cycles == 300
    assert 0 < everything.limit < 300
    overhead = reach(CountingBoard(CONFIG), small(density=0.1, counts="overhead"), ticks=20)
    assert (overhead.cycles, overhead.limit) == (0, 0)


def test_the_limit_counts_every_word_of_the_rows_that_are_alive():
    alive = reach(CountingBoard(CONFIG), small(alive=True), ticks=2)
    # LEARN of 6 and 8 rows of 8 targets, and of 8 rows of 2 (or of their 2 rows of 8): words of 4 lanes. No spikes.
    assert alive.limit in (6 * 2 + 8 * 2 + 8 * 1, 6 * 2 + 8 * 2 + 2 * 2)


def test_a_task_trains_from_its_beginning():
    target = CycleTarget(preset="task", what=Digits, cycles=180, why="so it is")
    task = Digits(0)
    reached = reach(CountingBoard(TASK_CORE), target, ticks=task.ticks + 1)         # two samples
    assert reached.cycles == 300 and reached.limit > 0


@pytest.mark.parametrize(("cycles", "limit", "ratio", "met", "says"), [
    (720.0, 200.5, 1.2, False, "120.0 cycles: so it is"),
    (540.0, 200.5, 0.9, True, "met; 339.5 cycles to the limit: so it is"),
    (720.0, 0.0, 1.2, False, "120.0 cycles: so it is"),
    (600.0, 0.0, 1.0, True, "met"),
], ids=["too many", "met", "no limit", "met, no limit"])
def test_what_remains_of_cycles(cycles, limit, ratio, met, says):
    outcome = Reached(small(), cycles, limit).outcome
    assert (outcome.ratio, outcome.met, outcome.rest) == (ratio, met, says)
    assert outcome.values == {"aim": 600, "reached": cycles, "limit": limit or None}
    assert outcome.limit == (f"{limit:.1f}" if limit else "-")


def measured(network, use, mode="learning", density=0.02):
    return Measurement(network=network, mode=mode, density=density, cycles_per_tick=1.0, instructions={},
                       lane_use={"LEARN": 0.5}, filled_use={"LEARN": use})


USE = UseTarget(instruction=Opcode.LEARN, density=0.02, use=0.97, why="so it is")


def test_the_network_with_the_least_use_counts():
    # Inference, other densities, and networks whose rows do not fill the lanes are no part of it.
    outcome = USE.outcome("lanes4", [
        measured("a", 0.99), measured("b", 0.776), measured("c", None), measured("d", 0.1, "inference"),
        measured("e", 0.1, density=0.1)])
    assert (outcome.reached, outcome.limit, outcome.met) == ("77.6 % (b)", "100 %", False)
    assert outcome.ratio == 0.776 / 0.97
    assert outcome.rest == "19.4 % of the lanes: so it is"
    assert USE.outcome("lanes4", [measured("a", 0.98)]).rest == "met; 2.0 % to the limit: so it is"


def test_rows_that_never_fill_the_lanes_are_said():
    outcome = USE.outcome("lanes4", [measured("a", None)])
    assert (outcome.reached, outcome.ratio, outcome.met) == ("-", None, None)
    assert outcome.rest == "no network's rows fill them"


def test_the_table():
    outcomes = [Reached(CYCLE_TARGETS[0], 45.04, 0.0).outcome, Reached(CYCLE_TARGETS[3], 1300.0, 1100.26).outcome]
    rows = outcome_rows(outcomes)
    assert rows[0][:6] == (
        "lanes64", "cycles of a tick: 40/100 recurrent/2, 2 % spikes, learning, without INTEGRATE and LEARN",
        "30", "45.0", "-", "1.50")
    assert rows[1][:6] == (
        "lanes128", "cycles of a tick: 256/256 recurrent/16, 2 % spikes, learning, every trace alive",
        "1200", "1300.0", "1100.3", "1.08")
    text = outcomes_markdown(outcomes, ["Seed 0.", "Left out: clocks."], "relif bench --targets")
    assert text.startswith("    relif bench --targets\n\nSeed 0. Left out: clocks.\n\n| core | what | aim |")
    assert text.count("\n| lanes") == 2
    nothing = Outcome(what="a", core="b", aim="c", reached="-", values={}, ratio=None, met=None, rest="d")
    assert outcome_rows([nothing]) == [("b", "a", "c", "-", "-", "-", "d")]
    assert len(OUTCOME_COLUMNS) == len(rows[0])


def test_what_remains():
    assert rest("5 cycles", "7", "why") == "5 cycles: why"
    assert rest(None, "7 cycles", "why") == "met; 7 cycles to the limit: why"
    assert rest(None, None, "why") == "met"


def test_versions_of_what_is_installed():
    assert installed(("amaranth", "no-such-package"))[0].startswith("amaranth 0.")
    assert installed(("no-such-package",)) == []


@pytest.mark.parametrize("target", CYCLE_TARGETS, ids=lambda target: target.name)
def test_targets_name_presets(target):
    assert target.preset in PRESETS
    assert target.why


def test_use_is_aimed_at_in_both_instructions():
    assert USE_PRESET in PRESETS
    assert {target.instruction for target in USE_TARGETS} == {Opcode.INTEGRATE, Opcode.LEARN}
