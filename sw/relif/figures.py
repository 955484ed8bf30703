"""Fig. 1, 3, 4 and 7 of the paper, redrawn from this code: for each what is computed, then how it is drawn.

| figure | shows                                                        | computed by                                |
| ------ | ------------------------------------------------------------ | ------------------------------------------ |
| 1      | a leaky integrate-and-fire neuron (eq. 4, 5)                 | `methods.forward`, and the golden model    |
| 3      | surrogate derivatives, and the tables that the core has      | `rules.Surrogate`                          |
| 4      | a loss and its gradients, on the way from random to learned  | `methods.bptt`, and differences            |
| 7      | the temporal XOR (eq. 15)                                    | `methods.spike_time`, and the golden model |

`docs/paper.md` goes through the paper with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from relif_hw.config import CoreConfig
from relif_hw.isa import Space, TickFlag, event_entry, tick_entry
from relif_hw.numerics import SURROGATE_ENTRIES

from .compiler import compile
from .errors import DataError
from .first_spike import XOR, xor_on_board
from .host.board import open as open_board
from .methods.bptt import bptt
from .methods.forward import Forward, Weights
from .methods.losses import SoftmaxLoss
from .methods.spike_time import fire, train_xor
from .network import Network
from .plots import INK, LINES, MUTED, STYLE
from .rules import SURROGATES, Surrogate

__all__ = ["FIGURES", "Gradients", "Neuron", "Redrawn", "Surrogates", "TemporalXor", "chosen", "draw_gradients",
           "draw_neuron", "draw_surrogates", "draw_temporal_xor", "gradients", "neuron", "neuron_network",
           "surrogates", "temporal_xor"]

Array = npt.NDArray[Any]
BLUE, ORANGE, GREEN, VIOLET, RED, GREY = LINES


# Fig. 1: a neuron.

CONFIG = CoreConfig(lanes=4, name="figures")
"""The core that runs beside the equations."""
INPUTS, TICKS, SPARSE = 4, 800, 400
"""Input neurons; ticks of 1 ms; those in which spikes come one at a time."""


@dataclass(frozen=True, kw_only=True)
class Neuron:
    """A neuron that gets spikes from a few others. Entry n is the state after tick n, as I[n+1], U[n+1], S[n+1]."""

    inputs: Array
    """Spikes S_j[n], bool (ticks, inputs)."""
    current: Array
    membrane: Array
    spikes: Array
    """(ticks,)."""
    core_membrane: Array
    core_spikes: Array
    """The same on the golden model, in fixed point."""
    threshold: float

    @property
    def agreed(self) -> int:
        """Ticks up to the first in which one of the two spikes and the other does not."""
        return int(np.append(self.spikes != self.core_spikes, True).argmax())

    @property
    def fact(self) -> str:
        off = np.abs(self.core_membrane - self.membrane)[:self.agreed].max()
        return (f"{self.inputs.sum()} spikes in, of which {self.inputs[:SPARSE].sum()} one by one; "
                f"{self.spikes.sum()} out, {(self.spikes & self.core_spikes).sum()} of them in the same tick on the "
                f"core; its membrane at most {off:.4f} off for {self.agreed} ticks")


def neuron_network(seed: int = 0) -> Network:
    """Four inputs on one neuron: no single one takes it to its threshold."""
    network = Network(dt=1e-3, seed=seed)
    x, h = network.input(INPUTS, name="x"), network.lif(1, tau_mem=20e-3, tau_syn=5e-3, name="h")
    network.connect(x, h, weights=np.full((INPUTS, 1), 0.09375), range=0.125, plastic=False)
    return network


def neuron(seed: int = 0) -> Neuron:
    """Spikes in turn, 50 ms apart; then of all inputs at random, 30 a second each."""
    inputs = np.zeros((TICKS, INPUTS), dtype=bool)
    turns = np.arange(25, SPARSE - 25, 50)
    inputs[turns, np.arange(len(turns)) % INPUTS] = True
    inputs[SPARSE:] = np.random.default_rng(seed).random((TICKS - SPARSE, INPUTS)) < 0.03
    network = neuron_network(seed)
    run, state = Forward(network), []
    for spikes in torch.tensor(inputs, dtype=torch.float64):
        run.tick(spikes[None])
        state.append([run.current["h"].item(), run.membrane["h"].item(), run.spikes["h"].item()])
    current, membrane, spiked = np.array(state).T
    core_membrane, core_spikes = _neuron_on_core(network, inputs)
    return Neuron(inputs=inputs, current=current, membrane=membrane, spikes=spiked > 0, core_membrane=core_membrane,
                  core_spikes=core_spikes, threshold=network.populations["h"].threshold)


def _neuron_on_core(network: Network, inputs: Array) -> tuple[Array, Array]:
    """Membrane and spikes of the neuron on the golden model, (ticks,)."""
    with open_board("model", config=CONFIG) as board:
        compiled = compile(network, board.config)
        compiled.load(board)
        place, start = compiled.layout.places["h"], compiled.base("x")
        membrane, spikes = [], []
        for tick, now in enumerate(inputs):
            flags = TickFlag.RESET if tick == 0 else TickFlag(0)
            entries = [event_entry(start + int(j)) for j in np.flatnonzero(now)] + [tick_entry(flags)]
            board.submit(np.array(entries, dtype=np.uint16))
            membrane.append(board.read(Space.STATE, place.state + 1, 1)[0, 0])
            spikes.append(board.read(Space.SPIKES, place.base, 1)[0, 0] != 0)
        return np.array(membrane) / (1 << board.config.state_fraction), np.array(spikes)


def draw_neuron(data: Neuron) -> Figure:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 5.6), layout="constrained")
        top, middle, bottom = figure.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": [2.6, 1.3, 1.1]})
        ticks = np.arange(1, len(data.membrane) + 1)            # entry n is the state at n + 1
        for name, membrane, spikes, height, color, width, alpha in (
                ("core, fixed point", data.core_membrane, data.core_spikes, 1.24, ORANGE, 4.0, 0.4),
                ("eq. 4 and 5", data.membrane, data.spikes, 1.38, BLUE, 1.2, 1.0)):
            top.plot(ticks, membrane, color=color, linewidth=width, alpha=alpha, label=f"{name}: {spikes.sum()} spikes")
            top.plot(ticks[spikes], np.full(spikes.sum(), height * data.threshold), "|", color=color, markersize=8,
                     markeredgewidth=1.6)
        top.axhline(data.threshold, color=MUTED, linestyle="--", linewidth=1, label="threshold")
        top.set(title="Membrane U and output spikes S", ylabel="U in thresholds", yticks=(0.0, 0.5, 1.0))
        top.legend(loc="upper left", fontsize=8)
        middle.plot(ticks, data.current, color=GREEN, linewidth=1.2)
        middle.set(title="Synaptic current I", ylabel="thresholds\na tick")
        times, sources = np.nonzero(data.inputs)
        bottom.plot(times, sources, "|", color=INK, markersize=9, markeredgewidth=1.4)
        bottom.set(title=f"Input spikes: {data.inputs.sum()}", ylabel="input j", xlabel="time in ms, a tick each",
                   ylim=(-0.6, INPUTS - 0.4), xlim=(0, len(data.membrane)), yticks=range(INPUTS))
    return figure


# Fig. 3: surrogate derivatives.

SHOWN = {"triangle": 1.0, "fast_sigmoid": 0.5, "exponential": 0.5, "boxcar": 0.5}
"""Width of each kind, at which they are told apart easily."""
NAMES = {"triangle": "piecewise linear", "fast_sigmoid": "fast sigmoid (SuperSpike)",
         "exponential": "exponential (SLAYER)", "boxcar": "box (eRBP)"}
COLORS = {"triangle": GREEN, "fast_sigmoid": BLUE, "exponential": ORANGE, "boxcar": RED}
STYLES = {"triangle": "-", "fast_sigmoid": "--", "exponential": "-.", "boxcar": ":"}


@dataclass(frozen=True, kw_only=True)
class Surrogates:
    """psi against the membrane, by kind."""

    membrane: Array
    """U, numbers that a core's state can have."""
    threshold: float
    formula: dict[str, Array]
    table: dict[str, Array]
    """What the core takes in its place: an entry of 8 bits."""

    @property
    def fact(self) -> str:
        off = {kind: np.abs(self.table[kind] - self.formula[kind]).max() for kind in self.formula if kind != "boxcar"}
        worst = max(off, key=lambda kind: off[kind])
        return (f"tables of {SURROGATE_ENTRIES} entries of 8 bits, {off[worst]:.3f} from the formula at most "
                f"({NAMES[worst]})")


