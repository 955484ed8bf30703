"""The bitstreams that there are, in tables: `docs/boards.md`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .built import built

__all__ = ["tables"]

_HEAD = """\
# Boards

What `make bitstreams` made, written by its last command, `relif boards --built build --output docs/boards.md`. Every
clock is met with every seed, as nextpnr computes it after routing; the bitstream is that of the fastest seed.
*Neurons* and *synapses* are what the memories hold.

`lanes1` fills an iCE40UP5K. OrangeCrab, ULX3S and ECPIX-5 have 32 lanes, but for the latter two with USB, which have
16. On the ULX3S there is room for 32, at 48 MHz (seed 1 made 59.4; the others were not routed), and perhaps on the
ECPIX-5, where router1 does not end. The Tang Nano 20K has room for more, too: `lanes8` (14,408 LUTs and 41 block RAMs
before events were gathered) fits but has not been routed to the end.
"""
_CORE = ("board", "core", "lanes", "neurons", "synapses", "weights", "link", "tools")
_CELLS = ("board", "kind", "used", "available", "part")
_CLOCKS = ("board", "clock", "at least", "reached", "seed", "longest path")


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def tables(folder: Path) -> str:
    """Three tables of the boards built in the folders of a folder: cores, cells, clocks of all seeds.

    `ToolError` if there are none.
    """
    cores, cells, clocks = [], [], []
    for one in built(folder):
        board, config, name = one.board, one.config, one.board.name
        link = f"{board.baudrate / 1e6:g} Mbaud" if board.link == "uart" else {
            "pads": "full-speed USB", "ulpi": "high-speed USB"}[board.link]
        cores.append((name, config.name, f"{config.lanes}", f"{config.neuron_words * config.lanes}",
                      f"{config.weight_words * config.lanes}", f"{config.weight_bits} bits", link,
                      ", ".join(one.tools)))
        cells += [(name, kind, f"{used}", f"{available}", f"{100 * used / available:.0f} %")
                  for kind, (used, available) in one.best.cells.items()]
        clocks += [
            (name, clock.name, f"{clock.wanted:.2f} MHz", f"{clock.reached:.2f} MHz", f"{report.seed}", clock.path)
            for report in one.reports for clock in report.clocks]
    return "\n".join([
        _HEAD, "## Cores\n", _table(_CORE, cores), "## Cells\n", _table(_CELLS, cells), "## Clocks\n",
        _table(_CLOCKS, clocks)])
