"""Verilog as Yosys and `gating` leave it, with what all lanes do alike as arrays, and loops over these.

The lanes of a design are the same logic many times over. Written out one after the other their code is larger than a
processor's instruction cache; as loops it is short, and the C++ compiler makes vector instructions of it:

    always @(posedge clk) if (E) a_0 <= x_0 + y;       always @* if (E)
    always @(posedge clk) if (E) a_1 <= x_1 + y;  ─►     for (int unsigned i = 0; i < 2; i++) next[i] = x[i] + y;
    ...                                                always @(posedge clk) if (E) a <= next;

A family is a number of nets whose statements are the same text but for their operands. Families begin with registers
that are numbered, NAME_0, NAME_1, ...; the operands that stand in the same place of all statements of a family are one
themselves, and so on, back to other registers and to memories, of which each member has one or a part of one. An
operand that is the same in all statements is read in the loop. Of what is neither, an array is made, element by
element.
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from .netlist import DECLARATION, OPERAND, Definition, Netlist, Operand, Text

__all__ = ["vectorized"]

_LEAST = 8
"""Members of a family at least: with fewer, loops spare nothing."""
_WIDE = 64
"""Bits of a net up to which a member's is selected at little cost."""
_OURS = re.compile(r"i|((words|row|data|next)_)?(family|gathered)_\d+")
_NUMBERED = re.compile(r"(\\?.*_)(\d+)((?:\[[\d:]+\])? ?)")


@dataclasses.dataclass(eq=False)
class _Family:
    """An array: nets that are defined alike, `names`, or any operands, `gathered`."""

    variable: str
    signed: str
    width: int
    names: tuple[str, ...] = ()
    definitions: Sequence[Definition] = ()
    condition: _Slots | None = None
    value: _Slots | None = None
    gathered: tuple[Operand, ...] = ()

    @property
    def size(self) -> int:
        return len(self.names or self.gathered)

    @property
    def is_logic(self) -> bool:
        return bool(self.definitions) and not self.definitions[0].clock

    def declared(self, kind: str, name: str) -> str:
        return f"{kind} {self.signed}[{self.width - 1}:0] {name}"


@dataclasses.dataclass
class _Element:
    """Of a family the element that a member reads: its own number times `step`, and `first`."""

    family: _Family
    step: int
    first: int
    select: str


@dataclasses.dataclass
class _Bits:
    """Of a net the bits that a member reads: so many from its number times `step`, and `first`."""

    name: str
    step: int
    first: int
    width: int


@dataclasses.dataclass
class _Slots:
    """An expression of all members: an operand is the same for all, or depends on the member's number."""

    between: tuple[str, ...]
    slots: list[Operand | _Element | _Bits]

    def parts(self) -> Iterator[_Slots]:
        """What semicolons part."""
        between, slots = [""], list[Operand | _Element | _Bits]()
        for number, text in enumerate(self.between):
            first, *others = text.split(";")
            between[-1] += first
            for other in others:
                yield _Slots(tuple(between), slots)
                between, slots = [other], []
            if number < len(self.slots):
                slots.append(self.slots[number])
                between.append("")
        yield _Slots(tuple(between), slots)


