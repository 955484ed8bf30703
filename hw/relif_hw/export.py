"""The core as one Verilog file with plain ports, for use in another design."""

import dataclasses
import re

from amaranth import ClockDomain, Module, Value
from amaranth.back import verilog

from .config import CoreConfig
from .core import Core

__all__ = ["convert", "flat_ports", "generate"]

_WAIVERS = {
    "DECLFILENAME": "the modules of a core come in one file, which has the name that its user gives it",
    "WIDTHEXPAND": "operands that Amaranth leaves narrow are extended as the expression's type says",
    "WIDTHTRUNC": "results of additions and shifts are cut to the signal's width on purpose",
    "CASEINCOMPLETE": "a value is assigned before each case; a case that is missing keeps it",
    "UNUSEDSIGNAL": "intermediate names are kept for those who read waves",
    "PROCASSINIT": "the initial value of a register is what an FPGA powers up with",
    "INITIALDLY": "a change at time 0, after all blocks wait for one, starts combinational blocks in any simulator",
}
"""Warnings of Verilator's lint that are turned off in the file, each with its reason."""

_STARTER = re.compile(r"^  reg (\\\$auto\$verilog_backend\S+)  = 0;$", re.MULTILINE)
"""The signal with which Yosys starts combinational blocks: its initial value alone is no change to Icarus,
which would leave the outputs of blocks with constant inputs unknown."""

_ZEROS = re.compile(r"^  initial begin\n((?:    (\S+) *\[\d+\] = (\d+)'[hd]0+;\n)+)  end\n", re.MULTILINE)
"""A memory that starts with zeros, word by word."""

_KEPT = ("accumulators", "registers")
"""Memories with words that the host cannot write, and which must be zero: all, and one of a compact core's `Hasher`."""


def _zeros(block: re.Match[str]) -> str:
    """The same as a loop, and for simulators only: Yosys takes minutes over the words, and block RAM that
    starts with nothing in particular suits whatever the host writes first. Those of `_KEPT` stay."""
    words, memory, bits = block[1].count("\n"), block[2], block[3]
    index = f"{memory.lstrip(chr(92)).partition('$')[0]}_word"
    loop = (f"  integer {index};\n  initial for ({index} = 0; {index} < {words}; {index} = {index} + 1) "
            f"{memory} [{index}] = {bits}'h0;\n")
    return loop if memory in _KEPT else f"`ifndef SYNTHESIS\n{loop}`endif\n"


_PORTS = """\
  clk                  clock, rising edge
  rst                  synchronous reset, active high, for as many cycles as there are neuron words, rounded
                       up to a power of two, after which the accumulators are zero; memories keep their contents,
                       which at power-up are zeros in simulation: write what a program reads (with 1 or 2 lanes
                       the registers, space 0, are such a memory)
  entries_*            stream in, 16 bits: bits 15, 14 = 00: a spike of the neuron at address [13:0]
                       = word * lanes + lane of the spike memory; 01: a target value [13:0], two's complement,
                       in units of 2^-10, of output 0, 1, ... from one tick to the next; bit 15 = 1: end of the
                       tick's events, run the program with flags [14:11] (1 reset, 2 train, 4 target, 8 send),
                       class [10:0]
  access_*             stream in: [3:0] space, [4] write, [20:5] first word, [36:21] number of words;
                       spaces: 0 registers, 1 program, 2 weights, 3 state, 4 post factors, 5 spikes,
                       6 surrogate table, 7 target values, 8 eligibility (none in a factored core); served
                       when the core is idle
  wdata_*, rdata_*     streams, 32 bits: the elements of an access in ascending order, two's complement
  results_*            stream out, 32 bits: per SEND a header {stream: 8, kind: 8, count: 16}, elements
  idle                 no tick runs and the queue of entries is empty
  fault                an event beyond the spike memory, or a target value too many, was dropped; sticky
                       until reset
  profile_opcode       the instruction that the core works for (0: none)
  profile_issue        a word enters the lanes
A stream moves its payload in a cycle in which valid and ready are both high."""


def flat_ports(component, domain):
    """Ports of a component for `amaranth.back.verilog`, members joined by one underscore."""
    ports = {"clk": (domain.clk, None)}
    if domain.rst is not None:
        ports["rst"] = (domain.rst, None)
    for path, _, value in component.signature.flatten(component):
        ports["_".join(map(str, path))] = (Value.cast(value), None)
    return ports


def convert(component, *, name: str, reset: bool = True) -> str:
    """A component in plain Verilog-2001, with the ports of `flat_ports`.

    Memories start with zeros in simulation alone: single-port RAM of the iCE40 UltraPlus cannot be initialised.
    Without a reset registers start from their initial values, at power-up alone.
    """
    module = Module()
    module.domains.sync = domain = ClockDomain("sync", reset_less=not reset)
    module.submodules.core = component
    text = verilog.convert(module, name=name, ports=flat_ports(component, domain), emit_src=False)
    body = text.split("\n", 1)[1] if text.startswith("/* Generated by") else text
    return _ZEROS.sub(_zeros, _STARTER.sub(r"  reg \1  = 1;\n  initial \1  <= 0;", body))


def generate(config: CoreConfig, *, name: str = "relif_core") -> str:
    """The Verilog of a core.

    Parameters
    ----------
    config : CoreConfig
    name : str
        Name of the top module; its submodules' names begin with it.

    Returns
    -------
    str
        Verilog-2001 text for any tool. Ports are described in its head.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(f"a Verilog module must have a plain name, not {name!r}")
    body = convert(Core(config), name=name)
    fields = "\n".join(f"  {field.name:<20} {getattr(config, field.name)}" for field in dataclasses.fields(config))
    head = f"Relif: a spiking processor that learns while it runs.\n\nConfiguration\n{fields}\n\nPorts\n{_PORTS}\n"
    comment = "".join(f"// {line}".rstrip() + "\n" for line in head.splitlines())
    off = "".join(f"/* verilator lint_off {warning} */  // {why}\n" for warning, why in _WAIVERS.items())
    on = "".join(f"/* verilator lint_on {warning} */\n" for warning in _WAIVERS)
    return f"{comment}\n{off}\n{body}\n{on}"
