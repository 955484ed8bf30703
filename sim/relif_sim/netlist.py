"""Reads Verilog as Yosys writes it: what each net of a module is made of.

Line by line; what has another form than Yosys's usual one is not found here.
"""

from __future__ import annotations

import dataclasses
import re

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
  always @\(posedge .*\) begin
    if \((?P<enable>.*)\) begin
      {_NET} <= {_NET} ?\[(?P<address>.*)\];
    end
  end
  assign (?P<alias>{_NET}) = {_NET};
""")
"""A memory of zeros, with a read port, and the name by which its data goes."""
_WRITE = re.compile(rf"    if \((.*)\)\n      {_NET} ?\[(.*?)\](?:\[\d+:(\d+)\])? <= (.*);\n")


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
    address: str


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
    nets : dict of name to Net
    definitions : dict of name to Definition
    parts : dict of part's name to Operand
        What a part is called in the text.
    """

    def __init__(self, text: str, members: int):
        self.lines = text.split("\n")
        self.nets: dict[str, Net] = {}
        self.definitions: dict[str, Definition] = {}
        self.parts: dict[str, Operand] = {}
        self._split: dict[str, list[str]] = {}
        for number, text_line in enumerate(self.lines):
            if match := DECLARATION.fullmatch(text_line):
                high, low = int(match[2] or 0), int(match[3] or 0)
                self.nets[match[4]] = Net(match[1] or "", high - low + 1, low, match[5] or "", number)
        line, position = 0, 0
        for match in _MEMORY.finditer(text):
            line += text.count("\n", position, match.start())
            position = match.start()
            if all(text.count(match[name]) == match[0].count(match[name]) for name in ("name", "data")):
                self._define_memory(text, match, line, members)
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

    def _define_memory(self, text: str, match: re.Match[str], line: int, members: int) -> None:
        writes = [(enable, address, data, int(low or 0))
                  for enable, address, low, data in _WRITE.findall(match["writes"])]
        width, names, parts = int(match["high"]) + 1, [match["data"]], {}
        end = line + match[0].count("\n")
        if width % members == 0 and width > members and self._is_read_in_parts(text, match["alias"], width // members):
            width //= members
            writes = self._written_in_parts(writes, width, members)
            names = [f"{match['data'].strip()}${member}" for member in range(members)]
            parts = {name: Operand(match["alias"], (number + 1) * width - 1, number * width)
                     for number, name in enumerate(names)}
        else:
            end -= 1                # the alias is a net of its own
        if len(writes) != len(names):
            return
        if parts:
            self.parts.update(parts)
            self._split[match["alias"]] = names
        for name, (enable, address, data, _) in zip(names, writes, strict=True):
            memory = Memory(match["name"] if parts else "", width, int(match["last"]),
                            self.text(f"{enable};{address};{data}"), match["address"])
            self.nets[name] = Net("", width, 0, "", self.nets[match["data"]].line)
            self.definitions[name] = Definition(
                self.text(match["enable"]), Text(("",), ()), range(line, end), match["clock"], memory)

    @staticmethod
    def _is_read_in_parts(text: str, name: str, width: int) -> bool:
        uses = [match for match in OPERAND.finditer(text) if match[1] == name]
        whole = sum(match[2] is None for match in uses)
        return whole == 2 and all(      # where it is declared, and where it is assigned
            int(match[2]) // width == int(match[3] or match[2]) // width for match in uses if match[2])

    def _written_in_parts(
            self, writes: list[tuple[str, str, str, int]], width: int, members: int) -> list[tuple[str, str, str, int]]:
        """The write of each part: one of its own, or its share of one write of all; none if neither is the case."""
        if len(writes) == members:
            writes.sort(key=lambda write: write[3])
            return writes if [write[3] for write in writes] == [n * width for n in range(members)] else []
        if len(writes) != 1 or not writes[0][2].startswith("{ "):
            return []
        enable, address, data, _ = writes[0]
        parts, filled = [list[str]()], 0
        for item in reversed(data[2:-2].split(", ")):
            literal, net = _LITERAL.fullmatch(item.strip()), OPERAND.fullmatch(item)
            filled += int(literal[1]) if literal else self.width(self.operand(net)) if net else width + 1
            parts[-1].insert(0, item)
            if filled == width:
                parts.append([])
                filled = 0
        if len(parts) != members + 1 or parts[-1]:
            return []
        return [(enable, address, f"{{ {', '.join(part)} }}", 0) for part in parts[:-1]]

    def _define_register(self, clock: str, number: int) -> None:
        end = number + 1
        while self.lines[end].startswith("   "):
            end += 1
        if register := _register("\n".join(self.lines[number + 1:end])):
            name, condition, value = register
            self.definitions[name] = Definition(
                self.text(condition) if condition else None, self.text(value), range(number, end), clock)


def _register(body: str) -> tuple[str, str, str] | None:
    """The register that a block assigns, the condition, empty if there is none, and the value."""
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
            return name, f"({step[1]}) & ({condition})" if condition else step[1], value
        steps.pop(0)
        other = statement() if steps else None
        if other is None or condition or other[0] != name:
            return None
        otherwise = f"({step[1]}) | ({other[1]})" if other[1] else ""
        return name, otherwise, f"({step[1]}) ? ({value}) : ({other[2]})"

    result = statement() if steps else None
    return None if steps else result
