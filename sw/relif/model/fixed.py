"""The fixed-point golden model: the specification of the core, bit for bit.

`FixedCore` runs tick programs on memory images, as the gateware does: after any tick every memory
of both is the same. It is vectorised over neurons and knows nothing of lanes' timing, skipping or
pipelines, which must be invisible. `docs/numerics.md` has the formulas in one table.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

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
    row_hash,
    tick_key,
)

from ..errors import BoardError

__all__ = ["FixedCore", "Sent", "align", "saturate"]

Sent = tuple[int, int, np.ndarray]
"""What one SEND made: population number, kind (0 values, 1 spikes), values."""

_ROUND = 1 << RANDOM_BITS - 1


def saturate(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Clamp to a two's complement number of `bits` bits."""
    return x.clamp(-(1 << bits - 1), (1 << bits - 1) - 1)


def align(random: torch.Tensor, shift: int) -> torch.Tensor:
    """The 16-bit random number as a fraction of `shift` bits, to be added before a right shift."""
    return random << shift - RANDOM_BITS if shift >= RANDOM_BITS else random >> RANDOM_BITS - shift


def _signed(field: int, bits: int = 18) -> int:
    field &= (1 << bits) - 1
    return field - ((field >> bits - 1) << bits)


class FixedCore:
    """A core of the given configuration, with zeroed memories.

    Memories are integer tensors of shape (words, elements), see `relif_hw.isa.space_shape`.
    """

    def __init__(self, config: CoreConfig) -> None:
        self.config = config
        self.memory = {
            space: torch.zeros(space_shape(config, space)[:2], dtype=torch.int64) for space in Space
        }
        self._weights = self.memory[Space.WEIGHTS]
        self._state = self.memory[Space.STATE]
        self._post = self.memory[Space.POST]
        self._accumulators = torch.zeros_like(self._post)
        self._spikes = self.memory[Space.SPIKES]
        self._eligibility = self.memory[Space.ELIGIBILITY]
        self._psi = torch.zeros_like(self._post)
        self._values = 0                # target values since the last tick
        self._target = self._key = 0
        self._sent: list[Sent] = []
        self._matrices: dict[tuple[int, int, int, int], torch.Tensor] = {}
        self._steps: list[tuple[int, Callable[[], None]]] | None = None
        groups = -(-max(config.neuron_words, 1024) * config.lanes // 4)
        self._group_steps = (torch.arange(groups) * GROUP_STEP) & HASH_MASK
        self._turns = torch.tensor([0, 8, 16, 24])
        self._run: dict[Opcode, Callable[[Instruction], Callable[[], None]]] = {
            Opcode.INTEGRATE: self._integrate, Opcode.TRACE: self._trace, Opcode.STEP: self._step,
            Opcode.ERROR: self._error, Opcode.FEEDBACK: self._feedback, Opcode.POST: self._post_factor,
            Opcode.LEARN: self._learn, Opcode.SEND: self._send, Opcode.CLEAR: self._clear,
            Opcode.REGULATE: self._regulate,
        }

    # What the host can do.

    def write(self, space: Space, address: int, values: np.ndarray) -> None:
        """Write whole words, `values` of shape (words, elements), from word `address` on."""
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
        self.memory[space][address:address + len(values)] = torch.from_numpy(values.copy())
        if space is Space.PROGRAM:
            self._steps = None

    def read(self, space: Space, address: int = 0, words: int | None = None) -> np.ndarray:
        """Read `words` whole words from word `address` on (default: all), shape (words, elements)."""
        depth = len(self.memory[space])
        words = depth - address if words is None else words
        if not 0 <= address <= address + words <= depth:
            raise BoardError(f"{space.name}: words {address} to {address + words - 1} are not within 0 to {depth - 1}")
        return self.memory[space][address:address + words].numpy().copy()

    def run(self, entries: np.ndarray) -> list[Sent]:
        """Take queue entries (16 bits each, `isa.event_entry`, `value_entry` and `tick_entry`), run the
        ticks among them, and return what SEND sent, in order."""
        spikes, targets = self._spikes.view(-1), self.memory[Space.TARGETS]
        self._sent = []
        for entry in np.asarray(entries).tolist():
            if entry & TICK_ENTRY:
                self.tick(TickFlag(entry >> 11 & 15), entry & 2047)
            elif entry & VALUE_ENTRY:
                if self._values < len(targets):
                    targets[self._values] = _signed(entry, VALUE_BITS)
                    self._values += 1
            elif entry < len(spikes):
                spikes[entry] = 1
        return self._sent

    def tick(self, flags: TickFlag, target: int = 0) -> None:
        """Run the tick program once."""
        if self._steps is None:
            self._steps = self._decode()
        registers = self.memory[Space.REGISTERS]
        self._key = tick_key(int(registers[Register.SEED]), int(registers[Register.TICK]))
        self._target = target
        absent = ~int(flags)
        for when, step in self._steps:
            if not when & absent:
                step()
        registers[Register.TICK] = registers[Register.TICK] + 1 & HASH_MASK
        self._values = 0

    def _decode(self) -> list[tuple[int, Callable[[], None]]]:
        steps = []
        for elements in self.memory[Space.PROGRAM].tolist():
            instruction = Instruction.decode(elements)
            if instruction.opcode is Opcode.END:
                break
            steps.append((int(instruction.when), self._run[instruction.opcode](instruction)))
        return steps

    # Random numbers: functions of (seed, tick, stream, row, neuron).

    def _group_hash(self, rows: torch.Tensor, words: int) -> torch.Tensor:
        """Hash of each group of four neurons, shape (rows, groups), of the rows' hashes."""
        return finish((rows[:, None] + self._group_steps[:-(-words * self.config.lanes // 4)]) & HASH_MASK)

    def _random(self, rows: torch.Tensor, words: int, turn: int = 0) -> torch.Tensor:
        """16-bit random numbers, shape (rows, words, lanes), of the rows' hashes; `turn` 4: others."""
        word, turns = self._group_hash(rows, words)[..., None], self._turns + turn
        random = ((word << turns | word >> 32 - turns) >> 16) & 0xFFFF
        return random.flatten(1)[:, :words * self.config.lanes].reshape(len(rows), words, self.config.lanes)

    def _row_hash(self, stream: int, rows: torch.Tensor) -> torch.Tensor:
        return row_hash(self._key, stream, rows)

    def _hashed(self, i: Instruction, rows: int) -> torch.Tensor:
        """Hashed weights as operands of the multiplier, shape (rows, words * lanes)."""
        seed = int(self.memory[Space.REGISTERS][Register.FEEDBACK_SEED])
        key = seed, i.stream, rows, i.words
        if key not in self._matrices:
            groups = self._group_hash(row_hash(tick_key(seed, 0), i.stream, torch.arange(rows)), i.words)
            matrix = torch.stack([lane_feedback(groups, lane) for lane in range(4)], -1)
            matrix = matrix.flatten(1)[:, :i.words * self.config.lanes]
            self._matrices[key] = matrix << self.config.mac_shift - 8
        return self._matrices[key]

    # Instructions; each method decodes one and returns what runs it.

    def _clear(self, i: Instruction) -> Callable[[], None]:
        memory = self._state[i.a:i.a + i.rows]
        if i.flags & Flag.SPIKES:
            memory = self._spikes[i.c:i.c + i.rows]
        elif i.flags & Flag.SYNAPTIC:
            memory = self._eligibility[i.a:i.a + i.rows]

        def clear() -> None:
            memory.zero_()
        return clear

    def _integrate(self, i: Instruction) -> Callable[[], None]:
        shift, half, lanes = self.config.mac_shift, 1 << self.config.mac_shift - 1, self.config.lanes
        if i.flags & Flag.HASHED:
            sums = self._accumulators[i.c:i.c + -(-i.rows // lanes)].view(-1)[:i.rows]
            active = self._spikes[i.a:i.a + i.words].view(-1)

            def hashed() -> None:
                sums.add_((((self._hashed(i, i.rows) * i.x + half) >> shift) * active).sum(1))
            return hashed

        if i.flags & Flag.BY_TARGET:
            targets = self._accumulators[i.c:i.c + -(-i.rows // lanes)].view(-1)[:i.rows]
            spikes = self._spikes[i.a:i.a + i.words]
            weights = self._weights[i.b:i.b + i.rows * i.words].view(i.rows, i.words, lanes)

            def by_target() -> None:
                targets.add_((((weights * i.x + half) >> shift) * spikes).sum((1, 2)))
            return by_target

        sources = self._spikes[i.a:i.a + i.rows].view(-1)
        totals = self._accumulators[i.c:i.c + i.words]
        within = torch.arange(i.words)

        def by_source() -> None:
            active = sources.nonzero()
            if len(active):
                rows = self._weights[i.b + active * i.words + within]
                totals.add_(((rows * i.x + half) >> shift).sum(0))
        return by_source

    def _decay(self, x: torch.Tensor, leak: int, stream: int, row: int) -> torch.Tensor:
        """x (words, lanes) times a decay D / 2**R, rounded stochastically; `leak` is D - 2**R.

        A decay of 1 or 0 rounds nothing, whatever the random number.
        """
        shift = self.config.decay_fraction
        if leak == 0:
            return x
        if leak == -1 << shift:
            return torch.zeros_like(x)
        random = self._random(torch.tensor([row_hash(self._key, stream, row)]), len(x))[0]
        return x + ((x * leak + align(random, shift)) >> shift)

    def _trace(self, i: Instruction) -> Callable[[], None]:
        bits, lanes, alpha, beta = self.config.state_bits, self.config.lanes, _signed(i.x), _signed(i.y)
        spikes = self._spikes[i.c:i.c + i.rows]
        keeps = int(bool(i.flags & Flag.SYNAPTIC))

        def kept(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
            """A trace that has begun stays at least one unit."""
            return torch.where((old != 0) & (new == 0), keeps, new)

        if not i.flags & Flag.WIDE:
            p = self._state[i.a:i.a + i.rows]

            def single() -> None:
                p.copy_(kept(p, saturate(self._decay(p, beta, i.stream, 0) + spikes * i.z, bits)))
            return single

        pairs = self._state[i.a:i.a + 2 * i.rows].view(i.rows, 2, lanes)
        q, p = pairs[:, 0], pairs[:, 1]

        def double() -> None:
            new_p = kept(p, saturate(self._decay(p, beta, i.stream, 1) + q, bits))
            q.copy_(saturate(self._decay(q, alpha, i.stream, 0) + spikes * i.z, bits))
            p.copy_(new_p)
        return double

    def _step(self, i: Instruction) -> Callable[[], None]:
        bits, lanes = self.config.state_bits, self.config.lanes
        alpha, beta, theta = _signed(i.x), _signed(i.y), _signed(i.z)
        pairs = self._state[i.a:i.a + 2 * i.rows].view(i.rows, 2, lanes)
        current, membrane = pairs[:, 0], pairs[:, 1]
        spikes = self._spikes[i.c:i.c + i.rows]
        totals = self._accumulators[i.c:i.c + i.rows]
        leaky, to_zero = bool(i.flags & Flag.LEAKY), bool(i.flags & Flag.RESET_ZERO)
        limit = self._limit(i)

        def step() -> None:
            u = self._decay(membrane, beta, i.stream, 1)
            if not leaky:
                u = u * (1 - spikes) if to_zero else u - theta * spikes
            u = saturate(u + current, bits)
            current.copy_(saturate(self._decay(current, alpha, i.stream, 0) + totals, bits))
            totals.zero_()
            membrane.copy_(u)
            if not leaky:
                spikes.copy_(u >= limit())
        return step

    def _limit(self, i: Instruction) -> Callable[[], torch.Tensor | int]:
        """What a membrane must reach for a spike: theta, or theta + B."""
        theta, bits = _signed(i.z), self.config.state_bits
        if not i.flags & Flag.ADAPTIVE:
            return lambda: theta
        rise = self._state[i.b:i.b + i.rows]
        return lambda: saturate(rise + theta, bits)

    def _error(self, i: Instruction) -> Callable[[], None]:
        bits, lanes, fraction = self.config.state_bits, self.config.lanes, self.config.state_fraction
        words = -(-i.rows // lanes)
        membrane = self._state[i.a:i.a + 2 * words].view(words, 2, lanes)[:, 1]
        out = self._post[i.c:i.c + words]
        exps, reciprocals = torch.tensor(EXP_TABLE), torch.tensor(RECIPROCAL_TABLE)
        targets = self.memory[Space.TARGETS][:i.rows, 0]

        def error() -> None:
            u = membrane.reshape(-1)[:i.rows]
            if i.flags & Flag.SOFTMAX:
                t = ((u.max() - u).clamp(max=(1 << bits - 1) - 1) * i.x) >> fraction + 2
                exp = exps[t & 255] >> (t >> 8).clamp(max=31)
                total = int(exp.sum())
                lead = total.bit_length() - 1
                reciprocal = reciprocals[total >> lead - 9 & 511]
                shift = 15 + lead - fraction
                e, one = -((exp * reciprocal + (1 << shift - 1)) >> shift), 1 << fraction
            else:
                e, one = -u, _signed(i.y)
            if i.flags & Flag.ANALOG:
                e += targets << fraction - VALUE_FRACTION
            elif self._target < i.rows:
                e[self._target] += one
            e = saturate(e, bits)
            out.zero_()
            out.view(-1)[:i.rows] = e * (e.abs() >= i.z)
        return error

    def _scalars(self, i: Instruction, values: torch.Tensor, random: torch.Tensor | int) -> torch.Tensor:
        """The rows' scalars: values times the instruction's factor x / 2**shift."""
        return saturate(((values * i.x << RANDOM_BITS >> i.shift) + random) >> RANDOM_BITS, self.config.state_bits)

    def _feedback(self, i: Instruction) -> Callable[[], None]:
        shift, half, lanes = self.config.mac_shift, 1 << self.config.mac_shift - 1, self.config.lanes
        errors = self._post[i.a:i.a + i.rows].view(-1)
        totals = self._accumulators[i.c:i.c + i.words]
        within = torch.arange(i.words)
        if i.flags & Flag.HASHED:
            def hashed() -> None:
                active = errors.nonzero()[:, 0]
                if len(active):
                    scalars = self._scalars(i, errors[active], _ROUND)[:, None]
                    terms = (self._hashed(i, len(errors))[active] * scalars + half) >> shift
                    totals.add_(terms.sum(0).view(i.words, lanes))
            return hashed

        def feedback() -> None:
            active = errors.nonzero()[:, 0]
            if not len(active):
                return
            scalars = self._scalars(i, errors[active], _ROUND)[:, None, None]
            operand = self._weights[i.b + active[:, None] * i.words + within]
            totals.add_(((operand * scalars + half) >> shift).sum(0))
        return feedback

    def _post_factor(self, i: Instruction) -> Callable[[], None]:
        bits, lanes, factor = self.config.state_bits, self.config.lanes, _signed(i.x)
        membrane = self._state[i.a:i.a + 2 * i.rows].view(i.rows, 2, lanes)[:, 1]
        totals = self._accumulators[i.c:i.c + i.rows]
        out, psis = self._post[i.c:i.c + i.rows], self._psi[i.c:i.c + i.rows]
        synaptic, limit, fraction = bool(i.flags & Flag.SYNAPTIC), self._limit(i), self.config.decay_fraction
        first = (int(i.flags) >> 4 & 3) * SURROGATE_ENTRIES
        table = self.memory[Space.SURROGATE][first:first + SURROGATE_ENTRIES, 0]
        mask = torch.ones((i.rows, lanes), dtype=torch.int64)
        mask[-1, i.words:] = 0

        def post_factor() -> None:
            random = self._random(torch.tensor([row_hash(self._key, i.stream, 0)]), i.rows)[0]
            psi = table[((membrane - limit()).abs() >> i.shift).clamp(max=SURROGATE_ENTRIES - 1)]
            signal = saturate(totals, bits)
            totals.zero_()
            if synaptic:
                psis.copy_(psi * mask)
                out.copy_(saturate((signal * factor + align(random, fraction)) >> fraction, bits) * mask)
            else:
                out.copy_(saturate((signal * psi + align(random, 7)) >> 7, bits) * mask)
        return post_factor

    def _regulate(self, i: Instruction) -> Callable[[], None]:
        shift, half = self.config.decay_fraction, 1 << self.config.decay_fraction - 1
        activity, totals = self._state[i.a:i.a + i.rows], self._accumulators[i.c:i.c + i.rows]
        cost, aim = _signed(i.x), _signed(i.z)

        def regulate() -> None:
            totals.add_(((activity * cost + half) >> shift) + aim)
        return regulate

    def _learn(self, i: Instruction) -> Callable[[], None]:
        shift, bits, lanes = self.config.update_shift, self.config.weight_bits, self.config.lanes
        by_target, wide = bool(i.flags & Flag.BY_TARGET), bool(i.flags & Flag.WIDE)
        words = i.words if by_target else i.rows
        base = i.c if by_target else i.a
        traces = self._state[base:base + words * (2 if wide else 1)]
        if wide:
            traces = traces.view(words, 2, lanes)[:, 1]
        if by_target:
            scalars, vector = self._post[i.a:i.a + i.rows], traces
        else:
            scalars, vector = traces, self._post[i.c:i.c + i.words]
        if i.flags & Flag.SYNAPTIC:
            return self._learn_synaptic(i, traces)

        def learn() -> None:
            values, hashes, address = self._live_rows(i, scalars)
            scalar = self._scalars(i, values, hashes >> 16)[:, None, None]
            random = self._random(hashes, i.words)
            delta = (vector * scalar + align(random, shift)) >> shift
            self._weights[address] = saturate(self._weights[address] + delta, bits)
        return learn

    def _live_rows(self, i: Instruction, scalars: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of the rows of a LEARN whose scalars are not zero: these, hashes, and addresses (rows, words)."""
        values = scalars.reshape(-1)
        active = values.nonzero()[:, 0]
        return values[active], self._row_hash(i.stream, active), i.b + active[:, None] * i.words + torch.arange(i.words)

    def _learn_synaptic(self, i: Instruction, traces: torch.Tensor) -> Callable[[], None]:
        """Rows per source; a trace holds one unit more than it stands for, so that a row that has begun is live."""
        config, bits = self.config, self.config.state_bits
        leak, rise, one = _signed(i.y), _signed(i.z), config.decay_fraction
        psi, signal = self._psi[i.c:i.c + i.words], self._post[i.c:i.c + i.words]

        def learn() -> None:
            values, hashes, address = self._live_rows(i, traces)
            p = self._scalars(i, values - (values > 0).long(), hashes >> 16)[:, None, None]
            old = self._eligibility[address]
            decayed = old * leak + align(self._random(hashes, i.words, 4), one)
            if i.flags & Flag.ADAPTIVE:
                e = saturate((psi * saturate(p - old, bits) + 64) >> 7, bits)
                new = saturate(old + ((decayed + (e * rise << one - config.state_fraction)) >> one), bits)
            else:
                e = new = saturate(old + ((decayed + (psi * p << one - 7)) >> one), bits)
            self._eligibility[address] = new
            delta = (signal * e + align(self._random(hashes, i.words), config.update_shift)) >> config.update_shift
            self._weights[address] = saturate(self._weights[address] + delta, config.weight_bits)
        return learn

    def _send(self, i: Instruction) -> Callable[[], None]:
        words = -(-i.rows // self.config.lanes)
        membrane = self._state[i.a:i.a + 2 * words].view(words, 2, self.config.lanes)[:, 1]
        spikes = self._spikes[i.c:i.c + i.rows]

        def send() -> None:
            if i.flags & Flag.SPIKES:
                self._sent.append((i.stream, 1, spikes.reshape(-1).numpy().copy()))
            else:
                self._sent.append((i.stream, 0, membrane.reshape(-1)[:i.rows].numpy().copy()))
        return send