class _Families:
    """The families of a netlist: `all`, and by name of a net its family and its number there."""

    def __init__(self, netlist: Netlist):
        self.netlist = netlist
        self.owner: dict[str, tuple[_Family, int]] = {}
        self.all: list[_Family] = []
        self._gathered: dict[tuple[Operand, ...], _Family] = {}
        groups: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
        for name, definition in netlist.definitions.items():
            if definition.clock and not definition.memory and (match := _NUMBERED.fullmatch(name)):
                groups[match[1], match[3]][int(match[2])] = name
        for members in sorted(groups.values(), key=len, reverse=True):
            if len(members) >= _LEAST and sorted(members) == list(range(len(members))):
                self._family(tuple(members[number] for number in range(len(members))))

    def _family(self, names: tuple[str, ...]) -> _Family | None:
        """The family of these nets, if they can be one."""
        owner, _ = self.owner.get(names[0], (None, 0))
        if owner and owner.names == names:
            return owner
        nets = [self.netlist.nets[name] for name in names if name in self.netlist.nets]
        definitions = [self.netlist.definitions[name] for name in names if name in self.netlist.definitions]
        if any(name in self.owner or name in self.netlist.kept for name in names) or len(set(names)) < len(names) \
                or min(len(nets), len(definitions)) < len(names) \
                or len({(net.signed, net.width) for net in nets}) > 1:
            return None
        if len(set(map(self._form, definitions))) > 1:
            definitions = [dataclasses.replace(each, value=each.value.joined()) for each in definitions]
            if len(set(map(self._form, definitions))) > 1:
                return None
        if (memory := definitions[0].memory) and memory.name and len(names) < self.netlist.members:
            return None
        family = _Family(f"family_{len(self.all)}", nets[0].signed, nets[0].width, names, definitions)
        self.all.append(family)
        self.owner.update((name, (family, number)) for number, name in enumerate(names))
        if definitions[0].condition:
            family.condition = self._slots([each.condition for each in definitions if each.condition])
        family.value = self._slots([each.memory.write if each.memory else each.value for each in definitions])
        return family

    def _form(self, definition: Definition) -> tuple[object, ...]:
        """What is the same for all members of a family."""
        netlist = self.netlist

        def form(text: Text | None) -> tuple[object, ...]:
            return () if not text else (text.between, *(
                (netlist.width(each), netlist.signed(each), each.name if each.name in netlist.kept else "")
                for each in text.operands))

        memory, condition = definition.memory, definition.condition
        if not memory:
            return definition.clock, form(condition), form(definition.value)
        enable, address, _ = _Slots(memory.write.between, [*memory.write.operands]).parts()
        return (definition.clock, condition, memory.name, memory.width, memory.last, memory.address,
                form(memory.write), address.between, *map(str, address.slots), enable.between)

    def _slots(self, texts: Sequence[Text]) -> _Slots:
        return _Slots(texts[0].between, [
            self._slot(operands) for operands in zip(*(text.operands for text in texts), strict=True)])

    def _slot(self, operands: tuple[Operand, ...]) -> Operand | _Element | _Bits:
        first, second = operands[:2]
        if len(set(operands)) == 1:
            return first
        if len({operand.name for operand in operands}) == 1:
            width, step = self.netlist.width(first), second.low - first.low
            lows = [first.low + step * number for number in range(len(operands))]
            if self.netlist.width(Operand(first.name)) <= _WIDE and operands == tuple(
                    Operand(first.name, low + width - 1, low) for low in lows):
                return _Bits(first.name, step, first.low, width)
        elif len({dataclasses.replace(operand, name="") for operand in operands}) == 1 and not first.behind:
            if family := self._family(tuple(operand.name for operand in operands)):
                return _Element(family, 1, 0, first.select)
            owners = [self.owner.get(operand.name, (None, 0)) for operand in operands]
            (owner, begin), (_, next_to_it) = owners[:2]
            step = next_to_it - begin
            if owner and owners == [(owner, begin + step * number) for number in range(len(owners))]:
                return _Element(owner, step, begin, first.select)
        if operands not in self._gathered:
            self._gathered[operands] = gathered = _Family(
                f"gathered_{len(self.all)}", self.netlist.signed(first), self.netlist.width(first), gathered=operands)
            self.all.append(gathered)
        return _Element(self._gathered[operands], 1, 0, "")


