"""Verilog with arrays and loops in place of what lanes do alike: which nets become arrays, that others stay, and that
small modules of all kinds still do what they did.

That boards do is what every test of a simulated board of eight lanes and more shows.
"""

import dataclasses
import subprocess

import pytest

import relif
from relif.speed_bench import measure_speed
from relif_hw.config import preset
from relif_sim import vectors
from relif_sim.gating import gated
from relif_sim.library import _FAST, _YOSYS_SCRIPT, device_rtlil, run_yosys
from relif_sim.netlist import Netlist
from relif_sim.toolchain import verilator_environment
from relif_sim.vectors import vectorized

MEMBERS = range(8)
CLOCKED = "  always @(posedge \\clk )\n    "


def module(*statements, members=MEMBERS):
    """Registers a_N and b_N, nets s_N, and statements of which those with N are written for each member."""
    each = [line.replace("N", str(n)) for n in members for line in (
        "  reg [7:0] \\a_N  = 8'h00;", "  reg signed [7:0] \\b_N  = 8'h00;", "  wire [8:0] _sN_;", "  wire _tN_;")]
    lines = [line.replace("N", str(n)) for line in statements for n in (members if "N" in line else [0])]
    return "\n".join(["module relif(clk, e, x, take, out);", "  input clk;", "  input e;", "  input [7:0] x;",
                      "  wire [7:0] x;", "  input [7:0] take;", "  wire [7:0] take;", "  output [7:0] out;", *each,
                      *lines, "endmodule", ""])


def lines(*statements, members=MEMBERS):
    return vectorized(module(*statements, members=members), len(members)).split("\n")


def unlike(width=8, signed=""):
    """Nets u0, u1, ... that are no family."""
    return [f"  wire {signed}[{width - 1}:0] \\u{n} ;\n  assign \\u{n}  = x {'+-'[n % 2]} take;" for n in MEMBERS]


DIFFERENT = unlike()
SUM = "  assign _sN_ = \\a_N  + x;"
TAKES = CLOCKED + "if (e) \\a_N  <= _sN_[7:0];"


def test_registers_and_what_they_read_become_a_loop():
    text = lines(SUM, TAKES)
    begin = text.index("  always @* if (e) for (int unsigned i = 0; i < 8; i++) begin")
    assert text[begin:begin + 5] == [
        "  always @* if (e) for (int unsigned i = 0; i < 8; i++) begin",
        "    automatic logic [8:0] family_1 = family_0[i] + x;",
        "    next_family_0[i] = family_1[7:0];",
        "  end",
        "  always @(posedge \\clk ) if (e) family_0 <= next_family_0;"]
    assert "  reg [7:0] family_0 [0:7];" in text and "  initial family_0[5] = 8'h00;" in text
    assert not [line for line in text if "a_" in line or "_s" in line]


def test_what_somebody_else_reads_is_an_array_too():
    text = lines(SUM, TAKES, "  assign out = _s3_[8:1] | \\a_2 ;")
    assert "  assign out = family_1[3][8:1] | family_0[2];" in text
    assert "    family_1[i] = family_0[i] + x;" in text
    assert "    next_family_0[i] = family_1[i][7:0];" in text


def test_a_register_of_each_member_s_own_enable():
    text = lines(SUM, CLOCKED + "if (take[N]) \\a_N  <= _sN_[7:0];")
    assert "  always @* if (|take) for (int unsigned i = 0; i < 8; i++) begin" in text
    assert "    next_family_0[i] = (take[i +: 1]) ? (family_1[7:0]) : (family_0[i]);" in text


def test_a_reset_and_nested_conditions():
    reset = lines(CLOCKED + "if (e) \\a_N  <= 8'h00;\n    else if (x[0]) \\a_N  <= x;")
    assert "    next_family_0[i] = (e) ? (8'h00) : (x);" in reset
    assert "  always @* if ((e) | (x[0])) for (int unsigned i = 0; i < 8; i++) begin" in reset
    nested = lines(CLOCKED + "if (e)\n      if (take[N]) \\a_N  <= 8'h00;\n      else \\a_N  <= x;")
    assert "    next_family_0[i] = (take[i +: 1]) ? (8'h00) : (x);" in nested


