"""`relif figures`: figures of the paper, redrawn from this code."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from ..console import Console
from ..figures import FIGURES, chosen

__all__ = ["run"]


def run(options: argparse.Namespace, console: Console) -> None:
    """Compute each figure and draw it to a file of its own."""
    torch.set_num_threads(1)        # the networks are small
    numbers = chosen(options.figure)
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    drawn: list[dict[str, Any]] = []
    with console.bar("figures") as bar:
        for done, number in enumerate(numbers):
            bar(done, len(numbers), f"Fig. {number}")
            figure = FIGURES[number]
            data, path = figure.compute(options.seed), folder / f"fig{number}.{options.format}"
            figure.draw(data).savefig(path, dpi=200)
            drawn.append({"figure": number, "title": figure.title, "file": str(path), "fact": data.fact})
    console.result({"seed": options.seed, "figures": drawn},
                   "\n".join(f"{entry['file']}: {entry['title']}; {entry['fact']}" for entry in drawn))
