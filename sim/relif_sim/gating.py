"""Verilog as Yosys writes it, made cheaper to simulate: logic of which nothing is read is not evaluated.

Yosys gives registers their enables: `if (E) R <= x;`. Verilator then skips the assignment in cycles without E, and
with it the logic of x as far as that is written in one expression. But a net that is used twice (such as the sum that
a saturation looks at and passes on) is a variable, which Verilator computes in each cycle. Here such a net gets the
condition that somebody reads it,

    assign y = a + b;      ─►      always @* if (E | F) y = a + b;

if all that depends on it, through other nets too, are registers and memories under the enables E and F. What it keeps
in the other cycles nobody sees.

The text is read line by line: what has another form than Yosys's usual one stays as it is, and counts as a reader that
always reads.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

__all__ = ["both_edges", "gated"]

_ENABLES = 4
"""Enables that a condition is made of at most: with more of them a net is read in most cycles."""

_NAME = re.compile(r"\\\S+ |(?<![\w$'\\])[A-Za-z_]\w*")
_NET = r"(\\\S+ |\w+)"
_ASSIGN = re.compile(rf"  assign {_NET} = (.*);")
_SUM = re.compile(rf"^  assign {{ {_NET}, {_NET} }} = (\S+ ?\)? \+ \S+ ?\)?);$", re.MULTILINE)
_WIRE = re.compile(rf"  wire (?:signed )?(?:\[\d+:\d+\] )?{_NET};")
_ENABLE = re.compile(rf"    if \({_NET}\)")
_ELSE = re.compile(rf"    else if \({_NET}\)")
_OPERAND = r"(?:\\\S+ |\w+)(?:\[\d+\])?"
_ZEROS = re.compile(rf"  initial begin\n((?:    {_NET}\[\d+\] = \d+'[dh]0+;\n)+)  end\n")
_REPEATED = re.compile(rf"(?<=[{{,] )({_OPERAND})(?:, \1)+(?=,| }})")
_ALWAYS = ""
"""The condition of a reader that reads in each cycle."""


def both_edges(text: str, clock: str) -> str:
    """The same design with a cycle at each edge of a clock: half as many evaluations."""
    return text.replace(f"@(posedge {clock})", f"@(edge {clock})")


def gated(text: str) -> str:
    """The module that `write_verilog -noattr -simple-lhs` wrote, with conditions on what is not always read.

    Sign extensions, which Yosys writes as a bit repeated, become replications: they are one operation then. Words of
    zeros, of which Yosys writes one after the other, become a loop.
    """
    text = _REPEATED.sub(_replication, _ZEROS.sub(_cleared, text))
    lines = _without_unread_carries(text).split("\n")
    nets, readers = _read(lines)
    conditions = _conditions(nets, readers)
    wires = {match[1]: number for number, line in enumerate(lines) if (match := _WIRE.fullmatch(line))}
    for net, (number, value) in nets.items():
        enables = conditions[net]
        variable = net in wires and len(readers[net]) > 1 and not re.fullmatch(_NET, value)
        if variable and _ALWAYS not in enables and 0 < len(enables) <= _ENABLES:
            lines[number] = f"  always @* if ({' | '.join(sorted(enables))}) {net} = {value};"
            lines[wires[net]] = lines[wires[net]].replace("wire", "reg", 1)
    return "\n".join(lines)


def _without_unread_carries(text: str) -> str:
    """Sums whose highest bits nobody reads as assignments to the others alone: these are the same without them."""
    names = Counter(_NAME.findall(text))

    def assigned(match: re.Match[str]) -> str:
        return f"  assign {match[2]} = {match[3]};" if names[match[1]] == 2 else match[0]       # with its declaration

    return _SUM.sub(assigned, text)


def _cleared(match: re.Match[str]) -> str:
    name, words = match[2], match[1].count("\n")
    return f"  initial for (int unsigned word = 0; word < {words}; word++) {name}[word] = 0;\n"


def _replication(match: re.Match[str]) -> str:
    return f"{{{len(match[0] + ', ') // len(match[1] + ', ')}{{{match[1]}}}}}"


Reader = tuple[str, bool]
"""A net that depends on another one (its name, False), or the enable under which a register does (True)."""


def _read(lines: list[str]) -> tuple[dict[str, tuple[int, str]], dict[str, list[Reader]]]:
    """The nets with line and value, and who reads each net, once for each time that it does."""
    nets: dict[str, tuple[int, str]] = {}
    readers: dict[str, list[Reader]] = defaultdict(list)

    def reads(text: str, reader: Reader) -> None:
        for name in _NAME.findall(text):
            readers[name].append(reader)

    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if match := _ASSIGN.fullmatch(line):
            nets[match[1]] = number - 1, match[2]
            reads(match[2], (match[1], False))
        elif line.startswith("  always @(posedge "):
            end = number
            while lines[end].startswith("   "):
                end += 1
            for enable, body in _under_enables(lines[number:end]):
                reads(enable, (_ALWAYS, True))
                reads(body, (enable, True))
            number = end
        elif not line.startswith(("  wire ", "  reg ")):
            reads(line, (_ALWAYS, True))
    return nets, readers


def _under_enables(body: list[str]) -> list[tuple[str, str]]:
    """The enables under which an always block does all that it does, and what that is: under one, or by a reset in
    one line and else under one."""
    statements = [line for line in body if not line.startswith("     ") and line != "    end"]
    if len(statements) == 1 and (match := _ENABLE.match(body[0])):
        return [(match[1], "\n".join(body)[match.end():])]
    if len(statements) == len(body) == 2 and (reset := _ENABLE.match(body[0])) and (match := _ELSE.match(body[1])):
        return [(reset[1], body[0][reset.end():]), (match[1], body[1][match.end():])]
    return [(_ALWAYS, "\n".join(body))]


def _conditions(nets: Iterable[str], readers: dict[str, list[Reader]]) -> dict[str, frozenset[str]]:
    """For each net the enables of the registers that depend on it, `_ALWAYS` among them if there is another reader."""
    known: dict[str, frozenset[str]] = {}
    for net in nets:
        # Depth first, but without recursion: a path through the logic may have thousands of nets.
        path = {net: None}
        while path:
            last = next(reversed(path))
            further = next((name for name, register in readers[last]
                            if not register and name not in known and name not in path), None)
            if further is not None:
                path[further] = None
                continue
            del path[last]
            # A net that waits for this one (bits of them may depend on each other) counts as always read.
            known[last] = frozenset().union(*(
                {name} if register else known.get(name, {_ALWAYS}) for name, register in readers[last]))
    return known
