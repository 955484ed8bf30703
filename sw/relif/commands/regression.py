"""`relif train regression`: learn to follow analog waveforms in answer to given spikes."""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

from relif_hw.isa import Space

from .. import plots
from ..compiler import compile
from ..console import Console
from ..errors import DataError
from ..model.online import OnlineLearner
from ..network import Network
from ..regression import (
    EPOCHS,
    Player,
    RegressionRun,
    Waveform,
    fit_regression,
    on_board,
    on_float,
    random_waveform,
    read_waveform,
    regression_network,
)
from .session import CycleMeter, leave_picture, require_plain, weights_sha256
from .shared import core_for, opened

__all__ = ["run"]

RULE = ("tau_eligibility", "activity_cost", "activity_target")
"""Arguments that change the rule, as they are; --eligibility chooses the rates too."""


def _network(options: argparse.Namespace, waveform: Waveform, seed: int) -> Network:
    if options.hidden and len(options.hidden) > 1:
        raise DataError(f"regression has one hidden population, not {len(options.hidden)}")
    network = regression_network(waveform, seed=seed, rate=options.rate,
                                 eligibility=options.eligibility or "factored",
                                 **({"hidden": options.hidden[0]} if options.hidden else {}))
    changes = {key: getattr(options, key) for key in RULE if getattr(options, key) is not None}
    if changes and network.rule is not None:
        network.learn(dataclasses.replace(network.rule, **changes))
    return network


def _fit(options: argparse.Namespace, console: Console, network: Network, waveform: Waveform,
         play: Player) -> RegressionRun:
    assert network.rule is not None
    epochs = options.epochs or EPOCHS
    with console.bar(f"regression on {options.board}") as bar:
        return fit_regression(play, waveform, network.rule.rate, epochs=epochs,
                              progress=lambda done, error: bar(done, epochs, f"error {error:.4f}"))


def _on_board(options: argparse.Namespace, console: Console, network: Network,
              waveform: Waveform) -> tuple[RegressionRun, dict[str, Any]]:
    with opened(options.board, core_for(network, options), console) as board:
        compiled = compile(network, board.config)
        compiled.load(board)
        meter = CycleMeter(board)
        meter.start()
        run = _fit(options, console, network, waveform, on_board(board, compiled, waveform))
        # The two presentations without learning, before and after, count too.
        meter.stop(run.ticks + 2 * len(waveform.inputs))
        weights = compiled.take_weights(board.read(Space.WEIGHTS, 0, compiled.layout.weight_words))
        return run, {"preset": board.config.name, "cycles_per_tick": meter.cycles_per_tick,
                     "weights_sha256": weights_sha256(weights)}


def run(options: argparse.Namespace, console: Console) -> None:
    """Learn the random waveforms of the seed, or those of the file --data, and tell how near the outputs came."""
    require_plain(options, "regression", allowed=("eligibility", *RULE), in_float=True)
    seed, start = options.seed or 0, time.monotonic()
    waveform = random_waveform(seed) if options.data is None else read_waveform(Path(options.data), seed)
    network = _network(options, waveform, seed)
    if options.board == "float":
        run = _fit(options, console, network, waveform, on_float(OnlineLearner(network), waveform))
        facts: dict[str, Any] = {"preset": None, "cycles_per_tick": None}
    else:
        run, facts = _on_board(options, console, network, waveform)
    result: dict[str, Any] = {
        "task": "regression", "board": options.board, "seed": seed, "epochs": len(run.errors), "train_accuracy": None,
        "test_accuracy": None, "ticks": run.ticks, "seconds": time.monotonic() - start,
        "untrained_error": run.untrained, "error": run.error, **facts,
    }
    if options.report:
        picture = plots.regression(waveform.target, run.outputs, run.errors, waveform.dt)
        leave_picture(options.report, "regression", picture, result, console)
    console.result(result, f"mean-square error as a part of the variance: {run.untrained:.3f} untrained, "
                           f"{run.error:.3f} after {len(run.errors)} presentations")
