"""The tick program: the instructions, their fields, and the memories that the host can reach.

Declared once and read by the compiler, the golden model and the gateware. What each instruction
computes, bit for bit, is written in `docs/design.md` and `docs/numerics.md` and done by
`relif.model.fixed`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum, IntFlag

from .config import CoreConfig
from .numerics import SURROGATE_BITS, SURROGATE_ENTRIES

__all__ = [
    "ADDRESS_BITS", "FIELDS", "INSTRUCTION_BITS", "INSTRUCTION_WORDS", "TICK_ENTRY", "VALUE_BITS", "VALUE_ENTRY",
    "VALUE_FRACTION", "Flag", "Instruction", "Opcode", "Register", "Space", "TickFlag", "event_entry", "space_shape",
    "tick_entry", "value_entry", "with_skips",
]


class Opcode(IntEnum):
    """What an instruction does."""

    END = 0
    """The tick is over."""
    INTEGRATE = 1
    """Weights of the spiking sources to the targets' accumulators."""
    TRACE = 2
    """Presynaptic traces of a population."""
    STEP = 3
    """Membranes of a population, and its spikes."""
    ERROR = 4
    """Error of an output population against the target."""
    FEEDBACK = 5
    """Errors to the accumulators of a hidden population."""
    POST = 6
    """Accumulators times the surrogate derivative: the post factors of a hidden population."""
    LEARN = 7
    """Weight update of a projection."""
    SEND = 8
    """Values or spikes of a population to the host."""
    CLEAR = 9
    """Zero to a range of the state, spike or eligibility memory."""
    REGULATE = 11
    """Activity of a population against its aim, to its accumulators (10 is host access, see `scanner`)."""


class Flag(IntFlag):
    """The `flags` field; bits mean different things to different instructions."""

    BY_TARGET = 1
    """INTEGRATE, LEARN: the projection is stored with a row per target. STEP: such an INTEGRATE leads here, and its
    sums are waited for."""
    WIDE = 2
    """TRACE: two exponentials, first Q then P. LEARN: the trace is every second state word."""
    UNTARGETED = 2
    """STEP: not in a tick with TARGET, in which another one has been run earlier."""
    STREAMED = 2
    """FEEDBACK: of the errors of the ERROR before, which are `y` in number, one by one as they are found."""
    RESET_ZERO = 4
    """STEP: a spike resets to zero, not by subtraction."""
    LEAKY = 8
    """STEP: a readout without spikes."""
    SYNAPTIC = 8
    """For eligibility traces of single synapses (only in synaptic cores). LEARN: through these. POST: surrogate
    derivative and learning signal apart. TRACE: a trace that is not zero stays at least one unit. CLEAR: of
    the eligibility memory."""
    ANALOG = 8
    """ERROR: against target values, not against a class."""
    HASHED = 4
    """FEEDBACK, INTEGRATE by target: through hashed weights, not through the synapse memory."""
    SOFTMAX = 4
    """ERROR: softmax cross-entropy; without it the mean square."""
    SPIKES = 4
    """SEND, CLEAR: of the spike memory, not of the state memory."""
    TABLE_1 = 16
    TABLE_2 = 32
    """POST: bits 0 and 1 of the surrogate table's number."""
    ADAPTIVE = 64
    """STEP, POST, LEARN: of neurons whose threshold adapts (only in synaptic cores)."""


class TickFlag(IntFlag):
    """What a tick is asked to do; an instruction runs if its whole `when` is among them."""

    RESET = 1
    """Clear the state first: a new sample."""
    TRAIN = 2
    """Keep the traces."""
    TARGET = 4
    """A target is given: learn."""
    SEND = 8
    """Send what the program's SEND instructions name."""


FIELDS: dict[str, int] = {
    "opcode": 4,
    "when": 4,
    "fence": 1,      # wait until the instructions before have written what this one needs
    "flags": 7,
    "stream": 8,     # number of the random stream; SEND: number of the population
    "shift": 6,
    "words": 10,     # words of a row
    "a": 16,
    "b": 16,
    "c": 16,
    "rows": 16,
    "x": 18,
    "y": 18,
    "z": 18,
    "skip": 2,       # if `when` is not met: that of so many instructions behind is not either, pass them over at once
}
"""Fields of an instruction and their bits, lowest first."""

