"""The test that a user runs on a new board first: memories, link, and a training with a known end.

The same steps run on the simulated board. What the memories held is lost.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from relif_hw.isa import Register, Space, space_shape

from .host.board import Board, LinkBoard, ModelBoard
from .tasks.base import Split
from .tasks.digits import Digits
from .training import fit

__all__ = ["Check", "selftest"]

SAMPLES, HIDDEN = 40, 32
"""Digits that the training sees once, and its hidden neurons: few, so that every core holds them."""


@dataclass(frozen=True)
class Check:
    """One step: what, whether it went well, and what was seen."""

    name: str
    passed: bool
    detail: str


def selftest(board: Board, *, kilobytes: int = 256, seed: int = 0) -> Iterator[Check]:
    """Test a board, step by step.

    Parameters
    ----------
    board : Board
    kilobytes : int
        How much crosses the link, each way.
    seed : int
        Of the patterns and of the training.

    Yields
    ------
    Check
        After each step; the steps after a failure are run too.
    """
    random = np.random.default_rng(seed)
    for space in Space:
        words, elements, bits, signed = space_shape(board.config, space)
        if words:
            yield _memory(board, space, random, (words, elements), bits, signed)
    yield _link(board, random, kilobytes)
    yield _training(board, seed)


def _memory(board: Board, space: Space, random: np.random.Generator, shape: tuple[int, int], bits: int,
            signed: bool) -> Check:
    """Every word with a random pattern, then with its complement, so that every bit has been both."""
    low = -(1 << bits - 1) if signed else 0
    pattern = random.integers(low, low + (1 << bits), shape)
    wrong = 0
    for values in (pattern, 2 * low + (1 << bits) - 1 - pattern):
        board.write(space, 0, values)
        wrong += int(np.count_nonzero(board.read(space) != values))
    return Check(f"memory {space.name}", wrong == 0, f"{shape[0]} words of {shape[1]} x {bits} bits"
                 + (f"; {wrong} elements came back wrong" if wrong else ""))


def _link(board: Board, random: np.random.Generator, kilobytes: int) -> Check:
    """The weights' memory to and fro until so many bytes have crossed; frames that had to be repeated are counted."""
    words, elements, bits, _ = space_shape(board.config, Space.WEIGHTS)
    element = 1 if bits <= 8 else 2
    times = max(1, round(1000 * kilobytes / (words * elements * element)))
    session = board.session if isinstance(board, LinkBoard) else None
    repeated = session.repeated if session else 0
    values = random.integers(-(1 << bits - 1), 1 << bits - 1, (words, elements))
    wrong, start = 0, time.monotonic()
    for _ in range(times):
        board.write(Space.WEIGHTS, 0, values)
        wrong += int(np.count_nonzero(board.read(Space.WEIGHTS) != values))
    seconds = time.monotonic() - start
    repeated = session.repeated - repeated if session else 0
    size = times * words * elements * element
    return Check("link", wrong == 0 and repeated == 0, f"{size} bytes each way, {2 * size / seconds / 1000:.0f} kB/s, "
                 f"{repeated} frames repeated, {wrong} elements wrong")


def _training(board: Board, seed: int) -> Check:
    """Some digits are learned on the board and on the golden model: all weights must be the same in the end."""
    task = Digits(seed, hidden=(HIDDEN,))
    task.train = Split(task.train.values[:SAMPLES], task.train.classes[:SAMPLES])
    ends = []
    for place in (board, ModelBoard(board.config)):
        place.write(Space.REGISTERS, 0, np.zeros((len(Register), 1), dtype=np.int64))
        ends.append(fit(task.network(), place, task, epochs=1).weights)
    wrong = sum(int(np.count_nonzero(ends[0][name] != ends[1][name])) for name in ends[0])
    count = sum(weights.size for weights in ends[0].values())
    return Check("training", wrong == 0, f"{SAMPLES} digits, {count} weights, {wrong} differ from the golden model's")
