"""`relif bench`: cycles per tick and lane use on the simulated board."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from relif_hw.config import ConfigError, CoreConfig
from relif_hw.isa import Opcode

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
from ..bench import NETWORKS, Measurement, markdown, measure, percent, plain
from ..console import Console
from ..errors import CompileError
from ..link_bench import LINK_COLUMNS, link_markdown, link_plain, link_rows, measure_link
from ..rivals import require
from .shared import chosen_config, opened, tool

__all__ = ["run"]

DEFAULT_PRESET = "lanes32"
"""The smallest preset that holds all three networks."""
DEFAULT_BOARD = "ulx3s"
"""Whose clock the core has in `--against`, unless another is given."""


def _tables(console: Console, measurements: list[Measurement]) -> None:
    opcodes = [opcode.name for opcode in Opcode if any(opcode.name in m.instructions for m in measurements)]
    labels = [(m.network, m.mode, f"{100 * m.density:.0f} %") for m in measurements]
    console.table("Clock cycles per tick", ("network", "mode", "spikes", "all", *opcodes), [
        (*label, f"{m.cycles_per_tick:.0f}", *(f"{m.instructions.get(name, 0.0):.0f}" for name in opcodes))
        for label, m in zip(labels, measurements, strict=True)])
    console.table("Lane use (filled: of the projections whose rows fill the lanes)",
                  ("network", "mode", "spikes", "INTEGRATE", "filled", "LEARN", "filled"), [
        (*label, *(percent(use[name]) for name in m.lane_use for use in (m.lane_use, m.filled_use)))
        for label, m in zip(labels, measurements, strict=True)])


def _link(options: argparse.Namespace, console: Console) -> None:
    """Digits training over serial lines: on two presets, whatever core is asked for."""
    if options.preset or options.config:
        raise ConfigError("--link measures cores of its own: it takes neither --preset nor --config")
    torch.set_num_threads(1)
    measurements = measure_link(options.samples, options.seed, progress=console.note)
    if options.output:
        command = f"relif bench --link --samples {options.samples} --seed {options.seed}"
        Path(options.output).write_text(link_markdown(measurements, options.samples, command), encoding="utf-8")
    if console.json_output:
        console.result({"board": "sim", "seed": options.seed, "samples": options.samples,
                        "measurements": [link_plain(m) for m in measurements]})
    else:
        console.table(f"Digits training over a serial line, {options.samples} samples", LINK_COLUMNS,
                      link_rows(measurements))


def _against(options: argparse.Namespace, console: Console) -> None:
    """The core against programs on a CPU, in all networks that fit it."""
    for name in options.against:
        require(name)
    torch.set_num_threads(1)
    config = chosen_config(options, DEFAULT_PRESET)
    assert config is not None
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
    if options.output:
        command = (f"relif bench {_core_options(options, config)} --against {','.join(options.against)} "
                   f"--clock {clock:g} --ticks {options.ticks} --seed {options.seed} "
                   f"--repetitions {options.repetitions}")
        Path(options.output).write_text(against_markdown(comparisons, options.against, config, clock, cpu, command),
                                        encoding="utf-8")
    if console.json_output:
        console.result({"board": "sim", "preset": config.name, "clock_hz": clock, "cpu": cpu, "seed": options.seed,
                        "ticks": options.ticks, "repetitions": options.repetitions,
                        "comparisons": [against_plain(c) for c in comparisons], "too_large": too_large})
    else:
        console.table(f"A learning tick: core {config.name} at {clock / 1e6:g} MHz; the others on {cpu}",
                      columns(options.against), against_rows(comparisons))


def _core_options(options: argparse.Namespace, config: CoreConfig) -> str:
    return f"--config {options.config}" if options.config else f"--preset {config.name}"


def run(options: argparse.Namespace, console: Console) -> None:
    """Measure the three networks on the simulated board; those that do not fit are named."""
    if options.link and options.against:
        raise ConfigError("--link and --against are two benches: one at a time")
    if options.link or options.against:
        (_link if options.link else _against)(options, console)
        return
    config = chosen_config(options, DEFAULT_PRESET)
    assert config is not None
    measurements: list[Measurement] = []
    too_large: dict[str, str] = {}
    with opened("sim", config, console) as board, console.bar("bench") as bar:
        for case in NETWORKS:
            bar(len(measurements), 4 * len(NETWORKS), case.name)
            try:
                measurements += measure(board, case, seed=options.seed, ticks=options.ticks)
            except CompileError as error:
                too_large[case.name] = str(error)
                console.note(f"{case.name}: {error}")
    if not measurements:
        raise CompileError(f"none of the networks fits core {config.name!r}")
    if options.output:
        command = f"relif bench {_core_options(options, config)} --ticks {options.ticks} --seed {options.seed}"
        Path(options.output).write_text(markdown(measurements, config, command), encoding="utf-8")
    if console.json_output:
        console.result({"board": "sim", "preset": config.name, "lanes": config.lanes, "seed": options.seed,
                        "ticks": options.ticks, "measurements": [plain(m) for m in measurements],
                        "too_large": too_large})
    else:
        _tables(console, measurements)