def surrogates(seed: int = 0) -> Surrogates:
    """All kinds of height 1, with the widths of `SHOWN`, two thresholds about theirs; nothing of it is random."""
    fraction, threshold = CONFIG.state_fraction, 1.0
    units = np.arange(-1 << fraction, (3 << fraction) + 1, 1 << fraction - 8)
    distance = np.abs(units - (1 << fraction))
    kinds = {kind: Surrogate(kind=kind, width=SHOWN[kind]) for kind in SURROGATES}
    return Surrogates(
        membrane=units / (1 << fraction), threshold=threshold,
        formula={kind: psi.derivative(distance / (1 << fraction)) for kind, psi in kinds.items()},
        table={kind: psi.table(fraction)[np.minimum(distance >> psi.shift(fraction), SURROGATE_ENTRIES - 1)] / 128
               for kind, psi in kinds.items()})


def draw_surrogates(data: Surrogates) -> Figure:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        panels = figure.subplot_mosaic([["all", kind, other] for kind, other in (SURROGATES[:2], SURROGATES[2:])],
                                       width_ratios=(1.9, 1, 1), sharex=True, sharey=True)
        whole = panels["all"]
        ends = data.membrane[[0, -1]]
        whole.plot(ends, [0, 0], color=VIOLET, linewidth=1.6, label="the step: 0, and infinite at 1")
        whole.annotate("", xy=(data.threshold, 1.18), xytext=(data.threshold, 0), zorder=1,
                       arrowprops={"arrowstyle": "-|>", "color": VIOLET, "linewidth": 1.6})
        for kind, values in data.formula.items():
            whole.plot(data.membrane, values, STYLES[kind], color=COLORS[kind], linewidth=1.7, label=NAMES[kind])
        whole.set(title="Derivatives of a spike", ylabel="dS/dU, in units of the height", ylim=(-0.03, 1.5),
                  yticks=(0.0, 0.25, 0.5, 0.75, 1.0), xlim=tuple(ends), xlabel="membrane U in thresholds")
        whole.legend(loc="upper left", fontsize=8)
        for kind in data.formula:
            axis = panels[kind]
            axis.fill_between(data.membrane, data.table[kind], color=COLORS[kind], alpha=0.2, linewidth=0)
            axis.plot(data.membrane, data.table[kind], color=COLORS[kind], linewidth=1.2, label="the core's table")
            axis.plot(data.membrane, data.formula[kind], color=INK, linestyle=":", linewidth=1.2, label="formula")
            axis.set_title(NAMES[kind].partition(" (")[0])
            axis.legend(loc="upper left", fontsize=7, handlelength=1.2)
            axis.tick_params(labelleft=kind in SURROGATES[::2])
        for kind in SURROGATES[2:]:
            panels[kind].set_xlabel("U in thresholds")
    return figure


