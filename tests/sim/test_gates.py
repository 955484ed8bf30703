"""Gate level: the netlist of an iCE40 and of an ECP5, in models of the vendor's cells, learns as the golden model does.

The whole device is synthesised, core and link, and driven by the host's own driver. Memories that the netlist leaves
undefined start with anything; here the host then fills every memory with random numbers, so that words which nothing
must touch are compared too.
"""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import relif_sim.gates
from networks import answers, training_run
from relif.host.board import LinkBoard, ModelBoard
from relif_hw.config import preset
from relif_hw.isa import Space, TickFlag, space_shape, tick_entry
from relif_sim.gates import cells, gate_library, netlist, open_gates
from relif_sim.toolchain import require_verilator, verilator_environment

pytestmark = pytest.mark.timeout(900)       # synthesis and compilation, of which the first test takes a part each

DESIGNS = {"ice40": preset("lanes1"), "ecp5": preset("lanes4")}
SAMPLES = 48

CELLS = {
    "ice40": {"SB_LUT4", "SB_CARRY", "SB_DFF", "SB_DFFE", "SB_DFFSR", "SB_DFFSS", "SB_DFFESR", "SB_DFFESS",
              "SB_RAM40_4K", "SB_SPRAM256KA", "SB_MAC16"},
    "ecp5": {"LUT4", "PFUMX", "L6MUX21", "CCU2C", "TRELLIS_FF", "TRELLIS_DPR16X4", "DP16KD", "MULT18X18D"},
}
NOT_A_CELL = {"module", "endmodule", "input", "output", "wire", "assign"}

targets = pytest.mark.parametrize("target", DESIGNS)


@cache
def text(target: str) -> str:
    return netlist(DESIGNS[target], target).read_text(encoding="utf-8")


@targets
def test_nothing_is_left_but_the_vendors_cells(target):
    config = DESIGNS[target]
    found = cells(text(target))
    assert set(found) <= CELLS[target]
    # Every statement declares a net, joins two, or is a cell: no process, no operator.
    pins = r"\(\n(?:    \.\w+\(.*\),?\n)+  \)"
    body = re.sub(rf"^  \w+ (?:#{pins} )?\\?\S+ +{pins};$", "", text(target), flags=re.MULTILINE)
    body = re.sub(r"/\*.*?\*/", "", body)
    assert set(re.findall(r"^ *(\w+)", body, re.MULTILINE)) <= NOT_A_CELL
    operand = r"(?:\\\S+ |\w+|\d+'h\w+)(?: ?\[\d+(?::\d+)?\])?"
    assigned = re.compile(rf"  assign {operand} = (?:{operand}|\{{ {operand} ?(?:, {operand} ?)*\}}) ?;")
    assert [line for line in body.splitlines() if line.startswith("  assign") and not assigned.fullmatch(line)] == []
    # Multipliers and memories are what the family has for them.
    if target == "ice40":
        assert found["SB_SPRAM256KA"] == config.weight_words * config.weight_bits // (1 << 18)
        assert found["SB_MAC16"] == config.lanes + 3 and 20 < found["SB_RAM40_4K"] <= 30
    else:
        assert found["MULT18X18D"] == config.lanes + 4 and found["DP16KD"] >= 12


def train(board, config, samples):
    """The results of each tick, then every memory."""
    random = np.random.default_rng(7)
    for space in Space:
        words, elements, bits, signed = space_shape(config, space)
        low = -(1 << bits - 1) if signed else 0
        board.write(space, 0, random.integers(low, low + (1 << bits), (words, elements)))
    scenario, _ = training_run(config, samples)
    for space, address, values in scenario.loads:
        board.write(space, address, values)
    results = []
    for step in scenario.steps:
        *events, tick = step.entries
        board.submit([*events, tick | tick_entry(TickFlag.SEND, 0)])
        results.append([(stream, kind, values.tolist()) for stream, kind, values in board.results()])
    return results, {space: board.read(space) for space in Space}


