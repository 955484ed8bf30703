"""The command line: results on standard output, one line for an error, and the exit codes."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import relif
from relif import training
from relif.checkpoint import load_checkpoint
from relif.cli import main
from relif.commands import session, train
from relif.rules import EProp, published
from relif.tasks import TASKS, Split, Task

MODEL = ("--board", "model", "--preset", "lanes4")


class Stripes(Task):
    """Two classes of eight inputs: the left or the right half spikes. Small enough for the golden model."""

    name = "stripes"
    summary = "left or right"
    ticks = 6
    epochs = 3
    decay = 0.5
    learn_from = 2
    learn_every = 1
    n_inputs = 8
    n_classes = 2
    hidden = (6,)

    def __init__(self, seed: int = 0, **options) -> None:
        super().__init__(seed, **options)
        random = np.random.default_rng(seed)
        classes = random.permutation(np.arange(30) % 2)
        values = np.where((np.arange(8) < 4) == (classes[:, None] == 0), 0.9, 0.1)
        self.train, self.test = Split(values[:20], classes[:20]), Split(values[20:], classes[20:])

    def encode(self, values):
        return np.repeat(values[:, None, :] > 0.5, self.ticks, axis=1)

    def network(self):
        network = relif.Network(dt=1e-3, seed=self.seed)
        x, h = network.input(8, name="x"), network.lif(self.hidden[0], tau_mem=5e-3, name="h")
        y = network.readout(2, tau_mem=math.inf, name="y")
        network.connect(x, h, range=2.0, gain=3.0)
        network.connect(h, y, rate=0.25)
        network.learn(EProp(**{"rate": 2.0**-5, "trace": "single", **published(self.rule).settings}))
        return network


@pytest.fixture(autouse=True)
def stripes(monkeypatch, tmp_path):
    """A small task beside the others, and a folder of its own for whatever is written."""
    monkeypatch.setitem(TASKS, "stripes", Stripes)
    monkeypatch.chdir(tmp_path)


def run(capsys, *arguments):
    """Exit code, standard output and standard error of a command."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def train_json(capsys, *arguments):
    code, out, err = run(capsys, "train", "stripes", *MODEL, "--json", *arguments)
    assert code == 0, err
    return json.loads(out)


# Arguments.

@pytest.mark.parametrize(("arguments", "message"), [
    ([], "the following arguments are required: COMMAND"),
    (["learn"], "invalid choice: 'learn'"),
    (["train"], "the following arguments are required: task"),
    (["train", "stripes", "--rate", "-1"], "argument --rate: must be a positive number, not -1"),
    (["train", "stripes", "--rate", "nan"], "argument --rate: must be a positive number, not nan"),
    (["train", "stripes", "--rate", "fast"], "argument --rate: invalid rate value: 'fast'"),
    (["train", "stripes", "--epochs", "0"], "argument --epochs: must be at least 1, not 0"),
    (["train", "stripes", "--seed", "-1"], "argument --seed: must be 0 to 4294967295, not -1"),
    (["train", "stripes", "--preset", "lanes4", "--config", "x.toml"], "not allowed with argument --preset"),
    (["train", "stripes", "--feedback", "none"], "invalid choice: 'none'"),
    (["train", "stripes", "--hidden", "4,x"], "argument --hidden: invalid list of sizes value: '4,x'"),
    (["train", "stripes", "--hidden", "4,0"], "argument --hidden: must be at least 1, not 0"),
    (["compare", "stripes", "--seeds", "a"], "argument --seeds: invalid list of seeds value: 'a'"),
    (["sweep", "stripes", "--rates", "0.1,x"], "argument --rates: invalid list of rates value: '0.1,x'"),
    (["generate", "-o", "x.v"], "one of the arguments --preset --config is required"),
    (["eval", "stripes"], "the following arguments are required: --checkpoint"),
    (["serve", "--tcp", "70000"], r"argument --tcp: must be 0 (any) to 65535, not 70000"),
    (["tasks", "-v", "-q"], "not allowed with argument"),
])
def test_wrong_arguments_are_code_2(capsys, arguments, message):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_version_and_help(capsys):
    assert run(capsys, "--version") == (0, f"relif {relif.__version__}\n", "")
    code, out, _ = run(capsys, "train", "--help")
    assert code == 0
    assert "exit codes: 0 done" in out


