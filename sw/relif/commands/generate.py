"""`relif generate`: the core as Verilog."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..console import Console
from .shared import chosen_config, tool

__all__ = ["run"]


def run(options: argparse.Namespace, console: Console) -> None:
    """Write the Verilog of a configuration to a file or to standard output."""
    config = chosen_config(options)
    assert config is not None       # argparse requires one
    console.note(f"generating {config.name}: {config.lanes} lanes, {config.weight_bits}-bit weights", level=1)
    verilog: str = tool("verilog")(config)
    if options.output == "-":
        sys.stdout.write(verilog)
        return
    Path(options.output).write_text(verilog, encoding="utf-8")
    lines = verilog.count("\n")
    console.result({"preset": config.name, "output": options.output, "lines": lines},
                   f"{options.output}: {lines} lines of Verilog, {config.lanes} lanes")
