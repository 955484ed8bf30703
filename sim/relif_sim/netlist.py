"""Reads Verilog as Yosys writes it: what each net of a module is made of.

Line by line; what has another form than Yosys's usual one is not found here.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

__all__ = ["DECLARATION", "OPERAND", "WORDS", "Definition", "Memory", "Net", "Netlist", "Operand", "Text"]

WORDS = frozenset(("if", "else", "begin", "end", "always", "edge", "posedge", "assign", "initial"))
"""What `OPERAND` finds, but is no net."""
_NET = r"(?:\\\S+ |(?<![\w$'\\])[A-Za-z_]\w*)"
OPERAND = re.compile(rf"({_NET})(?: ?\[(\d+)(?::(\d+))?\])?")
"""A net, or bits of it."""
DECLARATION = re.compile(rf"  (?:wire|reg) (signed )?(?:\[(\d+):(\d+)\] )?({_NET})(?: = (\S+))?;")
_LOGIC = re.compile(rf"  (?:assign|always @\* if \((.*?)\)) ({_NET}) = (.*);")
_CLOCKED = re.compile(r"  always @\((posedge .*)\)")
_STEP = re.compile(rf"\s*(?:if \(((?:\\\S+ |[^()])*)\)|(else)\b|({_NET}) <= (.*?);)")
_LITERAL = re.compile(r"(\d+)'\w+")
_MEMORY = re.compile(rf"""  reg \[(?P<high>\d+):0\] (?P<name>{_NET}) \[(?P<last>\d+):0\];
  initial for .* = 0;
  always @\((?P<clock>posedge .*)\) begin
(?P<writes>(?:    if \(.*\)
      .* <= .*;
)+)  end
  reg \[\d+:0\] (?P<data>{_NET});
  always @\((?P=clock)\) begin
    if \((?P<enable>.*)\) begin
      {_NET} <= {_NET} ?\[(?P<address>.*)\];
    end
  end
  assign (?P<alias>{_NET}) = {_NET};
