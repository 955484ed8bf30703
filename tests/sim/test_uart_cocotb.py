"""The whole serial device at its two wires: the generated Verilog, the host's driver, and every bit between them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from amaranth import ClockDomain, Module
from amaranth.back import verilog

from relif_hw.config import CoreConfig
from relif_hw.serial import SerialDevice
from relif_sim.runner import run_bench
from relif_sim.toolchain import verilator_environment

BENCH = Path(__file__).parent / "benches" / "uart_bench.py"
CONFIG = CoreConfig(name="uart", lanes=4, state_bits=16, weight_words=256, state_words=64, neuron_words=16,
                    program_length=56, queue_depth=16, max_outputs=16)


def generate(clock_hz: float, baudrate: float) -> str:
    """The device with plain wires."""
    device, module = SerialDevice(CONFIG, clock_hz=clock_hz, baudrate=baudrate), Module()
    module.domains.sync = domain = ClockDomain("sync")
    module.submodules.device = device
    text: str = verilog.convert(module, name="serial_device", emit_src=False, ports=[
        domain.clk, domain.rst, device.rx, device.tx, device.active, device.fault])
    return text


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("clock_hz", "tests"), [(12e6, None), (48e6, "back_to_back")], ids=["12 MHz", "48 MHz"])
def test_at_the_wires(clock_hz, tests, tmp_path):
    verilog_file = tmp_path / "serial.v"
    verilog_file.write_text(generate(clock_hz, 3e6), encoding="utf-8")
    flags = verilator_environment()["MAKEFLAGS"]
    result = run_bench([verilog_file], "serial_device", BENCH, build_dir=tmp_path / "build", test_case=tests,
                       timeout=500, build_args=["-Wno-fatal", "-Wno-lint", "-Wno-style", "--no-public-flat-rw",
                                                    "--public-depth", "1"],
                       env={"CLOCK_HZ": str(clock_hz), "BAUDRATE": "3e6", "CONFIG": json.dumps(asdict(CONFIG)),
                            "MAKEFLAGS": f"{flags} OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O1"})
    assert len(result.tests) == (10 if tests is None else 1)
