"""`relif compare`: the published rules on one task, each on a board, in floating point, and beside BPTT."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from relif_hw.config import CoreConfig, preset

from .. import baselines, plots
from ..bench import percent
from ..compiler import Compiled, compile
from ..console import Console
from ..errors import DataError
from ..host.board import DEFAULT_PRESET, Board
from ..rules import published
from ..tasks import Task
from ..training import evaluate, fit
from .session import CycleMeter, make_task
from .shared import MADE, core_for, opened

__all__ = ["run"]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What a rule came to: means over the seeds, and test accuracies of each of them."""

    rule: str
    summary: str
    bits_per_synapse: float
    """Weight, trace of the synapse, and, shared out among the synapses, traces of neurons."""
    cycles_per_tick: float | None
    """While learning; None on boards that count none."""
    board: list[float]
    float_model: list[float]
    bptt: list[float]


def bits_per_synapse(compiled: Compiled) -> float:
    """Memory of a plastic synapse: its weight, its own trace, and its part of the presynaptic ones."""
    plastic = compiled.network.plastic()
    synapses = sum(p.pre.size * p.post.size for p in plastic)
    traces = sum(t.pre.population.size * (2 if t.wide else 1) for t in compiled.layout.traces)
    traces += sum(p.pre.size * p.post.size for p in plastic if compiled.network.synaptic(p))
    return compiled.config.weight_bits + traces * compiled.config.state_bits / synapses


def _on_board(board: Board, task: Task, epochs: int | None, counted: list[float]) -> tuple[float, Compiled]:
    meter = CycleMeter(board)
    meter.start()
    run = fit(task.network(), board, task, epochs=epochs)
    meter.stop(run.epoch * len(task.train) * task.ticks)
    if meter.cycles_per_tick is not None:
        counted.append(meter.cycles_per_tick)
    return evaluate(board, run.compiled, task, task.test), run.compiled


def _columns(rows: Sequence[Compared]) -> list[tuple[str, ...]]:
    def mean(values: Sequence[float]) -> str:
        return percent(float(np.mean(values))) if values else "-"

    return [(row.rule, f"{row.bits_per_synapse:.2f}",
             "-" if row.cycles_per_tick is None else f"{row.cycles_per_tick:.0f}", mean(row.board),
             mean(row.float_model), mean(row.bptt)) for row in rows]


HEADS = ("rule", "bits a synapse", "cycles a tick", "board", "float model", "BPTT")


def _markdown(rows: Sequence[Compared], command: str) -> str:
    lines = [f"    {command}", "", "| " + " | ".join(HEADS) + " |", "| --- " + "| ---: " * (len(HEADS) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(cells) + " |" for cells in _columns(rows))]) + "\n"


def _command(options: argparse.Namespace, rules: Sequence[str], seeds: Sequence[int]) -> str:
    chosen = {"--board": options.board, "--epochs": options.epochs,
              "--hidden": ",".join(map(str, options.hidden)) if options.hidden else None}
    extra = "".join(f" {key} {value}" for key, value in chosen.items() if value)
    return f"relif compare {options.task} --rules {','.join(rules)} --seeds {','.join(map(str, seeds))}{extra}"


def run(options: argparse.Namespace, console: Console) -> None:
    """Train every rule over all seeds; print one table, and draw it if asked to."""
    rules, seeds = options.rules.split(","), options.seeds
    for rule in rules:
        published(rule)
    if len(set(seeds)) < len(seeds):
        raise DataError(f"every seed counts once, but {','.join(map(str, seeds))} has one twice")
    settings: Mapping[str, Any] = {"hidden": options.hidden}
    for rule in rules:                                          # what is wrong is said before the work begins
        network = make_task(options.task, seeds[0], {**settings, "rule": rule}, options.data).network()
        if options.board in MADE:
            compile(network, core_for(network, options) or preset(DEFAULT_PRESET))
    rows: list[Compared] = []
    total, done = len(seeds) * (2 * len(rules) + 1), 0
    with contextlib.ExitStack() as stack:
        boards: dict[CoreConfig | None, Board] = {}
        bar = stack.enter_context(console.bar("compare"))

        def board_for(task: Task) -> Board:
            """Two cores at most: with eligibility memory for rules that need it, and without."""
            config = core_for(task.network(), options)
            if config not in boards:
                boards[config] = stack.enter_context(opened(options.board, config, console))
            return boards[config]

        def step(text: str) -> None:
            nonlocal done
            bar(done, total, text)
            console.note(text, level=1)
            done += 1

        bptt = []
        for seed in seeds:
            step(f"BPTT, seed {seed}")
            bptt.append(baselines.bptt_accuracy(make_task(options.task, seed, settings, options.data)))
        for rule in rules:
            on_board, in_float, cycles, bits = [], [], list[float](), 0.0
            for seed in seeds:
                task = make_task(options.task, seed, {**settings, "rule": rule}, options.data)
                step(f"{rule} on {options.board}, seed {seed}")
                accuracy, compiled = _on_board(board_for(task), task, options.epochs, cycles)
                on_board.append(accuracy)
                bits = bits_per_synapse(compiled)
                step(f"{rule} in floating point, seed {seed}")
                in_float.append(baselines.online_accuracy(task, epochs=options.epochs))
            rows.append(Compared(
                rule=rule, summary=published(rule).summary, bits_per_synapse=bits,
                cycles_per_tick=float(np.mean(cycles)) if cycles else None, board=on_board, float_model=in_float,
                bptt=bptt))
    command = _command(options, rules, seeds)
    if options.output:
        Path(options.output).write_text(_markdown(rows, command), encoding="utf-8")
    if options.picture:
        plots.comparison({row.rule: {options.board: row.board, "float model": row.float_model, "BPTT": row.bptt}
                          for row in rows}, f"{options.task}, {len(seeds)} seeds").savefig(options.picture)
    if console.json_output:
        console.result({"task": options.task, "board": options.board, "seeds": list(seeds), "command": command,
                        "rules": [asdict(row) for row in rows]})
    console.table(f"Mean test accuracy of {options.task} over seeds {', '.join(map(str, seeds))}", HEADS,
                  _columns(rows))