@cache
def expected(target: str):
    """What the golden model sends and ends with."""
    with ModelBoard(DESIGNS[target]) as model:
        return train(model, DESIGNS[target], SAMPLES)


def differences(board, target: str) -> list[str]:
    """Ticks whose results are not the golden model's, and memories that end otherwise."""
    results, memories = train(board, DESIGNS[target], SAMPLES)
    wanted, ends = expected(target)
    assert len(results) == len(wanted) == 6 * (SAMPLES + 9)
    return [f"tick {n}" for n, pair in enumerate(zip(results, wanted, strict=True)) if pair[0] != pair[1]] + [
        f"{space.name}: {np.count_nonzero(memories[space] != ends[space])} elements" for space in Space
        if (memories[space] != ends[space]).any()]


@targets
def test_the_compiler_takes_it(target):
    gate_library(DESIGNS[target], target)


@targets
def test_it_trains_as_the_golden_model(target):
    config = DESIGNS[target]
    with LinkBoard(open_gates(config, target), config=config) as board:
        # Nothing has been written yet: memories hold what they like, but block RAM of the ECP5 starts with zeros.
        assert board.read(Space.PROGRAM, 0, 4).any()
        assert board.read(Space.WEIGHTS, 0, 4).any() == (target == "ice40")
        assert differences(board, target) == []
        assert board.session.repeated == 0
    # It has learned: weights have changed, and of the last nine samples, without classes, most are told rightly.
    results, ends = expected(target)
    for space, address, values in training_run(config)[0].loads:
        changed = np.count_nonzero(ends[space][address:address + len(values)] != values)
        assert changed > values.size / 4 or space != Space.WEIGHTS
    told = answers([np.array(tick[-1][2]) for tick in results[5::6]])[SAMPLES:]
    assert sum(answer == sample % 3 for sample, answer in enumerate(told)) >= 7


MODES = {
    "a width": (".DATA_WIDTH_A(4)", "DATA_WIDTH_A 4 is not modelled"),
    "output register": ('.REGMODE_B("OUTREG")', "output registers are not modelled"),
    "chip select": ('.CSDECODE_A("0b001")', "no CSDECODE but 0b000 is modelled"),
    "inverted clock": ('.CLKBMUX("INV")', "inverted clocks are not modelled"),
    "write mode": ('.WRITEMODE_B("WRITETHROUGH")', "this WRITEMODE_B is not modelled"),
}


@pytest.mark.parametrize("mode", MODES)
def test_block_ram_in_another_mode_is_refused(mode, tmp_path):
    require_verilator()
    parameter, message = MODES[mode]
    top = f"module top(input clk);\n  DP16KD #({parameter}) ram (.CLKA(clk));\nendmodule\n"
    (tmp_path / "top.v").write_text(top, encoding="utf-8")
    models = Path(relif_sim.gates.__file__).with_name("ecp5_cells.v")
    command = ["verilator", "--lint-only", "-Wno-lint", "--top-module", "top", "top.v", models]
    done = subprocess.run(command, cwd=tmp_path, env=verilator_environment(), text=True, capture_output=True,
                          timeout=60, check=False)
    assert done.returncode != 0
    assert f"DP16KD: {message}" in done.stderr


@pytest.mark.large
@targets
def test_a_wrong_lut_is_found(target):
    """Proof that the comparison sees the gates: one LUT before the accumulators is inverted."""
    config = DESIGNS[target]
    init, name = re.findall(r"^    \.(?:LUT_)?INIT\(16'h(\w{4})\)\n  \) (\\core\.core\.lanes\.accumulators\S* +\()$",
                            text(target), re.MULTILINE)[0]
    change = (f"16'h{init})\n  ) {name}", f"16'h{int(init, 16) ^ 0xFFFF:04x})\n  ) {name}")
    with LinkBoard(open_gates(config, target, change=change), config=config) as board:
        found = differences(board, target)
    assert any(line.startswith("WEIGHTS") for line in found)
    assert any(line.startswith("tick") for line in found)
