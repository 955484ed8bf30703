"""Networks of first spikes on the golden model as a board: the temporal XOR, and the times against theory."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from relif.cli import main
from relif.errors import BoardError, DataError
from relif.first_spike import XOR, deploy, xor_on_board
from relif.host.board import ModelBoard
from relif.methods.spike_time import SpikeTimeNetwork, train_xor
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


def test_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "temporal-xor", "--board", "model", "--seed", "3", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["test_accuracy"], result["train_accuracy"], result["ticks"]) == (1.0, 1.0, 800)
    for extra, message in ((["--epochs", "3"], "--epochs means nothing to temporal-xor"),
                           (["--board", "float"], "temporal-xor runs on a core"),
                           (["--hidden", "4,4"], "temporal-xor has one hidden layer, not 2")):
        assert main(["train", "temporal-xor", *extra]) == 1
        assert message in capsys.readouterr().err
