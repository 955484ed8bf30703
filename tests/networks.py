"""Scenarios from the public interface: random networks with every rule and loss, and a training run."""

from __future__ import annotations

import math

import numpy as np

from relif.compiler import Compiled, compile
from relif.network import Network
from relif.rules import FEEDBACKS, LOSSES, PUBLISHED, SURROGATES, EProp, Surrogate
from relif_hw.config import CoreConfig
from relif_hw.isa import Opcode, TickFlag, event_entry, tick_entry, value_entry
from scenarios import IntArray, Load, Scenario, Step

__all__ = ["network_scenario", "random_network", "reservoir", "training_run"]

RULES = [(feedback, loss, trace, surrogate) for feedback in FEEDBACKS for loss in LOSSES
         for trace in ("double", "single", "spike") for surrogate in SURROGATES
         if (feedback, loss) != ("local", "van_rossum")]


def loads(compiled: Compiled) -> list[Load]:
    """What the compiler writes into the memories."""
    return [(space, 0, image) for space, image in compiled.images.items() if len(image)]


def largest_range(config: CoreConfig) -> float:
    """The largest range of a projection: narrow weights reach less far, see `docs/numerics.md`."""
    return 2.0 ** (config.weight_bits - config.mac_shift + 3)


def random_network(seed: int, sizes: int, weight_range: float = 2.0, surrogates: int = 2,
                   synaptic: bool = False) -> Network:
    """A random topology (layers, recurrence, skips); `seed` runs through all rules, losses and surrogates.

    Populations have up to `sizes` neurons, projections a range of up to `weight_range`; all say how they
    are stored, so that the layout is the same on every core. With two `surrogates` the hidden populations
    differ in them. `synaptic`: with eligibility traces of single synapses, where the rule can have them, and
    adaptive thresholds.
    """
    random = np.random.default_rng(seed)
    feedback, loss, trace, kind = RULES[seed * 7 % len(RULES)]
    # Layer by layer, and back through the weights to spiking outputs, are for factored traces.
    synaptic &= feedback != "layers" and (feedback, loss) != ("symmetric", "van_rossum")

    def tau(*more: float | None) -> float | None:
        return random.choice(np.array([1e-3, 5e-3, 20e-3, 2.0, *more], dtype=object))

    net = Network(dt=1e-3, seed=seed)
    surrogate = Surrogate(kind=kind, width=float(random.choice([0.5, 1.0, 4.0])))
    inputs = [net.input(int(random.integers(1, sizes + 1))) for _ in range(random.integers(1, 3))]
    hidden = [net.lif(int(random.integers(2, sizes + 1)), tau_mem=tau(math.inf), tau_syn=tau(None),
                      threshold=float(random.choice([0.25, 1.0, 2.0])), reset=str(random.choice(["subtract", "zero"])),
                      surrogate=surrogate if n == 0 or surrogates == 1 else Surrogate(),
                      **({"adaptation": float(random.choice([0.1, 1.8])), "tau_adaptation": 0.2}
                         if synaptic and random.random() < 0.6 else {}))
              for n in range(random.integers(1, 3))]
    outputs = int(random.integers(2, 6))
    output = (net.lif(outputs, tau_mem=tau(), tau_syn=tau(None), surrogate=surrogate) if loss == "van_rossum" else
              net.readout(outputs, tau_mem=tau(), tau_syn=tau(None)))
    for source in inputs + hidden:
        for target in [*hidden, output]:
            chain = target is output and source in hidden      # symmetric feedback needs all of these
            if chain or random.random() < 0.6:
                net.connect(source, target, gain=2.0, range=weight_range * float(random.choice([0.25, 0.5, 1.0])),
                            plastic=bool(random.random() < 0.85),
                            stored="source" if synaptic and target.kind == "lif" else
                            "target" if chain else str(random.choice(["source", "target"])))
    more = {"eligibility": "synaptic", "tau_eligibility": 20e-3} if synaptic else {}
    if random.random() < 0.3:
        more |= {"activity_cost": float(random.choice([0.01, 1e-3])), "activity_target": 50.0, "activity_tau": 0.02}
    net.learn(EProp(feedback=feedback, loss=loss, trace=trace, **more,
                    rate=weight_range * 2.0 ** -int(random.integers(5 if synaptic else 3, 9)),
                    dead_zone=float(random.choice([0.0, 0.03])),
                    feedback_gain=float(random.choice([0.5, 1.0, 3.0]))), output)
    return net