def test_operands_that_are_no_family_are_gathered():
    text = lines(CLOCKED + "if (e) \\a_N  <= \\b_0 ;", "  assign _sN_ = { 1'h0, x };")
    assert "    next_family_0[i] = \\b_0 ;" in text                  # the same for all
    text = vectorized(module(*DIFFERENT, *(
        f"{CLOCKED}if (e) \\a_{n}  <= \\u{n} ;" for n in MEMBERS)), 8).split("\n")
    assert "    gathered_1[3] = \\u3 ;" in text and "    next_family_0[i] = gathered_1[i];" in text
    # They are gathered when somebody takes them.
    assert text[text.index("    gathered_1[0] = \\u0 ;") - 1] == "  always @* if ((e)) begin"


def test_bits_that_stand_apart_in_some_members_are_one_operand():
    bits = [*(f"x[{n + 3}:{n}]" for n in (4, 3, 2, 1, 0)), "{ x[2:0], x[7] }", "{ x[1:0], x[7:6] }", "{ x[0], x[7:5] }"]
    text = vectorized(module(*(
        f"{CLOCKED}if (e) \\a_{n}  <= e ? {part} : 4'h0;" for n, part in enumerate(bits))), 8).split("\n")
    assert "    next_family_0[i] = e ? gathered_1[i] : 4'h0;" in text
    assert "    gathered_1[5] = { x[2:0], x[7] };" in text


def test_elements_in_a_row_of_another_array():
    text = "\n".join(lines(SUM, TAKES, members=range(16)))
    pairs = "".join(f"  reg [7:0] \\p_{n}  = 8'h00;\n{CLOCKED}if (e) \\p_{n}  <= \\a_{2 * n}  + \\a_{2 * n + 1} ;\n"
                    for n in range(8))
    text = vectorized(module(SUM, TAKES, members=range(16)).replace("endmodule\n", pairs + "endmodule\n"), 16)
    assert "[i] = family_0[i * 2 + 0] + family_0[i * 2 + 1];" in text


def memory(name, width, write):
    return "\n".join([
        f"  wire [{width - 1}:0] \\{name}.data ;",
        f"  reg [{width - 1}:0] \\{name}  [3:0];",
        f"  initial for (int unsigned word = 0; word < 4; word++) \\{name} [word] = 0;",
        "  always @(posedge \\clk ) begin", *write, "  end",
        f"  reg [{width - 1}:0] _{name}_;", "  always @(posedge \\clk ) begin", "    if (e) begin",
        f"      _{name}_ <= \\{name} [x[1:0]];", "    end", "  end",
        f"  assign \\{name}.data  = _{name}_;"])


ALL = ", ".join(f"\\b_{n} " for n in reversed(MEMBERS))
WORD = ["    if (e)", f"      \\m [x[3:2]] <= {{ {ALL} }};"]
PARTS = [line for n in MEMBERS
         for line in (f"    if (take[{n}])", f"      \\m [x[3:2]][{8 * n + 7}:{8 * n}] <= \\b_{n} ;")]
READERS = [f"{CLOCKED}if (e) \\a_{n}  <= \\m.data [{8 * n + 7}:{8 * n}];" for n in MEMBERS]


@pytest.mark.parametrize("write", [WORD, PARTS])
def test_a_wide_memory_becomes_rows_of_elements(write):
    text = vectorized(module(memory("m", 64, write), *READERS), 8).split("\n")
    name = next(line.split()[2] for line in text if "words_family" in line).removeprefix("words_")
    each = "for (int unsigned i = 0; i < 8; i++)"
    assert f"  reg [7:0] words_{name} [0:3][0:7];" in text
    assert f"  always @* if (e) {each} data_{name}[i] = words_{name}[x[1:0]][i];" in text
    when = "e" if write is WORD else "|take"
    assert f"  always @(posedge \\clk ) if ({when}) {each} words_{name}[x[3:2]][i] = row_{name}[i];" in text
    data = next(line for line in text if f"    row_{name}[i] = " in line)
    assert data.endswith(f" : (words_{name}[x[3:2]][i]);") == ("(take[i +: 1]) ? (" in data) == (write is PARTS)
    assert not [line for line in text if "\\m " in line]


