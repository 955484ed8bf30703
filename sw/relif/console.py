"""What the commands say and where: results on standard output, all else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

__all__ = ["Bar", "Console"]


class Bar(Protocol):
    """A progress bar: how far, and a word beside it."""

    def __call__(self, done: int, total: int, text: str = "") -> None: ...


def _no_bar(done: int, total: int, text: str = "") -> None:
    """The bar where there is no terminal."""


class Console:
    """Output of one command.

    Parameters
    ----------
    json_output : bool
        Standard output gets one JSON object and nothing else.
    verbosity : int
        -1 quiet (errors only), 0 normal, 1 a line for every step too.
    """

    def __init__(self, *, json_output: bool = False, verbosity: int = 0) -> None:
        self.json_output = json_output
        self.verbosity = verbosity
        self.errors = RichConsole(stderr=True, highlight=False, soft_wrap=True)
        self.output = RichConsole(highlight=False, soft_wrap=True)
        self.output.width = max(self.output.width, 110)     # a table is not squeezed: a terminal may wrap it

    def note(self, text: str, level: int = 0) -> None:
        """A line on standard error: 0 unless quiet, 1 only if verbose."""
        if self.verbosity >= level:
            self.errors.print(text, markup=False)

    def error(self, text: str) -> None:
        """The one line that an error is."""
        self.errors.print(f"relif: {' '.join(text.split())}", markup=False)

    def result(self, result: Mapping[str, Any], text: str | None = None) -> None:
        """The result: as JSON if asked for, else `text` (default: a line a key), nothing if quiet."""
        if self.json_output:
            json.dump(result, sys.stdout)
            sys.stdout.write("\n")
        elif self.verbosity >= 0:
            if text is None:
                text = "\n".join(f"{key}: {value}" for key, value in result.items())
            self.output.print(text, markup=False)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table for people; numbers to the right from the second column on. Nothing with JSON or quiet."""
        if self.json_output or self.verbosity < 0:
            return
        table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None,
                      pad_edge=False)
        for index, column in enumerate(columns):
            table.add_column(column, justify="right" if index else "left", no_wrap=not index)
        for row in rows:
            table.add_row(*row)
        self.output.print(table)

    @contextmanager
    def bar(self, title: str) -> Iterator[Bar]:
        """A progress bar on standard error for the time of the block, if that is a terminal."""
        if self.verbosity < 0 or not self.errors.is_terminal:
            yield _no_bar
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                   TextColumn("{task.fields[text]}"), TimeRemainingColumn(compact=True))
        with Progress(*columns, console=self.errors, transient=True) as progress:
            number = progress.add_task(title, total=None, text="")

            def bar(done: int, total: int, text: str = "") -> None:
                progress.update(number, completed=done, total=total, text=text)

            yield bar