# Errors: one line, no traceback.

@pytest.mark.parametrize(("arguments", "message"), [
    (["train", "letters", "--board", "model"], "no task is called 'letters'; there are digits, cue-"),
    (["train", "temporal-xor", "--rule", "e-prop"], "by --rule spike-time or superspike, not 'e-prop'"),
    (["train", "stripes", "--board", "chip"], "no board is called 'chip'"),
    (["train", "stripes", "--board", "model", "--preset", "lanes3"], "no preset is called 'lanes3'"),
    (["train", "stripes", "--board", "model", "--config", "none.toml"], "none.toml: No such file or directory"),
    (["train", "stripes", "--board", "model", "--rate", "2"], "rate must be a number at least 0 and at most 1"),
    (["train", "stripes", "--board", "model", "--resume", "none.relif"], "none.relif: No such file or directory"),
    (["train", "stripes", "--board", "float", "--checkpoint", "x"], "--board float keeps no checkpoints"),
    (["train", "stripes", "--board", "serial:/dev/none"], "/dev/none: there is no such serial port"),
    (["eval", "stripes", "--checkpoint", "none.relif"], "none.relif: No such file or directory"),
    (["generate", "--preset", "lanes4", "-o", "no/folder.v"], "no/folder.v: No such file or directory"),
    (["info", "--board", "tcp://127.0.0.1:1"], "127.0.0.1:1"),
])
def test_errors_are_one_line_and_code_1(capsys, arguments, message):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (1, "")
    assert message in err
    assert err.startswith("relif: ")
    assert err.count("\n") == 1


def test_a_network_that_does_not_fit_names_the_preset_that_would_hold_it(capsys):
    code, _, err = run(capsys, "train", "digits", "--board", "model", "--preset", "lanes4")
    assert code == 1
    assert "the network does not fit core 'lanes4'" in err
    assert "preset 'lanes8' would hold it" in err


# Train.

def test_train_prints_one_json_object(capsys):
    result = train_json(capsys, "--seed", "1")
    assert list(result) == ["task", "board", "preset", "seed", "epochs", "train_accuracy", "test_accuracy",
                            "ticks", "cycles_per_tick", "seconds", "weights_sha256"]
    assert (result["task"], result["board"], result["preset"]) == ("stripes", "model", "lanes4")
    assert (result["seed"], result["epochs"], result["ticks"]) == (1, 3, 3 * 20 * 6)
    assert result["cycles_per_tick"] is None
    assert result["test_accuracy"] == 1.0


def test_train_for_people(capsys):
    code, out, err = run(capsys, "train", "stripes", "--board", "model", "-v", "--epochs", "1")
    assert code == 0
    assert "Relif on model" in out
    assert "test accuracy of" in out
    assert "120 ticks" in out
    assert "epoch 1 of 1: training" in err


def test_quiet_says_nothing(capsys):
    assert run(capsys, "train", "stripes", "--board", "model", "--epochs", "1", "-q") == (0, "", "")


def test_lanes_do_not_matter(capsys):
    hashes = {json.loads(run(capsys, "train", "stripes", "--board", "model", "--preset", preset, "--json")[1])
              ["weights_sha256"] for preset in ("lanes8", "lanes32")}
    assert len(hashes) == 1


def test_rule_options_change_the_network(capsys):
    default = train_json(capsys)["weights_sha256"]
    for option, value in (("--rate", "0.01"), ("--feedback", "symmetric"), ("--loss", "mse")):
        assert train_json(capsys, option, value)["weights_sha256"] != default


def test_network_and_rule_are_chosen_and_kept(capsys):
    chosen = ("--hidden", "4", "--rule", "decolle", "--epochs", "1", "--checkpoint", "c.relif")
    result = train_json(capsys, *chosen)
    kept = load_checkpoint("c.relif")
    assert [p["size"] for p in kept.network["populations"]] == [8, 4, 2, 2]
    assert kept.network["rule"]["feedback"] == "local"
    # The checkpoint brings them along, to go on and to test.
    again = train_json(capsys, "--resume", "c.relif", "--epochs", "1")
    assert again["weights_sha256"] == result["weights_sha256"]
    code, out, err = run(capsys, "eval", "stripes", *MODEL, "--checkpoint", "c.relif", "--json")
    assert (code, json.loads(out)["test_accuracy"]) == (0, result["test_accuracy"]), err


