"""`relif train`: train a task's network on a board, from scratch or from a checkpoint."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relif_hw.config import CoreConfig

from .. import baselines
from ..checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ..compiler import compile
from ..console import Bar, Console
from ..errors import RelifError
from ..loop import fit_in_the_loop
from ..network import Network
from ..plots import Array, Probe
from ..probe import probe
from ..report import write_report
from ..tasks import Task
from ..training import Progress, Run, evaluate, fit
from . import pattern, regression, temporal_xor
from .session import (
    RULE_OPTIONS,
    TASK_OPTIONS,
    CycleMeter,
    make_network,
    make_task,
    require_formats,
    require_task,
    to_checkpoint,
    to_run,
    weights_sha256,
)
from .shared import MADE, chosen_config, core_for, opened

__all__ = ["run"]

WITHOUT_CLASSES = {"pattern": pattern.run, "regression": regression.run, "temporal-xor": temporal_xor.run}
"""Tasks that are trained in a way of their own."""


@dataclass
class Plan:
    """What is to be trained."""

    task: Task
    network: Network
    seed: int
    epochs: int
    settings: dict[str, Any]
    saved: Checkpoint | None


class Keeper:
    """Keeps the state of the last finished epoch: in a file at once, if one was named."""

    def __init__(self, options: argparse.Namespace, plan: Plan, console: Console) -> None:
        self.plan, self.console = plan, console
        name = options.checkpoint or options.resume
        self.path = Path(name) if name else None
        self.last: Checkpoint | None = None

    def epoch(self, run: Run) -> None:
        """An epoch has ended."""
        self.last = to_checkpoint(run, self.plan.seed, self.plan.settings)
        if self.path is not None:
            save_checkpoint(self.last, self.path)
        entry = run.history[-1]
        test = "" if entry.test_accuracy is None else f", test {100 * entry.test_accuracy:.1f} %"
        self.console.note(f"epoch {entry.epoch} of {run.epochs}: training {100 * entry.train_accuracy:.1f} %"
                          f"{test}, {entry.seconds:.1f} s", level=1)

    def rescue(self) -> None:
        """The run is ending early: leave a checkpoint, and say where."""
        if self.last is None:
            self.console.note("no epoch was finished: there is nothing to keep")
            return
        if self.path is None:
            self.path = Path("runs") / f"{self.last.task}-seed{self.plan.seed}.relif"
            save_checkpoint(self.last, self.path)
        self.console.note(f"epoch {self.last.epoch} is kept; go on with: "
                          f"relif train {self.last.task} --resume {self.path}")


def _follow(bar: Bar, meter: CycleMeter, task: Task) -> Callable[[Progress], None]:
    """What `fit` calls as samples are done: moves the bar, and stops the meter at the end of an epoch."""
    def progress(now: Progress) -> None:
        if now.samples == now.total:
            meter.stop(now.total * task.ticks)
        bar((now.epoch - 1) * now.total + now.samples, now.epochs * now.total,
            f"epoch {now.epoch}/{now.epochs}, {100 * now.accuracy:.1f} % right")
    return progress


def _core(options: argparse.Namespace, plan: Plan) -> CoreConfig | None:
    """The core to make or to expect: as asked for, else for boards that are made the checkpoint's."""
    if plan.saved is not None and options.board in MADE and chosen_config(options) is None:
        return CoreConfig(**plan.saved.config)
    return core_for(plan.network, options)


@dataclass
class Outcome:
    """What a report needs of a run, on whatever it ran."""

    result: dict[str, Any]
    history: list[dict[str, Any]]
    weights: Mapping[str, Array]
    weight_limit: float
    probe: Probe | None = None


def _plan(options: argparse.Namespace) -> Plan:
    """Task, network and settings from the arguments, and for what they leave open from the checkpoint."""
    if options.in_the_loop and options.resume:
        raise RelifError("--in-the-loop cannot go on from a checkpoint: that holds no state of the optimizer")
    saved = load_checkpoint(options.resume) if options.resume else None
    if saved is not None:
        require_task(saved, options.task, options.resume)
    seed = options.seed if options.seed is not None else saved.seed if saved else 0
    settings = dict(saved.options) if saved else {}
    given = {key: getattr(options, key) for key in (*RULE_OPTIONS, *TASK_OPTIONS, "epochs")}
    settings |= {key: value for key, value in given.items() if value is not None}
    task = make_task(options.task, seed, settings, options.data)
    network = make_network(task, settings)
    if saved is not None:
        saved.require_network(network.to_dict(), options.resume)
    return Plan(task, network, seed, settings.get("epochs") or task.epochs, settings, saved)


