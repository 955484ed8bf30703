"""`relif tasks`: what there is to train."""

from __future__ import annotations

import argparse

from ..console import Console
from ..pattern import EPOCHS
from ..tasks import TASKS

__all__ = ["run"]


def run(options: argparse.Namespace, console: Console) -> None:
    """List the tasks."""
    if console.json_output:
        console.result({"tasks": {name: {
            "summary": task.summary, "inputs": task.n_inputs, "classes": task.n_classes, "ticks": task.ticks,
            "epochs": task.epochs} for name, task in TASKS.items()}})
    console.table("Tasks", ("task", "inputs", "classes", "ticks", "epochs", "what"), [
        (name, str(task.n_inputs), str(task.n_classes), str(task.ticks), str(task.epochs), task.summary)
        for name, task in TASKS.items()] + [
        ("pattern", "200", "-", "250", str(EPOCHS), "fire given spikes in answer to given spikes (SuperSpike)")])