""")
"""A memory of zeros, with a read port, and the name by which its data goes."""
_WRITE = re.compile(rf"    if \((.*)\)\n      {_NET} ?\[(.*?)\](?:\[(\d+)(?::(\d+))?\])? <= (.*);\n")
"""A write of a memory's word, or of bits of it."""
_KEPT = re.compile(rf"^  (?:input|output|inout) (?:\[\d+:\d+\] )?({_NET});|({_NET})\[(?!\d+[\]:])", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Operand:
    """A net, or bits of it, counted from its lowest one; other bits of it may stand behind them."""

    name: str
    high: int | None = None
    low: int = 0
    behind: tuple[Operand, ...] = ()

    @property
    def select(self) -> str:
        if self.high is None:
            return ""
        return f"[{self.high}]" if self.high == self.low else f"[{self.high}:{self.low}]"

    @property
    def pieces(self) -> tuple[Operand, ...]:
        return dataclasses.replace(self, behind=()), *self.behind


@dataclasses.dataclass(frozen=True)
class Text:
    """An expression: the operands, and what is written before, between and behind them."""

    between: tuple[str, ...]
    operands: tuple[Operand, ...]

    def joined(self) -> Text:
        """With bits of one net that stand side by side as one operand."""
        between, operands = [self.between[0]], list[Operand]()
        for operand, behind in zip(self.operands, self.between[1:], strict=True):
            if operands and between[-1] == ", " and operand.name == operands[-1].name:
                operands[-1] = dataclasses.replace(operands[-1], behind=(*operands[-1].behind, operand))
                between[-1] = behind
            else:
                operands.append(operand)
                between.append(behind)
        for number, operand in enumerate(operands):
            if operand.behind and between[number].endswith("{ ") and between[number + 1].startswith(" }"):
                between[number] = between[number][:-2]
                between[number + 1] = between[number + 1][2:]
        return Text(tuple(between), tuple(operands))


@dataclasses.dataclass
class Net:
    """A declaration; `line` is where it stands, `init` what a register begins with."""

    signed: str
    width: int
    low: int
    init: str
    line: int


@dataclasses.dataclass
class Memory:
    """A memory, or the part of its words that one member has: `name` is empty if each has a memory of its own."""

    name: str
    width: int
    last: int
    write: Text
    """The enable, the address and the data, between semicolons."""
    address: Text


@dataclasses.dataclass
class _Write:
    """A write of a memory's word, or of the bits `high` to `low`; of the whole word, if `high` is None."""

    enable: str
    address: str
    high: int | None
    low: int
    data: str


@dataclasses.dataclass
class _Memory:
    """A memory as it stands in the text, and its writes, one for each of its parts, or one."""

    match: re.Match[str]
    lines: range
    width: int
    writes: list[_Write]
    parts: list[str]


@dataclasses.dataclass
class Definition:
    """How a net gets its value: as logic, if it has no clock, as a register, or as the data of a memory.

    Where there is a condition, and it does not hold, the net keeps what it has.
    """

    condition: Text | None
    value: Text
    lines: range
    clock: str = ""
    memory: Memory | None = None


class Netlist:
    """The nets of a module and their definitions.

    Words of a memory of which each member reads a part have a net for each part, that the text does not have.

    Parameters
    ----------
    text : str
    members : int
        Parts of a wide memory's words.

    Attributes
    ----------
    lines : list of str
    members : int
    kept : set of str
        Nets that must stay what they are: ports, and those of which bits are selected by others.
    nets : dict of name to Net
    definitions : dict of name to Definition
    parts : dict of part's name to Operand
        What a part is called in the text.
    """

    def __init__(self, text: str, members: int):
        self.lines = text.split("\n")
        self.members = members
        self.kept = {match[1] or match[2] for match in _KEPT.finditer(text)}
        self.nets: dict[str, Net] = {}
        self.definitions: dict[str, Definition] = {}
        self.parts: dict[str, Operand] = {}
        self._split: dict[str, list[str]] = {}
        for number, text_line in enumerate(self.lines):
            if match := DECLARATION.fullmatch(text_line):
                high, low = int(match[2] or 0), int(match[3] or 0)
                self.nets[match[4]] = Net(match[1] or "", high - low + 1, low, match[5] or "", number)
        # The parts of all memories first: what is written to one may be read from another.
        for memory in list(self._memories(text)):
            self._define_memory(memory)
        for number, text_line in enumerate(self.lines):
            if match := _LOGIC.fullmatch(text_line):
                self.definitions[match[2]] = Definition(
                    self.text(match[1]) if match[1] else None, self.text(match[3]), range(number, number + 1))
            elif match := _CLOCKED.fullmatch(text_line):
                self._define_register(match[1], number)

    def text(self, text: str) -> Text:
        between, operands, end = [], [], 0
        for match in OPERAND.finditer(text):
            if match[1] not in WORDS:
                between.append(text[end:match.start()])
                operands.append(self.operand(match))
                end = match.end()
        return Text((*between, text[end:]), tuple(operands))

    def operand(self, match: re.Match[str]) -> Operand:
        """What `OPERAND` has found."""
        name = match[1]
        if match[2] is None:
            return Operand(name)
        first = self.nets[name].low if name in self.nets else 0
        high, low = int(match[2]) - first, int(match[3] or match[2]) - first
        if name in self._split:
            width = self.nets[self._split[name][0]].width
            name, high, low = self._split[name][low // width], high % width, low % width
            if (high, low) == (width - 1, 0):
                return Operand(name)
        return Operand(name, high, low)

    def width(self, operand: Operand) -> int:
        """Bits of an operand; zero if it is no net."""
        if operand.behind:
            return sum(map(self.width, operand.pieces))
        if operand.high is not None:
            return operand.high - operand.low + 1
        return self.nets[operand.name].width if operand.name in self.nets else 0

    def signed(self, operand: Operand) -> str:
        """What makes it a signed number in an expression: a whole net may be one."""
        return self.nets[operand.name].signed if operand.high is None and operand.name in self.nets else ""

    def written(self, operand: Operand) -> str:
        """As the text has it."""
        if operand.behind:
            return f"{{ {', '.join(map(self.written, operand.pieces))} }}"
        if operand.name in self.parts:
            whole = self.parts[operand.name]
            high = self.nets[operand.name].width - 1 if operand.high is None else operand.high
            operand = Operand(whole.name, whole.low + high, whole.low + operand.low)
        if operand.high is None:
            return operand.name
        first = self.nets[operand.name].low if operand.name in self.nets else 0
        return operand.name + Operand("", operand.high + first, operand.low + first).select

    def _memories(self, text: str) -> Iterator[_Memory]:
        line, position = 0, 0
        for match in _MEMORY.finditer(text):
            line += text.count("\n", position, match.start())
            position = match.start()
            if any(text.count(match[name]) > match[0].count(match[name]) for name in ("name", "data")):
                continue
            width, parts = int(match["high"]) + 1, list[str]()
            writes = [_Write(enable, address, int(high) if high else None, int(low or high or 0), data)
                      for enable, address, high, low, data in _WRITE.findall(match["writes"])]
            end = line + match[0].count("\n")
            share = width // self.members
            if width % self.members == 0 and share > 1 and self._is_read_in_parts(text, match["alias"], share):
                width, writes = share, self._written_in_parts(writes, share)
                parts = [f"{match['data'].strip()}${member}" for member in range(self.members)]
            else:
                end -= 1                # the alias is a net of its own
                writes = [] if writes[0].high is not None else writes
            if len(writes) == max(1, len(parts)):
                if parts:
                    self.parts.update((name, Operand(match["alias"], (number + 1) * width - 1, number * width))
                                      for number, name in enumerate(parts))
                    self._split[match["alias"]] = parts
                for name in parts:
                    self.nets[name] = Net("", width, 0, "", self.nets[match["data"]].line)
                yield _Memory(match, range(line, end), width, writes, parts)

    def _define_memory(self, memory: _Memory) -> None:
        match = memory.match
        for name, write in zip(memory.parts or [match["data"]], memory.writes, strict=True):
            each = Memory(match["name"] if memory.parts else "", memory.width, int(match["last"]),
                          self.text(f"{write.enable};{write.address};{write.data}"), self.text(match["address"]))
            self.definitions[name] = Definition(
                self.text(match["enable"]), Text(("",), ()), memory.lines, match["clock"], each)

    @staticmethod
    def _is_read_in_parts(text: str, name: str, width: int) -> bool:
        uses = [match for match in OPERAND.finditer(text) if match[1] == name]
        whole = sum(match[2] is None for match in uses)
        return whole == 2 and all(      # where it is declared, and where it is assigned
            int(match[2]) // width == int(match[3] or match[2]) // width for match in uses if match[2])

    def _written_in_parts(self, writes: list[_Write], width: int) -> list[_Write]:
        """The write of each part: one of its own, or its share of one write of all; none if neither is the case."""
        writes = sorted(writes, key=lambda write: write.low)
        if [(write.high, write.low) for write in writes] == [
                (low + width - 1, low) for low in range(0, self.members * width, width)]:
            return writes
        if len(writes) != 1 or writes[0].high is not None or not writes[0].data.startswith("{ "):
            return []
        parts, filled = [list[str]()], 0
        for item in reversed(writes[0].data[2:-2].split(", ")):
            literal, net = _LITERAL.fullmatch(item.strip()), OPERAND.fullmatch(item)
            filled += int(literal[1]) if literal else self.width(self.operand(net)) if net else width + 1
            parts[-1].insert(0, item)
            if filled == width:
                parts.append([])
                filled = 0
        if len(parts) != self.members + 1 or parts[-1]:
            return []
        return [dataclasses.replace(writes[0], data=f"{{ {', '.join(part)} }}") for part in parts[:-1]]

    def _define_register(self, clock: str, number: int) -> None:
        end = number + 1
        while self.lines[end].startswith("   "):
            end += 1
        if register := _register("\n".join(self.lines[number + 1:end])):
            name, condition, value = register
            self.definitions[name] = Definition(
                self.text(condition) if condition else None, self.text(value), range(number, end), clock)


def _register(body: str) -> tuple[str, str, str] | None:
    """The register that a block assigns, the condition, empty if there is none, and the value.

    What Yosys assigns has the register's width, and is a net, a concatenation or a literal: a choice of two computes
    no sum in another width than before."""
    steps = list(_STEP.finditer(body))
    if "".join(match[0] for match in steps) != body:
        return None

    def statement() -> tuple[str, str, str] | None:
        step = steps.pop(0)
        if step[3]:
            return step[3], "", step[4]
        if step[1] is None or not steps or (then := statement()) is None:
            return None
        name, condition, value = then
        if not steps or not steps[0][2]:
            return name, f"({step[1]}) && ({condition})" if condition else step[1], value
        steps.pop(0)
        other = statement() if steps else None
        if other is None or condition or other[0] != name:
            return None
        otherwise = f"({step[1]}) | ({other[1]})" if other[1] else ""
        return name, otherwise, f"({step[1]}) ? ({value}) : ({other[2]})"

    result = statement() if steps else None
    return None if steps else result
