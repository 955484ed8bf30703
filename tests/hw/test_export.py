"""The text of the generated Verilog; the simulators and Yosys read it in `tests/sim`."""

import re

import pytest

from relif_hw.config import CoreConfig, preset
from relif_hw.export import generate

CONFIG = CoreConfig(lanes=4, state_bits=16, weight_words=32, state_words=16, neuron_words=8, program_length=16,
                    queue_depth=16, max_outputs=4, name="small")

PORTS = {
    "clk": ("input", 1), "rst": ("input", 1),
    "entries_payload": ("input", 16), "entries_valid": ("input", 1), "entries_ready": ("output", 1),
    "access_payload": ("input", 37), "access_valid": ("input", 1), "access_ready": ("output", 1),
    "wdata_payload": ("input", 32), "wdata_valid": ("input", 1), "wdata_ready": ("output", 1),
    "rdata_payload": ("output", 32), "rdata_valid": ("output", 1), "rdata_ready": ("input", 1),
    "results_payload": ("output", 32), "results_valid": ("output", 1), "results_ready": ("input", 1),
    "idle": ("output", 1), "fault": ("output", 1),
    "profile_opcode": ("output", 4), "profile_issue": ("output", 1),
}


@pytest.fixture(scope="module")
def text():
    return generate(CONFIG)


def test_plain_ports(text):
    top = text[text.index("\nmodule relif_core("):]
    top = top[:top.index("endmodule")]
    found = {name: (kind, int(high or 0) + 1)
             for kind, high, name in re.findall(r"^  (input|output) (?:\[(\d+):0\] )?(\w+);", top, re.MULTILINE)}
    assert found == PORTS


def test_the_head_says_what_it_is(text):
    head = text[:text.index("\nmodule")]
    assert re.search(r"^//   lanes +4$", head, re.MULTILINE)
    assert re.search(r"^//   name +small$", head, re.MULTILINE)
    for port in PORTS:
        assert any(re.match(rf"//   .*\b({port}|{port.split('_')[0]}_\*)", line) for line in head.splitlines()), port


def test_every_lint_waiver_has_a_reason_and_ends_with_the_file(text):
    off = re.findall(r"^/\* verilator lint_off (\w+) \*/  // (.+)$", text, re.MULTILINE)
    on = re.findall(r"^/\* verilator lint_on (\w+) \*/$", text, re.MULTILINE)
    assert [warning for warning, _ in off] == on
    assert len(on) == text.count("lint_off") == text.count("lint_on")


def test_what_the_host_cannot_write_starts_with_zeros_in_hardware_too():
    text = generate(preset("lanes1"))
    hardware = re.sub(r"^`ifndef SYNTHESIS$.*?^`endif$", "", text, flags=re.MULTILINE | re.DOTALL)
    zeros = r"^  initial for \((\w+)_word = 0;"
    assert set(re.findall(zeros, hardware, re.MULTILINE)) == {"accumulators", "registers"}
    assert set(re.findall(zeros, text, re.MULTILINE)) >= {"accumulators", "registers", "program", "state", "surrogate"}


def test_nothing_of_the_machine_that_made_it(text):
    assert ".py" not in text
    assert "src = " not in text


def test_the_same_every_time_and_no_names_in_common_under_another_name(text):
    assert generate(CONFIG) == text
    modules = set(re.findall(r"^module (\S+?) ?\(", text, re.MULTILINE))
    others = set(re.findall(r"^module (\S+?) ?\(", generate(CONFIG, name="other"), re.MULTILINE))
    assert "relif_core" in modules and "other" in others
    assert not modules & others


@pytest.mark.parametrize("name", ["2cores", "a-b", "", "a b", "core;"])
def test_a_name_that_verilog_does_not_take(name):
    with pytest.raises(ValueError, match=re.escape(f"a Verilog module must have a plain name, not {name!r}")):
        generate(CONFIG, name=name)