class _Writer:
    """Writes a netlist with its families as arrays.

    `roots`: for each family the one in whose loop it is calculated, itself or the only one that reads it.
    """

    def __init__(self, netlist: Netlist):
        families = _Families(netlist)
        self.netlist, self.owner, self.families = netlist, families.owner, families.all
        self.replaced = {line for family in self.families for each in family.definitions for line in each.lines}
        self.replaced.update(netlist.nets[name].line for name in self.owner)
        self.readers = self._readers()
        self.roots: dict[_Family, _Family] = {}
        for family in self.families:
            self._find_root(family)

    def lines(self) -> Iterator[str]:
        begin, end = (next(number for number, line in enumerate(self.netlist.lines) if line.startswith(word))
                      for word in ("module ", "endmodule"))
        yield from self.netlist.lines[:begin + 1]
        for family in self.families:
            if self.roots[family] is family:
                yield from self._declaration(family)
        for number, line in enumerate(self.netlist.lines[begin + 1:end], begin + 1):
            if number not in self.replaced:
                yield line if DECLARATION.fullmatch(line) else OPERAND.sub(self._element, line)
        for family in self.families:
            if family.gathered:
                yield from self._gathering(family)
            elif self.roots[family] is family:
                yield from self._memory(family) if family.definitions[0].memory else self._statement(family)
        yield from self.netlist.lines[end:]

    def _readers(self) -> dict[_Family, set[tuple[_Family | None, bool]]]:
        """Who reads each family, another one or somebody else, and whether a member reads its own element alone."""
        readers: dict[_Family, set[tuple[_Family | None, bool]]] = defaultdict(set)

        def read(name: str) -> None:
            if name in self.owner:
                readers[self.owner[name][0]].add((None, False))

        for family in self.families:
            for slots in (family.condition, family.value):
                for slot in slots.slots if slots else ():
                    if not isinstance(slot, _Element):
                        read(slot.name)
                    elif slots is family.condition:
                        readers[slot.family].add((None, False))
                    else:
                        own = (slot.step, slot.first, slot.family.size) == (1, 0, family.size)
                        readers[slot.family].add((family, own))
            memory = family.definitions[0].memory if family.definitions else None
            for operand in memory.address.operands if memory else family.gathered:
                read(operand.name)
        for number, line in enumerate(self.netlist.lines):
            if number not in self.replaced and not DECLARATION.fullmatch(line):
                for match in OPERAND.finditer(line):
                    read(self.netlist.operand(match).name)
        return readers

    def _find_root(self, family: _Family) -> _Family:
        if family not in self.roots:
            self.roots[family] = family
            if family.is_logic and all(own for _, own in self.readers[family]):
                others = {self._find_root(reader) for reader, _ in self.readers[family] if reader}
                if len(others) == 1:
                    self.roots[family] = others.pop()
        return self.roots[family]

    def _condition(self, family: _Family) -> str:
        """When an array is calculated: under its own condition, or, if it is logic, those of all that read it. Of a
        memory, when it is written."""
        condition = family.condition
        if family.value and family.definitions[0].memory:
            condition, *_ = family.value.parts()
        if condition:
            return self._shared(condition) or self._any(condition)
        if not family.is_logic and not family.gathered:
            return ""
        conditions = {self._condition(self.roots[reader]) if reader else "" for reader, _ in self.readers[family]}
        return "" if "" in conditions else " | ".join(f"({condition})" for condition in sorted(conditions))

    def _any(self, slots: _Slots) -> str:
        """Whether a condition of each member holds for one of them."""
        only = slots.slots[0] if len(slots.slots) == 1 and slots.between == ("", "") else None
        return f"|{self._operand(Operand(only.name))}" if isinstance(only, _Bits) else ""

    def _element(self, match: re.Match[str]) -> str:
        operand = self.netlist.operand(match)
        return self._operand(operand) if operand.name in self.owner else match[0]

    def _operand(self, operand: Operand) -> str:
        if operand.name not in self.owner:
            return self.netlist.written(operand)
        family, number = self.owner[operand.name]
        pieces = [f"{family.variable}[{number}]{piece.select}" for piece in operand.pieces]
        return pieces[0] if len(pieces) == 1 else f"{{ {', '.join(pieces)} }}"

    def _shared(self, slots: _Slots) -> str:
        """An expression that is the same for all members; empty if it is not."""
        same = all(isinstance(slot, Operand) for slot in slots.slots)
        return self._slots(slots, {}) if same else ""

    def _slots(self, slots: _Slots, local: dict[_Family, str]) -> str:
        """An expression within a loop. `local` gets what must be calculated in it before."""
        parts = [slots.between[0]]
        for slot, between in zip(slots.slots, slots.between[1:], strict=True):
            if isinstance(slot, Operand):
                parts.append(self._operand(slot))
            elif isinstance(slot, _Bits):
                parts.append(self._bits(slot))
            else:
                parts.append(self._in_loop(slot, local))
            parts.append(between)
        return "".join(parts)

    def _bits(self, bits: _Bits) -> str:
        """Within a loop."""
        if bits.name in self.owner:
            name, low = self._operand(Operand(bits.name)), 0
        else:
            whole = self.netlist.parts.get(bits.name, Operand(bits.name))
            name, low = whole.name, whole.low + self.netlist.nets[whole.name].low
        return f"{name}[{_index(bits, low)} +: {bits.width}]"

    def _in_loop(self, element: _Element, local: dict[_Family, str]) -> str:
        family = element.family
        if self.roots[family] is family:
            return f"{family.variable}[{_index(element)}]{element.select}"
        if family not in local and family.value:
            value = self._slots(family.value, local)
            local[family] = f"    automatic {family.declared('logic', family.variable)} = {value};"
        return family.variable + element.select

    @staticmethod
    def _declaration(family: _Family) -> Iterator[str]:
        yield f"  {family.declared('reg', family.variable)} [0:{family.size - 1}];"

    def _loop(self, family: _Family, target: str, value: _Slots, condition: str) -> Iterator[str]:
        local: dict[_Family, str] = {}
        text = self._slots(value, local)
        yield f"  always @*{_when(condition)} {_each(family)} begin"
        yield from local.values()
        yield f"    {target}[i] = {text};"
        yield "  end"

    def _gathering(self, family: _Family) -> Iterator[str]:
        yield f"  always @*{_when(self._condition(family))} begin"
        for number, operand in enumerate(family.gathered):
            yield f"    {family.variable}[{number}] = {self._operand(operand)};"
        yield "  end"

    def _statement(self, family: _Family) -> Iterator[str]:
        assert family.value
        clock, condition, value = family.definitions[0].clock, self._condition(family), family.value
        if not clock:
            yield from self._loop(family, family.variable, value, condition)
            return
        following = f"next_{family.variable}"
        yield f"  {family.declared('reg', following)} [0:{family.size - 1}];"
        for number, name in enumerate(family.names):
            if init := self.netlist.nets[name].init:
                yield f"  initial {family.variable}[{number}] = {init};"
        if family.condition and not self._shared(family.condition):
            value = _chosen(family.condition, value, _Slots(("", ""), [_Element(family, 1, 0, "")]))
        yield from self._loop(family, following, value, condition)
        yield f"  always @({clock}){_when(condition)} {family.variable} <= {following};"

    def _memory(self, family: _Family) -> Iterator[str]:
        memory, clock = family.definitions[0].memory, family.definitions[0].clock
        assert memory and family.value and family.condition
        words, row, data = (f"{part}_{family.variable}" for part in ("words", "row", "data"))
        each, last = _each(family), f"[0:{family.size - 1}]"
        yield f"  {family.declared('reg', words)} [0:{memory.last}]{last};"
        yield f"  {family.declared('reg', row)} {last}, {data} {last};"
        yield f"  initial for (int unsigned word = 0; word <= {memory.last}; word++) {each} {words}[word][i] = 0;"
        read = self._shared(family.condition)
        read_address = self._shared(_Slots(memory.address.between, [*memory.address.operands]))
        yield f"  always @* if ({read}) {each} {data}[i] = {words}[{read_address}][i];"
        yield f"  always @({clock}) if ({read}) {family.variable} <= {data};"
        enable, where, value = family.value.parts()
        address, written = self._shared(where), self._condition(family)
        if not self._shared(enable):
            value = _chosen(enable, value, _Slots((f"{words}[{address}][i]",), []))
        # Blocking, as all that reads the words is logic: Verilator would queue each element of the row otherwise.
        yield from self._loop(family, row, value, written)
        yield f"  always @({clock}){_when(written)} {each} {words}[{address}][i] = {row}[i];"


