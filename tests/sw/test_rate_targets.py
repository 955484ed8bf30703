"""Targets in seconds: which board is held against which aim, and the one command that makes the whole table."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from counting import CASE, CONFIG, CountingBoard
from relif.cli import main
from relif.commands import other_benches
from relif.rate_targets import (
    CLOCK_TARGETS,
    SPEED_PRESET,
    SPEED_TARGETS,
    BuiltCore,
    ClockTarget,
    clock_outcomes,
)
from relif.speed_bench import SpeedMeasurement
from relif.targets import CycleTarget
from relif_hw.config import PRESETS, preset

NARROW = ClockTarget(device="D", luts=1000, lanes=8, mhz=50.0, why="wires")
WIDE = ClockTarget(device="D", luts=1000, lanes=32, mhz=40.0, share=0.6, why="wires")
CORE = BuiltCore(board="b", core="lanes8", lanes=8, clocks={1: 60.0, 2: 55.0}, used=300, available=1000,
                 path="x to y", wire=0.9, tools=("tool 1",))


@pytest.mark.parametrize(("core", "target", "met", "ratio", "says"), [
    (CORE, NARROW, True, 1.1, "met"),
    (replace(CORE, clocks={1: 60.0, 2: 40.0}), NARROW, False, 0.8, "10.0 MHz: x to y, 90 % of it wire; wires"),
    (CORE, WIDE, False, 0.34375, "24 lanes: x to y, 90 % of it wire; wires"),
    (replace(CORE, lanes=32, used=700), WIDE, False, 1.375,
     "10 % of the LUTs too many: x to y, 90 % of it wire; wires"),
    (replace(CORE, lanes=31, clocks={1: 39.0}, used=700), WIDE, False, 31 * 39 / 1280,
     "1 lane and 1.0 MHz and 10 % of the LUTs too many: x to y, 90 % of it wire; wires"),
], ids=["met", "one slow seed", "few lanes", "too many LUTs", "all three"])
def test_a_board_beside_its_aim(core, target, met, ratio, says):
    outcome = target.outcome(core)
    assert (outcome.met, outcome.rest) == (met, says)
    assert outcome.ratio == pytest.approx(ratio, rel=1e-12)     # a quotient of products of small numbers


def test_the_words_of_clocks():
    outcome = WIDE.outcome(CORE)
    assert outcome.aim == "32 lanes at 40 MHz in 60 % of the LUTs"
    assert outcome.reached == "8 lanes at 60.0, 55.0 MHz (seeds 1, 2) in 30 % of the LUTs"
    assert NARROW.aim == "8 lanes at 50 MHz"
    assert replace(CORE, lanes=1, clocks={3: 20.0}).text == "1 lane at 20.0 MHz (seed 3) in 30 % of the LUTs"


def test_every_board_has_the_nearest_aim_and_every_aim_a_row():
    def aims(*cores):
        return [(o.core, o.aim) for o in clock_outcomes(cores, (WIDE, NARROW))]

    few, many = NARROW.aim, WIDE.aim
    assert aims(CORE) == [("lanes8", few), ("-", many)]
    assert aims(replace(CORE, lanes=16)) == [("lanes8", many), ("-", few)]
    assert aims(replace(CORE, lanes=64)) == [("lanes8", many), ("-", few)]
    assert aims(CORE, CORE, replace(CORE, lanes=32)) == [("lanes8", few), ("lanes8", few), ("lanes8", many)]
    # A device that nothing is aimed at for is named.
    assert aims(replace(CORE, available=999)) == [("lanes8", "-"), ("-", many), ("-", few)]
    rests = [o.rest for o in clock_outcomes([replace(CORE, available=999)], (WIDE,))]
    assert rests == ["nothing is aimed at for this device", "no board with such a core is built"]


def test_a_core_of_a_build():
    clocks = {1: SimpleNamespace(reached=50.0, path="a to b", wire=0.8),
              2: SimpleNamespace(reached=45.0, path="c to d", wire=0.7)}
    built = SimpleNamespace(
        board=SimpleNamespace(name="b"), config=CONFIG, core_clocks=clocks, tools=("tool 1",),
        best=SimpleNamespace(cells={"FF": (1, 2), "logic cell": (300, 1000)}))
    assert BuiltCore.of(built) == BuiltCore(
        board="b", core="small", lanes=4, clocks={1: 50.0, 2: 45.0}, used=300, available=1000, path="c to d", wire=0.7,
        tools=("tool 1",))


SPEED = SpeedMeasurement(core="lanes32", ticks=12, ticks_per_second=2500.0, cycles_per_tick=1.0,
                         idle_cycles_per_tick=0.0, cycle_nanoseconds=1.0, host_microseconds=20.0, host_share=0.05,
                         model_ticks_per_second=3000.0)
"""Made up: times are no test's business."""


