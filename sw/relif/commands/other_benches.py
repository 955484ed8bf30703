"""The benches of `relif bench` that an option asks for: line, simulator, programs on a CPU, targets."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import torch

from relif_hw.config import ConfigError, CoreConfig, preset

from ..against import (
    Comparison,
    against_case,
    against_digits,
    against_markdown,
    against_plain,
    against_rows,
    columns,
    versions,
)
from ..bench import NETWORKS, Measurement, measure
from ..console import Console
from ..errors import CompileError
from ..link_bench import LINK_COLUMNS, link_markdown, link_plain, link_rows, measure_link
from ..outcome import OUTCOME_COLUMNS, Outcome, installed, outcome_plain, outcome_rows, outcomes_markdown
from ..rate_targets import SPEED_PRESET, SPEED_TARGETS, BuiltCore, clock_outcomes
from ..rivals import require
from ..scaling import (
    SERIES,
    Point,
    Series,
    Setting,
    draw_scaling,
    measure_point,
    scaling_columns,
    scaling_markdown,
    scaling_plain,
    scaling_rows,
)
from ..speed_bench import SPEED_COLUMNS, measure_speed, speed_markdown, speed_plain, speed_row
from ..targets import CYCLE_TARGETS, USE_PRESET, USE_TARGETS, reach
from .shared import chosen_config, opened, tool

__all__ = ["BENCHES", "chosen_core", "core_options"]

DEFAULT_PRESET = "lanes32"
"""The smallest preset that holds all networks of the bench."""
DEFAULT_BOARD = "ulx3s"
"""Whose clock the core has in `--against`, unless another is given."""


def chosen_core(options: argparse.Namespace) -> CoreConfig:
    """The core to measure."""
    config = chosen_config(options, DEFAULT_PRESET)
    assert config is not None
    return config


def _takes_no_core(options: argparse.Namespace, bench: str) -> None:
    if chosen_config(options) is not None:
        raise ConfigError(f"{bench} measures cores of its own: it takes neither --preset nor --config")


def core_options(options: argparse.Namespace, config: CoreConfig) -> str:
    """The core, as it was asked for."""
    return f"--config {options.config}" if options.config else f"--preset {config.name}"


def _show(options: argparse.Namespace, console: Console, title: str, head: Sequence[str],
          rows: Sequence[tuple[str, ...]], markdown: str, plain: dict[str, Any]) -> None:
    """A bench's outcome: on the terminal, as JSON, and in the file that was asked for."""
    if options.output:
        Path(options.output).write_text(markdown, encoding="utf-8")
    if console.json_output:
        console.result({"board": "sim", "seed": options.seed, **plain})
    else:
        console.table(title, tuple(head), rows)


def _link(options: argparse.Namespace, console: Console) -> None:
    """Digits training over serial lines, on cores of boards."""
    _takes_no_core(options, "--link")
    torch.set_num_threads(1)
    measurements = measure_link(options.samples, options.seed, progress=console.note)
    command = f"relif bench --link --samples {options.samples} --seed {options.seed}"
    _show(options, console, f"Digits training over a serial line, {options.samples} samples", LINK_COLUMNS,
          link_rows(measurements), link_markdown(measurements, options.samples, command),
          {"samples": options.samples, "measurements": [link_plain(m) for m in measurements]})


def _simulator(options: argparse.Namespace, console: Console) -> None:
    """The speed of the simulated board itself."""
    config = chosen_core(options)
    with opened("sim", config, console) as board:
        measurement = measure_speed(board, options.samples, options.seed)
    command = (f"relif bench --simulator {core_options(options, config)} --samples {options.samples} "
               f"--seed {options.seed}")
    _show(options, console, f"Digits training on this machine, {options.samples} samples", SPEED_COLUMNS,
          [speed_row(measurement)], speed_markdown(measurement, command),
          {"samples": options.samples, **speed_plain(measurement)})


def _against(options: argparse.Namespace, console: Console) -> None:
    """The core against programs on a CPU, in all networks that fit it."""
    config = chosen_core(options)
    for name in options.against:
        require(name)
    torch.set_num_threads(1)
    clock = options.clock or tool("boards")[DEFAULT_BOARD].clock_hz
    cpu = f"one of {os.cpu_count()} cores ({versions(options.against)})"
    common = {"clock": clock, "seed": options.seed, "repetitions": options.repetitions}
    comparisons: list[Comparison] = []
    too_large: dict[str, str] = {}
    with opened("sim", config, console) as board, console.bar("bench") as bar:
        parts: dict[str, Callable[[], list[Comparison]]] = {
            case.name: partial(against_case, board, case, options.against, ticks=options.ticks, **common)
            for case in NETWORKS}
        parts["digits"] = lambda: [against_digits(board, options.against, **common)]
        for done, (name, part) in enumerate(parts.items()):
            bar(done, len(parts), name)
            try:
                comparisons += part()
            except CompileError as error:
                too_large[name] = str(error)
                console.note(f"{name}: {error}")
    if not comparisons:
        raise CompileError(f"none of the networks fits core {config.name!r}")
    command = (f"relif bench {core_options(options, config)} --against {','.join(options.against)} "
               f"--clock {clock:g} --ticks {options.ticks} --seed {options.seed} "
               f"--repetitions {options.repetitions}")
    _show(options, console, f"A learning tick: core {config.name} at {clock / 1e6:g} MHz; the others on {cpu}",
          columns(options.against), against_rows(comparisons),
          against_markdown(comparisons, options.against, config, clock, cpu, command),
          {"preset": config.name, "clock_hz": clock, "cpu": cpu, "ticks": options.ticks,
           "repetitions": options.repetitions, "comparisons": [against_plain(c) for c in comparisons],
           "too_large": too_large})


