"""`relif build` and `relif program`: a board's bitstream, made and loaded."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from ..console import Console
from .shared import chosen_config, tool

__all__ = ["run"]


def run(options: argparse.Namespace, console: Console) -> None:
    """Do what the command says."""
    folder = Path(options.folder or Path("build") / options.board)
    if options.command == "program":
        tool("program")(options.board, folder)
        console.result({"board": options.board, "bitstream": str(folder / "top.bit")},
                       f"{options.board}: programmed; ask it: relif info --board ...")
        return
    built = tool("build")(options.board, chosen_config(options), folder=folder, seeds=options.seeds,
                          serial=options.serial_number, progress=console.note)
    best = built.best
    if console.json_output:
        console.result({"board": built.board, "preset": built.config.name, "bitstream": str(built.bitstream),
                        "cached": built.cached, "seed": best.seed,
                        "seeds": [asdict(report) for report in built.reports]})
        return
    console.table(f"{built.board}, core {built.config.name}", ("cells", "used", "available", "%"), [
        (name, str(used), str(available), f"{100 * used / available:.0f}")
        for name, (used, available) in best.cells.items()])
    console.table("Clocks", ("clock", "seed", "MHz", "at least", "longest path"), [
        (clock.name, str(report.seed), f"{clock.reached:.1f}", f"{clock.wanted:g}", clock.path)
        for report in built.reports for clock in report.clocks])
    console.result({}, f"{built.bitstream} (seed {best.seed}{', built before' if built.cached else ''})")
