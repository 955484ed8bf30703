"""Scenarios written by hand: a first network that uses every instruction, and the corners one by one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from relif_hw.config import CoreConfig
from relif_hw.isa import (
    ADDRESS_BITS,
    Flag,
    Instruction,
    Opcode,
    Register,
    Space,
    TickFlag,
    event_entry,
    space_shape,
    tick_entry,
)
from relif_hw.numerics import SURROGATE_ENTRIES
from scenarios import Load, Scenario, Step, program_image

__all__ = ["CASES", "by_hand"]

RESET, TRAIN, TARGET, SEND = TickFlag.RESET, TickFlag.TRAIN, TickFlag.TARGET, TickFlag.SEND
ALL = TRAIN | TARGET | SEND
MASK = (1 << 18) - 1


def instruction(opcode: Opcode, when: TickFlag = TickFlag(0), flags: int = 0, fence: int = 1,
                **fields: int) -> Instruction:
    """An instruction whose signed constants may be given as they are."""
    constants = {name: value & MASK for name, value in fields.items() if name in "xyz"}
    return Instruction(opcode=opcode, when=when, flags=Flag(flags), fence=fence, **{**fields, **constants})


def leak(config: CoreConfig, decay: float) -> int:
    """The field of a decay: D - 2^R."""
    one = 1 << config.decay_fraction
    return round(decay * one) - one


def surrogate(config: CoreConfig) -> Load:
    """Triangles of falling height, one a table."""
    tables = [max(0, 255 - 60 * table - 8 * entry) for table in range(config.surrogates)
              for entry in range(SURROGATE_ENTRIES)]
    return Space.SURROGATE, 0, np.array(tables)[:, None]


def registers(tick: int = 0) -> Load:
    return Space.REGISTERS, 0, np.array([[0x1234_5678], [0x9ABC_DEF0], [tick]])


def filled(config: CoreConfig, space: Space, value: int, words: int) -> Load:
    """That value in every lane of the first words."""
    return space, 0, np.full((words, space_shape(config, space)[1]), value)


def _limits(bits: int) -> tuple[int, int]:
    return -(1 << bits - 1), (1 << bits - 1) - 1


def first(config: CoreConfig) -> Scenario:
    """Two words of inputs and of hidden neurons with a recurrence, readouts per target: every instruction."""
    lanes, one = config.lanes, 1 << config.state_fraction
    sources, hidden, outputs = lanes + min(4, lanes), lanes + min(2, lanes), min(3, lanes)
    unit = 1 << config.mac_shift + config.state_fraction - config.weight_bits   # weights are within +-0.5
    recurrent, readout = 2 * sources, 2 * sources + 2 * hidden
    random = np.random.default_rng(1)
    low, high = _limits(config.weight_bits)
    weights = np.zeros((readout + 2 * outputs, lanes), dtype=np.int64)
    rows = weights.reshape(-1, 2 * lanes)[:, :hidden]       # each row is two words
    rows[:sources] = random.integers(low // 2, high + 1, (sources, hidden))
    rows[sources:] = random.integers(low, high + 1, (hidden + outputs, hidden))
    program = [
        instruction(Opcode.CLEAR, RESET, a=0, rows=16, fence=0),
        instruction(Opcode.CLEAR, RESET, Flag.SPIKES, c=2, rows=3, fence=0),
        instruction(Opcode.INTEGRATE, a=0, rows=2, b=0, words=2, c=2, x=unit),
        instruction(Opcode.INTEGRATE, a=2, rows=2, b=recurrent, words=2, c=2, x=unit // 2, fence=0),
        instruction(Opcode.INTEGRATE, flags=Flag.BY_TARGET, a=2, rows=outputs, b=readout, words=2, c=4, x=unit,
                    fence=0),
        instruction(Opcode.TRACE, TRAIN, Flag.WIDE, a=6, c=0, rows=2, x=leak(config, 0.8), y=leak(config, 0.9),
                    z=one // 8, stream=4, fence=0),
        instruction(Opcode.TRACE, TRAIN, Flag.WIDE, a=10, c=2, rows=2, x=leak(config, 0.8), y=leak(config, 0.9),
                    z=one // 8, stream=5, fence=0),
        instruction(Opcode.TRACE, TRAIN, a=14, c=2, rows=2, y=leak(config, 0.9), z=one // 8, stream=6, fence=0),
        instruction(Opcode.STEP, a=0, c=2, rows=2, x=leak(config, 0.7), y=leak(config, 0.95), z=one, stream=7),
        instruction(Opcode.STEP, flags=Flag.LEAKY, a=4, c=4, rows=1, x=leak(config, 0), y=leak(config, 1 - 1 / 4000),
                    stream=8, fence=0),
        instruction(Opcode.CLEAR, flags=Flag.SPIKES, c=0, rows=2, fence=0),
        instruction(Opcode.ERROR, TARGET, Flag.SOFTMAX, a=4, c=4, rows=outputs, x=1477, z=one // 256),
        instruction(Opcode.FEEDBACK, TARGET, Flag.HASHED, a=4, rows=1, words=2, c=2, x=1 << 14, shift=14, stream=9),
        instruction(Opcode.POST, TARGET, a=0, c=2, rows=2, words=hidden - lanes, z=one,
                    shift=config.state_fraction - 4, stream=10),
        instruction(Opcode.LEARN, TARGET, Flag.WIDE, a=6, rows=2, b=0, words=2, c=2, x=30000, shift=13, stream=11),
        instruction(Opcode.LEARN, TARGET, Flag.WIDE, a=10, rows=2, b=recurrent, words=2, c=2, x=30000, shift=12,
                    stream=12, fence=0),
        instruction(Opcode.LEARN, TARGET, Flag.BY_TARGET, a=4, rows=1, b=readout, words=2, c=14, x=30000, shift=12,
                    stream=13),
        instruction(Opcode.SEND, SEND, a=4, rows=outputs, stream=77),
        instruction(Opcode.SEND, SEND, Flag.SPIKES, c=2, rows=2, stream=78, fence=0),
        instruction(Opcode.END),
    ]
    steps = []
    for tick in range(10):
        events = [event_entry(int(a)) for a in np.flatnonzero(random.random(sources) < 0.5)]
        flags = TRAIN | SEND | (RESET if tick in (0, 6) else TickFlag(0)) | (TARGET if tick % 6 >= 2 else TickFlag(0))
        steps.append(Step(entries=[*events, tick_entry(flags, tick % 3)]))
    return Scenario(name="first", config=config, steps=steps, loads=[
        registers(), surrogate(config), (Space.PROGRAM, 0, program_image(program)), (Space.WEIGHTS, 0, weights)])


def nothing(config: CoreConfig) -> Scenario:
    """A program of END alone: the spikes of events stay, the tick counter runs over."""
    return Scenario(name="nothing", config=config, loads=[registers(0xFFFF_FFFF)], steps=[
        Step(entries=[tick_entry(TickFlag(0))]),
        Step(entries=[event_entry(0), event_entry(config.lanes), event_entry(0), tick_entry(ALL, 2047)]),
        Step(entries=[]),
        Step(entries=[tick_entry(TickFlag(0))] * 40),
    ])


def events(config: CoreConfig) -> Scenario:
    """More entries than the queue holds, neighbours in a word, duplicates; those out of range set `fault`."""
    neurons = config.neuron_words * config.lanes
    program = [instruction(Opcode.SEND, SEND, Flag.SPIKES, c=0, rows=config.neuron_words, stream=5),
               instruction(Opcode.CLEAR, RESET, Flag.SPIKES, c=0, rows=config.neuron_words), instruction(Opcode.END)]
    everyone = [event_entry(a) for a in range(neurons)]
    steps = [
        Step(entries=[*everyone, tick_entry(SEND)]),
        Step(entries=[tick_entry(RESET | SEND)]),
        Step(entries=[*everyone[::3], *everyone[::3], *everyone[::-5], tick_entry(SEND)]),
        Step(entries=[tick_entry(RESET), event_entry(neurons - 1), tick_entry(SEND), event_entry(0), tick_entry(SEND)]),
        Step(entries=[event_entry(7)]),                                 # no tick: the spike is set all the same
        Step(entries=[event_entry(neurons), tick_entry(SEND)]),
        Step(entries=[event_entry((1 << ADDRESS_BITS) - 1), event_entry(1), tick_entry(SEND)]),
    ]
    return Scenario(name="events", config=config, steps=steps,
                    loads=[registers(), (Space.PROGRAM, 0, program_image(program))])


def saturation(config: CoreConfig) -> Scenario:
    """Weights, traces and states at their limits, driven further out and back again."""
    low, high = _limits(config.state_bits)
    least, most = _limits(config.weight_bits)
    lanes = config.lanes
    program = [
        instruction(Opcode.INTEGRATE, a=0, rows=1, b=0, words=1, c=1, x=1 << config.state_bits - 2, fence=0),
        instruction(Opcode.TRACE, flags=Flag.WIDE, a=2, c=0, rows=1, x=0, y=0, z=high, stream=1, fence=0),
        instruction(Opcode.STEP, a=0, c=1, rows=1, x=0, y=0, z=high, stream=2),
        instruction(Opcode.CLEAR, flags=Flag.SPIKES, c=0, rows=1, fence=0),
        instruction(Opcode.ERROR, TARGET, a=0, c=1, rows=min(lanes, config.max_outputs), y=low),
        instruction(Opcode.LEARN, TARGET, Flag.WIDE, a=2, rows=1, b=0, words=1, c=1, x=high, shift=10, stream=3),
        instruction(Opcode.SEND, a=0, rows=lanes, stream=1),
        instruction(Opcode.END),
    ]
    weights = np.full((lanes, lanes), most)
    weights[::2] = least
    weights[:, 1::2] = ~weights[:, 1::2]
    state = np.array([[low] * lanes, [high] * lanes, [high] * lanes, [low] * lanes])
    state[:, ::3] = ~state[:, ::3]
    load = [event_entry(a) for a in range(lanes)]
    # Full, every other and no spikes; then the signs change.
    steps = [Step(entries=[*load[::1 + n % 3], tick_entry(TARGET if n else TickFlag(0), n % 4)]) for n in range(5)]
    steps += [Step(entries=[tick_entry(TARGET, 1)], writes=[(Space.STATE, 0, ~state)])]
    steps += [Step(entries=[*load, tick_entry(TARGET, 1)], writes=[filled(config, Space.WEIGHTS, value, lanes)])
              for value in (least, most)]
    return Scenario(name="saturation", config=config, steps=steps, loads=[
        registers(), (Space.PROGRAM, 0, program_image(program)), (Space.WEIGHTS, 0, weights), (Space.STATE, 0, state)])


def errors(config: CoreConfig) -> Scenario:
    """The error unit: all outputs equal, one far above, spread over the whole range; classes that are not
    there; mean square with its limits; the dead zone met exactly."""
    low, high = _limits(config.state_bits)
    count = config.max_outputs
    words, one = config.words(count), 1 << config.state_fraction
    random = np.random.default_rng(2)

    def program(rows: int, flags: int, **constants: int) -> Load:
        image = program_image([instruction(Opcode.ERROR, flags=flags, a=0, c=0, rows=rows, **constants),
                               instruction(Opcode.END)])
        return Space.PROGRAM, 0, image

    def outputs(values: np.ndarray) -> Load:
        state = np.zeros((2 * words, config.lanes), dtype=np.int64)
        padded = np.zeros(words * config.lanes, dtype=np.int64)
        padded[:len(values)] = values
        state[1::2] = padded.reshape(words, -1)
        return Space.STATE, 0, state

    patterns = [np.zeros(count), np.full(count, low), np.full(count, high), np.linspace(low, high, count),
                np.where(np.arange(count) == 1, high, low), random.integers(-one, one, count),
                random.integers(low, high, count), np.full(count, one)]
    steps = []
    for n, pattern in enumerate(patterns):
        rows = (count, 1, count - 1, 2)[n % 4]
        for flags, constants in ((Flag.SOFTMAX, {"x": 1477}), (Flag.SOFTMAX, {"x": (high, 0, 5909)[n % 3], "z": 7}),
                                 (0, {"y": one, "z": one}), (0, {"y": (low, high, 0)[n % 3]})):
            steps.append(Step(writes=[program(rows, flags, **constants), outputs(pattern.astype(np.int64))],
                              entries=[tick_entry(TARGET, (0, rows - 1, rows, 2047)[(n + len(steps)) % 4])]))
    return Scenario(name="errors", config=config, steps=steps, loads=[
        registers(), filled(config, Space.POST, -1, config.neuron_words)])


def tick_flags(config: CoreConfig) -> Scenario:
    """An instruction runs if all bits of its `when` are among the tick's flags: all sixteen by all sixteen."""
    program = [instruction(Opcode.SEND, TickFlag(when), a=0, rows=1, stream=when, fence=when & 1)
               for when in range(min(16, config.program_length - 1))]
    return Scenario(name="tick flags", config=config, loads=[
        registers(), (Space.PROGRAM, 0, program_image([*program, instruction(Opcode.END)]))],
        steps=[Step(entries=[tick_entry(TickFlag(flags))]) for flags in range(16)])