def _seeds(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(set(numbers))))


def _targets(options: argparse.Namespace, console: Console) -> None:
    """All that is aimed at, on the cores that the targets name, in the bitstreams of a folder, and on this machine."""
    _takes_no_core(options, "--targets")
    cores = [] if options.built is None else [BuiltCore.of(one) for one in tool("built")(Path(options.built))]
    outcomes: list[Outcome] = []
    measurements: list[Measurement] = []
    with console.bar("bench") as bar:
        parts = len(CYCLE_TARGETS) + len(NETWORKS) + 1
        for number, target in enumerate(CYCLE_TARGETS):
            bar(number, parts, target.name)
            with opened("sim", preset(target.preset), console) as board:
                outcomes.append(reach(board, target, seed=options.seed, ticks=options.ticks).outcome)
        with opened("sim", preset(USE_PRESET), console) as board:
            for number, case in enumerate(NETWORKS, len(CYCLE_TARGETS)):
                bar(number, parts, f"lane use of {case.name}")
                measurements += measure(board, case, seed=options.seed, ticks=options.ticks)
        bar(parts - 1, parts, "ticks a second")
        with opened("sim", preset(SPEED_PRESET), console) as board:
            speed = measure_speed(board, options.samples, options.seed)
    outcomes += [use.outcome(USE_PRESET, measurements) for use in USE_TARGETS]
    outcomes += clock_outcomes(cores) if cores else []
    outcomes += [one.outcome(speed) for one in SPEED_TARGETS]
    tools, built_with = installed(), sorted({package for core in cores for package in core.tools})
    left_out = [] if cores else ["clocks of boards (--built DIR)"]
    head = [f"Networks, spikes and order of samples of seed {options.seed}; {options.ticks} ticks, "
            f"{options.samples} digits.", f"Measured with {', '.join(tools)}."]
    if cores:
        head.append(f"Bitstreams of place and route with seeds {_seeds(seed for core in cores for seed in core.clocks)}"
                    f", made with {', '.join(built_with)}.")
    head += [f"Left out: {part}." for part in left_out]
    command = (f"relif bench --targets {f'--built {options.built} ' if cores else ''}--ticks {options.ticks} "
               f"--samples {options.samples} --seed {options.seed}")
    rows = outcome_rows(outcomes)
    _show(options, console, "What is aimed at", OUTCOME_COLUMNS[:-1], [row[:-1] for row in rows],
          outcomes_markdown(outcomes, head, command),
          {"ticks": options.ticks, "samples": options.samples, "tools": tools, "built_with": built_with,
           "built": [asdict(core) for core in cores], "left_out": left_out,
           "targets": [outcome_plain(one) for one in outcomes]})
    if not console.json_output:
        console.result({}, "\n".join(["What remains, and why", *(
            f"  {one.core}, {one.what}: {one.rest}" for one in outcomes if one.rest != "met"), *head]))


def _scaling(options: argparse.Namespace, console: Console) -> None:
    """Cycles against the amount of work, on one core and on all presets of 4 lanes and more."""
    config = chosen_core(options)
    settings = [(preset(setting.preset) if setting.preset else config, setting)
                for series in SERIES for setting in series.settings]
    points: dict[Setting, Point] = {}
    too_large: dict[str, str] = {}
    with console.bar("bench") as bar:
        for number, (core, setting) in enumerate(settings):
            bar(number, len(settings), f"{setting.case.name} on {core.name}")
            try:
                with opened("sim", core, console) as board:     # a new one, in which no other network has been
                    points[setting] = measure_point(board, setting, seed=options.seed, ticks=options.ticks)
            except CompileError as error:
                too_large[f"{setting.case.name} on {core.name}"] = str(error)
                console.note(f"{setting.case.name} on {core.name}: {error}", level=1 if setting.preset else 0)
    found = [(series, [points[setting] for setting in series.settings if setting in points]) for series in SERIES]
    found = [(series, measured) for series, measured in found if measured]
    if not found:
        raise CompileError(f"none of the networks fits core {config.name!r}")
    command = (f"relif bench --scaling {core_options(options, config)} --ticks {options.ticks} --seed {options.seed}"
               f"{f' --pictures {options.pictures}' if options.pictures else ''}"
               f"{f' -o {options.output}' if options.output else ''}")
    if options.output:
        Path(options.output).write_text(scaling_markdown(found, config, command), encoding="utf-8")
    pictures = _pictures(options, found)
    if console.json_output:
        console.result({"board": "sim", "preset": config.name, "seed": options.seed, "ticks": options.ticks,
                        "series": [scaling_plain(*one) for one in found], "too_large": too_large,
                        "pictures": pictures})
    for series, measured in found:
        console.table(f"{series.title}: {series.says}", scaling_columns(series), scaling_rows(series, measured))
    for path in pictures:
        console.note(f"{path}: drawn")


def _pictures(options: argparse.Namespace, found: Sequence[tuple[Series, Sequence[Point]]]) -> list[str]:
    """Draw each series into the folder that was asked for, in files that are the same for the same numbers."""
    if options.pictures is None:
        return []
    folder, drawn = Path(options.pictures), []
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "relif"}):
        for series, measured in found:
            path = folder / f"{series.name}.svg"
            draw_scaling(series, measured).savefig(path, metadata={"Date": None})
            drawn.append(str(path))
    return drawn


BENCHES: dict[str, Callable[[argparse.Namespace, Console], None]] = {
    "link": _link, "simulator": _simulator, "against": _against, "targets": _targets, "scaling": _scaling}
"""By their options."""
