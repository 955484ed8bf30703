"""The temporal XOR (Fig. 7) learned on the chip by SuperSpike, from target spikes.

Two inputs spike at once or two time constants apart. Which of two outputs spikes first shall tell which it was. A third
input, which spikes when a pattern starts, is the clock against which times are told. The right output has one target
spike, a time constant after the last input; the other one shall be silent.
"""

from __future__ import annotations

from .first_spike import XOR, volley
from .network import Network
from .pattern import DECAY, RISE, Pattern
from .rules import EProp, Surrogate

__all__ = ["EPOCHS", "FALL", "HIDDEN", "SPAN", "TICKS", "xor_network", "xor_patterns"]

TICKS = 10
"""Ticks of a time constant, that of the membranes."""
SPAN = 5
"""Time constants of a presentation."""
ANSWER = 1.0
"""Time constants from the last input to the target spike."""
HIDDEN = 32
EPOCHS = 150
FALL = 0.2
"""Learning rate at the end, as a part of that at the start."""


def xor_patterns() -> list[Pattern]:
    """The four patterns of `XOR`: spikes of two inputs and a clock, and the target spike of the right output."""
    patterns = []
    for times, label in XOR:
        target = volley([max(times) + ANSWER] * 2, ticks=TICKS, span=SPAN)
        target[:, 1 - label] = False
        patterns.append(Pattern(volley([*times, 0.0], ticks=TICKS, span=SPAN), target, DECAY / TICKS))
    return patterns


def xor_network(seed: int = 0, *, hidden: int = HIDDEN, rate: float = 2.0**-12, feedback: str = "random") -> Network:
    """Inputs, hidden neurons and two outputs that spike, and learn by SuperSpike."""
    network = Network(dt=DECAY / TICKS, seed=seed)
    x = network.input(3, name="x")
    h = network.lif(hidden, tau_mem=DECAY, tau_syn=RISE, surrogate=Surrogate(kind="fast_sigmoid", width=0.5), name="h")
    o = network.lif(2, tau_mem=DECAY, tau_syn=RISE, surrogate=Surrogate(kind="fast_sigmoid", width=2.0), name="o")
    network.connect(x, h, gain=1.2, range=1.0, stored="source")
    network.connect(h, o, gain=0.1, range=0.25, stored="source")
    network.learn(EProp(loss="van_rossum", feedback=feedback, rate=rate, feedback_gain=4.0, tau_rise=RISE,
                        tau_decay=DECAY), o)
    return network