def _on_board(options: argparse.Namespace, console: Console, plan: Plan) -> Outcome:
    """Train and test on a board."""
    task, saved = plan.task, plan.saved
    keeper = Keeper(options, plan, console)
    with opened(options.board, _core(options, plan), console) as board:
        resume = None
        if saved is not None:
            require_formats(saved, board.config, options.resume)
            resume = to_run(saved, compile(plan.network, board.config), task, plan.epochs)
        meter = CycleMeter(board)

        def epoch_ended(run: Run) -> None:
            keeper.epoch(run)
            meter.start()

        try:
            with console.bar(f"{task.name} on {options.board}") as bar:
                meter.start()
                settings: dict[str, Any] = {
                    "epochs": plan.epochs, "seed": plan.seed, "progress": _follow(bar, meter, task),
                    "checkpoint": epoch_ended, "test_every": 1 if options.report else 0}
                run = (fit_in_the_loop(plan.network, board, task, **settings) if options.in_the_loop else
                       fit(plan.network, board, task, resume=resume, **settings))
        except (KeyboardInterrupt, RelifError):
            keeper.rescue()
            raise
        for note in run.compiled.notes:
            console.note(note, level=1)
        result = {
            "task": task.name, "board": options.board, "preset": board.config.name, "seed": plan.seed,
            "epochs": run.epoch, "train_accuracy": run.train_accuracy,
            "test_accuracy": evaluate(board, run.compiled, task, task.test), "ticks": run.tick,
            "cycles_per_tick": meter.cycles_per_tick, "seconds": sum(epoch.seconds for epoch in run.history),
            "weights_sha256": weights_sha256(run.weights),
        }
        shown = None
        if options.report:
            shown = probe(board, run.compiled, task, task.test.values[0], int(task.test.classes[0]))
        return Outcome(result, run.history_dicts(), run.weights, 1 << board.config.weight_bits - 1, shown)


def _on_float(options: argparse.Namespace, console: Console, plan: Plan) -> Outcome:
    """Train and test the float model with the same rule, samples and order."""
    if options.in_the_loop:
        raise RelifError("--in-the-loop needs a board that runs forward: --board float is none")
    if options.checkpoint or options.resume:
        raise RelifError("--board float keeps no checkpoints: its weights are not a core's")
    task, history = plan.task, list[dict[str, Any]]()
    start = time.monotonic()
    with console.bar(f"{task.name} on the float model") as bar:
        def epoch_ended(epoch: int, accuracy: float) -> None:
            history.append({"epoch": epoch, "train_accuracy": accuracy})
            bar(epoch, plan.epochs, f"{100 * accuracy:.1f} % right")
            console.note(f"epoch {epoch} of {plan.epochs}: training {100 * accuracy:.1f} %", level=1)

        bar(0, plan.epochs)
        learner = baselines.online_train(task, plan.network, epochs=plan.epochs, progress=epoch_ended)
    seconds = time.monotonic() - start
    result = {
        "task": task.name, "board": "float", "preset": None, "seed": plan.seed, "epochs": plan.epochs,
        "train_accuracy": history[-1]["train_accuracy"],
        "test_accuracy": baselines.online_test(task, learner),
        "ticks": plan.epochs * len(task.train) * task.ticks, "cycles_per_tick": None, "seconds": seconds,
    }
    limit = max(projection.range for projection in plan.network.projections.values())
    return Outcome(result, history, learner.weights, limit)


def _baselines(console: Console, plan: Plan) -> dict[str, float]:
    """Test accuracies of other methods on the same split."""
    task, network = plan.task, plan.network
    methods: dict[str, Callable[[], float]] = {
        "linear classifier": lambda: baselines.linear_accuracy(task),
        "float model, same rule": lambda: baselines.online_accuracy(task, network, epochs=plan.epochs),
        "float model, BPTT": lambda: baselines.bptt_accuracy(task, network),
    }
    accuracies = {}
    with console.bar("compared with") as bar:
        for done, (name, method) in enumerate(methods.items()):
            bar(done, len(methods), name)
            accuracies[name] = method()
            console.note(f"{name}: {100 * accuracies[name]:.1f} %", level=1)
    return accuracies


def _tell(console: Console, result: Mapping[str, Any]) -> None:
    """The result as JSON, or as a table for people."""
    if console.json_output:
        console.result(result)
        return
    compared = result.get("baselines") or {}
    rows = [(f"Relif on {result['board']}", f"{100 * result['test_accuracy']:.1f} %")]
    rows += [(name, f"{100 * accuracy:.1f} %") for name, accuracy in compared.items()]
    console.table(f"{result['task']}, seed {result['seed']}", ("test accuracy of", ""), rows)
    facts = [f"{result['epochs']} epochs", f"{result['ticks']:,} ticks".replace(",", " "),
             f"{result['seconds']:.1f} s of training"]
    if result["cycles_per_tick"] is not None:
        facts.append(f"{result['cycles_per_tick']:.1f} clock cycles a tick")
    if result["train_accuracy"] is not None:
        facts.append(f"{100 * result['train_accuracy']:.1f} % right while training in the last epoch")
    console.result(result, "\n".join(facts))


def run(options: argparse.Namespace, console: Console) -> None:
    """Train, test, and leave what was asked for: checkpoint, report, baselines."""
    if options.task in WITHOUT_CLASSES:
        WITHOUT_CLASSES[options.task](options, console)
        return
    plan = _plan(options)
    outcome = (_on_float if options.board == "float" else _on_board)(options, console, plan)
    if options.baselines:
        outcome.result["baselines"] = _baselines(console, plan)
    if options.report:
        page = write_report(options.report, outcome.result, history=outcome.history, weights=outcome.weights,
                            weight_limit=outcome.weight_limit, probe=outcome.probe,
                            baselines=outcome.result.get("baselines"))
        console.note(f"report: {page}")
    _tell(console, outcome.result)
