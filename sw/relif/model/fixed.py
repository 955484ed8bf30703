"""The fixed-point golden model: the specification of the core, bit for bit.

`FixedCore` runs tick programs on memory images, as the gateware does: after any tick every memory
of both is the same. It is vectorised over neurons and knows nothing of lanes' timing, skipping or
pipelines, which must be invisible. `docs/numerics.md` has the formulas in one table.

It may hold many cores of one configuration, *replicas*, which run the same program at once, each on memories
of its own: every tensor below has the replicas as its first axis. The program is decoded once, whenever it has
been written: each instruction becomes a function that works on views of the memories. Small tensors cost by the
operation, so these functions work in place where they can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

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
from .rows import Rows

__all__ = ["FixedCore", "Operation", "Replica", "Sent", "align", "saturate"]

Array = npt.NDArray[Any]
"""What the host gives and gets: integers of 64 bits."""

Sent = tuple[int, int, Array]
"""What one SEND made: population number, kind (0 values, 1 spikes), values."""

Step = Callable[[], None]
Integers = TypeVar("Integers", Array, Tensor)

_ROUND = 1 << RANDOM_BITS - 1
_LANES = torch.arange(4).reshape(4, 1, 1)
"""The lanes of a group, as an axis before rows and groups."""


def saturate(x: Tensor, bits: int, out: Tensor | None = None) -> Tensor:
    """Clamp to a two's complement number of `bits` bits."""
    return torch.clamp(x, -(1 << bits - 1), (1 << bits - 1) - 1, out=out)


def align(random: Tensor, shift: int) -> Tensor:
    """The 16-bit random number as a fraction of `shift` bits, to be added before a right shift."""
    return random << shift - RANDOM_BITS if shift >= RANDOM_BITS else random >> RANDOM_BITS - shift


def _signed(field: Integers, bits: int = 18) -> Integers:
    field = field & (1 << bits) - 1
    return field - ((field >> bits - 1) << bits)


def _flat(memory: Tensor) -> Tensor:
    """Neurons in one axis: (replicas, words, lanes) as (replicas, words * lanes), a view wherever there can be one."""
    return memory.flatten(1)


