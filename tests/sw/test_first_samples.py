"""The beginning of a training: the samples of the first epoch, and weights that are held against the golden model's."""

from __future__ import annotations

import numpy as np
import pytest

from relif.errors import BoardError
from relif.first_samples import FirstSamples, check_weights
from relif.host.board import ModelBoard
from relif.tasks import Digits
from relif.tasks.base import Split
from relif.training import CHUNK, order
from relif_hw.config import CoreConfig
from relif_hw.isa import Space

CONFIG = CoreConfig(weight_words=1024, neuron_words=64, name="large")


def test_the_samples_are_those_of_the_first_epoch():
    task = Digits(3)
    training = FirstSamples(task, CONFIG, CHUNK + 2)
    chosen = order(3, 0, len(task.train))[:CHUNK + 2]
    entries = task.training_entries(training.compiled, Split(task.train.values[chosen], task.train.classes[chosen]))
    assert training.ticks == (CHUNK + 2) * task.ticks
    assert np.array_equal(training.entries, entries)
    # Chunk by chunk they are the same.
    assert list(training.starts) == [0, CHUNK]
    assert np.array_equal(np.concatenate([training.chunk(0), training.chunk(CHUNK)]), entries)
    assert FirstSamples(task, CONFIG, 1 << 20).ticks == len(task.train) * task.ticks


def test_a_board_that_learned_the_same_passes_and_another_is_named():
    training = FirstSamples(Digits(0), CONFIG, 2)
    board = ModelBoard(CONFIG)
    training.compiled.load(board)
    with pytest.raises(BoardError, match="model: after nothing, its weights are not the model's"):
        check_weights(board, training.weights, "nothing")
    board.submit(training.entries)
    check_weights(board, training.weights, "training")
    weights = training.weights
    assert len(weights) == len(training.compiled.images[Space.WEIGHTS])
    # One unit in one word is enough.
    board.write(Space.WEIGHTS, len(weights) - 1, weights[-1:] ^ 1)
    with pytest.raises(BoardError, match="model: after training, its weights are not the model's"):
        check_weights(board, weights, "training")
