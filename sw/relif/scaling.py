"""How cycles grow with the work: a tick against neurons, synapses, activity, lanes, and inputs that are silent.

Networks and spikes are those of `bench`, so that nothing but the axis changes along a line. All cycles are counted by
the simulated board; the *limit* is one word of P weights in a cycle, as in `targets`: the words of the rows that
INTEGRATE and LEARN had to do. Silent inputs have no such words: what they cost is held against the words of P spikes
that they take.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from matplotlib.figure import Figure

from relif_hw.config import CoreConfig
from relif_hw.isa import TickFlag

from .bench import LEARNING, Case, counted, network, spikes
from .compiler import compile
from .host.board import Board
from .plots import Curve, growth

__all__ = ["LANES", "MODES", "SERIES", "Point", "Series", "Setting", "draw_scaling", "measure_point",
           "scaling_columns", "scaling_markdown", "scaling_plain", "scaling_rows"]

MODES = {"learning": LEARNING, "inference": TickFlag(0)}
LANES = ("lanes4", "lanes8", "lanes16", "lanes32", "lanes64", "lanes128")


@dataclass(frozen=True)
class Setting:
    """What a point measures: a network, on a preset or (None) on the core that was asked for, with such spikes."""

    x: float
    """Where it is on the axis."""
    case: Case
    density: float
    preset: str | None = None
    line: str = ""
    """Which of the series' lines it is on, if there are several."""


@dataclass(frozen=True)
class Series:
    """A picture: what is changed, and its points in their order.

    Parameters
    ----------
    name : str
        Of its file.
    title, axis : str
        Of the picture, and of what is changed.
    says : str
        What is kept the same, in a sentence.
    settings : sequence of Setting
    logarithmic : bool
        Both axes.
    spikes : bool
        The limit is words of P spikes, beyond those of the first point.
    """

    name: str
    title: str
    axis: str
    says: str
    settings: Sequence[Setting]
    logarithmic: bool = False
    spikes: bool = False


def _lanes() -> Iterable[Setting]:
    for case in (Case(32, 64, 4, False), Case(128, 128, 8, True), Case(256, 256, 16, True)):
        for preset in LANES:
            yield Setting(int(preset.removeprefix("lanes")), case, 0.05, preset, case.name)


SERIES = (
    Series("neurons", "Neurons", "hidden neurons", "32 inputs, 4 readouts, not recurrent; 2 % of spikes.",
           [Setting(n, Case(32, n, 4, False), 0.02) for n in (32, 64, 128, 256, 512, 768, 1024)]),
    Series("synapses", "Synapses", "synapses in thousands",
           "256 hidden neurons, 16 readouts, not recurrent, 32 to 896 inputs; 2 % of spikes.",
           [Setting((n + 16) * 256 / 1000, Case(n, 256, 16, False), 0.02) for n in (32, 128, 256, 384, 512, 704, 896)]),
    Series("activity", "Activity", "neurons that spike in a tick, in %",
           "256 inputs, 256 recurrent neurons, 16 readouts.",
           [Setting(100 * d, Case(256, 256, 16, True), d) for d in (0.0, 0.005, 0.01, 0.02, 0.05, 0.10, 0.20)]),
    Series("lanes", "Lanes", "lanes", "Presets that hold the network; 5 % of spikes.", list(_lanes()),
           logarithmic=True),
    Series("silent", "Inputs that are silent", "inputs", "256 hidden neurons, 16 readouts, not recurrent; no spikes.",
           [Setting(n, Case(n, 256, 16, False), 0.0) for n in (64, 128, 256, 384, 512, 704, 896)], spikes=True),
)


@dataclass(frozen=True, kw_only=True)
class Point:
    """Cycles of a mean tick, and its limit; by mode."""

    setting: Setting
    core: str
    cycles: dict[str, float]
    limit: dict[str, float]
    input_words: int
    """Words that the inputs' spikes take."""


def measure_point(board: Board, setting: Setting, *, seed: int, ticks: int) -> Point:
    """Measure a learning and an inference tick on a simulated board.

    `CompileError` if the network does not fit; else as `bench.counted`.
    """
    case, config = setting.case, board.config
    compiled = compile(network(case, seed), config)
    cycles, limit = {}, {}
    for mode, flags in MODES.items():
        warm, measured = spikes(case, compiled, setting.density, ticks, flags, seed)
        spent, work = counted(board, compiled, warm, measured, f"{case.name}, {mode}")
        cycles[mode] = sum(spent.values()) / ticks
        limit[mode] = sum(w.words for w in work.values()) / ticks
    return Point(setting=setting, core=config.name, cycles=cycles, limit=limit, input_words=config.words(case.inputs))


def limits(series: Series, points: Sequence[Point], mode: str) -> list[float]:
    """What is drawn beside the cycles: words of weights, or of spikes from the first point on."""
    if not series.spikes:
        return [point.limit[mode] for point in points]
    return [points[0].cycles[mode] + point.input_words - points[0].input_words for point in points]


def lines(points: Sequence[Point]) -> dict[str, list[Point]]:
    """The points by the line that they are on."""
    found: dict[str, list[Point]] = {}
    for point in points:
        found.setdefault(point.setting.line, []).append(point)
    return found


def scaling_columns(series: Series) -> tuple[str, ...]:
    """Heads of a series' table."""
    limit = "with a cycle a word of spikes" if series.spikes else "words"
    return (series.axis, "network", "core", *(head for mode in MODES for head in (mode, limit)))


def scaling_rows(series: Series, points: Sequence[Point]) -> list[tuple[str, ...]]:
    """The cells of a table with `scaling_columns`."""
    rows = []
    for line in lines(points).values():
        limit = {mode: limits(series, line, mode) for mode in MODES}
        rows += [(f"{p.setting.x:g}", p.setting.case.name, p.core,
                  *(f"{cell:.1f}" for mode in MODES for cell in (p.cycles[mode], limit[mode][number])))
                 for number, p in enumerate(line)]
    return rows


def scaling_markdown(found: Sequence[tuple[Series, Sequence[Point]]], config: CoreConfig, command: str) -> str:
    """The page `docs/scaling/tables.md`: the tables, under the command that made them."""
    text = ["# Cost grows with the work: tables", "", f"    {command}", "",
            f"Core `{config.name}` where no other one is named. Cycles of a mean tick.", ""]
    for series, points in found:
        heads = scaling_columns(series)
        text += [f"## {series.title}", "", series.says, "", "| " + " | ".join(heads) + " |",
                 "| ---: | --- | --- " + "| ---: " * (len(heads) - 3) + "|",
                 *("| " + " | ".join(row) + " |" for row in scaling_rows(series, points)), ""]
    return "\n".join(text[:-1]) + "\n"


def draw_scaling(series: Series, points: Sequence[Point]) -> Figure:
    """The picture of a series: learning on the left, inference on the right."""
    panels = {mode: [Curve(label=name, x=[p.setting.x for p in line], measured=[p.cycles[mode] for p in line],
                           limit=limits(series, line, mode)) for name, line in lines(points).items()]
              for mode in MODES}
    limit = "a cycle for each word of their spikes" if series.spikes else "limit: words of weights"
    cores = {point.core for point in points}
    title = f"{series.title}{f', {cores.pop()}' if len(cores) == 1 else ''}: {series.says}"
    return growth(panels, title=title, axis=series.axis, limit=limit,
                  logarithmic=series.logarithmic)


def scaling_plain(series: Series, points: Sequence[Point]) -> dict[str, Any]:
    """A series in JSON's types."""
    return {"name": series.name, "axis": series.axis, "says": series.says, "points": [asdict(p) for p in points]}