def slow_decay(config: CoreConfig) -> Scenario:
    """Time constants of thousands of ticks neither freeze nor jump: a step of many ticks, twice."""
    program = [
        instruction(Opcode.STEP, flags=Flag.LEAKY, a=0, c=0, rows=1, x=leak(config, 1 - 1 / 4000),
                    y=leak(config, 1.0), stream=1, fence=0),
        instruction(Opcode.STEP, flags=Flag.RESET_ZERO, a=2, c=1, rows=1, x=leak(config, 0.999),
                    y=leak(config, 0.9999), z=1 << config.state_fraction, stream=2, fence=0),
        instruction(Opcode.END),
    ]
    state = np.zeros((4, config.lanes), dtype=np.int64)
    state[0], state[1], state[2], state[3] = 3, -5, 1 << config.state_bits - 3, -(1 << config.state_fraction)
    return Scenario(name="slow decay", config=config, loads=[
        registers(), (Space.PROGRAM, 0, program_image(program)), (Space.STATE, 0, state)],
        steps=[Step(entries=[tick_entry(TickFlag(0))] * 60)] * 2)


def cleared_again(config: CoreConfig) -> Scenario:
    """Spikes that are zero are cleared while rows per target read them, one of them in the cycle of the write: so does
    the fence after what a new sample clears."""
    lanes, rows = config.lanes, 16
    words = config.words(rows)
    unit = 1 << config.mac_shift + config.state_fraction - config.weight_bits
    program = [
        instruction(Opcode.CLEAR, flags=Flag.SPIKES, c=1, rows=1),
        instruction(Opcode.INTEGRATE, flags=Flag.BY_TARGET, a=1, b=0, c=2, rows=rows, words=1, x=unit, fence=0),
        instruction(Opcode.STEP, flags=Flag.LEAKY | Flag.BY_TARGET, a=0, c=2, rows=words, x=leak(config, 0.5),
                    y=leak(config, 0.5), stream=1),
        instruction(Opcode.SEND, a=0, rows=min(rows, words * lanes), stream=1),
        instruction(Opcode.END),
    ]
    return Scenario(name="cleared again", config=config, loads=[
        registers(), (Space.PROGRAM, 0, program_image(program)), filled(config, Space.WEIGHTS, 1, rows)],
        steps=[Step(entries=[tick_entry(TickFlag(0))])] * 2)


CASES: list[Callable[[CoreConfig], Scenario]] = [
    first, nothing, events, saturation, errors, tick_flags, slow_decay, cleared_again]


def by_hand(config: CoreConfig) -> list[Scenario]:
    """All of them for a core with at least 20 instructions, 16 state words and 6 neuron words."""
    return [case(config) for case in CASES]


assert Register.TICK == 2      # `registers` writes all three
