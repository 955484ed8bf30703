"""A training run as the commands see it: made from arguments or a checkpoint, kept in one, told in JSON."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from relif_hw.config import CoreConfig
from relif_hw.isa import Opcode

from ..checkpoint import Checkpoint
from ..compiler import Compiled
from ..console import Console
from ..errors import CheckpointError, DataError, RelifError
from ..host.board import Board
from ..network import Network
from ..tasks import TASKS, Task
from ..training import Epoch, Run

__all__ = ["RULE_OPTIONS", "TASK_OPTIONS", "CycleMeter", "leave_picture", "make_network", "make_task",
           "require_formats", "require_plain", "require_task", "to_checkpoint", "to_run", "weights_sha256"]

RULE_OPTIONS = ("rate", "feedback", "loss", "eligibility", "tau_eligibility", "activity_cost", "activity_target")
"""Arguments that change the task's learning rule."""
TASK_OPTIONS = ("hidden", "rule")
"""Arguments that choose the task's network and rule."""


def make_task(name: str, seed: int, settings: Mapping[str, Any] | None = None, data: str | None = None) -> Task:
    """The task of that name, with those of `TASK_OPTIONS` that are not None, and data from a folder.

    `DataError` if there is no such task, or it does not find its data.
    """
    if name not in TASKS:
        raise DataError(f"no task is called {name!r}; there are {', '.join(TASKS)} (and, to train alone, pattern, "
                        "regression and temporal-xor)")
    chosen = {key: (settings or {}).get(key) for key in TASK_OPTIONS}
    return TASKS[name](seed, data=data, **{key: value for key, value in chosen.items() if value is not None})


def make_network(task: Task, settings: Mapping[str, Any]) -> Network:
    """The task's network, its rule changed by those of `RULE_OPTIONS` that are not None."""
    network = task.network()
    changes = {key: settings[key] for key in RULE_OPTIONS if settings.get(key) is not None}
    if changes and network.rule is not None:
        network.learn(dataclasses.replace(network.rule, **changes), network.output)
    return network


CLASSES_ONLY = ("rule", *(option for option in RULE_OPTIONS if option != "rate"), "checkpoint", "resume",
                "in_the_loop", "baselines")
"""Arguments of `relif train` for tasks with classes alone."""


def require_plain(options: argparse.Namespace, task: str, *others: str, allowed: Sequence[str] = (),
                  in_float: bool = False) -> None:
    """`RelifError` for arguments that mean nothing to a task without classes, and for the float model, unless that
    can do it (`in_float`).

    `others` mean nothing to it either; those `allowed` do mean something.
    """
    for name in (*CLASSES_ONLY, *others):
        if getattr(options, name) and name not in allowed:
            raise RelifError(f"--{name.replace('_', '-')} means nothing to {task}")
    if options.board == "float" and not in_float:
        raise RelifError(f"{task} runs on a core: --board sim, model or a real one")


def require_task(checkpoint: Checkpoint, name: str, path: str | Path) -> None:
    """`CheckpointError` unless the checkpoint is of that task."""
    if checkpoint.task != name:
        raise CheckpointError(f"{path}: made for task {checkpoint.task!r}, not {name!r}")


def require_formats(checkpoint: Checkpoint, config: CoreConfig, path: str | Path) -> None:
    """`CheckpointError` unless the core has the number formats of the one that the checkpoint is from.

    Lanes and depths may differ: results do not depend on them.
    """
    for field in ("weight_bits", "state_bits", "accumulator_bits"):
        old, new = checkpoint.config.get(field), getattr(config, field)
        if old != new:
            raise CheckpointError(f"{path}: from a core with {field} {old}, "
                                  f"but core {config.name!r} has {new}")


def to_checkpoint(run: Run, seed: int, settings: Mapping[str, Any]) -> Checkpoint:
    """The run at the end of its last epoch."""
    compiled = run.compiled
    return Checkpoint(
        network=compiled.network.to_dict(), task=run.task.name, seed=seed, epoch=run.epoch, tick=run.tick,
        config=dataclasses.asdict(compiled.config), weights=dict(run.weights), history=run.history_dicts(),
        options={"epochs": run.epochs, **{key: settings.get(key) for key in (*RULE_OPTIONS, *TASK_OPTIONS)}})


def to_run(checkpoint: Checkpoint, compiled: Compiled, task: Task, epochs: int) -> Run:
    """The run that a checkpoint holds."""
    weights = {name: np.asarray(array, dtype=np.int64) for name, array in checkpoint.weights.items()}
    return Run(compiled=compiled, task=task, epochs=epochs, epoch=checkpoint.epoch, tick=checkpoint.tick,
               weights=weights, history=[Epoch(**entry) for entry in checkpoint.history])


def weights_sha256(weights: Mapping[str, npt.NDArray[np.integer[Any]]]) -> str:
    """SHA-256 of all weights, as 32-bit little-endian integers (pre, post), with the projections' names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name], dtype="<i4")
        digest.update(f"{name} {array.shape}\n".encode() + array.tobytes())
    return digest.hexdigest()


def leave_picture(folder: str | Path, name: str, picture: Figure, result: Mapping[str, Any], console: Console) -> None:
    """Write a picture NAME.png, and the result beside it, into a folder, which is made."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    picture.savefig(folder / f"{name}.png")
    (folder / "result.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    console.note(f"report: {folder / f'{name}.png'}")


class CycleMeter:
    """Cycles that a simulated board works in the measured stretches; None on other boards."""

    def __init__(self, board: Board | None) -> None:
        self._profile = getattr(getattr(board, "transport", None), "profile", None)
        self._cycles = self._start = self.ticks = 0

    def _busy(self) -> int:
        if self._profile is None:
            return 0
        return sum(cycles for opcode, (cycles, _) in self._profile().items() if opcode is not Opcode.END)

    def start(self) -> None:
        """From here on."""
        self._start = self._busy()

    def stop(self, ticks: int) -> None:
        """Up to here, in which so many ticks ran."""
        self._cycles += self._busy() - self._start
        self.ticks += ticks

    @property
    def cycles_per_tick(self) -> float | None:
        """Average, without the cycles in which the core was idle."""
        return self._cycles / self.ticks if self._profile is not None and self.ticks else None
