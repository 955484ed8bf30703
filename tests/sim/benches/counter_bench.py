"""A bench of `counter.v`; BENCH says which way it ends."""

import os

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer


async def start(dut):
    Clock(dut.clk, 10, unit="ns").start()
    dut.enable.value = 0
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    await RisingEdge(dut.clk)
    dut.rst.value = 0


@cocotb.test(timeout_time=100, timeout_unit="us")
async def counts(dut):
    await start(dut)
    # While enable is low the counter stays; then it counts every cycle and wraps at its width.
    await RisingEdge(dut.clk)
    assert dut.count.value.to_unsigned() == 0
    dut.enable.value = 1
    width = len(dut.count)
    for cycle in range(2**width + 3):
        await RisingEdge(dut.clk)
        assert dut.count.value.to_unsigned() == cycle % 2**width
    assert width == int(os.environ.get("WIDTH", "4"))


@cocotb.test(timeout_time=100, timeout_unit="us", skip=os.environ.get("BENCH") != "fail")
async def fails(dut):
    await start(dut)
    assert dut.count.value.to_unsigned() == 99, "the count is not 99"


@cocotb.test(skip=os.environ.get("BENCH") != "hang")
async def hangs(dut):
    while True:
        await Timer(1, unit="ns")
