"""Conditions on logic that is not always read: which nets get one, and that all others stay as they are.

That the boards still compute what they did is what every test of a simulated board shows.
"""

import re

import pytest

from relif_sim.gating import both_edges, gated

HEAD = """module relif(a, b, clk, out);
  input [7:0] a;
  input [7:0] b;
  input clk;
  output [7:0] out;
  wire _e_;
  wire _f_;
  wire signed [7:0] \\core.sum ;
  wire [7:0] _once_;
  reg [7:0] x = 8'h00;
  reg [7:0] \\core.y  = 8'h00;
  reg [7:0] z = 8'h00;
"""
SUM = "  assign \\core.sum  = $signed(a) + $signed(b);"


def module(*lines):
    return HEAD + "\n".join([SUM, *lines, "endmodule", ""])


def under(enable, register, value):
    return f"  always @(posedge clk)\n    if ({enable}) {register} <= {value};"


X, Y = under("_e_", "x", "\\core.sum "), under("_f_", "\\core.y ", "{ \\core.sum [3:0], 4'h0 }")


def test_a_net_is_computed_when_one_of_its_registers_takes_it():
    text = gated(module(X, Y))
    assert "  always @* if (_e_ | _f_) \\core.sum  = $signed(a) + $signed(b);" in text.split("\n")
    assert "  reg signed [7:0] \\core.sum ;" in text.split("\n")
    # All other lines are as they were.
    assert len(text.split("\n")) == len(module(X, Y).split("\n"))
    assert X in text
    assert Y in text


def test_what_is_read_through_another_net_counts():
    text = gated(module("  assign _once_ = ~ \\core.sum ;", under("_e_", "x", "_once_ & \\core.sum ")))
    assert "always @* if (_e_) \\core.sum  =" in text
    # Verilator puts the value of a net that is read once where it is read.
    assert "  assign _once_ = ~ \\core.sum ;" in text


def test_memories_read_under_their_enables():
    memory = ("  always @(posedge clk) begin\n    if (_f_)\n      \\core.memory [\\core.sum [3:0]] <= \\core.sum ;\n"
              "  end")
    assert "always @* if (_f_) \\core.sum  =" in gated(module(memory))


def test_a_register_with_a_reset_reads_under_its_enable():
    reset = "  always @(posedge clk)\n    if (_e_) z <= 8'h00;\n    else if (_f_) z <= \\core.sum ;"
    assert "always @* if (_f_) \\core.sum  =" in gated(module(reset, reset.replace("z", "x")))


def test_bits_of_a_sum_that_nobody_reads_are_not_made():
    wide = "  assign { _once_, \\core.sum  } = $signed(a) + $signed(b);"
    text = gated(module(X, Y).replace(SUM, wide))
    assert "  always @* if (_e_ | _f_) \\core.sum  = $signed(a) + $signed(b);" in text.split("\n")
    # With a reader they are.
    assert wide in gated(module(X, Y, "  assign out = _once_;").replace(SUM, wide))


ALWAYS = {
    "output": "  assign out = \\core.sum ;",
    "register without an enable": "  always @(posedge clk)\n    z <= \\core.sum ;",
    "register with a reset, which is no enable":
        "  always @(posedge clk)\n    if (_e_) z <= 8'h00;\n    else z <= \\core.sum ;",
    "enable": under("_g_", "z", "a") + "\n  assign _g_ = ! \\core.sum ;",
    "two registers in a block":
        "  always @(posedge clk) begin\n    if (_e_) z <= \\core.sum ;\n    if (_f_) x <= a;\n  end",
    "line of another form": "  assign { _e_, _f_ } = \\core.sum [1:0];",
}


@pytest.mark.parametrize("reader", ALWAYS.values(), ids=ALWAYS)
def test_what_is_always_read_stays(reader):
    assert SUM in gated(module(X, Y, reader))


def test_nets_whose_bits_depend_on_each_other_stay():
    loop = "  assign _once_ = { \\core.two [3:0], a[3:0] };\n  assign \\core.two  = { _once_[3:0], b[3:0] };"
    wire = "  wire [7:0] \\core.two ;"
    text = gated(module(wire, loop, under("_e_", "x", "_once_ + \\core.two ")))
    assert loop in text


def test_many_enables_are_no_condition():
    registers = [under(f"_e{n}_", "x", "\\core.sum ") for n in range(9)]
    assert SUM in gated(module(*registers))


def test_repeated_bits_become_replications():
    text = gated(module("  assign out = { a[7], a[7], a[7], \\core.sum [5], \\core.sum [5], a[6], b };"))
    assert "  assign out = { {3{a[7]}}, {2{\\core.sum [5]}}, a[6], b };" in text


def test_one_clock_gets_both_edges():
    text = both_edges(module(X, X.replace("clk", "usb_clk")), "clk")
    assert re.findall(r"@\(.*?\)", text) == ["@(edge clk)", "@(posedge usb_clk)"]
