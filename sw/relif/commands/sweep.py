"""`relif sweep`: learning rates and seeds of one task, trained at once on the golden model."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch

from relif_hw.config import preset

from ..bench import percent
from ..console import Console
from ..errors import DataError
from ..host.board import DEFAULT_PRESET
from ..sweep import Together
from .session import make_network, make_task, weights_sha256
from .shared import core_for

__all__ = ["run"]

AT_ONCE = 8
"""Replicas of one core: with more, the golden model's tensors outgrow the caches."""


def run(options: argparse.Namespace, console: Console) -> None:
    """Train every rate with every seed; print test accuracies."""
    settings: dict[str, Any] = {"hidden": options.hidden, "rule": options.rule}
    tasks = {seed: make_task(options.task, seed, settings, options.data) for seed in options.seeds}
    first = next(iter(tasks.values()))
    rule = first.network().rule
    assert rule is not None                     # tasks have one
    rates = options.rates or (rule.rate,)
    for name, values in (("seed", options.seeds), ("rate", rates)):
        if len(set(values)) < len(values):
            raise DataError(f"every {name} counts once, but {','.join(map(str, values))} has one twice")
    torch.set_num_threads(1)                    # as `shared.opened` does
    options.board = "model"
    config = core_for(first.network(), options) or preset(DEFAULT_PRESET)
    epochs = options.epochs or first.epochs
    points = [(rate, seed) for rate in rates for seed in options.seeds]
    results: list[dict[str, Any]] = []
    start = time.monotonic()
    with console.bar("sweep") as bar:
        for done in range(0, len(points), AT_ONCE):
            part = points[done:done + AT_ONCE]
            together = Together([(tasks[seed], make_network(tasks[seed], {"rate": rate})) for rate, seed in part],
                                config, epochs=epochs)

            def progress(now: int, total: int, done: int = done, size: int = len(part)) -> None:
                bar(done * total + size * now, len(points) * total, f"{done + size} of {len(points)} runs")

            runs = together.fit(progress)
            for (rate, seed), one, accuracy in zip(part, runs, together.evaluate(), strict=True):
                console.note(f"rate {rate:g}, seed {seed}: {percent(accuracy)}", level=1)
                results.append({"rate": rate, "seed": seed, "train_accuracy": one.train_accuracy,
                                "test_accuracy": accuracy, "weights_sha256": weights_sha256(one.weights)})
    if console.json_output:
        console.result({"task": options.task, "preset": config.name, "epochs": epochs, "runs": results,
                        "seconds": time.monotonic() - start})
        return
    rows = []
    for rate in rates:
        accuracies = [result["test_accuracy"] for result in results if result["rate"] == rate]
        rows.append((f"{rate:g}", percent(float(np.mean(accuracies))), *map(percent, accuracies)))
    console.table(f"Test accuracy of {options.task} by learning rate and seed, {epochs} epochs",
                  ("rate", "mean", *(f"seed {seed}" for seed in options.seeds)), rows)
