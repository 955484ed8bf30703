"""Runs a cocotb bench on Verilog, on Verilator or Icarus, and raises if anything in it fails.

cocotb's own runner works on the process's environment, has no time-out, and outside pytest does not
raise when a test fails. Here it runs in a child process of its own group, with the environment of
`toolchain` and a time-out; what it did is read from the result file.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from relif.errors import ToolError

from .toolchain import require_iverilog, require_verilator, verilator_environment

__all__ = ["BenchFailure", "BenchResult", "run_bench"]

SIMULATORS = ("verilator", "icarus")
TIMESCALE = ("1ns", "1ps")
"""Generated Verilog has no timescale of its own, and Icarus would count in whole seconds."""


class BenchFailure(AssertionError):
    """A bench that failed, did not compile, ran out of time or held no test."""


@dataclass(frozen=True)
class BenchResult:
    """What a bench ran: names of its tests, all passed, and the file with what it printed."""

    tests: tuple[str, ...]
    log: Path


def _environment(simulator: str, extra: Mapping[str, str], python_path: Sequence[str]) -> dict[str, str]:
    if simulator == "verilator":
        require_verilator()
        environment = verilator_environment()
    elif simulator == "icarus":
        require_iverilog()
        environment = dict(os.environ)
    else:
        raise ValueError(f"simulator must be {' or '.join(SIMULATORS)}, not {simulator!r}")
    environment["PYTHONPATH"] = os.pathsep.join([*python_path, *(entry for entry in sys.path if entry)])
    return {**environment, **extra}


def _tail(log: Path, lines: int = 30) -> str:
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-lines:])


def _read_results(results: Path) -> tuple[list[str], list[str]]:
    """Names of the tests that passed, and "name: message" of those that did not."""
    passed, failed = [], []
    for case in ElementTree.parse(results).getroot().iter("testcase"):
        problem = next((child for child in case if child.tag in ("failure", "error")), None)
        if problem is not None:
            message = problem.get("error_msg") or problem.get("message") or (problem.text or "").strip()
            failed.append(f"{case.get('name')}: {message}")
        elif case.find("skipped") is None:
            passed.append(str(case.get("name")))
    return passed, failed


def run_bench(
    verilog_sources: Sequence[str | Path], toplevel: str, test_module: str | Path, *, build_dir: str | Path,
    simulator: str = "verilator", parameters: Mapping[str, object] | None = None,
    env: Mapping[str, str] | None = None, build_args: Sequence[str] = (), test_case: str | None = None,
    waves: bool = False, timeout: float = 240.0,
) -> BenchResult:
    """Compile Verilog and run the cocotb tests of a module on it.

    Parameters
    ----------
    verilog_sources : sequence of path
        Verilog files.
    toplevel : str
        Module to simulate.
    test_module : str or path
        Python module with the tests: a name on `sys.path`, or a file.
    build_dir : path
        Where the simulator's files, `results.xml` and `bench.log` go; kept, so that a second run of
        unchanged Verilog compiles nothing.
    simulator : str
        "verilator" or "icarus".
    parameters, env : mapping
        Verilog parameters of the top, and environment variables for the tests (strings).
    build_args : sequence of str
        Further arguments of the simulator's compiler.
    test_case : str, optional
        The one test to run.
    waves : bool
        Record waves in `build_dir`.
    timeout : float
        Seconds of wall clock for compilation and tests together.

    Raises
    ------
    BenchFailure
        A test failed, the Verilog did not compile, the time ran out, or the module holds no test.
    ToolError
        The simulator or the C++ compiler is missing.
    """
    build = Path(build_dir).resolve()
    build.mkdir(parents=True, exist_ok=True)
    log, results = build / "bench.log", build / "results.xml"
    results.unlink(missing_ok=True)
    if isinstance(test_module, Path):
        module, python_path = test_module.stem, [str(test_module.resolve().parent)]
    else:
        module, python_path = test_module, []
    job: dict[str, Any] = {
        "simulator": simulator, "toplevel": toplevel, "module": module, "build_dir": str(build),
        "sources": [str(Path(source).resolve()) for source in verilog_sources],
        "parameters": dict(parameters or {}), "build_args": list(build_args), "test_case": test_case,
        "waves": waves, "results": str(results),
    }
    with log.open("wb") as stream:
        child = subprocess.Popen(
            [sys.executable, "-m", "relif_sim.runner"], stdin=subprocess.PIPE, stdout=stream,
            stderr=subprocess.STDOUT, env=_environment(simulator, env or {}, python_path), cwd=build,
            start_new_session=True,
        )
        try:
            child.communicate(json.dumps(job).encode(), timeout=timeout)
        except subprocess.TimeoutExpired:
            raise BenchFailure(f"{module} on {simulator}: not done after {timeout:g} s; the log {log} ends\n"
                               + _tail(log)) from None
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
    if not results.exists():
        raise BenchFailure(f"{module} on {simulator}: ended without results; the log {log} ends\n"
                           + _tail(log))
    passed, failed = _read_results(results)
    if failed:
        count = len(passed) + len(failed)
        raise BenchFailure(f"{module} on {simulator}: {len(failed)} of {count} tests failed: "
                           f"{'; '.join(failed)}; the log {log} ends\n{_tail(log)}")
    if not passed:
        raise BenchFailure(f"{module} on {simulator}: no test ran; the log is {log}")
    return BenchResult(tuple(passed), log)


def _child() -> None:
    """Do the job on standard input with cocotb's runner."""
    from cocotb_tools.runner import get_runner  # an extra: only those who run benches need cocotb

    job = json.loads(sys.stdin.read())
    runner = get_runner(job["simulator"])
    runner.build(sources=job["sources"], hdl_toplevel=job["toplevel"], parameters=job["parameters"],
                 build_args=job["build_args"], build_dir=job["build_dir"], timescale=TIMESCALE,
                 waves=job["waves"], always=True)
    runner.test(test_module=job["module"], hdl_toplevel=job["toplevel"], build_dir=job["build_dir"],
                test_dir=job["build_dir"], results_xml=job["results"], testcase=job["test_case"],
                parameters=job["parameters"], waves=job["waves"], timescale=TIMESCALE)


if __name__ == "__main__":
    try:
        _child()
    except (RuntimeError, SystemExit, ToolError) as error:
        sys.exit(f"{error}")
