"""What place and route says of a design: cells used, clocks reached, the longest paths by block."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["ROUNDING", "Clock", "Report", "fastest", "read_report"]

CELLS = {"TRELLIS_COMB": "LUT", "TRELLIS_FF": "FF", "DP16KD": "block RAM", "MULT18X18D": "DSP",
         "ICESTORM_LC": "logic cell", "ICESTORM_RAM": "block RAM", "ICESTORM_SPRAM": "single-port RAM",
         "ICESTORM_DSP": "DSP", "LUT4": "LUT", "DFF": "FF", "BSRAM": "block RAM", "MULT18X18": "DSP"}
"""Kinds of cells that a report tells of, as nextpnr and as people call them."""


@dataclass(frozen=True)
class Clock:
    """A clock: what it reaches and what it must, in MHz, and the blocks at both ends of its longest path."""

    name: str
    reached: float
    wanted: float
    path: str
    wire: float = 0.0
    """Part of that path's time that is routing, 0 to 1."""

    @property
    def met(self) -> bool:
        """It is fast enough."""
        return self.reached >= self.wanted


@dataclass(frozen=True)
class Report:
    """Of one seed."""

    seed: int
    cells: dict[str, tuple[int, int]]
    """Used and available."""
    clocks: tuple[Clock, ...]

    @property
    def met(self) -> bool:
        """All clocks are fast enough."""
        return all(clock.met for clock in self.clocks)


def fastest(reports: Sequence[Report]) -> Report:
    """The one whose slowest clock is the fastest, for what it must reach."""
    return max(reports, key=lambda report: min((c.reached / c.wanted for c in report.clocks), default=0.0))


def _block(name: str) -> str:
    """Where in the design a cell is: its path without the last part, which is a register or made by Yosys."""
    parts = [part for part in re.split(r"[.$]", name.removeprefix("device.")) if part and part != "device"]
    blocks = [part for part in parts[:-1] if re.fullmatch(r"[a-z_0-9]+", part) and not part[0].isdigit()]
    return ".".join(blocks[:3]) or "top"


def _ends(path: dict[str, Any]) -> str:
    """The blocks of the registers at both ends."""
    steps = path["path"]
    return f"{_block(steps[0]['from']['cell'])} to {_block(steps[-1]['to']['cell'])}"


def _wire(path: dict[str, Any]) -> float:
    """The part of a path's time that is routing."""
    delays = [(step["type"] == "routing", step["delay"]) for step in path["path"]]
    return float(sum(delay for routed, delay in delays if routed) / sum(delay for _, delay in delays))


ROUNDING = 1e-4
"""nextpnr keeps periods in whole picoseconds: half of one is so much of the period of 100 MHz."""


def _name(net: str) -> str:
    """What a clock's net is called for. At the top, `i` is what the buffer of the clock pin gives."""
    wire = net.removeprefix("$glbnet$").split("$")[0]
    name = wire.split(".")[-1].removeprefix("pll_")
    if wire == "i":
        return "source"
    return "sync" if name == "clk" else name.removesuffix("_clk")


def _names(asked: Mapping[str, float], domains: Mapping[str, float]) -> dict[str, str]:
    """The domains of nets, by what was asked of these in MHz. A net may have been given the name of any wire that is
    part of it: then what it was asked for tells, among the domains that no other net is named for."""
    names = {net: _name(net) for net in asked}
    left = {domain: hz / 1e6 for domain, hz in domains.items() if domain not in names.values()}
    for net in asked:
        alike = [domain for domain, mhz in left.items() if abs(asked[net] - mhz) <= ROUNDING * mhz]
        if alike and names[net] not in (*domains, "source"):
            names[net] = alike[0]
            del left[alike[0]]
    return names


def read_report(path: Path, seed: int, domains: Mapping[str, float]) -> Report:
    """Read nextpnr's JSON report of a design with these clock domains (in Hz)."""
    data = json.loads(path.read_text(encoding="utf-8"))
    paths = {entry["from"].removeprefix("posedge "): (_ends(entry), _wire(entry)) for entry in data["critical_paths"]
             if entry["from"] == entry["to"]}
    names = _names({net: entry["constraint"] for net, entry in data["fmax"].items()}, domains)
    return Report(
        seed=seed,
        cells={CELLS[kind]: (entry["used"], entry["available"]) for kind, entry in data["utilization"].items()
               if kind in CELLS},
        clocks=tuple(Clock(names[net], entry["achieved"], entry["constraint"],
                           *paths.get(net, ("", 0.0))) for net, entry in sorted(data["fmax"].items())))
