"""What `relif build` left in the boards' folders of a folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from relif.errors import ToolError
from relif_hw.config import CoreConfig

from .board import Board
from .catalog import BOARDS
from .report import Clock, Report, fastest, read_report

__all__ = ["Built", "built"]


@dataclass(frozen=True, kw_only=True)
class Built:
    """A board that was built, with all its seeds."""

    board: Board
    config: CoreConfig
    tools: tuple[str, ...]
    """Packages and their versions."""
    reports: tuple[Report, ...]
    """One a seed."""

    @property
    def best(self) -> Report:
        """Of the bitstream."""
        return fastest(self.reports)

    @property
    def core_clocks(self) -> dict[int, Clock]:
        """The core's clock, by seed."""
        return {report.seed: clock for report in self.reports for clock in report.clocks if clock.name == "sync"}


def _read(folder: Path, board: Board) -> Built:
    summary = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    seeds = [seed["seed"] for seed in summary["seeds"]]
    return Built(board=board, config=CoreConfig(**summary["config"]), tools=tuple(summary["tools"]),
                 reports=tuple(read_report(folder / f"seed{seed}.json", seed, board.domains) for seed in seeds))


def built(folder: Path) -> list[Built]:
    """The boards whose reports are there, in the catalog's order; `ToolError` if there are none."""
    found = [_read(folder / name, board) for name, board in BOARDS.items() if (folder / name / "report.json").exists()]
    if not found:
        raise ToolError(f"{folder}: no board's report.json is there; make one: relif build --board NAME")
    return found
