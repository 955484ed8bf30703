"""`relif bench`: cycles per tick and lane use on the simulated board; or another of the benches."""

from __future__ import annotations

import argparse
from pathlib import Path

from relif_hw.isa import Opcode

from ..bench import NETWORKS, Measurement, markdown, measure, percent, plain
from ..console import Console
from ..errors import CompileError, DataError
from .other_benches import BENCHES, chosen_core, core_options
from .shared import opened

__all__ = ["run"]


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


def run(options: argparse.Namespace, console: Console) -> None:
    """Measure the three networks on the simulated board, those that do not fit are named; or what the options say."""
    for option, needed in (("pictures", "scaling"), ("built", "targets")):
        if getattr(options, option) is not None and not getattr(options, needed):
            raise DataError(f"--{option} is for --{needed}")
    for name, bench in BENCHES.items():
        if getattr(options, name):
            bench(options, console)
            return
    config = chosen_core(options)
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
        command = f"relif bench {core_options(options, config)} --ticks {options.ticks} --seed {options.seed}"
        Path(options.output).write_text(markdown(measurements, config, command), encoding="utf-8")
    if console.json_output:
        console.result({"board": "sim", "preset": config.name, "lanes": config.lanes, "seed": options.seed,
                        "ticks": options.ticks, "measurements": [plain(m) for m in measurements],
                        "too_large": too_large})
    else:
        _tables(console, measurements)
