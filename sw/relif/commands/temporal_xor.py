"""`relif train temporal-xor`: which output spikes first (Fig. 7), learned on the chip or by spike times in PyTorch."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from relif_hw.isa import Space

from .. import plots, temporal_xor
from ..console import Console
from ..errors import DataError
from ..first_spike import XOR, first_spikes, xor_on_board
from ..methods.spike_time import train_xor
from ..pattern import fit_patterns
from .session import CycleMeter, leave_picture, require_plain, weights_sha256
from .shared import chosen_config, opened

__all__ = ["SPAN", "TICKS", "run"]

TICKS, SPAN, HIDDEN = 20, 10, 4
"""Ticks of a time constant, time constants of a presentation, and neurons: of the network trained by spike times."""

Times = list[npt.NDArray[np.float64]]


def run(options: argparse.Namespace, console: Console) -> None:
    """Train in the way of --rule, show all four patterns to the board, and tell which output spikes first."""
    ways = {"spike-time": _spike_time, "superspike": _superspike}
    rule = options.rule or "spike-time"
    if rule not in ways:
        raise DataError(f"temporal-xor is learned by --rule {' or '.join(ways)}, not {rule!r}")
    if options.hidden and len(options.hidden) > 1:
        raise DataError(f"temporal-xor has one hidden layer, not {len(options.hidden)}")
    result, times, how = ways[rule](options, console)
    console.table("First spikes on the board, in time constants", ("inputs", "output 0", "output 1", "wanted"), [
        (f"{inputs[0]:g}, {inputs[1]:g}", f"{t[0]:.2f}", f"{t[1]:.2f}", str(label))
        for t, (inputs, label) in zip(times, XOR, strict=True)])
    console.result(result, f"{_right(times)} of 4 patterns right on {options.board}, {how}")


def _right(times: Times) -> int:
    """For how many patterns the right output spikes first."""
    return sum(int(t[label] < t[1 - label]) for t, (_, label) in zip(times, XOR, strict=True))


def _spike_time(options: argparse.Namespace, console: Console) -> tuple[dict[str, Any], Times, str]:
    """Spike-time gradients on the host; the board runs what they came to."""
    require_plain(options, "temporal-xor", "epochs", "rate", "data", "report", allowed=("rule",))
    seed, start = options.seed or 0, time.monotonic()
    trained = train_xor(seed, hidden=options.hidden[0] if options.hidden else HIDDEN)
    with opened(options.board, chosen_config(options), console) as board:
        meter = CycleMeter(board)
        meter.start()
        times = xor_on_board(board, trained.network, ticks=TICKS, span=SPAN)
        ticks = len(XOR) * TICKS * SPAN
        meter.stop(ticks)
        result = {
            "task": "temporal-xor", "rule": "spike-time", "board": options.board, "preset": board.config.name,
            "seed": seed, "epochs": trained.steps, "train_accuracy": trained.right / 4,
            "test_accuracy": _right(times) / 4, "ticks": ticks, "cycles_per_tick": meter.cycles_per_tick,
            "seconds": time.monotonic() - start,
        }
    return result, times, f"{trained.right} of 4 in PyTorch after {trained.steps} steps"


def _superspike(options: argparse.Namespace, console: Console) -> tuple[dict[str, Any], Times, str]:
    """The board learns from target spikes, and is tested without."""
    require_plain(options, "temporal-xor", "data", allowed=("rule", "feedback"))
    seed, epochs, patterns = options.seed or 0, options.epochs or temporal_xor.EPOCHS, temporal_xor.xor_patterns()
    given = {"rate": options.rate, "feedback": options.feedback,
             "hidden": options.hidden[0] if options.hidden else None}
    network = temporal_xor.xor_network(seed, **{key: value for key, value in given.items() if value is not None})
    with opened(options.board, chosen_config(options), console) as board, console.bar("temporal-xor") as bar:
        meter, start = CycleMeter(board), time.monotonic()
        meter.start()
        run = fit_patterns(network, board, patterns, epochs=epochs, decay=temporal_xor.FALL,
                           progress=lambda done, distance: bar(done, epochs, f"distance {distance:.4f}"))
        # The two presentations without learning, before and after, count too.
        meter.stop(run.ticks + 2 * sum(len(pattern.inputs) for pattern in patterns))
        weights = run.compiled.take_weights(board.read(Space.WEIGHTS, 0, run.compiled.layout.weight_words))
        times = [first_spikes(spikes, ticks=temporal_xor.TICKS) for spikes in run.spikes]
        result = {
            "task": "temporal-xor", "rule": "superspike", "board": options.board, "preset": board.config.name,
            "seed": seed, "epochs": epochs, "train_accuracy": None, "test_accuracy": _right(times) / 4,
            "ticks": run.ticks, "cycles_per_tick": meter.cycles_per_tick, "seconds": time.monotonic() - start,
            "untrained_distance": run.untrained, "distance": run.distance, "weights_sha256": weights_sha256(weights),
        }
    if options.report:
        target = np.concatenate([pattern.target for pattern in patterns])
        picture = plots.pattern(target, np.concatenate(run.spikes), run.distances)
        leave_picture(options.report, "temporal_xor", picture, result, console)
    return result, times, (f"learned there in {epochs} presentations: van Rossum distance {run.untrained:.4f} "
                           f"untrained, {run.distance:.4f} at the end")
