"""The cocotb runner on a small counter: it passes, fails, hangs, and does not compile as it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from relif_sim.runner import BenchFailure, run_bench

BENCHES = Path(__file__).parent / "benches"
COUNTER = [BENCHES / "counter.v"]
BENCH = BENCHES / "counter_bench.py"


@pytest.fixture(scope="module", params=["verilator", "icarus"])
def simulator(request):
    return request.param


@pytest.fixture(scope="module")
def build_dir(simulator, tmp_path_factory):
    """One folder a simulator: after the first test nothing is compiled again."""
    return tmp_path_factory.mktemp(simulator)


def test_passing_bench(simulator, build_dir):
    result = run_bench(COUNTER, "counter", BENCH, simulator=simulator, build_dir=build_dir)
    assert result.tests == ("counts",)
    assert "counts" in result.log.read_text()


def test_failing_bench_raises(simulator, build_dir):
    with pytest.raises(BenchFailure, match=r"1 of 2 tests failed: fails: .*the count is not 99"):
        run_bench(COUNTER, "counter", BENCH, simulator=simulator, build_dir=build_dir, env={"BENCH": "fail"})


def test_hanging_bench_is_ended(simulator, build_dir):
    with pytest.raises(BenchFailure, match=r"not done after 8 s"):
        run_bench(COUNTER, "counter", BENCH, simulator=simulator, build_dir=build_dir, env={"BENCH": "hang"},
                  test_case="hangs", timeout=8)


def test_parameters_reach_the_verilog(simulator, tmp_path):
    run_bench(COUNTER, "counter", BENCH, simulator=simulator, build_dir=tmp_path, parameters={"WIDTH": 6},
              env={"WIDTH": "6"})


def test_verilog_that_does_not_compile(simulator, tmp_path):
    broken = tmp_path / "broken.v"
    broken.write_text("module broken (input wire a; endmodule\n")
    with pytest.raises(BenchFailure, match=r"ended without results(.|\n)*broken\.v"):
        run_bench([broken], "broken", BENCH, simulator=simulator, build_dir=tmp_path / "build")


def test_unknown_simulator(tmp_path):
    with pytest.raises(ValueError, match="simulator must be verilator or icarus, not 'ghdl'"):
        run_bench(COUNTER, "counter", BENCH, simulator="ghdl", build_dir=tmp_path)
