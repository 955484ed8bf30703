"""`relif selftest`: whether a board works."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ..console import Console
from ..errors import BoardError
from ..selftest import Check, selftest
from .shared import chosen_config, opened

__all__ = ["run"]


def run(options: argparse.Namespace, console: Console) -> None:
    """Test the board; `BoardError` at the end names what failed."""
    checks: list[Check] = []
    with opened(options.board, chosen_config(options), console) as board:
        for check in selftest(board, kilobytes=options.kilobytes, seed=options.seed):
            checks.append(check)
            console.note(f"{'ok    ' if check.passed else 'FAILED'} {check.name:<18} {check.detail}")
        name = board.config.name
    failed = [check.name for check in checks if not check.passed]
    if console.json_output:
        console.result({"board": options.board, "preset": name, "passed": not failed,
                        "checks": [asdict(check) for check in checks]})
    if failed:
        raise BoardError(f"{options.board}: failed: {', '.join(failed)}")
    console.note(f"{options.board} ({name}): all {len(checks)} checks passed")