def test_in_the_loop(capsys):
    result = train_json(capsys, "--in-the-loop", "--epochs", "2", "--checkpoint", "loop.relif")
    assert (result["epochs"], result["ticks"]) == (2, 2 * 20 * 6)
    # The checkpoint holds what the board has at the end; to go on by the host's gradient is refused.
    code, out, _ = run(capsys, "eval", "stripes", *MODEL, "--checkpoint", "loop.relif", "--json")
    assert (code, json.loads(out)["weights_sha256"]) == (0, result["weights_sha256"])
    code, _, err = run(capsys, "train", "stripes", *MODEL, "--in-the-loop", "--resume", "loop.relif")
    assert (code, "that holds no state of the optimizer" in err) == (1, True)
    code, _, err = run(capsys, "train", "stripes", "--board", "float", "--in-the-loop")
    assert (code, "--board float is none" in err) == (1, True)


def test_compare(capsys):
    command = ("compare", "stripes", *MODEL, "--rules", "dfa,decolle", "--seeds", "0,1", "--epochs", "2")
    code, out, err = run(capsys, *command, "--json", "-o", "table.md", "--picture", "rules.png")
    assert code == 0, err
    result = json.loads(out)
    assert [row["rule"] for row in result["rules"]] == ["dfa", "decolle"]
    for row in result["rules"]:
        alone = [train_json(capsys, "--rule", row["rule"], "--seed", seed, "--epochs", "2") for seed in (0, 1)]
        assert row["board"] == [run["test_accuracy"] for run in alone]
        assert len(row["float_model"]) == len(row["bptt"]) == 2
        # Eight bits for the weight; 14 sources have a trace of 16 bits for 60 synapses: a quotient of doubles.
        assert row["bits_per_synapse"] == pytest.approx(8 + 14 * 16 / 60)
        assert row["cycles_per_tick"] is None
    text = Path("table.md").read_text()
    assert text.startswith(f"    {result['command']}\n\n| rule |")
    assert text.count("\n| d") == 2
    assert Path("rules.png").stat().st_size > 5000
    code, out, _ = run(capsys, *command)
    assert code == 0
    assert "Mean test accuracy of stripes over seeds 0, 1" in out


def test_sweep(capsys):
    seeds = (0, 3, 4, 5, 6)
    command = ("sweep", "stripes", "--preset", "lanes4", "--rates", "0.02,0.04", "--seeds", ",".join(map(str, seeds)),
               "--epochs", "1")
    code, out, err = run(capsys, *command, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert (result["task"], result["preset"], result["epochs"]) == ("stripes", "lanes4", 1)
    # Ten runs are two cores of replicas; each run is the one that trains alone.
    assert [(point["rate"], point["seed"]) for point in result["runs"]] == [
        (rate, seed) for rate in (0.02, 0.04) for seed in seeds]
    for point in (result["runs"][1], result["runs"][-1]):
        alone = train_json(capsys, "--rate", point["rate"], "--seed", point["seed"], "--epochs", "1")
        for key in ("train_accuracy", "test_accuracy", "weights_sha256"):
            assert point[key] == alone[key]
    code, out, _ = run(capsys, "sweep", "stripes", "--preset", "lanes4", "--seeds", "0,3", "--epochs", "1")
    assert code == 0
    assert "Test accuracy of stripes by learning rate and seed, 1 epochs" in out
    assert out.splitlines()[1].split() == ["rate", "mean", "seed", "0", "seed", "3"]
    assert out.splitlines()[2].split()[0] == "0.03125"
    code, _, err = run(capsys, "sweep", "stripes", "--seeds", "1,1")
    assert (code, "every seed counts once, but 1,1 has one twice" in err) == (1, True)
    code, _, err = run(capsys, "sweep", "stripes", "--rates", "0.1,0.1")
    assert (code, "every rate counts once, but 0.1,0.1 has one twice" in err) == (1, True)


def test_configuration_file(capsys, tmp_path):
    (tmp_path / "small.toml").write_text('preset = "lanes4"\nweight_bits = 6\n')
    code, out, _ = run(capsys, "train", "stripes", "--board", "model", "--config", "small.toml", "--json",
                       "--epochs", "1")
    assert code == 0
    assert json.loads(out)["preset"] == "small"


def test_float_board(capsys):
    code, out, _ = run(capsys, "train", "stripes", "--board", "float", "--json")
    result = json.loads(out)
    assert code == 0
    assert (result["preset"], result["cycles_per_tick"], result["test_accuracy"]) == (None, None, 1.0)


def test_baselines(capsys):
    code, out, _ = run(capsys, "train", "stripes", "--board", "model", "--baselines", "--json")
    assert code == 0
    baselines = json.loads(out)["baselines"]
    assert list(baselines) == ["linear classifier", "float model, same rule", "float model, BPTT"]
    assert baselines["linear classifier"] == baselines["float model, same rule"] == 1.0
    assert 0.0 <= baselines["float model, BPTT"] <= 1.0


def test_report(capsys, tmp_path):
    result = train_json(capsys, "--report", "report")
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        "index.html", "learning_curve.png", "membranes.png", "raster.png", "result.json", "traces.png",
        "weights.png"]
    # The tests after each epoch that the learning curve shows change nothing of the training.
    assert result["weights_sha256"] == train_json(capsys)["weights_sha256"]


