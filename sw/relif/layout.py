"""Where a network lies in the memories of a core, in which number formats; and what does not fit.

`plan` never raises for want of room: it lists what is wrong, so that the compiler can say all of it
at once and look for a preset that would do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from relif_hw.config import CoreConfig
from relif_hw.isa import FIELDS

from .network import Network, Population, Projection, decay

__all__ = ["ACTIVITY", "Layout", "Place", "Stored", "TraceSet", "plan", "scaled"]

ACTIVITY = 0.1
"""Part of the sources that are taken to spike in a tick, when a layout is chosen."""
LEARNING = 0.25
"""Part of the ticks that are taken to have a target."""
LIVE = {"trace": 0.75, "lif": 0.9, "readout": 0.5}
"""Part of the traces, and of the post factors of either kind of population, taken not to be zero."""
HORIZON = 4096
"""Ticks over which a trace must not saturate, at a spike every other tick."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A population: neuron words from `base`, and I, U in the state words from `state` (not inputs).

    The rise of an adaptive threshold is in the state words from `rise`.
    """

    population: Population
    base: int
    words: int
    state: int
    rise: int = 0


@dataclass(frozen=True, kw_only=True)
class TraceSet:
    """Traces of a population with one pair of decays; projections with equal ones share it."""

    pre: Place
    alpha: float
    beta: float
    wide: bool
    keeps: bool
    """Stays at least one unit, once it has begun: its rows have eligibility traces of single synapses."""
    state: int
    one: int
    """What a spike adds, in units of the state's bits."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A projection in the weight memory: `rows` rows of `row_words` words from `base`.

    A weight w stands for w 2^-exponent; LEARN takes its traces from `trace`. A hashed projection takes no
    words; its rows are per target. With eligibility traces of single synapses `unit` stands for a trace of 1.
    """

    projection: Projection
    pre: Place
    post: Place
    base: int
    rows: int
    row_words: int
    by_target: bool
    exponent: int
    trace: TraceSet | None
    unit: float = 0.0


@dataclass(kw_only=True)
class Layout:
    """Places of everything, what does not fit (`problems`) and what is worth knowing (`notes`)."""

    places: dict[str, Place] = field(default_factory=dict)
    stored: dict[str, Stored] = field(default_factory=dict)
    traces: list[TraceSet] = field(default_factory=list)
    activity: dict[str, TraceSet] = field(default_factory=dict)
    """Traces of the own spikes of populations whose activity is regulated."""
    weight_words: int = 0
    eligibility_words: int = 0
    state_words: int = 0
    neuron_words: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def scaled(value: float, bits: int) -> tuple[int, int] | None:
    """Mantissa x of `bits` - 1 bits and shift, with x 2^-shift nearest to `value`; None if too large."""
    limit = (1 << bits - 1) - 1
    if round(value) > limit:
        return None
    shift = 0
    while shift < 63 and value and round(value * 2 ** (shift + 1)) <= limit:
        shift += 1
    return round(value * 2**shift), shift


def exponent(projection: Projection, config: CoreConfig) -> int:
    """E: a weight is w 2^-E, so that the projection's range is 2^(weight_bits - 1 - E)."""
    return config.weight_bits - 1 - round(math.log2(projection.range))


def trace_top(alpha: float, beta: float, wide: bool) -> float:
    """The largest value of a trace of a neuron that spikes every other tick."""
    q = p = top = 0.0
    for tick in range(HORIZON):
        spike = 1.0 - tick % 2
        q, p = alpha * q + spike, beta * p + (q if wide else spike)
        top = max(top, p, q if wide else 0.0)
    return top


def trace_unit(alpha: float, beta: float, wide: bool, bits: int) -> int:
    """The largest power of two at which a trace of a neuron that spikes every other tick stays in range."""
    top = trace_top(alpha, beta, wide)
    return 1 << max(0, min(bits - 2, math.floor(math.log2(((1 << bits - 1) - 1) / top))))


def trace_decays(network: Network, post: Population) -> tuple[float, float, bool]:
    """alpha, beta and whether the trace is wide, of the traces of projections into `post`."""
    assert network.rule is not None
    alpha, beta = decay(network.dt, post.tau_syn), decay(network.dt, post.tau_mem)
    return {"double": (alpha, beta, True), "single": (0.0, beta, False),
            "spike": (0.0, 0.0, False)}[network.rule.trace]


def plan(network: Network, config: CoreConfig) -> Layout:
    """Lay the network out for a core; see `Layout.problems`."""
    layout = Layout()
    _place_populations(network, config, layout)
    _place_traces(network, config, layout)
    _place_projections(network, config, layout)
    if network.needs_eligibility_memory and not config.synaptic:
        adaptive = [p.name for p in network.populations.values() if p.adaptive]
        layout.problems.append((f"the adaptive thresholds of {adaptive[0]!r} need" if adaptive else
                                "eligibility 'synaptic' needs") + " a core with an eligibility memory")
    elif layout.eligibility_words > config.eligibility_words:
        need, have = layout.eligibility_words, config.eligibility_words
        layout.problems.append(f"the eligibility memory has {have} words of {config.lanes}, but {need} are needed "
                               f"({need - have} too many)")
    for name, need, have in (("synapse memory", layout.weight_words, config.weight_words),
                             ("state memory", layout.state_words, config.state_words),
                             ("neuron memory", layout.neuron_words, config.neuron_words)):
        if need > have:
            layout.problems.append(f"the {name} has {have} words of {config.lanes}, but {need} are needed "
                                   f"({need - have} too many)")
    _check_accumulators(network, config, layout)
    return layout


