"""`relif boards`: the FPGA boards that there are."""

from __future__ import annotations

import argparse

from ..console import Console
from .shared import tool

__all__ = ["run"]


def run(options: argparse.Namespace, console: Console) -> None:
    """List them."""
    boards = tool("boards").values()
    if console.json_output:
        console.result({"boards": {board.name: {
            "title": board.title, "link": board.link, "clock_hz": board.clock_hz, "preset": board.preset,
            "open": board.host} for board in boards}})
    console.table("Boards", ("name", "board", "link", "clock", "preset", "open"), [
        (board.name, board.title, board.link, f"{board.clock_hz / 1e6:g} MHz", board.preset, board.host)
        for board in boards])