# Fig. 4: the loss of a spiking network, its gradient, and the surrogate one.

HIDDEN, OUTPUT = "x->h", "h->y"
SAMPLES, SAMPLE_TICKS = 4, 40


@dataclass(frozen=True, kw_only=True)
class Gradients:
    """Along the straight line from the hidden weights at the start (0) to those that were learned (1)."""

    path: Array
    loss: Array
    """A sample's, on average."""
    actual: Array
    """Norm of the loss's differences by each hidden weight."""
    surrogate: Array
    """Norm of the surrogate gradient to them."""
    step: float
    """The differences are over twice this."""

    @property
    def fact(self) -> str:
        return (f"the actual gradient is zero at {100 * np.mean(self.actual == 0):.0f} % of {len(self.path)} points, "
                f"the surrogate at {100 * np.mean(self.surrogate == 0):.0f} %; the loss falls from {self.loss[0]:.2f} "
                f"to {self.loss[-1]:.2f}")


def classifier() -> Network:
    """Two inputs, two hidden neurons, two readouts that count their spikes."""
    network = Network(dt=1e-3)
    x = network.input(2, name="x")
    h = network.lif(2, tau_mem=10e-3, tau_syn=5e-3, surrogate=Surrogate(kind="fast_sigmoid"), name="h")
    y = network.readout(2, tau_mem=math.inf, name="y")
    network.connect(x, h)
    network.connect(h, y)
    return network