def _live(values: Tensor) -> Tensor:
    """Numbers of the values that are not zero, counted through all replicas."""
    return values.reshape(-1).nonzero().squeeze(1)


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
    shift: Tensor
    """Constants as in the instruction, without a sign: (replicas, 1, 1)."""
    x: Tensor
    y: Tensor
    z: Tensor

    @classmethod
    def decode(cls, words: Tensor) -> Operation:
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
            fields[name] = torch.tensor([getattr(instruction, name) for instruction in every]).reshape(-1, 1, 1)
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
    memory : dict of Space to tensor
        64-bit integers of shape (replicas, words, elements), see `relif_hw.isa.space_shape`. To be changed by `write`.
    """

    def __init__(self, config: CoreConfig, replicas: int = 1) -> None:
        if replicas < 1:
            raise BoardError(f"a core has at least 1 replica, not {replicas}")
        self.config, self.replicas = config, replicas
        self.memory = {space: torch.zeros((replicas, *space_shape(config, space)[:2]), dtype=torch.int64)
                       for space in Space}
        self._weights = self.memory[Space.WEIGHTS]
        self._state = self.memory[Space.STATE]
        self._post = self.memory[Space.POST]
        self._accumulators = torch.zeros_like(self._post)
        self._spikes = self.memory[Space.SPIKES]
        self._eligibility = self.memory[Space.ELIGIBILITY]
        self._psi = torch.zeros_like(self._post)
        self._values = [0] * replicas           # target values since the last tick
        self._events = self._spikes.numpy().reshape(replicas, -1)           # as `_arrive` writes them
        self._targets = self.memory[Space.TARGETS].numpy()[:, :, 0]
        self._registers = self.memory[Space.REGISTERS][:, :, 0]
        self._ticks = self._registers[:, Register.TICK]
        self._target: int | Array = 0
        self._keys = [0] * replicas             # of the tick's random numbers
        self._sent: list[list[Sent]] = []
        self._steps: list[tuple[int, int, Step]] | None = None
        groups = -(-max(config.neuron_words, 1024) * config.lanes // 4)
        self._group_steps = torch.arange(groups) * GROUP_STEP & HASH_MASK
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
        self.memory[space][chosen, address:address + len(values)] = torch.from_numpy(values.copy())
        if space in (Space.PROGRAM, Space.REGISTERS):
            self._steps = None

    def read(self, space: Space, address: int = 0, words: int | None = None, replica: int = 0) -> Array:
        """Read `words` whole words from word `address` on (default: all) of one replica: (words, elements)."""
        depth = self.memory[space].shape[1]
        words = depth - address if words is None else words
        if not 0 <= address <= address + words <= depth:
            raise BoardError(f"{space.name}: words {address} to {address + words - 1} are not within 0 to {depth - 1}")
        return self.memory[space][self._number(replica), address:address + words].numpy().copy()

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
        spikes, targets = self._events[replica], self._targets[replica]
        spikes[entries[entries < min(len(spikes), VALUE_ENTRY)]] = 1
        values = entries[entries >= VALUE_ENTRY][:len(targets) - self._values[replica]]
        if len(values):
            targets[self._values[replica]:self._values[replica] + len(values)] = _signed(values, VALUE_BITS)
            self._values[replica] += len(values)

    def tick(self, flags: TickFlag, target: int | Array = 0) -> None:
        """Run the tick program once; `target` is a class, for all replicas or for each (replicas,)."""
        with torch.inference_mode():
            if self._steps is None:
                self._steps = self._decode()
            self._keys = [tick_key(one[Register.SEED], one[Register.TICK]) for one in self._registers.tolist()]
            self._target = target
            self._draw()
            absent = ~int(flags)
            for when, unless, step in self._steps:
                if not when & absent and not unless & flags:
                    step()
            self._ticks.add_(1).bitwise_and_(HASH_MASK)
        self._values = [0] * self.replicas

    def _decode(self) -> list[tuple[int, int, Step]]:
        """Plan the tick: of each instruction, with all of which flags and with none of which it runs, and what does."""
        steps = []
        self._drawn: list[tuple[int, int, int]] = []
        for words in self.memory[Space.PROGRAM].unbind(1):
            operation = Operation.decode(words)
            if operation.opcode is Opcode.END:
                break
            early = operation.opcode is Opcode.STEP and Flag.UNTARGETED in operation.flags
            steps.append((int(operation.when), int(TickFlag.TARGET) if early else 0,
                          self._plan[operation.opcode](operation)))
        self._plan_numbers()
        return steps

    # Random numbers: functions of (seed, tick, stream, row, neuron).

    def _groups(self, words: int) -> int:
        """Groups of four neurons, which share a hash, in so many words."""
        return -(-words * self.config.lanes // 4)

    def _group_hash(self, rows: Tensor, words: int) -> Tensor:
        """Hash of each group of four neurons, shape (rows, groups), of the rows' hashes."""
        return finish(rows[:, None] + self._group_steps[:self._groups(words)] & HASH_MASK)

    @staticmethod
    def _random(groups: Tensor) -> Tensor:
        """16-bit random numbers of the neurons, shape (rows, 4 * groups), of the groups' hashes (rows, groups)."""
        return lane_random(groups, _LANES).permute(1, 2, 0).flatten(1)

    def _numbers(self, stream: int, row: int, words: int) -> Callable[[], Tensor]:
        """While the tick is planned: what gives the numbers of that row in each tick, (replicas, words, lanes)."""
        self._drawn.append((stream, row, words))
        number = len(self._drawn) - 1
        return lambda: self._views[number]

    def _plan_numbers(self) -> None:
        """All rows that `_numbers` was asked for are drawn at once, into one tensor with a view for each."""
        groups = [self._groups(words) for *_, words in self._drawn]
        self._row_of_group = torch.tensor([row for row, count in enumerate(groups) for _ in range(count)],
                                          dtype=torch.int64)
        self._step_of_group = torch.cat([self._group_steps[:count] for count in (0, *groups)])
        numbers = torch.zeros((self.replicas, sum(groups), 4), dtype=torch.int64)
        self._drawn_numbers = numbers.permute(2, 0, 1)
        lanes, ends = self.config.lanes, accumulate(groups)
        self._views = [numbers[:, end - count:end].flatten(1)[:, :words * lanes].view(self.replicas, words, lanes)
                       for end, count, (*_, words) in zip(ends, groups, self._drawn, strict=True)]

    def _draw(self) -> None:
        rows = torch.tensor([[row_hash(key, stream, row) for stream, row, _ in self._drawn] for key in self._keys],
                            dtype=torch.int64)
        groups = rows.index_select(1, self._row_of_group) + self._step_of_group
        self._drawn_numbers.copy_(lane_random(finish(groups & HASH_MASK), _LANES))

    def _row_hashes(self, i: Operation) -> Tensor:
        """Hashes of the rows of a LEARN, one for each lane of its scalars' words: (replicas, words, lanes)."""
        rows = torch.arange(i.rows * self.config.lanes).view(i.rows, self.config.lanes)
        return row_hash(torch.tensor(self._keys).reshape(-1, 1, 1), i.stream, rows)

    def _hashed(self, i: Operation, rows: int) -> Tensor:
        """Hashed weights as operands of the multiplier, shape (replicas, rows * words, lanes) as in a memory."""
        seeds = self._registers[:, Register.FEEDBACK_SEED].tolist()
        keys = torch.tensor([[tick_key(seed, 0)] for seed in seeds])
        groups = self._group_hash(row_hash(keys, i.stream, torch.arange(rows)).flatten(), i.words)
        matrix = torch.stack([lane_feedback(groups, lane) for lane in range(4)], -1).flatten(1)
        matrix = matrix[:, :i.words * self.config.lanes] << self.config.mac_shift - 8
        return matrix.reshape(self.replicas, rows * i.words, self.config.lanes)

    def _scalars(self, i: Operation, values: Tensor, random: Tensor | int) -> Tensor:
        """The rows' scalars (replicas, words, lanes): values times the instruction's factor x / 2**shift."""
        scaled = values * i.x
        scaled <<= RANDOM_BITS
        scaled >>= i.shift
        scaled += random
        scaled >>= RANDOM_BITS
        return saturate(scaled, self.config.state_bits)

    # Instructions; each method decodes one and returns what runs it.

    def _clear(self, i: Operation) -> Step:
        memory = self._state[:, i.a:i.a + i.rows]
        if i.flags & Flag.SPIKES:
            memory = self._spikes[:, i.c:i.c + i.rows]
        elif i.flags & Flag.SYNAPTIC:
            memory = self._eligibility[:, i.a:i.a + i.rows]

        def clear() -> None:
            memory.zero_()
        return clear

    def _integrate(self, i: Operation) -> Step:
        shift, half, lanes = self.config.mac_shift, 1 << self.config.mac_shift - 1, self.config.lanes
        if i.flags & Flag.BY_TARGET:
            targets = _flat(self._accumulators[:, i.c:i.c + -(-i.rows // lanes)])[:, :i.rows]
            spikes = _flat(self._spikes[:, i.a:i.a + i.words])[:, None]
            weights = (self._hashed(i, i.rows) if i.flags & Flag.HASHED else
                       self._weights[:, i.b:i.b + i.rows * i.words])
            block = _flat(weights).view(self.replicas, i.rows, i.words * lanes)

            def by_target() -> None:
                terms = block * i.x
                terms += half
                terms >>= shift
                terms *= spikes
                targets.add_(terms.sum(2))
            return by_target

        sources = _flat(self._spikes[:, i.a:i.a + i.rows])
        totals = _flat(self._accumulators[:, i.c:i.c + i.words])
        rows, x = Rows(self._weights, i.b, sources.shape[1], i.words), i.x[:, 0]

        def by_source() -> None:
            active = _live(sources)
            terms = rows.take(active)
            terms *= rows.own(x, active)
            terms += half
            terms >>= shift
            rows.add_up(totals, active, terms)
        return by_source

    def _decay(self, leak: Tensor, stream: int, row: int, words: int) -> Callable[[Tensor], Tensor]:
        """What multiplies (replicas, words, lanes) by a decay D / 2**R, rounded stochastically; `leak` is D - 2**R.

        A decay of 1 or 0 rounds nothing, whatever the random number. The product is not to be changed: it may be
        what was given, or a zero that stands for all.
        """
        shift = self.config.decay_fraction
        if not leak.any():
            return lambda x: x
        if (leak == -1 << shift).all():
            zero = torch.zeros_like(leak)
            return lambda x: zero
        numbers = self._numbers(stream, row, words)

        def decayed(x: Tensor) -> Tensor:
            change = torch.addcmul(align(numbers(), shift), x, leak)
            change >>= shift
            change += x
            return change
        return decayed

    def _trace(self, i: Operation) -> Step:
        bits, synaptic = self.config.state_bits, bool(i.flags & Flag.SYNAPTIC)
        spikes = self._spikes[:, i.c:i.c + i.rows]
        decayed_p = self._decay(_signed(i.y), i.stream, 1 if i.flags & Flag.WIDE else 0, i.rows)

        def store(p: Tensor, new: Tensor) -> None:
            """Saturate; a SYNAPTIC trace that has begun stays at least one unit."""
            if synaptic:
                new = torch.where((p != 0) & (new == 0), 1, new)
            saturate(new, bits, out=p)

        if not i.flags & Flag.WIDE:
            p = self._state[:, i.a:i.a + i.rows]

            def single() -> None:
                store(p, torch.addcmul(decayed_p(p), spikes, i.z))
            return single

        q, p = self._pairs(i.a, i.rows)
        decayed_q = self._decay(_signed(i.x), i.stream, 0, i.rows)

        def double() -> None:
            store(p, decayed_p(p) + q)
            saturate(torch.addcmul(decayed_q(q), spikes, i.z), bits, out=q)
        return double

    def _pairs(self, base: int, words: int) -> tuple[Tensor, Tensor]:
        """Views of the first and of the second words of pairs: of I and U, or of Q and P."""
        pairs = self._state[:, base:base + 2 * words].view(self.replicas, words, 2, self.config.lanes)
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
                u = u * (1 - spikes) if to_zero else torch.addcmul(u, theta, spikes, value=-1)
            saturate(u + current, bits, out=membrane)
            saturate(decayed_current(current) + totals, bits, out=current)
            totals.zero_()
            if not leaky:
                torch.ge(membrane, limit(), out=spikes)
        return step

    def _limit(self, i: Operation) -> Callable[[], Tensor]:
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
        errors = out[:, :i.rows]
        exps, reciprocals, classes = torch.tensor(EXP_TABLE), torch.tensor(RECIPROCAL_TABLE), torch.arange(i.rows)
        targets = self.memory[Space.TARGETS][:, :i.rows, 0]
        gain, height, dead_zone = i.x[:, 0], _signed(i.y)[:, 0], i.z[:, 0]
        unit = torch.tensor(1 << fraction)
        softmax, analog = bool(i.flags & Flag.SOFTMAX), bool(i.flags & Flag.ANALOG)

        def error() -> None:
            u = _flat(membrane)[:, :i.rows]
            if softmax:
                t = ((u.amax(1, keepdim=True) - u).clamp_(max=(1 << bits - 1) - 1) * gain) >> fraction + 2
                exp = exps.take(t & 255) >> (t >> 8).clamp_(max=31)
                total = exp.sum(1, keepdim=True)
                lead = torch.frexp(total.double()).exponent.long() - 1          # floor(log2)
                reciprocal = reciprocals.take(total >> lead - 9 & 511)
                shift = 15 + lead - fraction
                e, one = -((exp * reciprocal + (1 << shift - 1)) >> shift), unit
            else:
                e, one = -u, height
            if analog:
                e += targets << fraction - VALUE_FRACTION
            else:
                e += (classes == torch.as_tensor(self._target).reshape(-1, 1)) * one
            e = saturate(e, bits)
            out.zero_()
            torch.mul(e, e.abs() >= dead_zone, out=errors)
        return error

    def _feedback(self, i: Operation) -> Step:
        shift, half = self.config.mac_shift, 1 << self.config.mac_shift - 1
        errors, size = self._post[:, i.a:i.a + i.rows], i.rows * self.config.lanes
        totals = _flat(self._accumulators[:, i.c:i.c + i.words])
        rows = (Rows(self._hashed(i, size), 0, size, i.words) if i.flags & Flag.HASHED else
                Rows(self._weights, i.b, size, i.words))

        def feedback() -> None:
            scalars = self._scalars(i, errors, _ROUND)
            live = _live(scalars)
            terms = rows.take(live)
            terms *= scalars.take(live)[:, None]
            terms += half
            terms >>= shift
            rows.add_up(totals, live, terms)
        return feedback

    def _post_factor(self, i: Operation) -> Step:
        bits, lanes, factor = self.config.state_bits, self.config.lanes, _signed(i.x)
        membrane = self._pairs(i.a, i.rows)[1]
        totals = self._accumulators[:, i.c:i.c + i.rows]
        out, psis = self._post[:, i.c:i.c + i.rows], self._psi[:, i.c:i.c + i.rows]
        synaptic, limit, fraction = bool(i.flags & Flag.SYNAPTIC), self._limit(i), self.config.decay_fraction
        tables = self.memory[Space.SURROGATE]
        first = (int(i.flags) >> 4 & 3) * SURROGATE_ENTRIES + tables[0].numel() * torch.arange(self.replicas)
        first = first.reshape(-1, 1, 1)
        mask = torch.ones((i.rows, lanes), dtype=torch.int64)
        mask[-1, i.words:] = 0
        numbers = self._numbers(i.stream, 0, i.rows)

        def post_factor() -> None:
            entry = (membrane - limit()).abs_()
            entry >>= i.shift
            psi = tables.take(entry.clamp_(max=SURROGATE_ENTRIES - 1) + first)
            signal = saturate(totals, bits)
            totals.zero_()
            if synaptic:
                torch.mul(psi, mask, out=psis)
                factors = torch.addcmul(align(numbers(), fraction), signal, factor) >> fraction
            else:
                factors = torch.addcmul(align(numbers(), 7), signal, psi) >> 7
            torch.mul(saturate(factors, bits), mask, out=out)
        return post_factor

    def _regulate(self, i: Operation) -> Step:
        shift, half = self.config.decay_fraction, 1 << self.config.decay_fraction - 1
        activity, totals = self._state[:, i.a:i.a + i.rows], self._accumulators[:, i.c:i.c + i.rows]
        cost, aim = _signed(i.x), _signed(i.z)

        def regulate() -> None:
            totals.add_(((activity * cost + half) >> shift) + aim)
        return regulate

    def _learn(self, i: Operation) -> Step:
        shift, bits, lanes = self.config.update_shift, self.config.weight_bits, self.config.lanes
        by_target, wide = bool(i.flags & Flag.BY_TARGET), bool(i.flags & Flag.WIDE)
        words = i.words if by_target else i.rows
        base = i.c if by_target else i.a
        traces = self._pairs(base, words)[1] if wide else self._state[:, base:base + words]
        if by_target:
            values, vector = self._post[:, i.a:i.a + i.rows], traces
        else:
            values, vector = traces, self._post[:, i.c:i.c + i.words]
        rows = Rows(self._weights, i.b, i.rows * lanes, i.words)
        if i.flags & Flag.SYNAPTIC:
            return self._learn_synaptic(i, traces, rows)

        def learn() -> None:
            hashes = self._row_hashes(i)
            scalars = self._scalars(i, values, hashes >> 16)
            live = _live(scalars)
            random = self._random(self._group_hash(hashes.take(live), i.words))[:, :i.words * lanes]
            delta = torch.addcmul(align(random, shift), rows.own(_flat(vector), live), scalars.take(live)[:, None])
            delta >>= shift
            delta += rows.take(live)
            rows.put(live, saturate(delta, bits))
        return learn

    def _learn_synaptic(self, i: Operation, traces: Tensor, rows: Rows) -> Step:
        """Rows per source; a trace holds one unit more than it stands for, so that a row that has begun is live."""
        config, bits, width = self.config, self.config.state_bits, i.words * self.config.lanes
        one = config.decay_fraction
        leak, rise, adaptive = _signed(i.y)[:, 0], _signed(i.z)[:, 0], bool(i.flags & Flag.ADAPTIVE)
        psis, signals = (_flat(memory[:, i.c:i.c + i.words]) for memory in (self._psi, self._post))
        eligibility = Rows(self._eligibility, i.b, i.rows * config.lanes, i.words)

        def learn() -> None:
            live, hashes = _live(traces), self._row_hashes(i)
            groups = self._group_hash(hashes.take(live), i.words)
            psi, signal = rows.own(psis, live), rows.own(signals, live)
            p = self._scalars(i, traces - (traces > 0).long(), hashes >> 16).take(live)[:, None]
            old = eligibility.take(live)
            others = self._random((groups << 4 | groups >> 28) & HASH_MASK)[:, :width]
            decayed = torch.addcmul(align(others, one), old, rows.own(leak, live))
            if adaptive:
                e = saturate((psi * saturate(p - old, bits) + 64) >> 7, bits)
                risen = e * rows.own(rise, live) << one - config.state_fraction
                new = saturate(old + ((decayed + risen) >> one), bits)
            else:
                e = new = saturate(old + ((decayed + (psi * p << one - 7)) >> one), bits)
            eligibility.put(live, new)
            delta = torch.addcmul(align(self._random(groups)[:, :width], config.update_shift), signal, e)
            delta >>= config.update_shift
            delta += rows.take(live)
            rows.put(live, saturate(delta, config.weight_bits))
        return learn

    def _send(self, i: Operation) -> Step:
        membrane = self._pairs(i.a, -(-i.rows // self.config.lanes))[1]
        spikes = self._spikes[:, i.c:i.c + i.rows]

        def send() -> None:
            kind = int(bool(i.flags & Flag.SPIKES))
            values = _flat(spikes) if kind else _flat(membrane)[:, :i.rows]
            for sent, own in zip(self._sent, values.numpy(), strict=True):
                sent.append((i.stream, kind, own.copy()))
        return send
