"""`relif eval`: test accuracy of a checkpoint on a board."""

from __future__ import annotations

import argparse
import time

from relif_hw.config import CoreConfig

from ..checkpoint import load_checkpoint
from ..compiler import compile
from ..console import Console
from ..network import Network
from ..probe import probe
from ..report import write_report
from ..training import evaluate
from .session import CycleMeter, make_task, require_formats, require_task, to_run, weights_sha256
from .shared import chosen_config, opened

__all__ = ["run"]


def run(options: argparse.Namespace, console: Console) -> None:
    """Put the checkpoint's network on the board, and classify the test samples; nothing is learned."""
    saved = load_checkpoint(options.checkpoint)
    require_task(saved, options.task, options.checkpoint)
    task = make_task(saved.task, saved.seed, saved.options, options.data)
    network = Network.from_dict(saved.network)
    config = chosen_config(options)
    if config is None and options.board in ("sim", "model"):
        config = CoreConfig(**saved.config)
    with opened(options.board, config, console) as board:
        require_formats(saved, board.config, options.checkpoint)
        run = to_run(saved, compile(network, board.config), task, saved.epoch)
        run.store(board)
        meter = CycleMeter(board)
        meter.start()
        start = time.monotonic()
        accuracy = evaluate(board, run.compiled, task, task.test)
        seconds = time.monotonic() - start
        meter.stop(len(task.test) * task.ticks)
        shown = None
        if options.report:
            shown = probe(board, run.compiled, task, task.test.values[0], int(task.test.classes[0]))
    result = {
        "task": task.name, "board": options.board, "preset": board.config.name, "seed": saved.seed,
        "epochs": saved.epoch, "train_accuracy": run.train_accuracy, "test_accuracy": accuracy,
        "ticks": len(task.test) * task.ticks, "cycles_per_tick": meter.cycles_per_tick, "seconds": seconds,
        "weights_sha256": weights_sha256(run.weights),
    }
    if options.report:
        page = write_report(options.report, result, history=run.history_dicts(), weights=run.weights,
                            weight_limit=1 << board.config.weight_bits - 1, probe=shown)
        console.note(f"report: {page}")
    measured = meter.cycles_per_tick
    cycles = "" if measured is None else f", {measured:.1f} clock cycles a tick"
    console.result(result, f"{task.name} on {options.board}, after {saved.epoch} epochs: "
                           f"{100 * accuracy:.1f} % of {len(task.test)} test samples{cycles}")