def _place_populations(network: Network, config: CoreConfig, layout: Layout) -> None:
    """Inputs first: CLEAR at a new sample spares their spikes, which belong to it already."""
    order = sorted(network.populations.values(), key=lambda p: p.kind != "input")
    for population in order:
        words = config.words(population.size)
        layout.places[population.name] = Place(
            population=population, base=layout.neuron_words, words=words, state=layout.state_words,
            rise=layout.state_words + 2 * words)
        layout.neuron_words += words
        layout.state_words += 0 if population.kind == "input" else (2 + population.adaptive) * words
        if population.kind == "readout" and population.size > config.max_outputs:
            layout.problems.append(f"readout {population.name!r} has {population.size} neurons, but the core "
                                   f"holds {config.max_outputs} outputs "
                                   f"({population.size - config.max_outputs} too many): its max_outputs must be "
                                   f"{population.size} or more")
        if words >= 1 << FIELDS["words"]:
            layout.problems.append(f"population {population.name!r} has {words} words of {config.lanes}, "
                                   f"but a row holds {(1 << FIELDS['words']) - 1}")


def _place_traces(network: Network, config: CoreConfig, layout: Layout) -> None:
    for projection in network.plastic():
        if not any(_same(trace, network, projection) for trace in layout.traces):
            alpha, beta, wide = trace_decays(network, projection.post)
            pre = layout.places[projection.pre.name]
            layout.traces.append(TraceSet(
                pre=pre, alpha=alpha, beta=beta, wide=wide, state=layout.state_words,
                keeps=network.synaptic(projection), one=trace_unit(alpha, beta, wide, config.state_bits)))
            layout.state_words += pre.words * (2 if wide else 1)
    if network.rule is not None and network.rule.activity_cost:
        beta = decay(network.dt, network.rule.activity_tau)
        for population in network.learning_populations():
            pre = layout.places[population.name]
            layout.activity[population.name] = TraceSet(
                pre=pre, alpha=0.0, beta=beta, wide=False, state=layout.state_words, keeps=False,
                one=trace_unit(0.0, beta, False, config.state_bits))
            layout.state_words += pre.words


def _same(trace: TraceSet, network: Network, projection: Projection) -> bool:
    constants = (trace.alpha, trace.beta, trace.wide)
    return (trace.pre.population is projection.pre and trace.keeps == network.synaptic(projection)
            and constants == trace_decays(network, projection.post))


def _eligibility_units(network: Network, config: CoreConfig) -> dict[str, float]:
    """What stands for an eligibility of 1, by synaptic projections.

    Those into one population are in proportion to rate 2^E: its learning signal, which is multiplied with all
    of them, then takes the rest of the learning rate, a factor of at most 1/2. Where that asks for more than the
    range holds, traces may saturate: such a trace changes a weight from end to end in a few ticks.
    """
    assert network.rule is not None
    units, limits = {}, dict[str, float]()
    least = 2 * network.rule.rate * 2.0 ** (config.update_shift - config.state_fraction)
    for p in filter(network.synaptic, network.plastic()):
        height, kappa = p.post.surrogate.height, network.eligibility_decay(p)
        top = trace_top(*trace_decays(network, p.post))
        if p.post.adaptive:
            top *= max(1.0, height) * max(1.0, height * p.post.adaptation)
        else:
            top *= height / (1.0 - kappa)
        units[p.name] = p.rate * 2.0 ** exponent(p, config)
        if p.rate:
            limit = ((1 << config.state_bits - 1) - 1) / top / units[p.name]
            limits[p.post.name] = min(limit, limits.get(p.post.name, limit))
    return {name: unit * max(least, limits.get(network.projections[name].post.name, 0.0))
            for name, unit in units.items()}