def _index(slot: _Element | _Bits, low: int = 0) -> str:
    """Of what a member reads, counted from `low`."""
    first = slot.first + low
    return "i" if (slot.step, first) == (1, 0) else f"i * {slot.step} + {first}"


def _each(family: _Family) -> str:
    return f"for (int unsigned i = 0; i < {family.size}; i++)"


def _when(condition: str) -> str:
    return f" if ({condition})" if condition else ""


def _chosen(condition: _Slots, value: _Slots, other: _Slots) -> _Slots:
    """`condition ? value : other`."""
    between, slots = ["("], list[Operand | _Element | _Bits]()
    for part, behind in ((condition, ") ? ("), (value, ") : ("), (other, ")")):
        between[-1] += part.between[0]
        between += part.between[1:]
        between[-1] += behind
        slots += part.slots
    return _Slots(tuple(between), slots)


def vectorized(text: str, members: int) -> str:
    """The module that `gating.gated` made, with the families of so many lanes as arrays."""
    if members < _LEAST:
        return text
    netlist = Netlist(text, members)
    if taken := next((name for name in netlist.nets if _OURS.fullmatch(name)), None):
        raise ValueError(f"a net may not be called {taken!r}: arrays and loops have such names")
    return "\n".join(_Writer(netlist).lines())
