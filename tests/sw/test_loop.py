"""Learning in the loop: the host's gradient of what the board did."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from relif import Network, Surrogate
from relif.errors import BoardError, NetworkError
from relif.host.board import ModelBoard
from relif.loop import fit_in_the_loop
from relif.model.float import FloatNetwork
from relif.rules import EProp
from relif.tasks import Split, Task
from relif.training import Progress, Run, evaluate
from relif_hw.config import CoreConfig

CORE = CoreConfig(lanes=4, weight_words=256, state_words=64, neuron_words=32)


class Corners(Task):
    """Four classes of eight inputs: which two of four pairs are bright (exclusive-or needs the hidden neurons)."""

    name = "corners"
    ticks = 8
    epochs = 12
    decay = 0.5
    learn_from = 4
    learn_every = 1
    n_inputs = 8
    n_classes = 2
    hidden = (12,)

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        random = np.random.default_rng(seed)
        bits = random.integers(2, size=(96, 2))
        values = np.stack([bits[:, :1], 1 - bits[:, :1], bits[:, 1:], 1 - bits[:, 1:]], 1).repeat(2, 2).reshape(96, 8)
        classes = bits[:, 0] ^ bits[:, 1]
        self.train, self.test = Split(values[:64].astype(float), classes[:64]), Split(values[64:], classes[64:])

    def encode(self, values: np.ndarray) -> np.ndarray:
        return np.repeat(values[:, None, :] > 0.5, self.ticks, axis=1)

    def network(self) -> Network:
        network = Network(dt=1e-3, seed=self.seed)
        x = network.input(8, name="x")
        h = network.lif(12, tau_mem=5e-3, surrogate=Surrogate(width=1.0), name="h")
        y = network.readout(2, tau_mem=math.inf, name="y")
        network.connect(x, h, range=2.0, gain=1.5)
        network.connect(h, y, range=0.25, gain=0.3)
        network.learn(EProp())
        return network


def test_learns_what_needs_the_hidden_neurons_and_keeps_to_the_ranges() -> None:
    task = Corners()
    kept: list[int] = []
    seen: list[Progress] = []

    def keep(run: Run) -> None:
        kept.append(run.epoch)

    with ModelBoard(CORE) as board:
        run = fit_in_the_loop(task.network(), board, task, batch=16, rate=0.05, progress=seen.append, checkpoint=keep,
                              test_every=12)
        assert evaluate(board, run.compiled, task, task.test) == 1.0
    assert kept == list(range(1, 13))
    assert (seen[0].samples, seen[-1].samples, len(seen)) == (16, 64, 48)
    assert run.history[-1].test_accuracy == 1.0
    assert run.history[0].train_accuracy < 0.9
    assert all(-128 <= weights.min() and weights.max() <= 127 for weights in run.weights.values())


def test_lanes_do_not_matter() -> None:
    task = Corners()
    ends = []
    for lanes in (4, 16):
        core = CoreConfig(lanes=lanes, weight_words=256, state_words=64, neuron_words=32)
        with ModelBoard(core) as board:
            ends.append(fit_in_the_loop(task.network(), board, task, epochs=1).weights)
    assert all(np.array_equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_the_float_model_runs_on_recorded_spikes() -> None:
    model = FloatNetwork(Corners().network(), dtype=torch.float64)
    inputs = torch.from_numpy(Corners().encode(Corners().train.values[:5]))

    def gradient(record: object) -> list[torch.Tensor]:
        loss = (record.membranes["y"] ** 2).sum()       # type: ignore[attr-defined]
        return list(torch.autograd.grad(loss, list(model.weights)))

    # On its own spikes nothing changes: neither membranes nor gradients.
    alone = model(inputs)
    again = model(inputs, {"h": alone.spikes["h"].detach()})
    assert torch.equal(again.membranes["y"], alone.membranes["y"])
    assert all(torch.equal(a, b) for a, b in zip(gradient(again), gradient(alone), strict=True))
    # On others the readout gets those, and the hidden membranes are reset by them.
    silent = model(inputs, {"h": torch.zeros_like(alone.spikes["h"])})
    assert alone.spikes["h"].any() and not silent.membranes["y"].any()
    assert (silent.membranes["h"] > alone.membranes["h"]).any()


def test_refuses() -> None:
    task = Corners()
    network = task.network()
    network.rule = None
    with ModelBoard(CORE) as board:
        with pytest.raises(NetworkError, match="learning in the loop needs a readout that has the error"):
            fit_in_the_loop(network, board, task)

        class Mute(ModelBoard):
            def results(self):          # type: ignore[no-untyped-def]
                return super().results()[:-1]

        with pytest.raises(BoardError, match=r"the board sent \[511, 512\] results of a population for 512 ticks"):
            fit_in_the_loop(task.network(), Mute(CORE), task, batch=64)
