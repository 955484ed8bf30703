"""Waveforms: files, errors, queue entries, and learning to follow them in floating point and on the golden model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from relif.cli import main
from relif.compiler import compile
from relif.errors import DataError
from relif.host.board import ModelBoard
from relif.model.online import OnlineLearner
from relif.regression import (
    Waveform,
    entries,
    fit_regression,
    on_board,
    on_float,
    random_waveform,
    read_waveform,
    regression_network,
)
from relif_hw.config import CoreConfig
from relif_hw.isa import TICK_ENTRY, VALUE_ENTRY, TickFlag

SMALL = {"ticks": 100, "inputs": 40, "outputs": 2}


def core(lanes: int) -> CoreConfig:
    return CoreConfig(lanes=lanes, weight_words=2048, state_words=256, neuron_words=64)


def test_random_waveforms_are_sums_of_slow_sinusoids() -> None:
    wave = random_waveform(3)
    assert (wave.inputs.shape, wave.target.shape) == ((1000, 50), (1000, 3))
    assert np.abs(wave.target).max(0).tolist() == [1.0, 1.0, 1.0]
    # A second: the spectrum has 1, 2, 3 and 5 Hz, and nothing else.
    spectrum = np.abs(np.fft.rfft(wave.target, axis=0))
    loud = (spectrum > 1e-9 * spectrum.max()).all(1)
    assert np.flatnonzero(loud).tolist() == [1, 2, 3, 5]
    # 50,000 draws of 0.02: within five deviations.
    assert wave.inputs.mean() == pytest.approx(0.02, abs=5 * (0.02 / 50_000) ** 0.5)
    again, other = random_waveform(3), random_waveform(4)
    assert np.array_equal(again.target, wave.target) and np.array_equal(again.inputs, wave.inputs)
    assert not np.allclose(other.target, wave.target) and not np.array_equal(other.inputs, wave.inputs)


def test_error_is_a_part_of_the_variance() -> None:
    wave = random_waveform(0)
    assert wave.error(wave.target) == 0.0
    assert wave.error(np.broadcast_to(wave.target.mean(0), wave.target.shape)) == pytest.approx(1.0, rel=1e-12)
    # Half the amplitude is a quarter of the error, as these waves have no mean; silence is all of it.
    assert wave.error(0.5 * wave.target) == pytest.approx(0.25, rel=1e-3)
    assert wave.error(0 * wave.target) == pytest.approx(1.0, rel=1e-3)


def test_refuses_waveforms() -> None:
    wave = random_waveform(0, **SMALL)
    with pytest.raises(DataError, match=r"equal ticks, not \(100, 40\) and \(99, 2\)"):
        Waveform(wave.inputs, wave.target[1:])
    for wrong in (8.0, -8.1, np.nan, np.inf):
        target = wave.target.copy()
        target[7, 1] = wrong
        with pytest.raises(DataError, match="target of output 1 at tick 7 is .*; it must be from -8 to less than 8"):
            Waveform(wave.inputs, target)
    target = wave.target.copy()
    target[:, 1] = 0.5
    with pytest.raises(DataError, match="the target of output 1 never changes: its variance is zero"):
        Waveform(wave.inputs, target)
    with pytest.raises(DataError, match="epochs must be at least 1, not 0"):
        fit_regression(lambda rate: wave.target, wave, 0.1, epochs=0)


def test_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "waves.csv"
    path.write_text("0.5, -1\n1.5 2\n\n-7.25,3e-1\n")
    wave = read_waveform(path, seed=5)
    assert wave.target.tolist() == [[0.5, -1.0], [1.5, 2.0], [-7.25, 0.3]]
    assert np.array_equal(wave.inputs, random_waveform(5, ticks=3).inputs)


@pytest.mark.parametrize(("text", "message"), [
    ("", "there are no values"),
    ("1 2\n3 x\n", "line 2: must be numbers, not '3 x'"),
    ("1 2\n\n3\n", "line 3: there are 1 values, 2 in the first"),
    ("1 2\n3 9\n", "the target of output 1 at tick 1 is 9"),
    ("1 nan\n3 1\n", "the target of output 1 at tick 0 is nan"),
    ("1 2\n3 2\n", "the target of output 1 never changes"),
])
def test_refuses_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "waves.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=f"waves.csv.*{message}"):
        read_waveform(path)
    with pytest.raises(DataError, match="none.csv: cannot be read"):
        read_waveform(tmp_path / "none.csv")


def test_targets_come_at_every_fourth_tick_and_only_in_training() -> None:
    wave = random_waveform(1, **SMALL)
    network = regression_network(wave, hidden=8)
    compiled = compile(network, core(4))
    base = compiled.base("x")
    for train in (True, False):
        queue = entries(compiled, wave, train).astype(np.int64)
        ends = np.flatnonzero(queue & TICK_ENTRY)
        assert len(ends) == 100
        for tick, part in enumerate(np.split(queue, ends[:-1] + 1)):
            events = [int(e) - base for e in part[:-1] if not e & VALUE_ENTRY]
            # A value has 14 bits, two's complement, in units of 2^-10.
            values = [((int(v) & 0x3FFF) ^ 0x2000) - 0x2000 for v in part[:-1] if v & VALUE_ENTRY]
            assert events == wave.inputs[tick].nonzero()[0].tolist()
            learned = train and tick % 4 == 3
            assert values == (np.rint(1024 * wave.target[tick]).astype(int).tolist() if learned else [])
            flags = TickFlag(int(part[-1]) >> 11 & 15)
            assert bool(flags & TickFlag.TARGET) == learned
            assert bool(flags & TickFlag.TRAIN) == train
            assert bool(flags & TickFlag.RESET) == (tick == 0)
            assert flags & TickFlag.SEND


def readout_only(wave: Waveform, **settings: int) -> OnlineLearner:
    """A learner whose hidden population stays as it is."""
    learner = OnlineLearner(regression_network(wave, **settings))
    learn, hidden = learner.learn, {name: learner.weights[name].copy() for name in ("x->h", "h->h")}

    def learn_readout(target: object, rate: float) -> None:
        learn(target, rate)         # type: ignore[arg-type]
        for name, weights in hidden.items():
            learner.weights[name][:] = weights

    learner.learn = learn_readout   # type: ignore[method-assign, assignment]
    return learner


def test_learns_waveforms_in_floating_point_with_the_hidden_population() -> None:
    wave = random_waveform(2, ticks=200)
    # With the readout alone it cannot be done: hardly any hidden neuron spikes at the start.
    alone = fit_regression(on_float(readout_only(wave, hidden=48, seed=2), wave), wave, 2.0**-6, epochs=30)
    for eligibility in ("factored", "synaptic"):
        network = regression_network(wave, hidden=48, seed=2, eligibility=eligibility)
        assert network.rule is not None
        run = fit_regression(on_float(OnlineLearner(network), wave), wave, network.rule.rate, epochs=30)
        assert (run.ticks, len(run.errors), run.outputs.shape) == (30 * 200, 30, (200, 3))
        assert run.error == wave.error(run.outputs)
        assert run.untrained > 0.9 and run.error < 0.3
        assert alone.error > 3 * run.error


def test_learns_waveforms_on_a_board_whatever_its_lanes() -> None:
    wave = random_waveform(5, **SMALL)
    runs, rate, epochs = [], 2.0**-3, 5
    for lanes in (4, 16):
        network = regression_network(wave, hidden=32, seed=1)
        with ModelBoard(core(lanes)) as board:
            compiled = compile(network, board.config)
            compiled.load(board)
            runs.append(fit_regression(on_board(board, compiled, wave), wave, rate, epochs=epochs))
    assert runs[0].errors == runs[1].errors
    assert np.array_equal(runs[0].outputs, runs[1].outputs)
    # The float model comes as far.
    exact = fit_regression(on_float(OnlineLearner(network), wave), wave, rate, epochs=epochs)
    assert runs[0].untrained == pytest.approx(exact.untrained, abs=0.05)
    for run in (exact, runs[0]):
        assert run.error < run.untrained / 3


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    times = np.arange(40) / 40
    (tmp_path / "waves.csv").write_text("".join(f"{np.sin(6 * t):.6f},{np.cos(9 * t):.6f}\n" for t in times))
    command = ["train", "regression", "--data", "waves.csv", "--epochs", "3", "--hidden", "16", "--json"]
    assert main([*command, "--board", "model", "--report", "out"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["task"], result["ticks"], result["test_accuracy"]) == ("regression", 120, None)
    assert result["untrained_error"] > 0.5 and len(result["weights_sha256"]) == 64
    assert (tmp_path / "out" / "regression.png").stat().st_size > 5000
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == result
    assert main([*command, "--board", "float", "--seed", "1"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["board"], result["cycles_per_tick"], result["seed"]) == ("float", None, 1)
    assert main([*command, "--board", "model", "--eligibility", "synaptic", "--activity-cost", "0.01"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["preset"] == "synaptic32"
    for extra, message in ((["--feedback", "symmetric"], "--feedback means nothing to regression"),
                           (["--resume", "x"], "--resume means nothing to regression"),
                           (["--hidden", "8,8"], "regression has one hidden population, not 2"),
                           (["--data", "none"], "none: cannot be read")):
        assert main([*command, *extra]) == 1
        assert message in capsys.readouterr().err