def test_speeds():
    board, host, model = (target.outcome(SPEED) for target in SPEED_TARGETS)
    assert (board.ratio, board.met) == (0.5, False)
    assert board.rest.startswith("2,500 ticks/s: ")
    # 20 us a tick are 2 % of a core at 1,000 ticks a second, of 10 % that it may take.
    assert (host.reached, host.ratio, host.met, host.rest) == ("2.0 % of a core", pytest.approx(0.2), True, "met")
    assert (model.reached, model.ratio, model.met) == ("3,000 ticks/s", 1.5, True)


def test_targets_name_cores():
    assert SPEED_PRESET in PRESETS
    assert all(target.lanes in (1, 64, 128) for target in CLOCK_TARGETS)
    assert preset("lanes64").lanes == 64 and preset("lanes128").lanes == 128


# The command.

@pytest.fixture
def quick(monkeypatch):
    """Boards that count as they are told, and times that nobody took."""
    monkeypatch.setattr(other_benches, "opened", lambda spec, config, console: CountingBoard(CONFIG))
    monkeypatch.setattr(other_benches, "CYCLE_TARGETS",
                        (CycleTarget(preset="lanes4", what=CASE, cycles=200, density=0.1, why="so it is"),))
    monkeypatch.setattr(other_benches, "NETWORKS", (CASE,))
    monkeypatch.setattr(other_benches, "measure_speed", lambda board, samples, seed: SPEED)
    monkeypatch.setattr(other_benches, "tool", lambda name: {"built": lambda folder: [folder.name]}[name])
    monkeypatch.setattr(other_benches, "BuiltCore", SimpleNamespace(of=lambda name: replace(
        CORE, board=name, available=83640)))


def test_one_command_makes_the_whole_table(quick, capsys, tmp_path):
    path = tmp_path / "targets.md"
    arguments = ["bench", "--targets", "--ticks", "8", "--samples", "2", "--seed", "3"]
    assert main([*arguments, "--built", "boards", "--json", "-o", str(path)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [one["what"].split()[0] for one in result["targets"]] == [
        "cycles", *["use"] * 4, *["clock"] * 3, "simulated", "host", "golden"]
    assert result["targets"][0]["values"]["reached"] == 300
    assert (result["seed"], result["ticks"], result["samples"], result["left_out"]) == (3, 8, 2, [])
    assert result["built"][0]["clocks"] == {"1": 60.0, "2": 55.0}
    text = path.read_text()
    assert text.startswith("    relif bench --targets --built boards --ticks 8 --samples 2 --seed 3\n\nNetworks, "
                           "spikes and order of samples of seed 3; 8 ticks, 2 digits. Measured with amaranth ")
    assert "Bitstreams of place and route with seeds 1, 2, made with tool 1." in text.replace("\n", " ")
    assert "| lanes8 | clock of boards (ECP5-85F) | 64 lanes at 100 MHz | 8 lanes at 60.0, 55.0 MHz" in text


def test_what_was_not_given_is_named(quick, capsys, tmp_path):
    path = tmp_path / "targets.md"
    assert main(["bench", "--targets", "--ticks", "8", "-o", str(path)]) == 0
    out = capsys.readouterr().out
    assert "What remains, and why" in out and "6/8 recurrent/2" in out
    assert "clock of" not in out
    for text in (out, path.read_text()):
        assert "Left out: clocks of boards (--built DIR)." in text.replace("\n", " ")


@pytest.mark.parametrize(("arguments", "message"), [
    (["--built", "build"], "--built is for --targets"),
    (["--simulator", "--built", "build"], "--built is for --targets"),
    (["--targets", "--pictures", "docs"], "--pictures is for --scaling"),
])
def test_options_of_other_benches_are_refused(capsys, arguments, message):
    assert main(["bench", *arguments]) == 1
    assert f"relif: {message}" in capsys.readouterr().err
