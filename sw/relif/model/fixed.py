"""The fixed-point golden model: the specification of the core, bit for bit.

`FixedCore` runs tick programs on memory images, as the gateware does: after any tick every memory
of both is the same. It is vectorised over neurons and knows nothing of lanes' timing, skipping or
pipelines, which must be invisible. `docs/numerics.md` has the formulas in one table.

It may hold many cores of one configuration, *replicas*, which run the same program at once, each on memories
of its own: every array below has the replicas as its first axis. The program is decoded once, whenever it has
been written: each instruction becomes a function that works on views of the memories.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from relif_hw.config import CoreConfig
from relif_hw.isa import (
    TICK_ENTRY,
    VALUE_BITS,
    VALUE_ENTRY,
    VALUE_FRACTION,
    Flag,
    Instruction,
    Opcode,
    Register,
    Space,
    TickFlag,
    space_shape,
)
from relif_hw.numerics import (
    EXP_TABLE,
    GROUP_STEP,
    HASH_MASK,
    RANDOM_BITS,
    RECIPROCAL_TABLE,
    SURROGATE_ENTRIES,
    finish,
    lane_feedback,
    lane_random,
    row_hash,
    tick_key,
)

from ..errors import BoardError

__all__ = ["Array", "FixedCore", "Operation", "Replica", "Sent", "align", "saturate"]

Array = npt.NDArray[Any]
"""Integers: of 64 bits, but hashes, which are of 32 bits without a sign and so wrap by themselves."""

Sent = tuple[int, int, Array]
"""What one SEND made: population number, kind (0 values, 1 spikes), values."""

Step = Callable[[], None]

_ROUND = 1 << RANDOM_BITS - 1


def saturate(x: Array, bits: int) -> Array:
    """Clamp to a two's complement number of `bits` bits."""
    return np.minimum(np.maximum(x, -(1 << bits - 1)), (1 << bits - 1) - 1)


def align(random: Array, shift: int) -> Array:
    """The 16-bit random number as a fraction of `shift` bits, to be added before a right shift."""
    return random << shift - RANDOM_BITS if shift >= RANDOM_BITS else random >> RANDOM_BITS - shift


def _signed(field: Array, bits: int = 18) -> Array:
    field = field & (1 << bits) - 1
    return field - ((field >> bits - 1) << bits)


def _flat(memory: Array) -> Array:
    """Neurons in one axis: (replicas, words, lanes) as (replicas, words * lanes), a view wherever there can be one."""
    return memory.reshape(len(memory), -1)


@dataclass(frozen=True)
class Operation:
    """An instruction as all replicas have it: flags and places are the same, constants each replica's own."""

    opcode: Opcode
    when: int
    flags: Flag
    stream: int
    words: int
    a: int
    b: int
    c: int
    rows: int
    shift: Array
    """Constants as in the instruction, without a sign: (replicas, 1, 1)."""
    x: Array
    y: Array
    z: Array

    @classmethod
    def decode(cls, words: Array) -> Operation:
        """From the instruction's words (replicas, elements); `BoardError` if more than constants differ."""
        every = [Instruction.decode(elements) for elements in words.tolist()]
        fields: dict[str, Any] = {}
        for name in ("opcode", "when", "flags", "stream", "words", "a", "b", "c", "rows"):
            values = {getattr(instruction, name) for instruction in every}
            if len(values) > 1:
                raise BoardError(f"replicas must run one program, but the {name} of a {every[0].opcode.name} is "
                                 f"{' and '.join(map(str, sorted(values)))}: only shift, x, y and z may differ")
            fields[name] = values.pop()
        for name in ("shift", "x", "y", "z"):
            fields[name] = np.array([getattr(instruction, name) for instruction in every]).reshape(-1, 1, 1)
        return cls(**fields)


@dataclass(frozen=True)
class Replica:
    """One of a core's replicas: has memories to write, as a board has (`compiler.Memories`)."""

    core: FixedCore
    number: int

    def write(self, space: Space, address: int, values: npt.ArrayLike) -> None:
        """Write whole words, `values` of shape (words, elements), from word `address` on."""
        self.core.write(space, address, values, replica=self.number)

    def read(self, space: Space, address: int = 0, words: int | None = None) -> Array:
        """Read `words` whole words from word `address` on (default: all), shape (words, elements)."""
        return self.core.read(space, address, words, replica=self.number)