def _place_projections(network: Network, config: CoreConfig, layout: Layout) -> None:
    choice = {p.name: _by_target(network, config, p) for p in network.projections.values()}

    def size(projection: Projection, by_target: bool) -> int:
        if projection.hashed:
            return 0
        pre, post = projection.pre.size, projection.post.size
        return post * config.words(pre) if by_target else pre * config.words(post)

    if sum(size(p, choice[p.name]) for p in network.projections.values()) > config.weight_words:
        for p in network.projections.values():       # too tight for speed: take the smaller
            if p.stored == "auto" and not _read_backwards(network, p) and not network.synaptic(p):
                choice[p.name] = size(p, True) < size(p, False)
    units = _eligibility_units(network, config) if network.rule else {}
    # Weights with eligibility traces come first: the memory of these is the shorter one.
    for p in sorted(network.projections.values(), key=lambda p: p.name not in units):
        by_target = choice[p.name]
        if by_target and p.name in units:
            layout.problems.append(f"projection {p.name} keeps eligibility traces of single synapses, in rows per "
                                   "source, but it is stored per target")
        pre, post = layout.places[p.pre.name], layout.places[p.post.name]
        rows, row = (p.post.size, p.pre.size) if by_target else (p.pre.size, p.post.size)
        learns = p in network.plastic()
        trace = next((t for t in layout.traces if learns and _same(t, network, p)), None)
        layout.stored[p.name] = Stored(
            projection=p, pre=pre, post=post, base=layout.weight_words, rows=rows,
            row_words=config.words(row), by_target=by_target, exponent=exponent(p, config), trace=trace,
            unit=units.get(p.name, 0.0))
        layout.weight_words += size(p, by_target)
        if p.name in units:
            layout.eligibility_words = layout.weight_words
        use = row / (config.words(row) * config.lanes)
        if use < 0.5:
            layout.notes.append(f"projection {p.name}: rows of {row} weights use {use:.0%} of the lanes "
                                f"({config.words(row)} words of {config.lanes})")


def _read_backwards(network: Network, projection: Projection) -> bool:
    """Feedback through stored weights reads them by rows, so they are stored per target."""
    return projection.pre in network.learning_populations() and any(
        part.stream is None and part.source is projection.post for part in network.feedback(projection.pre))


def _by_target(network: Network, config: CoreConfig, projection: Projection) -> bool:
    """Whether rows per target cost fewer words a tick, or are needed."""
    if projection.stored != "auto" or _read_backwards(network, projection):
        return projection.stored == "target" or _read_backwards(network, projection)
    if network.synaptic(projection):
        return False
    learn = LEARNING * (projection in network.plastic())
    source = projection.pre.size * config.words(projection.post.size)
    target = projection.post.size * config.words(projection.pre.size)
    return target * (1 + learn * LIVE[projection.post.kind]) < source * (ACTIVITY + learn * LIVE["trace"])


def _check_accumulators(network: Network, config: CoreConfig, layout: Layout) -> None:
    """Ranges of projections, and the largest sums that INTEGRATE and FEEDBACK can make."""
    fraction, shift, bits = config.state_fraction, config.mac_shift, config.weight_bits
    limit = (1 << config.accumulator_bits - 1) - 1
    sums = dict.fromkeys(network.populations, 0)
    for name, stored in layout.stored.items():
        projection, e = stored.projection, stored.exponent
        if projection.hashed:
            unit = projection.gain * 2.0**fraction
            sums[projection.post.name] += projection.pre.size * (math.ceil(unit) + 1)
            if not 1 <= round(unit):
                layout.problems.append(f"projection {name} has hashed weights of at most {projection.gain:g}, but the "
                                       f"core's resolution is {2.0**-fraction:g}")
            continue
        low, high = shift + fraction - (config.state_bits - 2), shift + fraction
        if not low <= e <= high:
            layout.problems.append(
                f"projection {name} has range {projection.range:g}, but with {bits}-bit weights the core "
                f"takes {2.0 ** (bits - 1 - high):g} to {2.0 ** (bits - 1 - low):g}")
            continue
        if projection in network.plastic():
            largest = projection.pre.size << bits - 1
        else:
            weights = np.abs(network.initial_weights(projection)).sum(0).max() * 2.0**e
            largest = math.ceil(weights + projection.pre.size / 2)
        sums[projection.post.name] += (largest << shift + fraction - e >> shift) + projection.pre.size
    for name, total in sums.items():
        if total > limit:
            layout.problems.append(
                f"the input of population {name!r} can reach {total / 2**fraction:.1f}, but accumulators of "
                f"{config.accumulator_bits} bits end at {limit / 2**fraction:.1f}: take smaller ranges or "
                f"fewer sources")
    rule = network.rule
    if rule is not None and network.learning_populations():
        unit = 1 << fraction
        error = unit if rule.loss == "softmax" else 1 << config.state_bits - 1
        for population in network.learning_populations():
            signal = 0.0
            for part in network.feedback(population):
                largest = error if part.source.kind == "readout" else 1 << config.state_bits - 1
                weights = np.ones((1, part.source.size))            # the largest, back to a neuron
                if part.stream is None:
                    projection = network.projections[f"{population.name}->{part.source.name}"]
                    weights = (weights * projection.range if projection.plastic else
                               np.abs(network.initial_weights(projection)))
                terms = np.minimum(largest * part.gain * weights, 2.0**config.state_bits) + 1
                signal += float(terms.sum(1).max())
            signal += rule.activity_cost * max(rule.activity_target, 1 / network.dt) * unit
            if signal > limit:
                layout.problems.append(
                    f"the learning signal of {population.name!r} can reach {signal / unit:.1f}, but "
                    f"accumulators of {config.accumulator_bits} bits end at {limit / unit:.1f}: take a "
                    f"smaller feedback_gain")