def test_what_a_memory_takes_is_gathered_when_it_is_written():
    """Not when it is read, nor only for some of its parts."""
    write = ["    if (x[7])", WORD[1].replace("\\b_", "\\u")]
    text = vectorized(module(*DIFFERENT, memory("m", 64, write), *READERS), 8).split("\n")
    gathered = next(number for number, line in enumerate(text) if line.endswith("[0] = \\u0 ;"))
    assert text[gathered - 1] == "  always @* if ((x[7])) begin"
    by_part = [line.replace("\\b_", "\\u").replace("take", "wide") for line in PARTS]
    wide = "  wire [99:0] \\wide ;\n"
    text = vectorized(module(*DIFFERENT, wide, memory("m", 64, by_part).replace("wide[", "\\wide ["), *READERS), 8)
    assert text.count("  always @* begin\n    gathered_") == 2       # the enables, and what is written


def test_a_memory_that_is_read_whole_stays():
    text = module(memory("m", 64, WORD), *READERS, "  assign out = ^ \\m.data ;")
    stays = vectorized(text, 8)
    assert "  reg [63:0] \\m  [3:0];" in stays and "words_" not in stays
    assert "    next_family_0[i] = \\m.data [i * 8 + 0 +: 8];" in stays


def test_a_memory_of_which_not_all_parts_are_read_alike_stays():
    text = module(memory("m", 128, ["    if (e)", f"      \\m [x[3:2]] <= {{ {ALL}, {ALL} }};"]), *READERS)
    stays = vectorized(text, 16)
    assert "  reg [127:0] \\m  [3:0];" in stays and "words_" not in stays


def test_a_port_stays():
    text = vectorized(module(SUM, TAKES).replace("  input e;", "  input e;\n  output [7:0] \\a_3 ;"), 8)
    assert "    if (e) \\a_3  <= _s3_[7:0];" in text and "family" not in text


def test_few_lanes_stay_as_they_are():
    text = module(SUM, TAKES, members=range(4))
    assert vectorized(text, 4) == text


def test_registers_that_are_not_alike_stay_as_they_are():
    text = module(*(f"{CLOCKED}if (e) \\a_{n}  <= x {'+-'[n % 2]} \\a_{n} ;" for n in MEMBERS))
    assert vectorized(text, 8) == text


def test_what_a_netlist_knows():
    netlist = Netlist(module(SUM, TAKES, memory("m", 64, WORD), *READERS), 8)
    assert netlist.definitions["_s3_"].value.operands[0].name == "\\a_3 "
    assert netlist.definitions["\\a_3 "].clock == "posedge \\clk "
    part = netlist.parts["_m_$2"]
    assert netlist.written(part) == "\\m.data [23:16]"
    assert netlist.written(dataclasses.replace(part, name="_m_$2", high=3, low=1)) == "\\m.data [19:17]"


def of_parts(text, *, width=8):
    """`text` for each member, N the number, HIGH and LOW the bits of its part of a word."""
    return [line.replace("N", str(n)).replace("HIGH", str(width * n + width - 1)).replace("LOW", str(width * n))
            for n in MEMBERS for line in text.split("\n")]


def separate(select, data):
    """Eight memories, of each of which some bits are written."""
    return [memory(f"q{n}", 8, ["    if (e)", f"      \\q{n} [x[3:2]]{select} <= \\b_{n} {data};"]) for n in MEMBERS]


