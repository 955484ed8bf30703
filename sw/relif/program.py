"""The tick program of a network that has been laid out: its instructions, their constants and their fences."""

from __future__ import annotations

import math

from relif_hw.config import CoreConfig
from relif_hw.isa import FIELDS, Flag, Instruction, Opcode, TickFlag, with_skips

from .layout import Layout, Place, Stored, TraceSet, scaled
from .network import Network, decay
from .rules import EProp

__all__ = ["ProgramWriter", "learn_factor", "rate_too_large", "signal_factor", "surrogate_tables"]

NONE, RESET, TRAIN, TARGET, SEND = (
    TickFlag(0), TickFlag.RESET, TickFlag.TRAIN, TickFlag.TARGET, TickFlag.SEND)


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


def rate_too_large(stored: Stored, rate: float) -> str:
    """What to say of that."""
    return (f"a learning rate of {rate * stored.projection.rate:g} is too large for projection "
            f"{stored.projection.name}: take a smaller one, or a larger range")


class ProgramWriter:
    """Writes the tick program, in the order of `docs/design.md`, section 2.

    `program` is what is written; `learns` and `posts` are the instructions with the learning rate, as in
    `compiler.Compiled`; `send` are the populations that SEND names.
    """

    def __init__(self, network: Network, config: CoreConfig, layout: Layout, send: list[str]) -> None:
        self.network, self.config, self.layout, self.send = network, config, layout, send
        self.program: list[Instruction] = []
        self.learns: dict[int, Stored] = {}
        self.posts: dict[int, Stored] = {}
        self.problems: list[str] = []
        self.streams = 0
        self.places = [p for p in self.layout.places.values() if p.population.kind != "input"]
        self.hashed = [s for s in self.layout.stored.values() if s.projection.hashed]
        self.learning = [self.layout.places[p.name] for p in self.network.learning_populations()]
        self.adaptive = [place for place in self.places if place.population.adaptive]
        rule = self.network.rule
        self.synaptic = rule is not None and rule.eligibility == "synaptic"
        self.signalled = TARGET | TRAIN if self.synaptic else TARGET     # when there is a learning signal
        stored = self.layout.stored.values()
        self.kept = [s for s in stored if s.trace is not None and s.trace.keeps]
        self.factored = [s for s in stored if s.trace is not None and not s.trace.keeps]
        self.from_errors = [s for s in self.factored if s.by_target and s.post not in self.learning]
        self.others = sorted((s for s in self.factored if s not in self.from_errors), key=lambda s: s.by_target)
        self.rounding: dict[str, int] = {}      # random streams of populations in POST, of projections in LEARN
        self.errors = [layout.places[p.name] for p in network.error_populations()] if network.plastic() else []
        self.by_target = {id(s.post) for s in stored if s.by_target or s.projection.hashed}

    def write(self) -> list[str]:
        """Fill the program; returns what does not fit."""
        traces = [(place, self._stream()) for place in self.adaptive]
        learned = [(t, self._stream()) for t in (*self.layout.traces, *self.layout.activity.values())]
        steps = {id(place): self._stream() for place in self.places}
        self._clear_sample()
        self._integrate()
        # While the errors are worked out, the lanes go on.
        for place in self.errors:
            self._step(place, steps[id(place)], TARGET)
        self._error()
        self._traces(traces, learned)
        self._clear_inputs()
        for place in (p for p in self.places if p not in self.errors):
            self._step(place, steps[id(place)], fence=place in self.adaptive[:1])
        for place in self.errors:
            self._step(place, steps[id(place)], flags=Flag.UNTARGETED)
        if self.network.plastic():
            self._regulate()
            self._signals()
            self._learn_kept()
            self._learn(self.others, fence=True)
        self._send()
        self._emit(Opcode.END, fence=True)
        self.program[:] = with_skips(self.program)
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
            # A fence that costs nothing where there is no reset.
            self._emit(Opcode.CLEAR, RESET, fence=True, flags=Flag.SPIKES, c=self._unread_spikes(), rows=1)

    def _unread_spikes(self) -> int:
        """A word of spikes that no other instruction reads: the fence may write it whatever the lanes do meanwhile,
        whose memory of spikes promises nothing for a word that is being written."""
        readouts = [place.base for place in self.places if place.population.kind == "readout"]
        if not readouts and self.layout.neuron_words == self.config.neuron_words:
            self.problems.append(f"a network without readouts needs one word of the neuron memory more than its "
                                 f"populations, which take all {self.config.neuron_words}")
        return readouts[0] if readouts else self.layout.neuron_words

    def _integrate(self) -> None:
        """Per target before per source, for their sums arrive late; then hashed ones, whose words do."""
        config = self.config
        stored = [s for s in self.layout.stored.values() if not s.projection.hashed]
        for s in sorted(stored, key=lambda s: not s.by_target):
            self._emit(Opcode.INTEGRATE,
                       flags=Flag.BY_TARGET if s.by_target else 0, words=s.row_words,
                       a=s.pre.base, b=s.base, c=s.post.base, rows=s.rows if s.by_target else s.pre.words,
                       x=1 << config.mac_shift + config.state_fraction - s.exponent)
        for s in self.hashed:
            self._emit(Opcode.INTEGRATE, flags=Flag.BY_TARGET | Flag.HASHED,
                       stream=self.network.hashed_stream(s.pre.population, s.post.population), words=s.row_words,
                       a=s.pre.base, c=s.post.base, rows=s.rows, x=self._fixed(s.projection.gain))

    def _traces(self, adaptive: list[tuple[Place, int]], learned: list[tuple[TraceSet, int]]) -> None:
        """Of thresholds, which the membranes are compared with, and of what learns, each with its random stream."""
        for place, stream in adaptive:
            p = place.population
            self._emit(Opcode.TRACE, stream=stream, rows=place.words, a=place.rise, c=place.base,
                       y=self._leak(decay(self.network.dt, p.tau_adaptation)), z=self._fixed(p.adaptation))
        for t, stream in learned:
            self._emit(Opcode.TRACE, TRAIN,
                       flags=(Flag.WIDE if t.wide else 0) | (Flag.SYNAPTIC if t.keeps else 0), stream=stream,
                       rows=t.pre.words, a=t.state, c=t.pre.base, x=self._leak(t.alpha) if t.wide else 0,
                       y=self._leak(t.beta), z=t.one)

    def _step(self, place: Place, stream: int, when: TickFlag = NONE, *, flags: int = 0, fence: bool = False) -> None:
        p = place.population
        leaky = p.kind == "readout"
        reset = Flag.RESET_ZERO if p.reset == "zero" else 0
        if not leaky and self._fixed(p.threshold) < 1:
            self.problems.append(f"the threshold {p.threshold:g} of {p.name!r} is below the core's "
                                 f"resolution of {2.0 ** -self.config.state_fraction:g}")
        flags |= Flag.LEAKY if leaky else reset | (Flag.ADAPTIVE if p.adaptive else 0)
        self._emit(Opcode.STEP, when, fence=fence, stream=stream, rows=place.words, a=place.state,
                   b=place.rise if p.adaptive else 0, c=place.base,
                   flags=flags | (Flag.BY_TARGET if id(place) in self.by_target else 0),
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
        for place in self.errors:
            rule = self._rule()
            softmax = rule.loss == "softmax"
            flags = {"softmax": Flag.SOFTMAX, "analog": Flag.ANALOG}.get(rule.loss, 0)
            self._emit(Opcode.ERROR, TARGET, fence=True, flags=flags, a=place.state,
                       c=place.base, rows=place.population.size,
                       x=round(rule.softmax_gain * math.log2(math.e) * 1024) if softmax else 0,
                       y=self._constant(self._fixed(rule.target)) if rule.loss == "mse" else 0,
                       z=self._fixed(rule.dead_zone))

    def _signals(self) -> None:
        """All post factors: of all populations at once, or one after the other where they depend on each other.

        What learns from the errors themselves does so in between, while the learning signals gather.
        """
        apart = any(part.source.kind != "readout" for place in self.learning
                    for part in self.network.feedback(place.population))
        turns = [[place] for place in reversed(self.learning)] if apart else [self.learning]
        self.rounding |= {place.population.name: self._stream() for places in turns for place in places}
        self.rounding |= {s.projection.name: self._stream() for s in (*self.kept, *self.factored)}
        for index, places in enumerate(turns):
            self._feedback(places, fence=index > 0)
            if index == 0:
                self._learn(self.from_errors, fence=False)
            self._post(places)

    def _feedback(self, places: list[Place], fence: bool) -> None:
        """Of the errors, which are waited for; with a fence of post factors. The first takes the errors one by one, if
        they are of one population."""
        streams = not fence and len(self.errors) == 1
        for place in places:
            for part in self.network.feedback(place.population):
                source, weights, gain = self.layout.places[part.source.name], 0, part.gain
                if part.stream is None:
                    stored = self.layout.stored[f"{place.population.name}->{part.source.name}"]
                    weights, gain = stored.base, gain * 2.0 ** (self.config.mac_shift - stored.exponent)
                streamed = streams and source in self.errors
                self._emit(Opcode.FEEDBACK, self.signalled, fence=fence,
                           flags=(0 if part.stream is None else Flag.HASHED) | (Flag.STREAMED if streamed else 0),
                           stream=part.stream or 0, words=place.words, rows=source.words, a=source.base, b=weights,
                           c=place.base, y=source.population.size if streamed else 0,
                           **self._factor(gain, f"feedback gain {part.gain:g}"))
                streams = fence = False

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
                    self.problems.append(rate_too_large(stored, self._rule().rate))
                flags |= Flag.SYNAPTIC | (Flag.ADAPTIVE if p.adaptive else Flag(0))
            self._emit(Opcode.POST, TRAIN if self.synaptic else TARGET, fence=index == 0, stream=self.rounding[p.name],
                       a=place.state, b=place.rise if p.adaptive else 0, c=place.base, flags=flags, rows=place.words,
                       x=factor or 0,
                       words=p.size - (place.words - 1) * self.config.lanes,
                       shift=p.surrogate.shift(self.config.state_fraction), z=self._fixed(p.threshold))

    def _learn_kept(self) -> None:
        """Through eligibility traces of single synapses."""
        for index, s in enumerate(self.kept):
            factor = learn_factor(s, self._rule().rate, self.config)
            assert s.trace is not None and factor is not None
            p = s.post.population
            leak = self.network.eligibility_decay(s.projection)
            self._emit(Opcode.LEARN, TRAIN, fence=index == 0, stream=self.rounding[s.projection.name],
                       flags=(Flag.SYNAPTIC | (Flag.WIDE if s.trace.wide else 0)
                              | (Flag.ADAPTIVE if p.adaptive else 0)),
                       words=s.row_words, a=s.trace.state, b=s.base, c=s.post.base, rows=s.pre.words, x=factor[0],
                       shift=factor[1], y=self._leak(leak), z=self._fixed(p.adaptation))

    def _learn(self, factored: list[Stored], fence: bool) -> None:
        """Through the traces of populations. What is stored per target and what is not scan different memories, which
        the lanes of the other read."""
        for index, s in enumerate(factored):
            assert s.trace is not None
            factor = learn_factor(s, self._rule().rate, self.config)
            if factor is None:
                self.problems.append(rate_too_large(s, self._rule().rate))
                factor = 0, 0
            self.learns[len(self.program)] = s
            self._emit(Opcode.LEARN, TARGET, stream=self.rounding[s.projection.name],
                       fence=fence if index == 0 else s.by_target != factored[index - 1].by_target,
                       flags=(Flag.BY_TARGET if s.by_target else 0) | (Flag.WIDE if s.trace.wide else 0),
                       words=s.row_words, b=s.base, a=s.post.base if s.by_target else s.trace.state,
                       c=s.trace.state if s.by_target else s.post.base,
                       rows=s.post.words if s.by_target else s.pre.words, x=factor[0], shift=factor[1])

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