# Checkpoints.

def test_resume_is_bit_identical(capsys, tmp_path, monkeypatch):
    whole = train_json(capsys, "--checkpoint", "whole.relif")
    # Stop after each epoch in turn, as a loss of power would, and go on from the file.
    for stop in (1, 2):
        saved = []

        def keep(checkpoint, path, stop=stop, saved=saved):
            if checkpoint.epoch <= stop:
                relif.save_checkpoint(checkpoint, path)
                saved.append(checkpoint.epoch)

        with monkeypatch.context() as patch:
            patch.setattr(train, "save_checkpoint", keep)
            train_json(capsys, "--checkpoint", "part.relif")
        assert load_checkpoint("part.relif").epoch == stop
        resumed = train_json(capsys, "--resume", "part.relif")
        for key in ("epochs", "train_accuracy", "test_accuracy", "ticks", "weights_sha256"):
            assert resumed[key] == whole[key]
        one, other = load_checkpoint("whole.relif"), load_checkpoint("part.relif")
        assert (one.tick, one.network, one.epoch) == (other.tick, other.network, other.epoch)
        for name, weights in one.weights.items():
            assert (weights == other.weights[name]).all()


def test_options_come_from_the_checkpoint(capsys):
    train_json(capsys, "--checkpoint", "a.relif", "--rate", "0.01", "--seed", "5", "--epochs", "2")
    result = train_json(capsys, "--resume", "a.relif", "--epochs", "3")
    assert (result["seed"], result["epochs"]) == (5, 3)


@pytest.mark.parametrize(("arguments", "message"), [
    (["--seed", "1"], "made for another network: seed is 0 in the checkpoint, 1 in the network"),
    (["--rate", "0.5"], r"made for another network: rule.rate is 0.03125 in the checkpoint, 0.5 in the network"),
    (["--config", "wide.toml"], "from a core with weight_bits 8, but core 'wide' has 12"),
])
def test_a_checkpoint_of_another_run_is_refused(capsys, tmp_path, arguments, message):
    (tmp_path / "wide.toml").write_text('preset = "lanes4"\nweight_bits = 12\n')
    train_json(capsys, "--checkpoint", "a.relif", "--epochs", "1")
    before = (tmp_path / "a.relif").read_bytes()
    code, out, err = run(capsys, "train", "stripes", "--board", "model", "--resume", "a.relif", *arguments)
    assert (code, out) == (1, "")
    assert f"a.relif: {message}" in err
    assert (tmp_path / "a.relif").read_bytes() == before


def test_a_checkpoint_of_another_task_is_refused(capsys):
    train_json(capsys, "--checkpoint", "a.relif", "--epochs", "1")
    for command in (["train", "digits", "--resume", "a.relif"], ["eval", "digits", "--checkpoint", "a.relif"]):
        code, _, err = run(capsys, *command)
        assert code == 1
        assert "a.relif: made for task 'stripes', not 'digits'" in err