def samples(seed: int = 0) -> tuple[Tensor, SoftmaxLoss]:
    """Spikes (samples, ticks, inputs), of which one input has more; which one, is the class."""
    classes = np.arange(SAMPLES) % 2
    often = np.where(classes[:, None] == [0, 1], 0.3, 0.1)
    spikes = np.random.default_rng(seed).random((SAMPLES, SAMPLE_TICKS, 2)) < often[:, None]
    return torch.tensor(spikes, dtype=torch.float64), SoftmaxLoss(torch.tensor(classes), learn_from=SAMPLE_TICKS - 1)


def learned(network: Network, spikes: Tensor, loss: SoftmaxLoss, seed: int,
            enough: float = 0.1) -> tuple[Tensor, Weights]:
    """Hidden weights at the start, and all weights after descent (Adam) by the surrogate gradient."""
    random = torch.Generator().manual_seed(seed)
    start, output = (mean + spread * torch.randn((2, 2), generator=random, dtype=torch.float64)
                     for mean, spread in ((0.2, 0.05), (0.0, 0.1)))
    weights = {HIDDEN: start.clone(), OUTPUT: output}
    stepper = torch.optim.Adam(list(weights.values()), lr=0.02)
    for _ in range(200):
        back = bptt(network, spikes, loss, weights=weights)
        if back.loss / len(spikes) < enough:
            break
        for name, w in weights.items():
            w.grad = back.gradient[name]
        stepper.step()
    return start, {name: w.detach() for name, w in weights.items()}


def losses(network: Network, weights: Weights, hidden: Tensor, spikes: Tensor, loss: SoftmaxLoss) -> Tensor:
    """The loss, a sample's on average, for each of many hidden weights (networks, pre, post)."""
    run = Forward(network, weights=weights)
    run.reset(len(spikes))
    run.weights[HIDDEN] = hidden            # one dimension more, in front: all networks run at once
    for n in range(spikes.shape[1]):
        run.tick(spikes[:, n])
    return torch.stack([loss.value(membrane, n) for membrane in run.membrane["y"]]) / len(spikes)


