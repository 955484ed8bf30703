"""`relif tasks`: what there is to train."""

from __future__ import annotations

import argparse
from typing import Any

from .. import pattern, regression
from ..console import Console
from ..tasks import TASKS
from .temporal_xor import SPAN, TICKS

__all__ = ["run"]


def run(options: argparse.Namespace, console: Console) -> None:
    """List the tasks."""
    tasks: dict[str, dict[str, Any]] = {name: {
        "summary": task.summary, "inputs": task.n_inputs, "classes": task.n_classes, "ticks": task.ticks,
        "epochs": task.epochs} for name, task in TASKS.items()}
    ticks, inputs = pattern.random_pattern(0).inputs.shape
    tasks["pattern"] = {"summary": "fire given spikes in answer to given spikes (SuperSpike)", "inputs": inputs,
                        "classes": None, "ticks": ticks, "epochs": pattern.EPOCHS}
    ticks, inputs = regression.random_waveform(0).inputs.shape
    tasks["regression"] = {"summary": "follow analog waveforms in answer to given spikes (e-prop)", "inputs": inputs,
                           "classes": None, "ticks": ticks, "epochs": regression.EPOCHS}
    tasks["temporal-xor"] = {"summary": "which of two outputs spikes first (Fig. 7)", "inputs": 2,
                             "classes": 2, "ticks": TICKS * SPAN, "epochs": None}
    if console.json_output:
        console.result({"tasks": tasks})
    console.table("Tasks", ("task", "inputs", "classes", "ticks", "epochs", "what"), [
        (name, *("-" if task[key] is None else str(task[key]) for key in ("inputs", "classes", "ticks", "epochs")),
         task["summary"]) for name, task in tasks.items()])
