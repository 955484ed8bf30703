"""`relif train temporal-xor`: spike-time gradients in PyTorch, and what was learned on a board (Fig. 7)."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from ..console import Console
from ..errors import DataError
from ..first_spike import XOR, xor_on_board
from ..methods.spike_time import train_xor
from .session import CycleMeter, require_plain
from .shared import chosen_config, opened

__all__ = ["run"]

TICKS = 20
SPAN = 10


def run(options: argparse.Namespace, console: Console) -> None:
    """Train on the host, deploy, and show all four patterns to the board: which output spikes first?"""
    require_plain(options, "temporal-xor", "epochs", "rate", "data", "report")
    seed, start = options.seed or 0, time.monotonic()
    if options.hidden and len(options.hidden) > 1:
        raise DataError(f"temporal-xor has one hidden layer, not {len(options.hidden)}")
    trained = train_xor(seed, hidden=options.hidden[0] if options.hidden else 4)
    with opened(options.board, chosen_config(options), console) as board:
        meter = CycleMeter(board)
        meter.start()
        times = xor_on_board(board, trained.network, ticks=TICKS)
        ticks = len(XOR) * TICKS * SPAN
        meter.stop(ticks)
        right = sum(int(np.argmin(t) == label and np.sort(t)[0] < np.sort(t)[1])
                    for t, (_, label) in zip(times, XOR, strict=True))
        result: dict[str, Any] = {
            "task": "temporal-xor", "board": options.board, "preset": board.config.name, "seed": seed,
            "epochs": trained.steps, "train_accuracy": trained.right / 4, "test_accuracy": right / 4, "ticks": ticks,
            "cycles_per_tick": meter.cycles_per_tick, "seconds": time.monotonic() - start,
        }
    console.table("First spikes on the board, in time constants", ("inputs", "output 0", "output 1", "wanted"), [
        (f"{inputs[0]:g}, {inputs[1]:g}", f"{t[0]:.2f}", f"{t[1]:.2f}", str(label))
        for t, (inputs, label) in zip(times, XOR, strict=True)])
    console.result(result, f"{right} of 4 patterns right on {options.board}, {trained.right} of 4 in PyTorch after "
                           f"{trained.steps} steps")