def network_scenario(config: CoreConfig, seed: int, steps: int = 8, sizes: int = 20) -> Scenario:
    """`random_network` on a core, learning from random spikes and classes; samples of four ticks."""
    net = random_network(seed, sizes, min(2.0, largest_range(config)), config.surrogates, config.synaptic)
    compiled = compile(net, config)
    random = np.random.default_rng([seed, 1])
    entries = []
    for tick in range(steps):
        spikes = []
        for population in net.populations.values():
            if population.kind == "input":
                active = np.flatnonzero(random.random(population.size) < (0.0, 0.2, 0.6, 1.0)[tick % 4])
                spikes += [event_entry(compiled.base(population) + int(i)) for i in active]
        flags = TickFlag.TRAIN | TickFlag.SEND | (TickFlag.TARGET if tick % 4 else TickFlag.RESET)
        if net.rule.loss == "analog":
            spikes += [value_entry(int(value)) for value in random.integers(-2048, 2048, net.output.size)]
        entries.append([*spikes, tick_entry(flags, int(random.integers(compiled.network.output.size)))])
    return Scenario(name=f"network {seed}", config=config, loads=loads(compiled),
                    steps=[Step(entries=e) for e in entries])


def reservoir(config: CoreConfig) -> Scenario:
    """A readout alone learns, from inputs that are silent and from a reservoir: no post factors are made by POST, and
    the LEARN that comes first, with the fence, finds no row while the errors are still being written."""
    outputs = min(20, 2 * config.lanes, config.max_outputs)
    most = min(1.0, largest_range(config))
    net = Network(dt=1e-3, seed=7)
    x, h = net.input(2), net.lif(3, tau_mem=20e-3)
    y = net.readout(outputs, tau_mem=20e-3)
    net.connect(x, y, range=most, stored="source")
    net.connect(h, y, range=most, stored="source")
    net.learn(EProp(rate=2.0**-4))
    compiled = compile(net, config)
    assert [i.opcode for i in compiled.program if i.opcode in (Opcode.POST, Opcode.LEARN)] == [Opcode.LEARN] * 2
    flags = TickFlag.TRAIN | TickFlag.TARGET | TickFlag.SEND
    steps = [Step(entries=[*(event_entry(compiled.base(h) + i) for i in range(3)), tick_entry(flags, tick)])
             for tick in range(4)]
    return Scenario(name="reservoir", config=config, loads=loads(compiled), steps=steps)


def spiking_last(config: CoreConfig) -> Scenario:
    """Neurons in the last words are read as sources by rows per target, while the fence that a new sample begins with
    clears spikes: not theirs, for a word that is being written is not read."""
    net = Network(dt=1e-3, seed=1)
    x, y, h = net.input(2), net.readout(12, tau_mem=20e-3), net.lif(4, tau_mem=20e-3)
    most = min(1.0, largest_range(config))
    net.connect(x, h, range=most, gain=2.0, stored="source")
    net.connect(h, y, range=most, stored="target")
    steps = [Step(entries=[tick_entry(TickFlag.RESET | TickFlag.SEND), tick_entry(TickFlag.SEND)])]
    return Scenario(name="spiking last", config=config, loads=loads(compile(net, config)), steps=steps)


def training_run(config: CoreConfig, samples: int = 24, rule: str = "dfa") -> tuple[Scenario, Compiled]:
    """A small recurrent network learns to tell three patterns apart, online; then it is tested.

    Each sample is six ticks, the last three with the class; the last nine samples are a test without
    classes. A step is a tick.
    """
    net = Network(dt=1e-3, seed=3)
    x = net.input(9)
    adaptive = PUBLISHED[rule].adaptive
    h = net.lif(14, tau_mem=8e-3, tau_syn=2e-3, adaptation=0.2 if adaptive else 0.0, tau_adaptation=50e-3)
    y = net.readout(3, tau_mem=8e-3)
    most = min(2.0, largest_range(config))
    net.connect(x, h, gain=2.0, range=most, stored="source")
    net.connect(h, h, gain=0.5, range=most / 2, stored="source")
    net.connect(h, y, gain=0.5, range=most / 2, stored="target")
    net.learn(EProp(**{"rate": 2.0**-4, **PUBLISHED[rule].settings}))
    compiled = compile(net, config)
    random = np.random.default_rng(4)
    steps = []
    for sample in range(samples + 9):
        label = sample % 3
        for tick in range(6):
            likely = np.where(np.arange(9) // 3 == label, 0.7, 0.1)
            spikes = np.flatnonzero(random.random(9) < likely)
            train = sample < samples
            flags = ((TickFlag.RESET if tick == 0 else TickFlag(0)) | (TickFlag.TRAIN if train else TickFlag(0))
                     | (TickFlag.TARGET if train and tick >= 3 else TickFlag(0))
                     | (TickFlag.SEND if tick == 5 else TickFlag(0)))
            events = [event_entry(compiled.event_address(x, int(i))) for i in spikes]
            steps.append(Step(entries=[*events, tick_entry(flags, label if train else 0)]))
    return Scenario(name="training run", config=config, loads=loads(compiled), steps=steps), compiled


def answers(results: list[IntArray]) -> list[int]:
    """The class with the largest output of each result."""
    return [int(np.argmax(values)) for values in results]