INSTRUCTION_BITS = sum(FIELDS.values())
INSTRUCTION_WORDS = 5
"""An instruction is read and written as this many 32-bit elements, lowest first."""
assert INSTRUCTION_BITS <= 32 * INSTRUCTION_WORDS


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One instruction; fields that it does not use are zero. Constants are raw bits, unsigned."""

    opcode: Opcode
    when: TickFlag = TickFlag(0)
    fence: int = 1
    flags: Flag = Flag(0)
    stream: int = 0
    shift: int = 0
    words: int = 0
    a: int = 0
    b: int = 0
    c: int = 0
    rows: int = 0
    x: int = 0
    y: int = 0
    z: int = 0
    skip: int = 0

    def __post_init__(self) -> None:
        for name, bits in FIELDS.items():
            value = getattr(self, name)
            if not 0 <= value < 1 << bits:
                raise ValueError(f"{self.opcode.name}: {name} must be 0 to {(1 << bits) - 1}, not {value}")

    def encode(self) -> list[int]:
        """The instruction as `INSTRUCTION_WORDS` 32-bit elements."""
        number, position = 0, 0
        for name, bits in FIELDS.items():
            number |= int(getattr(self, name)) << position
            position += bits
        return [number >> 32 * i & 0xFFFF_FFFF for i in range(INSTRUCTION_WORDS)]

    @classmethod
    def decode(cls, elements: list[int]) -> Instruction:
        """The inverse of `encode`."""
        number = sum(element << 32 * i for i, element in enumerate(elements))
        values: dict[str, int] = {}
        for name, bits in FIELDS.items():
            values[name] = number & (1 << bits) - 1
            number >>= bits
        return cls(opcode=Opcode(values.pop("opcode")), when=TickFlag(values.pop("when")),
                   flags=Flag(values.pop("flags")), **values)


def with_skips(program: list[Instruction]) -> list[Instruction]:
    """The same program, with `skip` as large as it may be."""
    return [replace(instruction, skip=_unmet_behind(program, index)) for index, instruction in enumerate(program)]


def _unmet_behind(program: list[Instruction], index: int) -> int:
    most = (1 << FIELDS["skip"]) - 1
    when = program[index].when
    behind = program[index + 1:index + 1 + most]
    return next((n for n, instruction in enumerate(behind) if not when or when & ~instruction.when), len(behind))


class Space(IntEnum):
    """The memories that the host reads and writes, in whole words, while the core is idle.

    The accumulators are not among them: between ticks they are zero.
    """

    REGISTERS = 0
    PROGRAM = 1
    WEIGHTS = 2
    STATE = 3
    POST = 4
    SPIKES = 5
    SURROGATE = 6
    TARGETS = 7
    """Target values of the outputs."""
    ELIGIBILITY = 8
    """Eligibility traces, each at the address of its weight; no words in a factored core."""


class Register(IntEnum):
    """Words of `Space.REGISTERS`."""

    SEED = 0
    """Seed of the rounding stream."""
    FEEDBACK_SEED = 1
    """Seed of the hashed feedback."""
    TICK = 2
    """Ticks since the host last wrote it, modulo 2**32: the rounding stream's counter."""


def space_shape(config: CoreConfig, space: Space) -> tuple[int, int, int, bool]:
    """Words, elements in a word, bits of an element, and whether elements are signed."""
    lanes = config.lanes
    return {
        Space.REGISTERS: (len(Register), 1, 32, False),
        Space.PROGRAM: (config.program_length, INSTRUCTION_WORDS, 32, False),
        Space.WEIGHTS: (config.weight_words, lanes, config.weight_bits, True),
        Space.STATE: (config.state_words, lanes, config.state_bits, True),
        Space.POST: (config.neuron_words, lanes, config.state_bits, True),
        Space.SPIKES: (config.neuron_words, lanes, 1, False),
        Space.SURROGATE: (config.surrogates * SURROGATE_ENTRIES, 1, SURROGATE_BITS, False),
        Space.TARGETS: (config.max_outputs, 1, VALUE_BITS, True),
        Space.ELIGIBILITY: (config.eligibility_words, lanes, config.state_bits, True),
    }[space]


TICK_ENTRY = 1 << 15
"""Bit of a 16-bit queue entry that tells a tick from the rest."""
VALUE_ENTRY = 1 << 14
"""Without that bit: this one tells a target value from an event."""
ADDRESS_BITS = 14
VALUE_BITS, VALUE_FRACTION = 14, 10
"""Bits of a target value, two's complement, and its fraction bits: -8 to 8."""


def event_entry(address: int) -> int:
    """Queue entry of a spike of neuron `address` = word * lanes + lane of the spike memory."""
    if not 0 <= address < 1 << ADDRESS_BITS:
        raise ValueError(f"event address must be 0 to {(1 << ADDRESS_BITS) - 1}, not {address}")
    return address


def value_entry(value: int) -> int:
    """Queue entry of a target value in units of 2^-10: of output 0, then 1, 2, ... from one tick to the next.

    An output that gets none keeps what it had.
    """
    limit = 1 << VALUE_BITS - 1
    if not -limit <= value < limit:
        raise ValueError(f"target value must be {-limit} to {limit - 1}, not {value}")
    return VALUE_ENTRY | value & (1 << VALUE_BITS) - 1


def tick_entry(flags: TickFlag, target: int = 0) -> int:
    """Queue entry that ends a tick's events and runs the program; `target` is a class, 0 to 2047."""
    if not 0 <= target < 2048:
        raise ValueError(f"target class must be 0 to 2047, not {target}")
    return TICK_ENTRY | int(flags) << 11 | target
