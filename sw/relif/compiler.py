"""The compiler: from the description of a network to a tick program and memory images.

What does not fit the core is refused with one `CompileError`, which says what, by how much, and which
preset would hold it. The program's order and fences are those of `docs/design.md`, section 2.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from relif_hw.config import PRESETS, CoreConfig
from relif_hw.isa import FIELDS, Flag, Instruction, Opcode, Register, Space, TickFlag

from .errors import CompileError, NetworkError
from .layout import Layout, Place, Stored, plan, scaled
from .network import Network, Population, check_weights, decay
from .rules import EProp, feedback_seed

__all__ = ["Compiled", "compile"]

IntArray = npt.NDArray[np.int64]
NONE, RESET, TRAIN, TARGET, SEND = (
    TickFlag(0), TickFlag.RESET, TickFlag.TRAIN, TickFlag.TARGET, TickFlag.SEND)


class Memories(Protocol):
    """Whatever has memories to write: a board, or a `FixedCore`."""

    def write(self, space: Space, address: int, values: IntArray) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """A network for a core: what is written to it, and where everything is.

    Parameters
    ----------
    network : Network
    config : CoreConfig
    program : list of Instruction
    layout : Layout
        Places of populations, projections and traces; `notes` for the user.
    learns : dict of int to Stored
        The projection of each LEARN instruction whose scalars have the learning rate, by its address in the program.
    posts : dict of int to Stored
        A projection into the population of each POST instruction that has the learning rate (with eligibility
        traces of single synapses), by its address.
    """

    network: Network
    config: CoreConfig
    program: list[Instruction]
    layout: Layout
    learns: dict[int, Stored]
    posts: dict[int, Stored]

    # Images.

    @property
    def notes(self) -> list[str]:
        """What is worth knowing of the layout, in words."""
        return self.layout.notes

    @property
    def images(self) -> dict[Space, IntArray]:
        """What every memory starts with, shape (words, elements), from word 0 on, as far as it is used."""
        layout, lanes = self.layout, self.config.lanes
        tables, _ = surrogate_tables(self.network, self.config)
        registers = np.zeros((len(Register), 1), dtype=np.int64)
        registers[Register.SEED] = self.network.seed
        registers[Register.FEEDBACK_SEED] = feedback_seed(self.network.seed)
        weights = np.zeros((layout.weight_words, lanes), dtype=np.int64)
        for name, projection in self.network.projections.items():
            if projection.hashed:
                continue
            self.put_weights(weights, name, self.to_integers(name, self.network.initial_weights(projection)))
        return {
            Space.REGISTERS: registers,
            Space.PROGRAM: np.array([i.encode() for i in self.program], dtype=np.int64),
            Space.WEIGHTS: weights,
            Space.STATE: np.zeros((layout.state_words, lanes), dtype=np.int64),
            Space.POST: np.zeros((layout.neuron_words, lanes), dtype=np.int64),
            Space.SPIKES: np.zeros((layout.neuron_words, lanes), dtype=np.int64),
            Space.SURROGATE: np.array(sum(tables, []), dtype=np.int64).reshape(-1, 1),
            Space.TARGETS: np.zeros((self.config.max_outputs, 1), dtype=np.int64),
            Space.ELIGIBILITY: np.zeros((layout.eligibility_words, lanes), dtype=np.int64),
        }

    def load(self, board: Memories) -> None:
        """Write everything: the network at its start, tick 0."""
        for space, image in self.images.items():
            if len(image):
                board.write(space, 0, image)

    # Events.

    def base(self, population: Population | str) -> int:
        """Event address of neuron 0 of a population; neuron i has this plus i."""
        return self._place(population).base * self.config.lanes

    def event_address(self, population: Population | str, neuron: int) -> int:
        """Event address of a neuron of an input population; `NetworkError` for any other."""
        place = self._place(population)
        if place.population.kind != "input":
            raise NetworkError(f"{place.population.name!r} is no input: it takes no events")
        if not 0 <= neuron < place.population.size:
            raise NetworkError(f"input {place.population.name!r} has neurons 0 to "
                               f"{place.population.size - 1}, not {neuron}")
        return place.base * self.config.lanes + neuron

    def population_number(self, population: Population | str) -> int:
        """The `stream` of a population's results."""
        return list(self.network.populations).index(self._place(population).population.name)

    def _place(self, population: Population | str) -> Place:
        name = population if isinstance(population, str) else population.name
        if name not in self.layout.places:
            raise NetworkError(f"{name!r} is no population of this network; "
                               f"there are {', '.join(self.layout.places)}")
        return self.layout.places[name]

    # Weights.

    def _stored(self, name: str) -> Stored:
        if name not in self.layout.stored:
            raise NetworkError(f"{name!r} is no projection of this network; "
                               f"there are {', '.join(self.layout.stored) or 'none'}")
        return self.layout.stored[name]

    def lsb(self, name: str) -> float:
        """The weight that integer 1 of a projection stands for."""
        return 2.0 ** -self._stored(name).exponent

    def to_integers(self, name: str, weights: npt.ArrayLike) -> IntArray:
        """Weights (pre, post) as the core's integers, to nearest; the range's upper end becomes the
        largest integer. `NetworkError` for NaN, infinity or what is out of range."""
        projection = self._stored(name).projection
        array = check_weights(f"projection {name}", weights, projection.pre.size, projection.post.size,
                              projection.range)
        top = (1 << self.config.weight_bits - 1) - 1
        return np.clip(np.rint(array / self.lsb(name)), -top - 1, top).astype(np.int64)

    def to_floats(self, name: str, integers: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The inverse of `to_integers`, exact."""
        return np.asarray(integers, dtype=np.float64) * self.lsb(name)

    def put_weights(self, image: IntArray, name: str, integers: npt.ArrayLike) -> None:
        """Put a projection's integers (pre, post) into an image of the synapse memory."""
        stored = self._stored(name)
        array = np.asarray(integers)
        top = (1 << self.config.weight_bits - 1) - 1
        check_weights(f"projection {name}, in integers", array, stored.pre.population.size,
                      stored.post.population.size, top + 1)
        if array.dtype.kind not in "iu" or (array.size and array.max() > top):
            raise NetworkError(f"projection {name}: weights must be integers from {-top - 1} to {top}")
        block = np.zeros((stored.rows, stored.row_words * self.config.lanes), dtype=np.int64)
        rows = array.T if stored.by_target else array
        block[:, :rows.shape[1]] = rows
        words = stored.rows * stored.row_words
        image[stored.base:stored.base + words] = block.reshape(words, self.config.lanes)

    def take_weights(self, image: IntArray) -> dict[str, IntArray]:
        """The integers (pre, post) of every projection, from an image of the synapse memory."""
        weights = {}
        for name, stored in self.layout.stored.items():
            if stored.projection.hashed:
                continue
            words = stored.rows * stored.row_words
            block = image[stored.base:stored.base + words].reshape(stored.rows, -1)
            length = (stored.pre if stored.by_target else stored.post).population.size
            rows = block[:, :length]
            weights[name] = np.ascontiguousarray(rows.T if stored.by_target else rows)
        return weights

    # Learning rate.

    def rate_instructions(self, rate: float) -> dict[int, Instruction]:
        """The instructions that change for another learning rate, by their addresses in the program."""
        assert self.network.rule is not None
        EProp(rate=rate)      # refuses what is no rate
        changed = {}
        for address, stored in self.learns.items():
            factor = learn_factor(stored, rate, self.config)
            if factor is None:
                raise CompileError(_rate_too_large(stored, rate))
            changed[address] = dataclasses.replace(self.program[address], x=factor[0], shift=factor[1])
        for address, stored in self.posts.items():
            x = signal_factor(stored, rate, self.config)
            if x is None:
                raise CompileError(_rate_too_large(stored, rate))
            changed[address] = dataclasses.replace(self.program[address], x=x)
        return changed

    def write_rate(self, board: Memories, rate: float) -> None:
        """Set the learning rate of a board, for everything that is submitted later."""
        for address, instruction in self.rate_instructions(rate).items():
            board.write(Space.PROGRAM, address, np.array([instruction.encode()], dtype=np.int64))


def compile(network: Network, config: CoreConfig, *,
            send: Sequence[Population | str] | None = None) -> Compiled:
    """Compile a network for a core.

    Parameters
    ----------
    send : populations, optional
        What a tick with the flag SEND reports, in this order: membranes of readouts, spikes of the
        others. Default: all readouts but those of local errors.

    Raises `CompileError` if the network does not fit.
    """
    network.require_learnable()
    if send is None:
        local = network.error_populations()[1:] if network.rule else []
        send = [p for p in network.populations.values() if p.kind == "readout" and p not in local]
    names = [p if isinstance(p, str) else p.name for p in send]
    for name in names:
        if name not in network.populations:
            raise NetworkError(f"{name!r} is no population of this network; "
                               f"there are {', '.join(network.populations)}")
    compiled, problems = _build(network, config, names)
    if not problems:
        return compiled
    fits = next((p.name for p in PRESETS.values() if not _build(network, p, names)[1]), None)
    advice = (f"preset {fits!r} would hold it" if fits else
              "no preset would hold it, a configuration of its own may (--config)")
    raise CompileError(f"the network does not fit core {config.name!r}: {'; '.join(problems)}; {advice}")


def surrogate_tables(network: Network, config: CoreConfig) -> tuple[list[list[int]], dict[str, int]]:
    """The different tables that the learning populations need, and the number of each one's."""
    tables: list[list[int]] = []
    number = {}
    for population in network.learning_populations():
        table = population.surrogate.table(config.state_fraction).tolist()
        if table not in tables:
            tables.append(table)
        number[population.name] = tables.index(table)
    return tables, number


def signal_factor(stored: Stored, rate: float, config: CoreConfig) -> int | None:
    """Factor of the learning signal in POST, eta 2^(K + E - F + R) / unit, of a projection into its population."""
    power = config.update_shift + stored.exponent - config.state_fraction + config.decay_fraction
    x = round(rate * stored.projection.rate * 2.0**power / stored.unit) if stored.unit else 0
    return x if x < 1 << config.decay_fraction else None


def learn_factor(stored: Stored, rate: float, config: CoreConfig) -> tuple[int, int] | None:
    """Mantissa and shift of LEARN, see `docs/numerics.md`: eta 2^(K + E - F) / one.

    With eligibility traces of single synapses: unit / one.
    """
    if stored.trace is not None and stored.trace.keeps:
        return scaled(stored.unit / stored.trace.one, config.state_bits)
    eta = rate * stored.projection.rate
    one = 1 if stored.trace is None else stored.trace.one
    power = config.update_shift + stored.exponent - config.state_fraction
    return scaled(eta * 2.0**power / one, config.state_bits)


def _rate_too_large(stored: Stored, rate: float) -> str:
    return (f"a learning rate of {rate * stored.projection.rate:g} is too large for projection "
            f"{stored.projection.name}: take a smaller one, or a larger range")


def _build(network: Network, config: CoreConfig, send: list[str]) -> tuple[Compiled, list[str]]:
    """The network compiled for a core, and what does not fit it (then the rest is of no use)."""
    layout = plan(network, config)
    problems = list(layout.problems)
    tables, _ = surrogate_tables(network, config)
    if len(tables) > config.surrogates:
        problems.append(f"{len(tables)} different surrogates are needed, but the core has tables for "
                        f"{config.surrogates} ({len(tables) - config.surrogates} too many)")
    compiled = Compiled(network=network, config=config, program=[], layout=layout, learns={}, posts={})
    if not problems:
        problems += _Writer(compiled, send).write()
        if len(compiled.program) > config.program_length:
            need, have = len(compiled.program), config.program_length
            problems.append(f"the tick program has {need} instructions, but the core holds {have} "
                            f"({need - have} too many)")
    return compiled, problems


class _Writer:
    """Writes the tick program, in the order of `docs/design.md`, section 2."""

    def __init__(self, compiled: Compiled, send: list[str]) -> None:
        self.network, self.config, self.layout = compiled.network, compiled.config, compiled.layout
        self.program, self.learns, self.posts = compiled.program, compiled.learns, compiled.posts
        self.send = send
        self.problems: list[str] = []
        self.streams = 0
        self.places = [p for p in self.layout.places.values() if p.population.kind != "input"]
        self.hashed = [s for s in self.layout.stored.values() if s.projection.hashed]
        self.learning = [self.layout.places[p.name] for p in self.network.learning_populations()]
        self.adaptive = [place for place in self.places if place.population.adaptive]
        rule = self.network.rule
        self.synaptic = rule is not None and rule.eligibility == "synaptic"
        self.signalled = TARGET | TRAIN if self.synaptic else TARGET     # when there is a learning signal

    def write(self) -> list[str]:
        """Fill the program; returns what does not fit."""
        self._clear_sample()
        self._integrate()
        self._traces()
        self._step()
        self._clear_inputs()
        if self.network.plastic():
            self._regulate()
            self._error()
            self._signals()
            self._learn()
        self._send()
        self._emit(Opcode.END, fence=True)
        if self.streams > 1 << FIELDS["stream"]:
            self.problems.append(f"{self.streams} random streams are needed, but there are "
                                 f"{1 << FIELDS['stream']}")
        return self.problems

    def _emit(self, opcode: Opcode, when: TickFlag = NONE, *, fence: bool = False, flags: int = 0,
              **fields: int) -> None:
        self.program.append(
            Instruction(opcode=opcode, when=when, fence=int(fence), flags=Flag(flags), **fields))

    def _stream(self) -> int:
        """A random stream of its own for each instruction that rounds stochastically."""
        self.streams += 1
        return self.streams - 1 & (1 << FIELDS["stream"]) - 1

    def _constant(self, value: int) -> int:
        """A signed constant as a field."""
        return value & (1 << FIELDS["x"]) - 1

    def _fixed(self, value: float) -> int:
        """A membrane's value in units of 2^-F."""
        return round(value * (1 << self.config.state_fraction))

    def _leak(self, factor: float) -> int:
        """Field of a decay D / 2^R: D - 2^R."""
        one = 1 << self.config.decay_fraction
        return self._constant(round(factor * one) - one)

    def _factor(self, value: float, what: str) -> dict[str, int]:
        factor = scaled(value, self.config.state_bits)
        if factor is None:
            self.problems.append(f"{what} is too large")
            return {}
        return {"x": factor[0], "shift": factor[1]}

    def _clear_sample(self) -> None:
        inputs = sum(p.words for p in self.layout.places.values() if p.population.kind == "input")
        if self.layout.neuron_words > inputs:
            self._emit(Opcode.CLEAR, RESET, flags=Flag.SPIKES, c=inputs,
                       rows=self.layout.neuron_words - inputs)
        if self.layout.state_words:
            self._emit(Opcode.CLEAR, RESET, a=0, rows=self.layout.state_words)
        if self.layout.eligibility_words:
            self._emit(Opcode.CLEAR, RESET, flags=Flag.SYNAPTIC, a=0, rows=self.layout.eligibility_words)
        if self.layout.state_words:
            # Clears what is clear already: a fence that costs nothing where there is no reset.
            self._emit(Opcode.CLEAR, RESET, fence=True, a=0, rows=1)

    def _integrate(self) -> None:
        """Per source before per target, whose sums arrive late; then hashed ones, whose words do."""
        config = self.config
        stored = [s for s in self.layout.stored.values() if not s.projection.hashed]
        for s in sorted(stored, key=lambda s: s.by_target):
            self._emit(Opcode.INTEGRATE,
                       flags=Flag.BY_TARGET if s.by_target else 0, words=s.row_words,
                       a=s.pre.base, b=s.base, c=s.post.base, rows=s.rows if s.by_target else s.pre.words,
                       x=1 << config.mac_shift + config.state_fraction - s.exponent)
        for index, s in enumerate(self.hashed):
            self._emit(Opcode.INTEGRATE, fence=index == 0, flags=Flag.BY_TARGET | Flag.HASHED,
                       stream=self.network.hashed_stream(s.pre.population, s.post.population), words=s.row_words,
                       a=s.pre.base, c=s.post.base, rows=s.rows, x=self._fixed(s.projection.gain))

    def _traces(self) -> None:
        """Of thresholds, which the membranes are compared with, and of what learns."""
        fence = bool(self.hashed)
        for place in self.adaptive:
            p = place.population
            self._emit(Opcode.TRACE, fence=fence, stream=self._stream(), rows=place.words, a=place.rise, c=place.base,
                       y=self._leak(decay(self.network.dt, p.tau_adaptation)), z=self._fixed(p.adaptation))
            fence = False
        for t in (*self.layout.traces, *self.layout.activity.values()):
            self._emit(Opcode.TRACE, TRAIN, fence=fence,
                       flags=(Flag.WIDE if t.wide else 0) | (Flag.SYNAPTIC if t.keeps else 0), stream=self._stream(),
                       rows=t.pre.words, a=t.state, c=t.pre.base, x=self._leak(t.alpha) if t.wide else 0,
                       y=self._leak(t.beta), z=t.one)
            fence = False

    def _step(self) -> None:
        late = bool(self.adaptive) or any(s.by_target for s in self.layout.stored.values())
        for index, place in enumerate(self.places):
            p = place.population
            leaky = p.kind == "readout"
            reset = Flag.RESET_ZERO if p.reset == "zero" else 0
            if not leaky and self._fixed(p.threshold) < 1:
                self.problems.append(f"the threshold {p.threshold:g} of {p.name!r} is below the core's "
                                     f"resolution of {2.0 ** -self.config.state_fraction:g}")
            self._emit(Opcode.STEP, fence=late and index == 0, stream=self._stream(), rows=place.words, a=place.state,
                       b=place.rise if p.adaptive else 0, c=place.base,
                       flags=Flag.LEAKY if leaky else reset | (Flag.ADAPTIVE if p.adaptive else 0),
                       x=self._leak(decay(self.network.dt, p.tau_syn)),
                       y=self._leak(decay(self.network.dt, p.tau_mem)),
                       z=0 if leaky else self._fixed(p.threshold))

    def _clear_inputs(self) -> None:
        inputs = sum(p.words for p in self.layout.places.values() if p.population.kind == "input")
        if inputs:
            self._emit(Opcode.CLEAR, flags=Flag.SPIKES, c=0, rows=inputs)

    def _regulate(self) -> None:
        rule = self._rule()
        for index, (name, t) in enumerate(self.layout.activity.items()):
            per_unit = rule.activity_cost * (1 - t.beta) / self.network.dt / t.one
            x = -round(per_unit * (1 << self.config.state_fraction + self.config.decay_fraction))
            aim = self._fixed(rule.activity_cost * rule.activity_target)
            if not x or max(-x, aim) >= 1 << self.config.state_bits - 1:
                self.problems.append(f"an activity_cost of {rule.activity_cost:g} is too {'large' if x else 'small'} "
                                     "for the core's numbers")
                x = aim = 0
            place = self.layout.places[name]
            self._emit(Opcode.REGULATE, self.signalled, fence=index == 0, rows=place.words, a=t.state, c=place.base,
                       x=self._constant(x), z=aim)

    def _error(self) -> None:
        rule = self._rule()
        softmax = rule.loss == "softmax"
        flags = {"softmax": Flag.SOFTMAX, "analog": Flag.ANALOG}.get(rule.loss, 0)
        for population in self.network.error_populations():
            place = self.layout.places[population.name]
            self._emit(Opcode.ERROR, TARGET, fence=True, flags=flags, a=place.state,
                       c=place.base, rows=population.size,
                       x=round(rule.softmax_gain * math.log2(math.e) * 1024) if softmax else 0,
                       y=self._constant(self._fixed(rule.target)) if rule.loss == "mse" else 0,
                       z=self._fixed(rule.dead_zone))

    def _signals(self) -> None:
        """All post factors: of all populations at once, or one after the other where they depend on each other."""
        if all(part.source.kind == "readout" for place in self.learning
               for part in self.network.feedback(place.population)):
            self._feedback(self.learning)
            self._post(self.learning)
            return
        for place in reversed(self.learning):
            self._feedback([place])
            self._post([place])

    def _feedback(self, places: list[Place]) -> None:
        fence = True
        for place in places:
            for part in self.network.feedback(place.population):
                source, weights, gain = self.layout.places[part.source.name], 0, part.gain
                if part.stream is None:
                    stored = self.layout.stored[f"{place.population.name}->{part.source.name}"]
                    weights, gain = stored.base, gain * 2.0 ** (self.config.mac_shift - stored.exponent)
                self._emit(Opcode.FEEDBACK, self.signalled, fence=fence,
                           flags=0 if part.stream is None else Flag.HASHED, stream=part.stream or 0,
                           words=place.words, rows=source.words, a=source.base, b=weights, c=place.base,
                           **self._factor(gain, f"feedback gain {part.gain:g}"))
                fence = False

    def _post(self, places: list[Place]) -> None:
        _, number = surrogate_tables(self.network, self.config)
        for index, place in enumerate(places):
            p = place.population
            table = number[p.name]
            flags = (Flag.TABLE_1 if table & 1 else 0) | (Flag.TABLE_2 if table & 2 else 0)
            factor: int | None = 0
            if self.synaptic:
                # Any of those that learn gives the same factor; where none does, it is zero.
                into = [s for s in self.layout.stored.values() if s.post is place and s.trace is not None]
                stored = max(into, key=lambda s: s.unit)
                self.posts[len(self.program)] = stored
                factor = signal_factor(stored, self._rule().rate, self.config)
                if factor is None:
                    self.problems.append(_rate_too_large(stored, self._rule().rate))
                flags |= Flag.SYNAPTIC | (Flag.ADAPTIVE if p.adaptive else Flag(0))
            self._emit(Opcode.POST, TRAIN if self.synaptic else TARGET, fence=index == 0, stream=self._stream(),
                       a=place.state, b=place.rise if p.adaptive else 0, c=place.base, flags=flags, rows=place.words,
                       x=factor or 0,
                       words=p.size - (place.words - 1) * self.config.lanes,
                       shift=p.surrogate.shift(self.config.state_fraction), z=self._fixed(p.threshold))

    def _learn(self) -> None:
        rule = self._rule()
        synaptic = [s for s in self.layout.stored.values() if s.trace is not None and s.trace.keeps]
        for index, s in enumerate(synaptic):
            factor = learn_factor(s, rule.rate, self.config)
            assert s.trace is not None and factor is not None
            p = s.post.population
            leak = self.network.eligibility_decay(s.projection)
            self._emit(Opcode.LEARN, TRAIN, fence=index == 0, stream=self._stream(),
                       flags=(Flag.SYNAPTIC | (Flag.WIDE if s.trace.wide else 0)
                              | (Flag.ADAPTIVE if p.adaptive else 0)),
                       words=s.row_words, a=s.trace.state, b=s.base, c=s.post.base, rows=s.pre.words, x=factor[0],
                       shift=factor[1], y=self._leak(leak), z=self._fixed(p.adaptation))
        after_target = True                 # the first one has a fence
        for s in self.layout.stored.values():
            if s.trace is None or s in synaptic:
                continue
            factor = learn_factor(s, rule.rate, self.config)
            if factor is None:
                self.problems.append(_rate_too_large(s, rule.rate))
                factor = 0, 0
            self.learns[len(self.program)] = s
            self._emit(Opcode.LEARN, TARGET, fence=after_target or s.by_target, stream=self._stream(),
                       flags=(Flag.BY_TARGET if s.by_target else 0) | (Flag.WIDE if s.trace.wide else 0),
                       words=s.row_words, b=s.base, a=s.post.base if s.by_target else s.trace.state,
                       c=s.trace.state if s.by_target else s.post.base,
                       rows=s.post.words if s.by_target else s.pre.words, x=factor[0], shift=factor[1])
            after_target = s.by_target

    def _send(self) -> None:
        for index, name in enumerate(self.send):
            place = self.layout.places[name]
            spikes = place.population.kind != "readout"
            number = list(self.network.populations).index(name)
            if number >= 1 << FIELDS["stream"]:
                self.problems.append(f"population {name!r} is number {number}: only the first "
                                     f"{1 << FIELDS['stream']} can be sent")
                continue
            self._emit(Opcode.SEND, SEND, fence=index == 0, flags=Flag.SPIKES if spikes else 0, stream=number,
                       rows=place.words if spikes else place.population.size,
                       a=0 if spikes else place.state, c=place.base if spikes else 0)

    def _rule(self) -> EProp:
        assert self.network.rule is not None
        return self.network.rule
