"""`relif serve`: the simulated board behind a TCP port or a pseudo-terminal."""

from __future__ import annotations

import argparse
import sys

from ..console import Console
from ..host.board import DEFAULT_PRESET
from .shared import chosen_config, tool

__all__ = ["run"]


def run(options: argparse.Namespace, console: Console) -> None:
    """Serve until Ctrl-C; the address goes to standard output as soon as a host may open it."""
    config = chosen_config(options, DEFAULT_PRESET)

    def ready(address: str) -> None:
        console.result({"address": address}, address)
        sys.stdout.flush()
        console.note(f"serving until Ctrl-C; open it with: relif info --board {address}")

    tool("serve")(config, port=options.tcp, progress=console.note, ready=ready)