class FixedCore:
    """A core of the given configuration, with zeroed memories; or many of them that tick together.

    Parameters
    ----------
    config : CoreConfig
    replicas : int
        How many cores, at least 1. All run one program: the same instructions at the same addresses, of which
        only the constants (`shift`, `x`, `y`, `z`: learning rates, decays, thresholds) may differ. Their memories,
        seeds, events and targets are their own, and each does what it would do alone, bit for bit.

    Members
    -------
    memory : dict of Space to array
        Integers of shape (replicas, words, elements), see `relif_hw.isa.space_shape`. To be changed by `write`.
    """

    def __init__(self, config: CoreConfig, replicas: int = 1) -> None:
        if replicas < 1:
            raise BoardError(f"a core has at least 1 replica, not {replicas}")
        self.config, self.replicas = config, replicas
        self.memory = {space: np.zeros((replicas, *space_shape(config, space)[:2]), dtype=np.int64)
                       for space in Space}
        self._weights = self.memory[Space.WEIGHTS]
        self._state = self.memory[Space.STATE]
        self._post = self.memory[Space.POST]
        self._accumulators = np.zeros_like(self._post)
        self._spikes = self.memory[Space.SPIKES]
        self._eligibility = self.memory[Space.ELIGIBILITY]
        self._psi = np.zeros_like(self._post)
        self._values = [0] * replicas           # target values since the last tick
        self._target = np.zeros(replicas, dtype=np.int64)
        self._key = np.zeros(replicas, dtype=np.uint32)
        self._sent: list[list[Sent]] = []
        self._steps: list[tuple[int, Step]] | None = None
        groups = -(-max(config.neuron_words, 1024) * config.lanes // 4)
        self._group_steps = np.arange(groups, dtype=np.uint32) * np.uint32(GROUP_STEP)
        self._plan: dict[Opcode, Callable[[Operation], Step]] = {
            Opcode.INTEGRATE: self._integrate, Opcode.TRACE: self._trace, Opcode.STEP: self._step,
            Opcode.ERROR: self._error, Opcode.FEEDBACK: self._feedback, Opcode.POST: self._post_factor,
            Opcode.LEARN: self._learn, Opcode.SEND: self._send, Opcode.CLEAR: self._clear,
            Opcode.REGULATE: self._regulate,
        }

    # What the host can do.

    def write(self, space: Space, address: int, values: npt.ArrayLike, replica: int | None = None) -> None:
        """Write whole words, `values` of shape (words, elements), from word `address` on.

        To all replicas, or to the one of that number. `BoardError` for what does not fit the memory.
        """
        words, elements, bits, signed = space_shape(self.config, space)
        values = np.asarray(values, dtype=np.int64)
        if values.ndim != 2 or values.shape[1] != elements:
            raise BoardError(f"{space.name}: expected words of {elements} elements, not shape {values.shape}")
        if not 0 <= address <= address + len(values) <= words:
            raise BoardError(f"{space.name}: words {address} to {address + len(values) - 1} are not within "
                             f"0 to {words - 1}")
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        if values.size and (values.min() < low or values.max() > high):
            raise BoardError(f"{space.name}: values must be {low} to {high}, not {values.min()} to {values.max()}")
        chosen = slice(None) if replica is None else self._number(replica)
        self.memory[space][chosen, address:address + len(values)] = values
        if space in (Space.PROGRAM, Space.REGISTERS):
            self._steps = None

    def read(self, space: Space, address: int = 0, words: int | None = None, replica: int = 0) -> Array:
        """Read `words` whole words from word `address` on (default: all) of one replica: (words, elements)."""
        depth = self.memory[space].shape[1]
        words = depth - address if words is None else words
        if not 0 <= address <= address + words <= depth:
            raise BoardError(f"{space.name}: words {address} to {address + words - 1} are not within 0 to {depth - 1}")
        return self.memory[space][self._number(replica), address:address + words].copy()

    def replica(self, number: int) -> Replica:
        """One replica, to be loaded by a `Compiled` as if it were a board."""
        return Replica(self, self._number(number))

    def _number(self, replica: int) -> int:
        if not 0 <= replica < self.replicas:
            raise BoardError(f"there are replicas 0 to {self.replicas - 1}, not {replica}")
        return replica

    def run(self, entries: npt.ArrayLike) -> list[Sent]:
        """Take queue entries (16 bits each, `isa.event_entry`, `value_entry` and `tick_entry`), run the
        ticks among them, and return what SEND sent, in order. For a core of one replica."""
        return self.run_each([entries])[0]

    def run_each(self, queues: Sequence[npt.ArrayLike]) -> list[list[Sent]]:
        """Take queue entries for each replica, run the ticks among them, and return what SEND sent, of each.

        Events, target values and target classes are the replicas' own, but they tick together: `BoardError`
        unless there is a queue for each, of as many ticks, with the same flags.
        """
        arrays = [np.asarray(queue, dtype=np.int64) for queue in queues]
        ticks = [queue[queue & TICK_ENTRY != 0] for queue in arrays]
        if len(arrays) != self.replicas or len({len(entries) for entries in ticks}) > 1:
            raise BoardError(f"{self.replicas} replicas need a queue each, of as many ticks: not "
                             f"{len(arrays)} of {', '.join(str(len(entries)) for entries in ticks)}")
        flags = np.stack(ticks) >> 11 & 15
        if (flags != flags[0]).any():
            number = int((flags != flags[0]).any(0).argmax())
            raise BoardError(f"replicas tick together, but tick {number} of the queues has different flags")
        self._sent = [[] for _ in range(self.replicas)]
        parts = [np.split(queue, np.flatnonzero(queue & TICK_ENTRY) + 1) for queue in arrays]
        for number, (flag, targets) in enumerate(zip(flags[0].tolist(), np.transpose(ticks) & 2047, strict=True)):
            for replica in range(self.replicas):
                self._arrive(replica, parts[replica][number][:-1])
            self.tick(TickFlag(flag), targets)
        for replica in range(self.replicas):
            self._arrive(replica, parts[replica][-1])
        return self._sent

    def _arrive(self, replica: int, entries: Array) -> None:
        """Events and target values for the next tick; those beyond the memories are dropped."""
        spikes, targets = self._spikes[replica].reshape(-1), self.memory[Space.TARGETS][replica, :, 0]
        spikes[entries[entries < min(len(spikes), VALUE_ENTRY)]] = 1
        values = _signed(entries[entries >= VALUE_ENTRY], VALUE_BITS)[:len(targets) - self._values[replica]]
        targets[self._values[replica]:self._values[replica] + len(values)] = values
        self._values[replica] += len(values)

    def tick(self, flags: TickFlag, target: int | Array = 0) -> None:
        """Run the tick program once; `target` is a class, for all replicas or for each (replicas,)."""
        if self._steps is None:
            self._steps = self._decode()
        registers = self.memory[Space.REGISTERS][:, :, 0]
        self._key[:] = [tick_key(seed, tick) for seed, tick in registers[:, [Register.SEED, Register.TICK]].tolist()]
        self._target[:] = target
        self._draw()
        absent = ~int(flags)
        for when, step in self._steps:
            if not when & absent:
                step()
        registers[:, Register.TICK] += 1
        registers[:, Register.TICK] &= HASH_MASK
        self._values = [0] * self.replicas

    def _decode(self) -> list[tuple[int, Step]]:
        """Plan the tick: of each instruction, when it runs and what runs it."""
        steps = []
        self._drawn: list[tuple[int, int, int]] = []
        for words in self.memory[Space.PROGRAM].swapaxes(0, 1):
            operation = Operation.decode(words)
            if operation.opcode is Opcode.END:
                break
            steps.append((operation.when, self._plan[operation.opcode](operation)))
        self._plan_numbers()
        return steps

    # Random numbers: functions of (seed, tick, stream, row, neuron).

    def _groups(self, words: int) -> int:
        """Groups of four neurons, which share a hash, in so many words."""
        return -(-words * self.config.lanes // 4)

    def _group_hash(self, rows: Array, words: int) -> Array:
        """Hash of each group of four neurons, shape (rows, groups), of the rows' hashes."""
        return finish(rows[:, None] + self._group_steps[:self._groups(words)])

    @staticmethod
    def _random(groups: Array) -> Array:
        """16-bit random numbers of the neurons, shape (rows, 4 * groups), of the groups' hashes (rows, groups)."""
        random = np.empty((*groups.shape, 4), dtype=np.int64)
        for lane in range(4):
            random[..., lane] = lane_random(groups, lane)
        return random.reshape(len(groups), 4 * groups.shape[1])

    def _numbers(self, stream: int, row: int, words: int) -> Callable[[], Array]:
        """While the tick is planned: what gives the numbers of that row in each tick, (replicas, words, lanes)."""
        self._drawn.append((stream, row, words))
        number = len(self._drawn) - 1
        return lambda: self._views[number]

    def _plan_numbers(self) -> None:
        """All rows that `_numbers` was asked for are drawn at once, into one array with a view for each."""
        table = np.array(self._drawn, dtype=np.uint32).reshape(-1, 3)
        self._streams, self._rows = table[:, 0], table[:, 1]
        groups = [self._groups(words) for *_, words in self._drawn]
        self._row_of_group = np.repeat(np.arange(len(groups)), groups)
        self._step_of_group = np.concatenate([self._group_steps[:0], *(self._group_steps[:n] for n in groups)])
        self._drawn_numbers = np.zeros((self.replicas, 4 * sum(groups)), dtype=np.int64)
        lanes, starts = self.config.lanes, 4 * (np.cumsum(groups) - groups)
        self._views = [self._drawn_numbers[:, start:start + words * lanes].reshape(self.replicas, words, lanes)
                       for start, (*_, words) in zip(starts, self._drawn, strict=True)]

    def _draw(self) -> None:
        rows = row_hash(self._key[:, None], self._streams, self._rows)
        self._drawn_numbers[:] = self._random(finish(rows[:, self._row_of_group] + self._step_of_group))

    def _hashed(self, i: Operation, rows: int) -> Array:
        """Hashed weights as operands of the multiplier, shape (replicas, rows, words * lanes)."""
        seeds = self.memory[Space.REGISTERS][:, Register.FEEDBACK_SEED, 0].tolist()
        keys = np.array([tick_key(seed, 0) for seed in seeds], dtype=np.uint32)[:, None]
        hashes = row_hash(keys, i.stream, np.arange(rows, dtype=np.uint32))
        groups = self._group_hash(hashes.reshape(-1), i.words).astype(np.int64)
        matrix = np.stack([lane_feedback(groups, lane) for lane in range(4)], -1).reshape(self.replicas, rows, -1)
        return matrix[:, :, :i.words * self.config.lanes] << self.config.mac_shift - 8

    # Rows of projections: shape (replicas, rows, words * lanes), those of a number (replica, row) or of many.

    def _block(self, memory: Array, base: int, rows: int, words: int) -> Array:
        """A view of the projection at `base`: of its rows, as many as the memory has room for."""
        rows = min(rows, (memory.shape[1] - base) // max(1, words))
        return memory[:, base:base + rows * words].reshape(self.replicas, rows, words * self.config.lanes)

    @staticmethod
    def _add_rows(totals: Array, replica: Array, terms: Array) -> None:
        """Add terms (rows, neurons) to the totals (replicas, neurons) of their replicas, which are in order."""
        if len(replica):
            first = np.flatnonzero(np.concatenate(([True], replica[1:] != replica[:-1])))
            totals[replica[first]] += np.add.reduceat(terms, first)

    def _scalars(self, i: Operation, replica: Array, values: Array, random: Array | int) -> Array:
        """The rows' scalars (rows, 1): values times the instruction's factor x / 2**shift."""
        x, shift = i.x[replica, 0, 0], i.shift[replica, 0, 0]
        scaled = ((values * x << RANDOM_BITS >> shift) + random) >> RANDOM_BITS
        return saturate(scaled, self.config.state_bits)[:, None]

    # Instructions; each method decodes one and returns what runs it.

    def _clear(self, i: Operation) -> Step:
        memory = self._state[:, i.a:i.a + i.rows]
        if i.flags & Flag.SPIKES:
            memory = self._spikes[:, i.c:i.c + i.rows]
        elif i.flags & Flag.SYNAPTIC:
            memory = self._eligibility[:, i.a:i.a + i.rows]

        def clear() -> None:
            memory[:] = 0
        return clear

    def _integrate(self, i: Operation) -> Step:
        shift, half, lanes = self.config.mac_shift, 1 << self.config.mac_shift - 1, self.config.lanes
        if i.flags & Flag.BY_TARGET:
            targets = _flat(self._accumulators[:, i.c:i.c + -(-i.rows // lanes)])[:, :i.rows]
            spikes = _flat(self._spikes[:, i.a:i.a + i.words])
            weights = (self._hashed(i, i.rows) if i.flags & Flag.HASHED else
                       self._block(self._weights, i.b, i.rows, i.words))

            def by_target() -> None:
                terms = weights * i.x
                terms += half
                terms >>= shift
                targets[:] += (terms @ spikes[:, :, None])[:, :, 0]
            return by_target

        sources = _flat(self._spikes[:, i.a:i.a + i.rows])
        totals = _flat(self._accumulators[:, i.c:i.c + i.words])
        block = self._block(self._weights, i.b, sources.shape[1], i.words)

        def by_source() -> None:
            active = sources.nonzero()
            terms = block[active] * i.x[active[0], 0]
            terms += half
            terms >>= shift
            self._add_rows(totals, active[0], terms)
        return by_source

    def _decay(self, leak: Array, stream: int, row: int, words: int) -> Callable[[Array], Array]:
        """What multiplies (replicas, words, lanes) by a decay D / 2**R, rounded stochastically; `leak` is D - 2**R.

        A decay of 1 or 0 rounds nothing, whatever the random number.
        """
        shift = self.config.decay_fraction
        if not leak.any():
            return lambda x: x
        if (leak == -1 << shift).all():
            return np.zeros_like
        numbers = self._numbers(stream, row, words)
        return lambda x: x + ((x * leak + align(numbers(), shift)) >> shift)

    def _trace(self, i: Operation) -> Step:
        bits = self.config.state_bits
        spikes = self._spikes[:, i.c:i.c + i.rows]
        decayed_p = self._decay(_signed(i.y), i.stream, 1 if i.flags & Flag.WIDE else 0, i.rows)

        def kept(old: Array, new: Array) -> Array:
            """A trace that has begun stays at least one unit."""
            return np.where((old != 0) & (new == 0), 1, new) if i.flags & Flag.SYNAPTIC else new

        if not i.flags & Flag.WIDE:
            p = self._state[:, i.a:i.a + i.rows]

            def single() -> None:
                p[:] = kept(p, saturate(decayed_p(p) + spikes * i.z, bits))
            return single

        q, p = self._pairs(i.a, i.rows)
        decayed_q = self._decay(_signed(i.x), i.stream, 0, i.rows)

        def double() -> None:
            p[:] = kept(p, saturate(decayed_p(p) + q, bits))
            q[:] = saturate(decayed_q(q) + spikes * i.z, bits)
        return double

    def _pairs(self, base: int, words: int) -> tuple[Array, Array]:
        """Views of the first and of the second words of pairs: of I and U, or of Q and P."""
        pairs = self._state[:, base:base + 2 * words].reshape(self.replicas, words, 2, self.config.lanes)
        return pairs[:, :, 0], pairs[:, :, 1]

    def _step(self, i: Operation) -> Step:
        bits, theta = self.config.state_bits, _signed(i.z)
        current, membrane = self._pairs(i.a, i.rows)
        decayed_current = self._decay(_signed(i.x), i.stream, 0, i.rows)
        decayed_membrane = self._decay(_signed(i.y), i.stream, 1, i.rows)
        spikes = self._spikes[:, i.c:i.c + i.rows]
        totals = self._accumulators[:, i.c:i.c + i.rows]
        leaky, to_zero = bool(i.flags & Flag.LEAKY), bool(i.flags & Flag.RESET_ZERO)
        limit = self._limit(i)

        def step() -> None:
            u = decayed_membrane(membrane)
            if not leaky:
                u = u * (1 - spikes) if to_zero else u - theta * spikes
            membrane[:] = saturate(u + current, bits)
            current[:] = saturate(decayed_current(current) + totals, bits)
            totals[:] = 0
            if not leaky:
                spikes[:] = membrane >= limit()
        return step

    def _limit(self, i: Operation) -> Callable[[], Array]:
        """What a membrane must reach for a spike: theta, or theta + B."""
        theta, bits = _signed(i.z), self.config.state_bits
        if not i.flags & Flag.ADAPTIVE:
            return lambda: theta
        rise = self._state[:, i.b:i.b + i.rows]
        return lambda: saturate(rise + theta, bits)

    def _error(self, i: Operation) -> Step:
        bits, fraction = self.config.state_bits, self.config.state_fraction
        words = -(-i.rows // self.config.lanes)
        membrane = self._pairs(i.a, words)[1]
        out = _flat(self._post[:, i.c:i.c + words])
        exps, reciprocals = np.array(EXP_TABLE), np.array(RECIPROCAL_TABLE)
        targets = self.memory[Space.TARGETS][:, :i.rows, 0]
        gain, height, dead_zone = i.x[:, 0], _signed(i.y)[:, 0, 0], i.z[:, 0]

        def error() -> None:
            u = _flat(membrane)[:, :i.rows]
            if i.flags & Flag.SOFTMAX:
                t = (np.minimum(u.max(1, keepdims=True) - u, (1 << bits - 1) - 1) * gain) >> fraction + 2
                exp = exps[t & 255] >> np.minimum(t >> 8, 31)
                total = exp.sum(1, keepdims=True)
                lead = np.frexp(total)[1].astype(np.int64) - 1          # floor(log2)
                reciprocal = reciprocals[total >> lead - 9 & 511]
                shift = 15 + lead - fraction
                e, one = -((exp * reciprocal + (1 << shift - 1)) >> shift), np.full(self.replicas, 1 << fraction)
            else:
                e, one = -u, height
            if i.flags & Flag.ANALOG:
                e += targets << fraction - VALUE_FRACTION
            else:
                given = np.flatnonzero(self._target < i.rows)
                e[given, self._target[given]] += one[given]
            e = saturate(e, bits)
            out[:] = 0
            out[:, :i.rows] = e * (np.abs(e) >= dead_zone)
        return error

    def _feedback(self, i: Operation) -> Step:
        shift, half = self.config.mac_shift, 1 << self.config.mac_shift - 1
        errors = _flat(self._post[:, i.a:i.a + i.rows])
        totals = _flat(self._accumulators[:, i.c:i.c + i.words])
        block = (self._hashed(i, errors.shape[1]) if i.flags & Flag.HASHED else
                 self._block(self._weights, i.b, errors.shape[1], i.words))

        def feedback() -> None:
            active = errors.nonzero()
            terms = block[active] * self._scalars(i, active[0], errors[active], _ROUND)
            self._add_rows(totals, active[0], (terms + half) >> shift)
        return feedback

    def _post_factor(self, i: Operation) -> Step:
        bits, lanes, factor = self.config.state_bits, self.config.lanes, _signed(i.x)
        membrane = self._pairs(i.a, i.rows)[1]
        totals = self._accumulators[:, i.c:i.c + i.rows]
        out, psis = self._post[:, i.c:i.c + i.rows], self._psi[:, i.c:i.c + i.rows]
        synaptic, limit, fraction = bool(i.flags & Flag.SYNAPTIC), self._limit(i), self.config.decay_fraction
        tables = _flat(self.memory[Space.SURROGATE])
        first = (int(i.flags) >> 4 & 3) * SURROGATE_ENTRIES + tables.shape[1] * np.arange(self.replicas)
        mask = np.ones((i.rows, lanes), dtype=np.int64)
        mask[-1, i.words:] = 0
        numbers = self._numbers(i.stream, 0, i.rows)

        def post_factor() -> None:
            entry = np.minimum(np.abs(membrane - limit()) >> i.shift, SURROGATE_ENTRIES - 1)
            psi = tables.reshape(-1)[first[:, None, None] + entry]
            signal = saturate(totals, bits)
            totals[:] = 0
            if synaptic:
                psis[:] = psi * mask
                out[:] = saturate((signal * factor + align(numbers(), fraction)) >> fraction, bits) * mask
            else:
                out[:] = saturate((signal * psi + align(numbers(), 7)) >> 7, bits) * mask
        return post_factor

    def _regulate(self, i: Operation) -> Step:
        shift, half = self.config.decay_fraction, 1 << self.config.decay_fraction - 1
        activity, totals = self._state[:, i.a:i.a + i.rows], self._accumulators[:, i.c:i.c + i.rows]
        cost, aim = _signed(i.x), _signed(i.z)

        def regulate() -> None:
            totals[:] += ((activity * cost + half) >> shift) + aim
        return regulate

    def _learn(self, i: Operation) -> Step:
        shift, bits, lanes = self.config.update_shift, self.config.weight_bits, self.config.lanes
        by_target, wide = bool(i.flags & Flag.BY_TARGET), bool(i.flags & Flag.WIDE)
        words = i.words if by_target else i.rows
        base = i.c if by_target else i.a
        traces = self._pairs(base, words)[1] if wide else self._state[:, base:base + words]
        if by_target:
            scalars, vector = self._post[:, i.a:i.a + i.rows], traces
        else:
            scalars, vector = traces, self._post[:, i.c:i.c + i.words]
        block = self._block(self._weights, i.b, i.rows * lanes, i.words)
        if i.flags & Flag.SYNAPTIC:
            return self._learn_synaptic(i, traces, block)

        def learn() -> None:
            live, values, hashes = self._live_rows(i, scalars)
            delta = _flat(vector)[live[0]] * self._scalars(i, live[0], values, hashes >> 16)
            delta += align(self._random(self._group_hash(hashes, i.words)), shift)[:, :i.words * lanes]
            delta >>= shift
            delta += block[live]
            block[live] = saturate(delta, bits)
        return learn

    def _live_rows(self, i: Operation, scalars: Array) -> tuple[tuple[Array, Array], Array, Array]:
        """Of the rows of a LEARN whose scalars are not zero: (replica, row), scalars and hashes."""
        values = _flat(scalars)
        replica, row = values.nonzero()
        hashes = row_hash(self._key[replica], i.stream, row.astype(np.uint32))
        return (replica, row), values[replica, row], hashes

    def _learn_synaptic(self, i: Operation, traces: Array, block: Array) -> Step:
        """Rows per source; a trace holds one unit more than it stands for, so that a row that has begun is live."""
        config, bits, width = self.config, self.config.state_bits, i.words * self.config.lanes
        one = config.decay_fraction
        leak, rise = _signed(i.y)[:, 0], _signed(i.z)[:, 0]
        psis, signals = (_flat(memory[:, i.c:i.c + i.words]) for memory in (self._psi, self._post))
        eligibility = self._block(self._eligibility, i.b, block.shape[1], i.words)

        def learn() -> None:
            live, values, hashes = self._live_rows(i, traces)
            replica, groups = live[0], self._group_hash(hashes, i.words)
            psi, signal = psis[replica], signals[replica]
            p = self._scalars(i, replica, values - (values > 0), hashes >> 16)
            old = eligibility[live]
            decayed = old * leak[replica] + align(self._random(groups << 4 | groups >> 28), one)[:, :width]
            if i.flags & Flag.ADAPTIVE:
                e = saturate((psi * saturate(p - old, bits) + 64) >> 7, bits)
                new = saturate(old + ((decayed + (e * rise[replica] << one - config.state_fraction)) >> one), bits)
            else:
                e = new = saturate(old + ((decayed + (psi * p << one - 7)) >> one), bits)
            eligibility[live] = new
            delta = signal * e + align(self._random(groups), config.update_shift)[:, :width]
            block[live] = saturate(block[live] + (delta >> config.update_shift), config.weight_bits)
        return learn

    def _send(self, i: Operation) -> Step:
        membrane = self._pairs(i.a, -(-i.rows // self.config.lanes))[1]
        spikes = self._spikes[:, i.c:i.c + i.rows]

        def send() -> None:
            kind = int(bool(i.flags & Flag.SPIKES))
            values = _flat(spikes) if kind else _flat(membrane)[:, :i.rows]
            for sent, own in zip(self._sent, values, strict=True):
                sent.append((i.stream, kind, own.copy()))
        return send
