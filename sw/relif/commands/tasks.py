"""`relif tasks`: what there is to train."""

from __future__ import annotations

import argparse
from typing import Any

from ..console import Console
from ..pattern import EPOCHS, random_pattern
from ..tasks import TASKS
from .temporal_xor import SPAN, TICKS

__all__ = ["run"]


def run(options: argparse.Namespace, console: Console) -> None:
    """List the tasks."""
    tasks: dict[str, dict[str, Any]] = {name: {
        "summary": task.summary, "inputs": task.n_inputs, "classes": task.n_classes, "ticks": task.ticks,
        "epochs": task.epochs} for name, task in TASKS.items()}
    ticks, inputs = random_pattern(0).inputs.shape
    tasks["pattern"] = {"summary": "fire given spikes in answer to given spikes (SuperSpike)", "inputs": inputs,
                        "classes": None, "ticks": ticks, "epochs": EPOCHS}
    tasks["temporal-xor"] = {"summary": "which of two outputs spikes first (Fig. 7)", "inputs": 2,
                             "classes": 2, "ticks": TICKS * SPAN, "epochs": None}
    if console.json_output:
        console.result({"tasks": tasks})
    console.table("Tasks", ("task", "inputs", "classes", "ticks", "epochs", "what"), [
        (name, *("-" if task[key] is None else str(task[key]) for key in ("inputs", "classes", "ticks", "epochs")),
         task["summary"]) for name, task in tasks.items()])
