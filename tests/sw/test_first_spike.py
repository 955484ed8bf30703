"""First spikes on the golden model as a board: the temporal XOR, deployed (against theory) and learned there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from relif.cli import main
from relif.errors import BoardError, DataError
from relif.first_spike import XOR, deploy, first_spikes, volley, xor_on_board
from relif.host.board import ModelBoard
from relif.methods.spike_time import SpikeTimeNetwork, train_xor
from relif.pattern import fit_patterns
from relif.temporal_xor import FALL, TICKS, xor_network, xor_patterns
from relif_hw.config import preset

CORE = preset("lanes4")


@pytest.mark.parametrize("seed", range(10))
def test_all_four_patterns_of_the_xor_are_right_by_first_spike(seed: int) -> None:
    trained = train_xor(seed)
    with ModelBoard(CORE) as board:
        times = xor_on_board(board, trained.network)
    theory = trained.network(torch.tensor([inputs for inputs, _ in XOR])).detach().numpy()
    for got, wanted, (_, label) in zip(times, theory, XOR, strict=True):
        assert got.argmin() == wanted.argmin() == label and got.min() < got.max()
        # The spike that decides: each of two layers delays by up to two ticks of 1/20, and weights have eight bits.
        assert abs(got.min() - wanted.min()) < 0.35


def test_no_neuron_spikes_twice() -> None:
    # Inhibition from a neuron to itself outweighs all that its inputs can bring, and fits its range.
    network = deploy(train_xor(1).network)
    assert list(network.projections) == ["x->l1", "l1->l1", "l1->l2", "l2->l2"]
    for name, below in (("l1->l1", "x->l1"), ("l2->l2", "l1->l2")):
        inhibition = network.initial_weights(network.projections[name])
        assert (inhibition == np.diag(np.diag(inhibition))).all()
        excitation = np.maximum(network.initial_weights(network.projections[below]), 0).sum(0)
        assert (-np.diag(inhibition) > 1.05 * excitation).all()
    assert not any(p.plastic for p in network.projections.values())


def test_refuses() -> None:
    model = SpikeTimeNetwork((2, 3, 2))
    with pytest.raises(DataError, match="a time constant must be at least 2 ticks, not 1"):
        deploy(model, ticks=1)

    class Mute(ModelBoard):
        def results(self):          # type: ignore[no-untyped-def]
            return super().results()[1:]

    with pytest.raises(BoardError, match="the board sent 199 results for 200 ticks"):
        xor_on_board(Mute(CORE), model)


def test_volley_and_first_spikes() -> None:
    spikes = volley([0.0, 2.0, 0.5], ticks=10, span=3)
    assert (spikes.shape, np.argwhere(spikes).tolist()) == ((30, 3), [[0, 0], [5, 2], [20, 1]])
    spikes[25, 0] = spikes[20, 1] = False
    assert first_spikes(spikes, ticks=10).tolist() == [0.0, np.inf, 0.5]


def test_only_spike_times_tell_the_patterns_apart() -> None:
    patterns = xor_patterns()
    for pattern, (times, label) in zip(patterns, XOR, strict=True):
        # Every input spikes once, whatever the pattern; the target is one spike of the right output, after them all.
        assert pattern.inputs.sum(0).tolist() == [1, 1, 1] and pattern.inputs[0, 2]
        assert first_spikes(pattern.inputs, ticks=TICKS).tolist() == [*times, 0.0]
        assert np.argwhere(pattern.target).tolist() == [[(max(times) + 1) * TICKS, label]]


def test_the_xor_is_learned_on_the_board_from_target_spikes() -> None:
    # A third of the presentations of the command line is enough for the order, not yet for the times. At the start
    # the outputs are silent.
    patterns = xor_patterns()
    with ModelBoard(preset("lanes32")) as board:
        run = fit_patterns(xor_network(100), board, patterns, epochs=50, decay=FALL)
    times = [first_spikes(spikes, ticks=TICKS) for spikes in run.spikes]
    assert all(t[label] < t[1 - label] for t, (_, label) in zip(times, XOR, strict=True)), times
    assert run.distance < run.untrained / 2


def test_superspike_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "temporal-xor", "--rule", "superspike", "--board", "model", "--epochs", "2", "--json"]
    assert main([*command, "--hidden", "8", "--rate", "0.001", "--report", str(tmp_path / "out")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["rule"], result["epochs"], result["ticks"]) == ("superspike", 2, 400)
    assert (tmp_path / "out" / "temporal_xor.png").stat().st_size > 5000
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == result
    assert main([*command, "--hidden", "8", "--rate", "0.001", "--feedback", "symmetric"]) == 0
    assert json.loads(capsys.readouterr().out)["weights_sha256"] != result["weights_sha256"]
    for extra, message in ((["--rule", "dfa"], "learned by --rule spike-time or superspike, not 'dfa'"),
                           (["--hidden", "4,4"], "temporal-xor has one hidden layer, not 2"),
                           (["--feedback", "local"], "local errors are those of classes"),
                           (["--data", "x"], "--data means nothing to temporal-xor"),
                           (["--board", "float"], "temporal-xor runs on a core")):
        assert main([*command, *extra]) == 1
        assert message in capsys.readouterr().err


def test_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "temporal-xor", "--board", "model", "--seed", "3", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["test_accuracy"], result["train_accuracy"], result["ticks"]) == (1.0, 1.0, 800)
    assert main(["train", "temporal-xor", "--board", "model", "--seed", "3", "--json", "--rule", "spike-time"]) == 0
    named = json.loads(capsys.readouterr().out)
    assert named["rule"] == result["rule"] == "spike-time" and named["epochs"] == result["epochs"]
    for extra, message in ((["--epochs", "3"], "--epochs means nothing to temporal-xor"),
                           (["--feedback", "random"], "--feedback means nothing to temporal-xor"),
                           (["--board", "float"], "temporal-xor runs on a core"),
                           (["--hidden", "4,4"], "temporal-xor has one hidden layer, not 2")):
        assert main(["train", "temporal-xor", *extra]) == 1
        assert message in capsys.readouterr().err