INPUTS = [f"{CLOCKED}if (e) \\b_{n}  <= x ^ 8'd{17 * n + 5};" for n in MEMBERS]
KEYS = [f"  wire [7:0] \\k{n} ;\n  assign \\k{n}  = \\m.data [{8 * n + 7}:{8 * n}] + x;" for n in MEMBERS]
SECOND = [*(f"  reg [7:0] \\c_{n}  = 8'h01;" for n in MEMBERS), "  wire _f_;", "  assign _f_ = x[7];"]
GATED = of_parts("  reg [7:0] \\gN ;\n  always @* if (e | _f_) \\gN  = \\uN  ^ \\b_N ;")
FROM_ANOTHER = of_parts("    if (take[N])\n      \\m [x[3:2]][HIGH:LOW] <= \\z.data [HIGH:LOW];")
OTHER = memory("z", 64, ["    if (e)", f"      \\z [x[3:2]] <= {{ {ALL} }};"])
OTHER_READERS = of_parts(f"{CLOCKED}if (e) \\c_N  <= \\z.data [HIGH:LOW];")
BY_GATHERED_ENABLES = of_parts("    if (\\u0 [N])\n      \\m [x[3:2]][HIGH:LOW] <= \\uN ;")
READ_AND_WRITTEN = of_parts("    if (take[N])\n      \\m [x[3:2]][HIGH:LOW] <= \\kN ;")
SIMULATED = {
    "a wide memory": [*INPUTS, memory("m", 64, PARTS), *READERS],
    "read, changed and written": [*INPUTS, *KEYS, memory("m", 64, READ_AND_WRITTEN), *READERS],
    "a memory with enables of its parts": [*INPUTS, *DIFFERENT, memory("m", 64, BY_GATHERED_ENABLES), *READERS],
    "a memory at an address that is a sum": [
        *INPUTS, "  assign _sN_ = \\a_N  + x;", CLOCKED + "if (take[0]) \\a_N  <= _sN_[7:0];", *SECOND, *KEYS,
        memory("m", 64, WORD).replace("\\m [x[1:0]]", "\\m [_s3_[1:0]]"),
        *of_parts(f"{CLOCKED}if (e) \\c_N  <= \\kN ;")],
    "from memory to memory": [
        *INPUTS, *SECOND, memory("m", 64, FROM_ANOTHER), OTHER, *READERS, *OTHER_READERS],
    "from memory to memory, the other way round": [
        *INPUTS, *SECOND, OTHER, memory("m", 64, FROM_ANOTHER), *READERS, *OTHER_READERS],
    "memories of one word": [*INPUTS, *separate("", ""), CLOCKED + "if (e) \\a_N  <= \\qN.data ;"],
    "memories of which bits are written": [
        *INPUTS, *separate("[7:4]", "[3:0]"), CLOCKED + "if (e) \\a_N  <= \\qN.data ;"],
    "memories of which a bit is written": [
        *INPUTS, *separate("[5]", "[3]"), CLOCKED + "if (e) \\a_N  <= \\qN.data ;"],
    "a memory with two clocks": [
        *INPUTS, "  wire \\other ;", "  assign \\other  = take[0];", *READERS, memory("m", 64, WORD).replace(
            "  reg [63:0] _m_;\n  always @(posedge \\clk )", "  reg [63:0] _m_;\n  always @(posedge \\other )")],
    "operands of several widths": [
        *DIFFERENT[:-1], *unlike(4)[-1:], CLOCKED + "if (e) \\a_N  <= \\a_N  + \\uN ;"],
    "concatenations of several widths": [
        f"{CLOCKED}if (e) \\a_{n}  <= {{ 2'h1, x[{n // 2 + 3 + n % 2}:{n // 2}] }} + \\a_{n} ;" for n in MEMBERS],
    "signed operands": [*unlike(4, "signed "), CLOCKED + "if (e) \\b_N  <= \\b_N  + \\uN ;"],
    "bits of a net that begins with bit 8": [
        "  wire [15:8] \\w ;", "  assign \\w  = take;",
        *(f"{CLOCKED}if (e) \\a_{n}  <= \\a_{n}  + \\w [{n + 8}];" for n in MEMBERS)],
    "bits of one member": [
        CLOCKED + "if (e) \\b_N  <= x + \\b_N ;",
        *(f"{CLOCKED}if (\\b_3 [{n}]) \\a_{n}  <= \\a_{n}  + x;" for n in MEMBERS)],
    "bits of a part": [
        *INPUTS, memory("m", 64, WORD), *(f"{CLOCKED}if (e) \\a_{n}  <= \\m.data [{n + 8}];" for n in MEMBERS)],
    "bits selected by others": [
        *of_parts("  wire [11:4] \\vN ;\n  assign \\vN  = \\a_N  + x;"),
        CLOCKED + "if (e) \\a_N  <= { \\vN [8:4], \\vN [take[1:0] + 5'd4 +: 3] };"],
    "an enable of two bits": [
        "  wire [1:0] \\en ;", "  assign \\en  = take[1:0];",
        CLOCKED + "if (\\en )\n      if (e) \\a_N  <= x + \\a_N ;"],
    "conditions of several readers": [
        *INPUTS, *SECOND, *DIFFERENT, *GATED,
        CLOCKED + "if (e)\n      if (take[N]) \\a_N  <= 8'h00;\n      else \\a_N  <= \\gN ;",
        *(f"{CLOCKED}if (_f_) \\c_{n}  <= \\g{n}  + \\a_{7 - n} ;" for n in MEMBERS)],
}
CYCLES = 20_000
HARNESS = """
#include "Vpairs.h"
#include <cstdio>
#include <random>
int main() {
    std::mt19937 random(1);
    Vpairs pairs;
    int unlike[PAIRS] = {};
    for (int cycle = 0; cycle < CYCLES; cycle++) {
        unsigned bits = random();
        pairs.e = bits & 1;
        pairs.x = bits >> 8;
        pairs.take = bits >> 16 & (bits & 6 ? ~0u : bits >> 24);
        for (int clk = 0; clk < 2; clk++) {
            pairs.clk = clk;
            pairs.eval();
        }
        for (int pair = 0; pair < PAIRS; pair++) unlike[pair] += pairs.unlike >> pair & 1;
    }
    for (int pair = 0; pair < PAIRS; pair++) std::printf("%d ", unlike[pair]);
}
"""


