"""`relif train pattern`: learn to fire given spikes in answer to given spikes."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from relif_hw.isa import Space

from .. import plots
from ..console import Console
from ..pattern import EPOCHS, Pattern, fit_patterns, pattern_network, random_pattern, read_pattern
from .session import CycleMeter, leave_picture, require_plain, weights_sha256
from .shared import chosen_config, opened

__all__ = ["run"]


def _pattern(options: argparse.Namespace, seed: int) -> Pattern:
    return random_pattern(seed) if options.data is None else read_pattern(Path(options.data))


def run(options: argparse.Namespace, console: Console) -> None:
    """Learn the random pattern of the seed, or that of the files in --data, and tell how near it came."""
    require_plain(options, "pattern", allowed=("feedback",))
    seed = options.seed or 0
    pattern = _pattern(options, seed)
    epochs = options.epochs or EPOCHS
    given = {key: getattr(options, key) for key in ("rate", "feedback") if getattr(options, key) is not None}
    network = pattern_network(pattern, hidden=options.hidden or (), seed=seed, **given)
    with opened(options.board, chosen_config(options), console) as board, console.bar("pattern") as bar:
        meter, start = CycleMeter(board), time.monotonic()
        meter.start()
        run = fit_patterns(network, board, [pattern], epochs=epochs,
                           progress=lambda done, distance: bar(done, epochs, f"distance {distance:.4f}"))
        # The two presentations without learning, before and after, count too.
        meter.stop(run.ticks + 2 * len(pattern.inputs))
        weights = run.compiled.take_weights(board.read(Space.WEIGHTS, 0, run.compiled.layout.weight_words))
        result: dict[str, Any] = {
            "task": "pattern", "board": options.board, "preset": board.config.name, "seed": seed, "epochs": epochs,
            "train_accuracy": None, "test_accuracy": None, "ticks": run.ticks,
            "cycles_per_tick": meter.cycles_per_tick, "seconds": time.monotonic() - start,
            "untrained_distance": run.untrained, "silent_distance": pattern.distance(pattern.target & False),
            "distance": run.distance, "weights_sha256": weights_sha256(weights),
        }
    if options.report:
        picture = plots.pattern(pattern.target, run.spikes[0], run.distances)
        leave_picture(options.report, "pattern", picture, result, console)
    fall = f"{run.untrained / run.distance:.1f} times nearer" if run.distance else "exactly the target"
    console.result(result, f"van Rossum distance {run.untrained:.4f} untrained, {result['silent_distance']:.4f} of "
                           f"silence, {run.distance:.4f} after {epochs} presentations: {fall}")
