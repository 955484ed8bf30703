"""`relif boards`: the FPGA boards that there are."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..console import Console
from ..errors import ToolError
from .shared import tool

__all__ = ["run"]


def run(options: argparse.Namespace, console: Console) -> None:
    """List them, or write tables of what was built."""
    if options.built is not None:
        text = tool("tables")(Path(options.built))
        if options.output is None:
            console.result({"tables": text}, text.rstrip())
        else:
            Path(options.output).write_text(text, encoding="utf-8")
            console.result({"output": options.output}, f"{options.output}: written")
        return
    if options.output is not None:
        raise ToolError("--output is for the tables of --built DIR")
    boards = tool("boards").values()
    if console.json_output:
        console.result({"boards": {board.name: {
            "title": board.title, "link": board.link, "clock_hz": board.clock_hz, "preset": board.preset,
            "open": board.host} for board in boards}})
    console.table("Boards", ("name", "board", "link", "clock", "preset", "open"), [
        (board.name, board.title, board.link, f"{board.clock_hz / 1e6:g} MHz", board.preset, board.host)
        for board in boards])
