"""Spike patterns: files, distance, and learning them on the golden model as a board."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from relif.cli import main
from relif.errors import DataError, NetworkError
from relif.host.board import ModelBoard
from relif.pattern import (
    Pattern,
    fit_patterns,
    pattern_network,
    random_pattern,
    read_pattern,
    read_ras,
    recall,
)
from relif_hw.config import CoreConfig
from relif_hw.isa import Space


def core(lanes: int) -> CoreConfig:
    return CoreConfig(lanes=lanes, weight_words=1024, state_words=128, neuron_words=64, program_length=32)


def test_files_are_read_and_made_equally_long(tmp_path: Path) -> None:
    (tmp_path / "a-input.ras").write_text("0.0003 2\n0.0029 0\n\n0.0031 1\n")
    (tmp_path / "a-target.ras").write_text("0.0055 1\n")
    pattern = read_pattern(tmp_path)
    assert pattern.inputs.shape == (6, 3) and pattern.target.shape == (6, 2)
    assert np.argwhere(pattern.inputs).tolist() == [[0, 2], [2, 0], [3, 1]]
    assert np.argwhere(pattern.target).tolist() == [[5, 1]]
    assert read_ras(tmp_path / "a-target.ras", dt=1e-4).shape == (56, 2)


@pytest.mark.parametrize(("text", "message"), [
    ("", "there are no spikes"),
    ("0.1 3\n0.2\n", "spike 2: must be a time in seconds and a unit, not '0.2'"),
    ("0.1 3 4\n", "spike 1: must be a time in seconds and a unit, not '0.1 3 4'"),
    ("-0.1 3\n", "spike 1: must be"), ("nan 3\n", "spike 1: must be"), ("0.1 -3\n", "spike 1: must be"),
    ("0.1 x\n", "spike 1: must be"),
])
def test_refuses_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "input.ras").write_text(text)
    with pytest.raises(DataError, match=f"input.ras.*{message}"):
        read_ras(tmp_path / "input.ras")
    with pytest.raises(DataError, match=r"there must be one file \*target.ras, not 0|input.ras"):
        read_pattern(tmp_path)


def test_distance() -> None:
    pattern = random_pattern(0)
    assert pattern.distance(pattern.target) == 0.0
    nothing, late = np.zeros_like(pattern.target), np.roll(pattern.target, 1, axis=0)
    # A millisecond off is nearer than nothing, ten are not.
    assert 0 < pattern.distance(late) < pattern.distance(nothing) / 4
    assert pattern.distance(np.roll(pattern.target, 20, axis=0)) > pattern.distance(nothing)
    with pytest.raises(DataError, match="the target has no spikes"):
        Pattern(pattern.inputs, nothing)
    with pytest.raises(DataError, match=r"equal ticks, not \(250, 200\) and \(249, 8\)"):
        Pattern(pattern.inputs, pattern.target[1:])


def test_learns_a_pattern_whatever_the_lanes() -> None:
    pattern = random_pattern(5, ticks=80, inputs=60, outputs=2)
    runs = []
    for lanes in (4, 16):
        with ModelBoard(core(lanes)) as board:
            runs.append(fit_patterns(pattern_network(pattern, seed=1, rate=2.0**-9), board, [pattern], epochs=20))
    assert runs[0].distances == runs[1].distances
    assert np.array_equal(runs[0].spikes[0], runs[1].spikes[0])
    for run in runs:
        assert run.ticks == 20 * 80
        assert run.distance == pattern.distance(run.spikes[0])
        assert run.distance < min(run.untrained, pattern.distance(pattern.target & False)) / 4


def test_learns_two_patterns_in_turn() -> None:
    # The same neurons answer both, and what comes first leaves nothing behind for the second: each starts from rest.
    patterns = [random_pattern(seed, ticks=60, inputs=60, outputs=2) for seed in (5, 6)]
    network = pattern_network(patterns[0], seed=1, rate=2.0**-10)
    with ModelBoard(core(8)) as board:
        run = fit_patterns(network, board, patterns, epochs=30)
        backwards = [recall(board, run.compiled, pattern.inputs, 2) for pattern in reversed(patterns)]
    assert len(run.spikes) == 2 and run.ticks == 2 * 30 * 60
    assert run.distance < sum(p.distance(p.target & False) for p in patterns) * 0.75
    for pattern, spikes, again in zip(patterns, run.spikes, reversed(backwards), strict=True):
        assert pattern.distance(spikes) < pattern.distance(run.spikes[pattern is patterns[0]])
        assert pattern.distance(again) == pattern.distance(spikes)
    assert run.distance == sum(p.distance(s) for p, s in zip(patterns, run.spikes, strict=True))


@pytest.mark.parametrize("feedback", ["random", "symmetric", "layers"])
def test_learns_a_pattern_through_a_hidden_layer(feedback: str) -> None:
    pattern = random_pattern(5, ticks=80, inputs=60, outputs=2)
    network = pattern_network(pattern, hidden=[40], seed=1, feedback=feedback)
    with ModelBoard(core(16)) as board:
        run = fit_patterns(network, board, [pattern], epochs=25)
        trained = run.compiled.take_weights(board.read(Space.WEIGHTS, 0, run.compiled.layout.weight_words))
    assert run.distance < min(run.untrained / 4, pattern.distance(pattern.target & False))
    for name, weights in trained.items():
        start = run.compiled.to_integers(name, network.initial_weights(network.projections[name]))
        assert (weights != start).any() == network.projections[name].plastic


def test_refuses_feedback_that_cannot_be() -> None:
    pattern = random_pattern(5, ticks=80, inputs=60, outputs=2)
    with pytest.raises(NetworkError, match="local errors are those of classes"):
        pattern_network(pattern, hidden=[4], feedback="local")
    with pytest.raises(NetworkError, match="'h1' has no projection to 'o'; use feedback='random'"):
        pattern_network(pattern, hidden=[4, 4], feedback="symmetric")


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.ras").write_text("".join(f"{t / 1000} {t % 7}\n" for t in range(60)))
    (tmp_path / "target.ras").write_text("0.02 0\n0.05 1\n")
    command = ["train", "pattern", "--board", "model", "--data", ".", "--epochs", "3", "--json", "--report", "out"]
    assert main(command) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["task"], result["ticks"], result["test_accuracy"]) == ("pattern", 180, None)
    assert result["silent_distance"] > 0 and len(result["weights_sha256"]) == 64
    assert (tmp_path / "out" / "pattern.png").stat().st_size > 5000
    assert main([*command[:-2], "--hidden", "5", "--feedback", "symmetric"]) == 0
    assert json.loads(capsys.readouterr().out)["weights_sha256"] != result["weights_sha256"]
    for extra, message in ((["--feedback", "local"], "local errors are those of classes"),
                           (["--rule", "dfa"], "--rule means nothing to pattern"),
                           (["--resume", "x"], "--resume means nothing to pattern"),
                           (["--in-the-loop"], "--in-the-loop means nothing to pattern"),
                           (["--board", "float"], "pattern runs on a core")):
        assert main([*command, *extra]) == 1
        assert message in capsys.readouterr().err