@pytest.mark.timeout(600)
def test_small_modules_do_what_they_did(tmp_path):
    """Side by side with what `vectorized` makes of them, for cycles of random inputs."""
    text, pairs = [], []
    for number, statements in enumerate(SIMULATED.values()):
        registers = "abc" if SECOND[0] in statements else "ab"
        of_all = " + ".join(f"8'd{2 * n + 3} * \\{letter}_{n} " for letter in registers for n in MEMBERS)
        before = module(*statements, f"  assign out = {of_all};")
        for when, design in (("before", before), ("after", vectorized(before, len(MEMBERS)))):
            text.append(design.replace("module relif", f"module {when}_{number}"))
            pairs += [f"  wire [7:0] out_{when}_{number};",
                      f"  {when}_{number} it_{when}_{number}(clk, e, x, take, out_{when}_{number});"]
        pairs.append(f"  assign unlike[{number}] = out_before_{number} != out_after_{number};")
    text += ["module pairs(input clk, input e, input [7:0] x, input [7:0] take, "
             f"output [{len(SIMULATED) - 1}:0] unlike);", *pairs, "endmodule"]
    (tmp_path / "pairs.v").write_text("\n".join(text))
    (tmp_path / "main.cpp").write_text(HARNESS)
    for command in (
            ["verilator", "--cc", "--exe", "--no-timing", "--top-module", "pairs", *_FAST,
             "-CFLAGS", f"-DPAIRS={len(SIMULATED)} -DCYCLES={CYCLES}", "--Mdir", "obj", "-o", "pairs", "pairs.v",
             "main.cpp"],
            ["make", "-C", "obj", "-f", "Vpairs.mk", "OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O0", "pairs"],
            ["obj/pairs"]):
        done = subprocess.run(command, cwd=tmp_path, env=verilator_environment(), text=True, capture_output=True,
                              timeout=600, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    assert dict(zip(SIMULATED, map(int, done.stdout.split()), strict=True)) == dict.fromkeys(SIMULATED, 0)


@pytest.mark.timeout(600)
def test_a_board_whose_lanes_are_more_than_the_bits_of_a_word(monkeypatch, tmp_path):
    """As 128 are: such a board takes minutes, so here a word has four bits."""
    monkeypatch.setattr(vectors, "_WIDE", 4)
    monkeypatch.setenv("RELIF_CACHE", str(tmp_path))
    with relif.open("sim", config=preset("lanes8")) as board:
        measured = measure_speed(board, samples=8)              # weights are compared with the golden model's
    assert measured.core == "lanes8" and measured.ticks == 96


def test_names_of_arrays_are_not_taken():
    for name in ("i", "family_3"):
        with pytest.raises(ValueError, match=f"a net may not be called '{name}'"):
            vectorized(module(f"  wire {name};", SUM, TAKES), 8)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["lanes8", "lanes32", "synaptic16"])
def test_presets_have_no_loops_of_logic(name, tmp_path):
    """An array is calculated as one: if elements of it depended on others, Verilator would have to try until nothing
    changes, and says so."""
    config = preset(name)
    (tmp_path / "relif.il").write_text(device_rtlil(config))
    run_yosys(_YOSYS_SCRIPT, tmp_path)
    text = gated((tmp_path / "relif.v").read_text())
    arrays = vectorized(text, config.lanes)
    assert arrays.count("always @*") > 50 and len(arrays) < 0.9 * len(text)
    (tmp_path / "arrays.v").write_text(arrays)
    done = subprocess.run(
        ["verilator", "--lint-only", "--no-timing", "--top-module", "relif", *_FAST, "-Werror-UNOPTFLAT", "arrays.v"],
        cwd=tmp_path, env=verilator_environment(), text=True, capture_output=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