def test_eval(capsys):
    trained = train_json(capsys, "--checkpoint", "a.relif")
    code, out, _ = run(capsys, "eval", "stripes", "--checkpoint", "a.relif", "--board", "model", "--json",
                       "--report", "shown")
    result = json.loads(out)
    assert code == 0
    for key in ("test_accuracy", "weights_sha256", "epochs", "seed"):
        assert result[key] == trained[key]
    assert os.path.exists("shown/index.html")


# Runs that end early.

class Unplugged(relif.TransportError):
    pass


@pytest.mark.parametrize(("failure", "code", "word"), [
    (KeyboardInterrupt(), 130, "relif: interrupted"),
    (Unplugged("the board is gone"), 1, "relif: the board is gone"),
])
@pytest.mark.parametrize("named", [True, False])
def test_the_last_finished_epoch_is_kept(capsys, monkeypatch, failure, code, word, named):
    original = training._epoch

    def fails(run, *arguments):
        if run.epoch == 2:
            raise failure
        return original(run, *arguments)

    arguments = ["--checkpoint", "a.relif"] if named else []
    with monkeypatch.context() as patch:
        patch.setattr(training, "_epoch", fails)
        got, out, err = run(capsys, "train", "stripes", *MODEL, *arguments)
    path = "a.relif" if named else os.path.join("runs", "stripes-seed0.relif")
    assert (got, out) == (code, "")
    assert f"epoch 2 is kept; go on with: relif train stripes --resume {path}" in err
    assert err.splitlines()[-1] == word
    # Going on from there gives what an undisturbed run gives.
    resumed = train_json(capsys, "--resume", path)
    assert resumed["weights_sha256"] == train_json(capsys)["weights_sha256"]


def test_nothing_to_keep(capsys, monkeypatch):
    def fails(run, *arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "_epoch", fails)
    code, _, err = run(capsys, "train", "stripes", "--board", "model")
    assert code == 130
    assert "no epoch was finished: there is nothing to keep" in err


def test_ctrl_c_of_a_real_process(tmp_path):
    """A signal to the process: exit code 130 and no traceback."""
    command = [sys.executable, "-m", "relif", "train", "digits", "--board", "model", "--epochs", "500", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        time.sleep(6)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "relif: interrupted"


# The other commands.

def test_tasks(capsys):
    code, out, _ = run(capsys, "tasks")
    assert code == 0
    assert "digits" in out
    assert "stripes" in out
    assert json.loads(run(capsys, "tasks", "--json")[1])["tasks"]["stripes"] == {
        "summary": "left or right", "inputs": 8, "classes": 2, "ticks": 6, "epochs": 3}


def test_info(capsys):
    assert "lanes128" in run(capsys, "info")[1]
    assert json.loads(run(capsys, "info", "--preset", "lanes8", "--json")[1])["synapses"] == 4096 * 8
    board = json.loads(run(capsys, "info", "--board", "model", "--json")[1])
    assert (board["board"], board["name"], board["lanes"]) == ("model", "lanes32", 32)


def test_generate(capsys, tmp_path):
    code, out, _ = run(capsys, "generate", "--preset", "lanes4", "-o", "relif.v", "--json")
    assert code == 0
    result = json.loads(out)
    text = (tmp_path / "relif.v").read_text()
    assert result == {"preset": "lanes4", "output": "relif.v", "lines": text.count("\n")}
    assert "module relif_core" in text


def test_weights_hash_is_that_of_the_values():
    weights = {"a": np.arange(6).reshape(2, 3), "b": np.ones((1, 1), dtype=np.int8)}
    first = session.weights_sha256(weights)
    turned = {name: weights[name].astype(np.int32) for name in ("b", "a")}
    assert first == session.weights_sha256(turned)
    weights["a"][0, 0] = 7
    assert first != session.weights_sha256(weights)


def test_public_names():
    for name in relif.__all__:
        assert getattr(relif, name) is not None
    assert set(relif.__all__) <= set(dir(relif))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = relif.nothing
    assert dataclasses.is_dataclass(relif.EProp)