def gradients(seed: int = 0, points: int = 301) -> Gradients:
    """Learn, then go along the path; the differences reach half way to the next points."""
    network, (spikes, loss) = classifier(), samples(seed)
    start, weights = learned(network, spikes, loss, seed)
    way = weights[HIDDEN] - start
    path = torch.linspace(0, 1, points, dtype=torch.float64)
    hidden = start + path[:, None, None] * way
    step = way.abs().max().item() / (points - 1) / 2
    shifts = step * torch.eye(4, dtype=torch.float64).reshape(4, 1, 2, 2)
    up, down = (losses(network, weights, (hidden + sign * shifts).flatten(0, 1), spikes, loss) for sign in (1, -1))
    actual = ((up - down) / (2 * step)).reshape(4, points)
    surrogate = [bptt(network, spikes, loss, weights={**weights, HIDDEN: w}).gradient[HIDDEN] / len(spikes)
                 for w in hidden]
    return Gradients(path=path.numpy(), loss=losses(network, weights, hidden, spikes, loss).numpy(),
                     actual=actual.norm(dim=0).numpy(), surrogate=torch.stack(surrogate).flatten(1).norm(dim=1).numpy(),
                     step=step)


def draw_gradients(data: Gradients) -> Figure:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot(data.path, data.loss, color=INK, linewidth=1.4)
        left.set(title="Loss", ylabel="cross-entropy of a sample", ylim=(0, 1.08 * data.loss.max()))
        right.plot(data.path, data.actual, color=MUTED, linewidth=1, label="actual (differences)")
        right.plot(data.path, data.surrogate, color=VIOLET, linewidth=2, label="surrogate")
        right.set(title="Gradient to the hidden weights", ylabel="norm of dE/dW")
        right.legend(loc="upper right", fontsize=8)
        for axis in (left, right):
            axis.set(xlabel="hidden weights, random (0) to learned (1)", xlim=(0, 1))
    return figure


# Fig. 7: the temporal XOR.

@dataclass(frozen=True, kw_only=True)
class TemporalXor:
    """A network that was trained by spike times, and what it does with the four patterns; times in time constants."""

    inputs: Array
    """(patterns, 2)."""
    hidden: Array
    outputs: Array
    """Spike times (patterns, neurons); infinity: silent."""
    wanted: Array
    """The output that is to be first, (patterns,)."""
    core: Array
    """Spike times of the outputs on the golden model, (patterns, 2)."""
    time: Array
    hidden_membrane: Array
    output_membrane: Array
    """(patterns, times, neurons); 0 after the spike."""
    steps: int
    """Of training."""

    @property
    def fact(self) -> str:
        right, core = (int((times.argmin(1) == self.wanted).sum()) for times in (self.outputs, self.core))
        return f"{right} of 4 patterns right after {self.steps} steps, {core} of 4 on the core"


def potential(times: Array, weights: Array, spikes: Array, at: Array) -> Array:
    """V(t) = sum_j W_j (1 - exp(t_j - t)) until the spike, (patterns, times, neurons), and 0 after it."""
    since = np.maximum(at[None, :, None] - times[:, None, :], 0.0)
    return np.where(at[None, :, None] <= spikes[:, None, :], (1 - np.exp(-since)) @ weights, 0.0)


def temporal_xor(seed: int = 0) -> TemporalXor:
    """Train it, then look inside."""
    run = train_xor(seed)
    inputs, wanted = np.array([times for times, _ in XOR]), np.array([first for _, first in XOR])
    first, second = (w.detach() for w in run.network.weights)
    z = fire(torch.tensor(inputs).exp(), first)
    hidden, outputs = z.log().numpy(), fire(z, second).log().numpy()
    with open_board("model", config=CONFIG) as board:
        core = np.stack(xor_on_board(board, run.network))
    last = max(outputs[np.isfinite(outputs)].max(initial=0.0), inputs.max())
    time = np.linspace(0.0, last + 0.5, 1001)
    return TemporalXor(inputs=inputs, hidden=hidden, outputs=outputs, wanted=wanted, core=core, time=time,
                       hidden_membrane=potential(inputs, first.numpy(), hidden, time),
                       output_membrane=potential(hidden, second.numpy(), outputs, time), steps=run.steps)


DASHES = ("-", "--", "-.", ":")


