"""Seeded random networks, written as tick programs, with everything at its extremes.

What a compiler would never choose is chosen here on purpose: decays of zero and one, thresholds of one
unit, weights and states at saturation, gains that saturate or vanish, events on hidden neurons. What the
contract demands is kept: fences, zero lanes past a population's end, sums that fit the accumulators.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from relif_hw.config import CoreConfig
from relif_hw.isa import (
    ADDRESS_BITS,
    VALUE_BITS,
    Flag,
    Instruction,
    Opcode,
    Register,
    Space,
    TickFlag,
    event_entry,
    tick_entry,
    value_entry,
    with_skips,
)
from relif_hw.numerics import SURROGATE_ENTRIES
from scenarios import IntArray, Load, Scenario, Step, program_image

__all__ = ["random_scenario"]

NONE = TickFlag(0)
MASK = (1 << 18) - 1


@dataclass(frozen=True, kw_only=True)
class Population:
    kind: str           # input, hidden or output
    size: int
    base: int
    words: int
    state: int
    rise: int | None = None     # state words of the adaptive threshold
    apart: bool = False         # POST keeps surrogate and signal apart


@dataclass(frozen=True, kw_only=True)
class Traces:
    source: Population
    wide: bool
    state: int
    keeps: bool


@dataclass(frozen=True, kw_only=True)
class Projection:
    source: Population
    target: Population
    by_target: bool
    base: int
    words: int
    traces: Traces | None


def random_scenario(config: CoreConfig, seed: int, steps: int = 8) -> Scenario:
    """A random network on that core, with random stimuli, all from one seed."""
    network = _Network(config, np.random.default_rng([seed, config.lanes, config.weight_bits]))
    return Scenario(name=f"random {seed}", config=config, loads=network.loads(),
                    steps=[network.step(first=number == 0) for number in range(steps)])


class _Network:
    def __init__(self, config: CoreConfig, random: np.random.Generator) -> None:
        self.config, self.random = config, random
        self.neuron_words = self.state_words = self.weight_words = self.streams = 0
        inputs = int(random.integers(1, 3))
        hidden = int(random.choice([0, 1, 1, 2, 3]))
        kinds = ["input"] * inputs + ["hidden"] * hidden + ["output"]
        self.populations = [self._population(kind, len(kinds) - n) for n, kind in enumerate(kinds)]
        self.inputs = [p for p in self.populations if p.kind == "input"]
        self.hidden = [p for p in self.populations if p.kind == "hidden"]
        self.output = self.populations[-1]
        self.traces: list[Traces] = []
        self.projections: list[Projection] = []
        self._project()
        self.program: list[Instruction] = []
        self._write_program()
        assert len(self.program) <= config.program_length

    def _chance(self, probability: float) -> bool:
        return bool(self.random.random() < probability)

    def _pick(self, *choices: int) -> int:
        return int(self.random.choice(choices))

    # Topology, as far as memories last.

    def _population(self, kind: str, still: int) -> Population:
        config, lanes = self.config, self.config.lanes
        room = min((config.neuron_words - self.neuron_words) // still,
                   (config.state_words - self.state_words) // ((5 if config.synaptic else 4) * still))
        size = self._pick(1, 2, lanes - 1, lanes, lanes + 1, 2 * lanes, int(self.random.integers(1, 3 * lanes)))
        limit = config.max_outputs if kind == "output" else 1 << 30
        size = max(1, min(size, room * lanes, limit))
        words, synaptic = config.words(size), config.synaptic and kind == "hidden"
        adaptive = synaptic and self._chance(0.5)
        population = Population(kind=kind, size=size, base=self.neuron_words, words=words, state=self.state_words,
                                rise=self.state_words + 2 * words if adaptive else None,
                                apart=synaptic and self._chance(0.8))
        self.neuron_words += words
        self.state_words += 0 if kind == "input" else (3 if adaptive else 2) * words
        return population

    def _project(self) -> None:
        pairs = [(s, t) for s in self.inputs + self.hidden for t in [*self.hidden, self.output]]
        for index in self.random.permutation(len(pairs)):
            source, target = pairs[index]
            if not self._chance(0.7):
                continue
            by_target = self._chance(0.7 if target is self.output else 0.3)
            row, rows = (source, target) if by_target else (target, source)
            words = row.words * rows.size
            if self.weight_words + words > self.config.weight_words or len(self.projections) == 8:
                continue
            self.projections.append(Projection(
                source=source, target=target, by_target=by_target, base=self.weight_words, words=row.words,
                traces=self._traces(source) if self._chance(0.85) else None))
            self.weight_words += words

    def _traces(self, source: Population) -> Traces | None:
        mine = [t for t in self.traces if t.source is source]
        if mine and self._chance(0.4):
            return mine[int(self.random.integers(len(mine)))]
        wide = self._chance(0.6)
        words = source.words * (2 if wide else 1)
        if self.state_words + words > self.config.state_words or len(self.traces) == 5:
            return mine[0] if mine else None
        self.traces.append(Traces(source=source, wide=wide, state=self.state_words,
                                  keeps=self.config.synaptic and self._chance(0.6)))
        self.state_words += words
        return self.traces[-1]

    # Constants.

    def _leak(self) -> int:
        one = 1 << self.config.decay_fraction
        decay = self._pick(0, 1, one // 2, one - 1, one, round(one * (1 - 1 / 4000)),
                           int(self.random.integers(one)), int(self.random.integers(one)))
        return decay - one & MASK

    def _unit(self) -> int:
        """What a spike adds to a trace, or a threshold: a positive state."""
        top = (1 << self.config.state_bits - 1) - 1
        power = 1 << int(self.random.integers(self.config.state_bits - 1))
        return self._pick(1, 1 << self.config.state_fraction, power, top, int(self.random.integers(1, top)))

    def _mantissa(self) -> int:
        top = (1 << self.config.state_bits - 1) - 1
        return self._pick(0, 1, top, top, *self.random.integers(top // 2, top, 12).tolist())

    def _shift(self, low: int, high: int) -> int:
        return self._pick(0, 63, *self.random.integers(low, high, 18).tolist())

    def _gain(self, projection: Projection) -> int:
        """x of INTEGRATE: the largest, or any, at which the sum of all projections fits."""
        config = self.config
        share = ((1 << config.accumulator_bits - 1) - 1) // (len(self.projections) + 1) // projection.source.size
        fitting = [k for k in range(config.state_bits - 1)
                   if (1 << config.weight_bits - 1 + k >> config.mac_shift) + 1 <= share]
        return 1 << (fitting[-1] if self._chance(0.3) else self._pick(*fitting))

    def _stream(self) -> int:
        self.streams += 1
        return self.streams - 1

    # The program.

    def _emit(self, opcode: Opcode, when: TickFlag = NONE, *, fence: bool = False, flags: int = 0,
              **fields: int) -> None:
        """Append an instruction; a fence too many now and then changes nothing."""
        self.program.append(Instruction(opcode=opcode, when=when, fence=int(fence or self._chance(0.1)),
                                        flags=Flag(flags), **fields))

    def _write_program(self) -> None:
        input_words = sum(p.words for p in self.inputs)
        self._emit(Opcode.CLEAR, TickFlag.RESET, flags=Flag.SPIKES, c=input_words,
                   rows=self.neuron_words - input_words)
        self._emit(Opcode.CLEAR, TickFlag.RESET, a=0, rows=self.state_words)
        if self.config.synaptic:
            self._emit(Opcode.CLEAR, TickFlag.RESET, flags=Flag.SYNAPTIC, a=1, rows=self.config.eligibility_words - 1)
        self._emit(Opcode.CLEAR, TickFlag.RESET, fence=True, flags=Flag.SPIKES, c=self.neuron_words - 1, rows=1)
        summed = {id(p.target) for p in self.projections if p.by_target}      # sums by target lead there
        for p in self.projections:
            self._emit(Opcode.INTEGRATE, a=p.source.base, b=p.base,
                       c=p.target.base, words=p.words, flags=Flag.BY_TARGET if p.by_target else 0,
                       x=self._gain(p), rows=p.target.size if p.by_target else p.source.words)
        if self._hashed():
            summed.add(id(self.output))
        learning = any(p.traces for p in self.projections)
        steps = {id(p): self._step(p, summed) for p in [*self.hidden, self.output]}
        early = learning and self._chance(0.7)
        if early:                           # while the errors are worked out, the lanes go on
            self._emit(Opcode.STEP, TickFlag.TARGET, **steps[id(self.output)])
            self._error()
        for t in self.traces:
            self._emit(Opcode.TRACE, TickFlag.TRAIN, stream=self._stream(),
                       flags=(Flag.WIDE if t.wide else 0) | (Flag.SYNAPTIC if t.keeps else 0), rows=t.source.words,
                       a=t.state, c=t.source.base, x=self._leak() if t.wide else 0, y=self._leak(), z=self._unit())
        adaptive = [p for p in self.hidden if p.rise is not None]
        for p in adaptive:
            self._emit(Opcode.TRACE, stream=self._stream(), rows=p.words, a=p.rise, c=p.base,
                       y=self._leak(), z=self._unit())
        first = self._chance(0.7)           # the spikes of the inputs are not needed any more
        if first:
            self._emit(Opcode.CLEAR, flags=Flag.SPIKES, c=0, rows=input_words)
        for n, p in enumerate([*self.hidden, self.output]):
            step = steps[id(p)]
            if early and p is self.output:
                step = {**step, "flags": step["flags"] | Flag.UNTARGETED}
            self._emit(Opcode.STEP, fence=n == 0 and bool(adaptive), **step)
        if not first:
            self._emit(Opcode.CLEAR, flags=Flag.SPIKES, c=0, rows=input_words)
        if learning:
            if not early:
                self._error()
            self._write_learning()
        sends = [self.output, *self.hidden, *self.inputs][:3]
        for n, p in enumerate(sends):
            spikes = p is not self.output
            self._emit(Opcode.SEND, TickFlag.SEND, fence=n == 0, flags=Flag.SPIKES if spikes else 0,
                       stream=self._pick(n, 255 - n), a=p.state, c=p.base, rows=p.words if spikes else p.size)
        self._emit(Opcode.END, fence=True)
        self.program = [i if self._chance(0.1) else chained
                        for i, chained in zip(self.program, with_skips(self.program), strict=True)]

    def _step(self, p: Population, summed: set[int]) -> dict[str, int]:
        """The fields of a population's STEP."""
        flags = Flag.LEAKY if p is self.output else Flag.RESET_ZERO if self._chance(0.5) else 0
        waits = id(p) in summed or self._chance(0.1)
        return {"stream": self._stream(), "rows": p.words, "a": p.state, "c": p.base, "b": p.rise or 0,
                "flags": flags | self._adaptive(p) | (Flag.BY_TARGET if waits else 0),
                "x": self._leak(), "y": self._leak(), "z": self._unit()}

    def _error(self) -> None:
        top, out = (1 << self.config.state_bits - 1) - 1, self.output
        softmax, analog = self._chance(0.6), self._chance(0.4)
        self._emit(Opcode.ERROR, TickFlag.TARGET, fence=True, a=out.state,
                   flags=(Flag.SOFTMAX if softmax else 0) | (Flag.ANALOG if analog else 0),
                   c=out.base, rows=out.size, x=self._pick(0, 1477, top, int(self.random.integers(top))),
                   y=self._pick(-top - 1, top, 1 << self.config.state_fraction) & MASK,
                   z=self._pick(0, 0, 0, 1, 1, 1 << self.config.state_fraction - 4,
                                1 << self.config.state_fraction - 1, top))

    def _hashed(self) -> bool:
        """Now and then hashed weights from a population to the output, in what the sums leave."""
        sources = [*self.inputs, *self.hidden]
        source = sources[int(self.random.integers(len(sources)))]
        share = ((1 << self.config.accumulator_bits - 1) - 1) // (len(self.projections) + 1) // source.size
        if not self._chance(0.4) or len(self.projections) == 8:
            return False
        self._emit(Opcode.INTEGRATE, flags=Flag.BY_TARGET | Flag.HASHED, stream=self._pick(0, 255),
                   a=source.base, c=self.output.base, words=source.words, rows=self.output.size,
                   x=self._pick(1, min(share, (1 << self.config.state_bits - 1) - 1)))
        return True

    def _write_learning(self) -> None:
        config, out = self.config, self.output
        mixed = len({p.apart for p in self.hidden}) > 1       # an instruction that is skipped takes its fence with it
        top = (1 << config.state_bits - 1) - 1
        if self._chance(0.5):
            for n, p in enumerate(self.hidden):
                self._emit(Opcode.REGULATE, self._when(p), fence=n == 0 or mixed, rows=p.words, a=p.state, c=p.base,
                           x=self._pick(0, 1, top, -top, int(self.random.integers(-top, top))) & MASK,
                           z=self._pick(0, top, -top, int(self.random.integers(-top, top))) & MASK)
        streamed = self._chance(0.7)
        for n, p in enumerate(self.hidden):
            back = [q for q in self.projections if q.source is p and q.target is out and q.by_target]
            hashed = not back or self._chance(0.3)
            self._emit(Opcode.FEEDBACK, self._when(p),
                       flags=(Flag.HASHED if hashed else 0) | (Flag.STREAMED if streamed else 0),
                       stream=self._pick(n, 255), words=p.words, rows=out.words, a=out.base, c=p.base,
                       y=out.size if streamed else 0,
                       b=0 if hashed else back[0].base, x=self._mantissa(), shift=self._shift(8, 18))
            streamed = False                # of those that run at the same ticks, one
        factored = [q for q in self.projections if q.traces is not None and not self._is_synaptic(q)]
        early = [q for q in factored if q.by_target and q.target is out and self._chance(0.8)]
        self._factored(early, fence=False)
        for n, p in enumerate(self.hidden):
            self._emit(Opcode.POST, TickFlag.TRAIN if p.apart else TickFlag.TARGET, fence=n == 0 or mixed,
                       stream=self._stream(), a=p.state, b=p.rise or 0, c=p.base, rows=p.words,
                       flags=(self._pick(*range(config.surrogates)) * Flag.TABLE_1 | self._adaptive(p)
                              | (Flag.SYNAPTIC if p.apart else 0)),
                       words=p.size - (p.words - 1) * config.lanes, shift=int(self.random.integers(16)),
                       x=self._pick(0, 1, top, int(self.random.integers(top))) if p.apart else 0, z=self._unit())
        fence = True
        for q in self.projections:
            if q.traces is not None and self._is_synaptic(q):
                self._emit(Opcode.LEARN, TickFlag.TRAIN, fence=fence, stream=self._stream(), words=q.words, b=q.base,
                           flags=(Flag.SYNAPTIC | (Flag.WIDE if q.traces.wide else 0)
                                  | (Flag.ADAPTIVE if self._chance(0.5) else 0)),
                           a=q.traces.state, c=q.target.base, rows=q.source.words, x=self._mantissa(),
                           shift=self._shift(6, 21), y=self._leak(), z=self._unit() & MASK)
                fence = False
        self._factored([q for q in factored if q not in early], fence=True)

    def _factored(self, projections: list[Projection], fence: bool) -> None:
        """LEARN through the traces of populations: a fence first, and between two of which one is by target."""
        kinds: set[bool] = set()            # since the last fence that is in every tick with a target
        for q in projections:
            assert q.traces is not None
            when = TickFlag.TARGET | (TickFlag.TRAIN if self._chance(0.3) else 0)
            fenced = fence or (not q.by_target) in kinds
            self._emit(Opcode.LEARN, when, fence=fenced, stream=self._stream(), words=q.words, b=q.base,
                       flags=(Flag.BY_TARGET if q.by_target else 0) | (Flag.WIDE if q.traces.wide else 0),
                       a=q.target.base if q.by_target else q.traces.state,
                       c=q.traces.state if q.by_target else q.target.base,
                       rows=q.target.words if q.by_target else q.source.words,
                       x=self._mantissa(), shift=self._shift(6, 21))
            if when == TickFlag.TARGET:
                fence = False
                kinds -= {not q.by_target} if fenced else set()
            kinds.add(q.by_target)

    def _when(self, p: Population) -> TickFlag:
        """When a learning signal is made: only if POST takes it."""
        return TickFlag.TARGET | (TickFlag.TRAIN if p.apart else TickFlag(0))

    def _adaptive(self, p: Population) -> Flag:
        return Flag(0) if p.rise is None else Flag.ADAPTIVE

    def _is_synaptic(self, q: Projection) -> bool:
        end = q.base + q.source.size * q.words
        return q.target.apart and not q.by_target and end <= self.config.eligibility_words

    # Contents of the memories.

    def _values(self, bits: int, shape: tuple[int, ...]) -> IntArray:
        """Signed numbers: uniform, small, at the limits, zero or a mixture."""
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
        kinds = np.stack([
            self.random.integers(low, high + 1, shape), self.random.integers(-2, 3, shape),
            self.random.choice([low, high], shape), np.zeros(shape, dtype=np.int64),
            np.full(shape, self._pick(low, high)),
        ])
        if self._chance(0.5):
            return kinds[self._pick(0, 1, 2, 3, 4)]
        return np.take_along_axis(kinds, self.random.integers(len(kinds), size=shape)[None], 0)[0]

    def _spread(self, words: int, sizes: list[tuple[int, int, int, int]], bits: int) -> IntArray:
        """Values for vectors of (first word, step, words, length); lanes past a vector's end are zero."""
        lanes = self.config.lanes
        image = np.zeros((words, lanes), dtype=np.int64)
        for first, step, count, length in sizes:
            values = np.zeros(count * lanes, dtype=np.int64)
            values[:length] = self._values(bits, (length,))
            image[first:first + step * count:step] = values.reshape(count, lanes)
        return image

    def loads(self) -> list[Load]:
        """Random contents of every memory, as they might be in the middle of a run."""
        config = self.config
        weights = np.zeros((config.weight_words, config.lanes), dtype=np.int64)
        for p in self.projections:
            rows, size = (p.target.size, p.source.size) if p.by_target else (p.source.size, p.target.size)
            vectors = [(p.base + row * p.words, 1, p.words, size) for row in range(rows)]
            weights |= self._spread(config.weight_words, vectors, config.weight_bits)
        states = [(p.state + k, 2, p.words, p.size) for p in self.populations if p.kind != "input" for k in (0, 1)]
        states += [(p.rise, 1, p.words, p.size) for p in self.hidden if p.rise is not None]
        for t in self.traces:
            states += [(t.state + k, 2, t.source.words, t.source.size) for k in (0, 1)] if t.wide else [
                (t.state, 1, t.source.words, t.source.size)]
        neurons = [(p.base, 1, p.words, p.size) for p in self.populations]
        spikes = self._spread(config.neuron_words, neurons, 2) & 1
        registers = self.random.integers(1 << 32, size=(len(Register), 1))
        if self._chance(0.3):
            registers[Register.TICK] = 0xFFFF_FFFE        # runs over at the second tick
        tables = self.random.integers(256, size=(config.surrogates * SURROGATE_ENTRIES, 1))
        tables[self.random.random(len(tables)) < 0.2] = self._pick(0, 128, 255)
        traces = [(q.base + row * q.words, 1, q.words, q.target.size) for q in self.projections
                  if self._is_synaptic(q) for row in range(q.source.size)]
        eligibility = [(Space.ELIGIBILITY, 0, self._spread(config.eligibility_words, traces, config.state_bits))]
        return [
            *(eligibility if config.synaptic else []),
            (Space.TARGETS, 0, self._values(VALUE_BITS, (config.max_outputs, 1))),
            (Space.REGISTERS, 0, registers),
            (Space.PROGRAM, 0, program_image(self.program)),
            (Space.WEIGHTS, 0, weights),
            (Space.STATE, 0, self._spread(config.state_words, states, config.state_bits)),
            (Space.POST, 0, self._spread(config.neuron_words, neurons, config.state_bits)),
            (Space.SPIKES, 0, spikes),
            (Space.SURROGATE, 0, tables),
        ]

    # Stimuli.

    def step(self, first: bool) -> Step:
        """One tick, now and then several; sometimes the host writes something first."""
        writes: list[Load] = []
        if not first and self._chance(0.2):
            writes.append((Space.REGISTERS, int(Register.FEEDBACK_SEED), self.random.integers(1 << 32, size=(2, 1))))
        ticks = self._pick(1, 1, 1, 1, 2, 3)
        return Step(entries=[entry for _ in range(ticks) for entry in self._tick()], writes=writes)

    def _tick(self) -> list[int]:
        lanes = self.config.lanes
        addresses = [p.base * lanes + i for p in self.inputs for i in range(p.size)]
        kind = self._pick(0, 1, 2, 2, 3)
        part = 0.1 if kind == 2 else 0.5
        events = addresses if kind == 1 else [a for a in addresses if kind > 1 and self._chance(part)]
        if kind == 3 and self.hidden:
            events = events + [p.base * lanes + int(self.random.integers(p.size)) for p in self.hidden]
            events = [*events, events[0]]                      # the same twice
        if self._chance(0.05):
            events = [*events, self._pick(self.config.neuron_words * lanes, (1 << ADDRESS_BITS) - 1)]
        flags = TickFlag(self._pick(*[14] * 12, *[6] * 4, *range(16)))
        size = self.output.size
        limit = 1 << VALUE_BITS - 1
        values = self.random.integers(-limit, limit, self._pick(0, 0, 1, self.output.size)).tolist()
        if self._chance(0.02):
            values *= self.config.max_outputs + 1
        target = self._pick(0, size - 1, int(self.random.integers(size)), size, 2047)
        return [*map(event_entry, events), *map(value_entry, values), tick_entry(flags, target)]