def _spikes(axis: Axes, times: Array, height: float, marker: str, colors: Sequence[str],
            sizes: Sequence[int] = (6, 6, 6, 6), **style: Any) -> None:
    """A mark for each neuron that spikes."""
    for time, color, size in zip(times, colors, sizes, strict=False):
        if math.isfinite(time):
            axis.plot(time, height, marker, color=color, clip_on=False, markersize=size, zorder=5, **style)


def draw_temporal_xor(data: TemporalXor) -> Figure:
    """A row a pattern: on the left the hidden neurons, on the right the outputs."""
    colors = {"input": (INK, "#a9b4bf"), "hidden": (GREEN, VIOLET, RED, GREY), "output": (BLUE, ORANGE)}
    low, high = -1.2, 1.9                       # a membrane that is far below the threshold leaves the picture
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 7.6), layout="constrained")
        axes = figure.subplots(len(data.inputs), 2, sharex=True, sharey=True)
        for row, (left, right) in enumerate(axes):
            left.set_title("inputs " + ", ".join("late" if time else "early" for time in data.inputs[row]))
            right.set_title(f"output {data.outputs[row].argmin()} is first, wanted: {data.wanted[row]}")
            left.set(ylabel="V in thresholds", ylim=(low, high), xlim=(0, data.time[-1]))
            for axis, name, voltages in ((left, "hidden", data.hidden_membrane),
                                         (right, "output", data.output_membrane)):
                axis.axhline(1.0, color=MUTED, linestyle="--", linewidth=0.8)
                for number, color in enumerate(colors[name]):
                    axis.plot(data.time, voltages[row, :, number], DASHES[number], color=color, linewidth=1.4,
                              label=None if row else f"{name} {number}")
            _spikes(left, data.inputs[row], low, "^", colors["input"], (9, 5))     # both show if they come together
            _spikes(left, data.hidden[row], high - 0.25, "v", colors["hidden"])
            _spikes(right, data.hidden[row], low, "^", colors["hidden"])
            _spikes(right, data.outputs[row], high - 0.25, "v", colors["output"])
            _spikes(right, data.core[row], high - 0.6, "v", colors["output"], fillstyle="none")
        for axis in axes[-1]:
            axis.set_xlabel("time in synaptic time constants")
        marks = [Line2D([], [], color=color, markerfacecolor=face, marker=marker, linestyle="", label=label)
                 for color, face, marker, label in (
                     (colors["input"][0], colors["input"][0], "^", "input 0 arrives"),
                     (colors["input"][1], colors["input"][1], "^", "input 1 arrives"),
                     (MUTED, MUTED, "v", "spikes"), (MUTED, "none", "v", "on the core"))]
        lines = [line for axis in axes[0] for line in axis.get_lines() if not line.get_label().startswith("_")]
        figure.legend(handles=[*marks, *lines], loc="outside upper center", ncols=5, fontsize=8)
    return figure


# All of them.

@dataclass(frozen=True)
class Redrawn:
    """A figure: what it is, the numbers of a seed, and the picture of these."""

    title: str
    compute: Callable[[int], Any]
    draw: Callable[[Any], Figure]


FIGURES = {
    1: Redrawn("a leaky integrate-and-fire neuron", neuron, draw_neuron),
    3: Redrawn("surrogate derivatives", surrogates, draw_surrogates),
    4: Redrawn("a loss, its gradient, and the surrogate one", gradients, draw_gradients),
    7: Redrawn("the temporal XOR", temporal_xor, draw_temporal_xor),
}


def chosen(text: str) -> list[int]:
    """The figures of a list such as `1,3`, each once; `DataError` names one that is not there."""
    known = {str(number): number for number in FIGURES}
    for part in text.split(","):
        if part.strip() not in known:
            raise DataError(f"no figure {part.strip()!r} is redrawn here; there are {', '.join(known)}")
    return list(dict.fromkeys(known[part.strip()] for part in text.split(",")))
