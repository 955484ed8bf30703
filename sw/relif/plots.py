"""The pictures of a report, each a function from arrays to a matplotlib figure.

Figures are made without pyplot and its global state, so they need no display and no closing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

__all__ = ["Curve", "Probe", "comparison", "growth", "learning_curve", "membranes", "pattern", "raster", "regression",
           "traces", "weight_pictures"]

Array = npt.NDArray[Any]

INK, MUTED, FRAME = "#1d2733", "#6b7785", "#cfd6dd"
LINES = ("#2f6db5", "#d2691e", "#3a8f5c", "#8455a8", "#b8375a", "#5b6b7a")
STYLE: Any = {
    "font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.edgecolor": FRAME, "axes.labelcolor": MUTED, "axes.titlecolor": INK, "text.color": INK,
    "xtick.color": MUTED, "ytick.color": MUTED, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": "#eceff2", "axes.axisbelow": True, "legend.frameon": False,
    "savefig.dpi": 130, "figure.facecolor": "white",
}


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What the populations did during one sample, tick by tick.

    Parameters
    ----------
    spikes : mapping of str to bool array
        Spikes of each input and hidden population, (ticks, neurons), from the input on.
    membranes : mapping of str to float array
        Membrane potentials U, (ticks, neurons), in units in which thresholds are given.
    traces : mapping of str to float array
        Presynaptic traces P, (ticks, sources), in units of one spike.
    thresholds : mapping of str to float
        Threshold of each spiking population.
    label, prediction : int, optional
        Class of the sample and class that the readout gave.
    """

    spikes: Mapping[str, Array]
    membranes: Mapping[str, Array]
    traces: Mapping[str, Array]
    thresholds: Mapping[str, float] = field(default_factory=dict)
    label: int | None = None
    prediction: int | None = None


def _panels(heights: Sequence[float], width: float = 7.2) -> tuple[Figure, list[Axes]]:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, sum(heights) + 0.5), layout="constrained")
        axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False,
                               gridspec_kw={"height_ratios": list(heights)})
    return figure, [axis for axis in axes[:, 0]]


def learning_curve(
    history: Sequence[Mapping[str, Any]], baselines: Mapping[str, float] | None = None,
) -> Figure:
    """Accuracy over epochs: training as it went, the test where it was measured, baselines as lines.

    Entries of `history` have `epoch`, and `train_accuracy` or `test_accuracy` or both, 0 to 1.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.4), layout="constrained")
        axis = figure.subplots()
        lowest = 1.0
        for color, key, label in ((LINES[0], "train_accuracy", "training, online"),
                                  (LINES[1], "test_accuracy", "test")):
            points = [(entry["epoch"], entry[key]) for entry in history if entry.get(key) is not None]
            if points:
                epochs, values = zip(*points, strict=True)
                axis.plot(epochs, [100 * value for value in values], color=color, marker="o", markersize=4,
                          linewidth=1.8, label=f"{label}: {100 * values[-1]:.1f} %")
                lowest = min(lowest, *values)
        for index, (name, value) in enumerate((baselines or {}).items()):
            axis.axhline(100 * value, color=LINES[2 + index % 4], linestyle=("--", ":", "-.")[index % 3],
                         linewidth=1.2, label=f"{name}: {100 * value:.1f} %")
            lowest = min(lowest, value)
        axis.set(title="Accuracy", xlabel="epoch", ylabel="%", ylim=(max(0.0, 100 * lowest - 3), 100.4))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend(loc="lower right")
    return figure


def _sample(probe: Probe) -> str:
    parts = []
    if probe.label is not None:
        parts.append(f"class {probe.label}")
    if probe.prediction is not None:
        parts.append(f"read as {probe.prediction}")
    return f" of one test sample ({', '.join(parts)})" if parts else " of one test sample"


def _headline(figure: Figure, what: str, probe: Probe) -> None:
    figure.suptitle(what + _sample(probe), x=0.01, ha="left", fontsize=11, fontweight="bold")


def raster(probe: Probe) -> Figure:
    """Spikes of every population, a dot each, neurons upward and ticks to the right."""
    sizes = [spikes.shape[1] for spikes in probe.spikes.values()]
    figure, axes = _panels([0.7 + 2.2 * size / max(sizes) for size in sizes])
    with matplotlib.rc_context(STYLE):
        for index, (axis, (name, spikes)) in enumerate(zip(axes, probe.spikes.items(), strict=True)):
            ticks, neurons = np.nonzero(spikes)
            axis.scatter(ticks, neurons, s=9, marker="|", linewidths=1.2, color=LINES[index % len(LINES)])
            axis.set(ylabel="neuron", xlim=(-0.5, len(spikes) - 0.5), ylim=(-1, spikes.shape[1]))
            axis.set_title(f"{name}: {spikes.sum():.0f} spikes, {100 * spikes.mean():.1f} % a tick")
        axes[-1].set_xlabel("tick")
        _headline(figure, "Spikes", probe)
    return figure


def _busiest(values: Array, count: int) -> list[int]:
    """Indices of the columns that move most, ascending."""
    return sorted(int(index) for index in np.argsort(-np.ptp(values, axis=0), kind="stable")[:count])


def membranes(probe: Probe, count: int = 5) -> Figure:
    """Membrane potentials: of hidden populations the `count` neurons that move most, of readouts all."""
    figure, axes = _panels([1.9] * len(probe.membranes))
    with matplotlib.rc_context(STYLE):
        for axis, (name, values) in zip(axes, probe.membranes.items(), strict=True):
            theta = probe.thresholds.get(name)
            if theta is not None:
                for index, neuron in enumerate(_busiest(values, count)):
                    axis.plot(values[:, neuron], color=LINES[index % len(LINES)], linewidth=1.3,
                              label=f"neuron {neuron}")
                axis.axhline(theta, color=MUTED, linestyle="--", linewidth=1.0, label="threshold")
                axis.set_title(f"{name}: {min(count, values.shape[1])} of {values.shape[1]} neurons")
            else:
                winner = int(values[-1].argmax()) if probe.prediction is None else probe.prediction
                for neuron in range(values.shape[1]):
                    first = neuron == winner
                    label = f"neuron {neuron}" + (" (class)" if neuron == probe.label else "")
                    axis.plot(values[:, neuron], color=LINES[1] if first else "#a9b4bf",
                              linewidth=2.0 if first else 0.9, zorder=3 if first else 2,
                              label=label if first else None)
                axis.set_title(f"{name}: readout")
            axis.set_ylabel("U")
            axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
        axes[-1].set_xlabel("tick")
        _headline(figure, "Membranes", probe)
    return figure


def traces(probe: Probe, count: int = 5) -> Figure:
    """Presynaptic traces P: the `count` sources that move most, of each trace set."""
    figure, axes = _panels([1.7] * len(probe.traces))
    with matplotlib.rc_context(STYLE):
        for axis, (name, values) in zip(axes, probe.traces.items(), strict=True):
            for index, source in enumerate(_busiest(values, count)):
                axis.plot(values[:, source], color=LINES[index % len(LINES)], linewidth=1.3,
                          label=f"source {source}")
            axis.set_title(f"{name}: {min(count, values.shape[1])} of {values.shape[1]} sources")
            axis.set_ylabel("P")
            axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
        axes[-1].set_xlabel("tick")
        _headline(figure, "Presynaptic traces", probe)
    return figure


def weight_pictures(weights: Mapping[str, Array], limit: float) -> Figure:
    """The weights of every projection as a picture beside their histogram.

    Parameters
    ----------
    weights : mapping of str to array
        (sources, targets).
    limit : float
        Largest magnitude that a weight can have: the ends of the colours and of the histogram.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.6 * len(weights)), layout="constrained")
        axes = figure.subplots(len(weights), 2, squeeze=False, width_ratios=(2.2, 1))
        for (left, right), (name, values) in zip(axes, weights.items(), strict=True):
            wide = values if values.shape[1] >= values.shape[0] else values.T
            names = ("target", "source") if wide is values else ("source", "target")
            picture = left.imshow(wide, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto",
                                  interpolation="nearest")
            left.grid(False)
            left.set(title=f"{name}: {values.shape[0]} x {values.shape[1]}", xlabel=names[0], ylabel=names[1])
            figure.colorbar(picture, ax=left, pad=0.01)
            margin = 0.5 if values.dtype.kind == "i" else 0.0
            bins = min(round(2 * limit) + 1, 64) if margin else 64
            edges = np.linspace(-limit - margin, limit + margin, bins + 1)
            right.hist(values.ravel(), bins=edges.tolist(), color=LINES[0])
            full = 100 * np.mean((values >= limit) | (values <= -limit))
            right.set(title=f"{full:.1f} % at an end", xlabel="weight")
            right.set_yticks([])
    return figure


def comparison(rules: Mapping[str, Mapping[str, Sequence[float]]], title: str) -> Figure:
    """Test accuracies (0 to 1) of each rule by method: a mark a seed, a bar from the worst to the best."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 1.2 + 0.55 * len(rules)), layout="constrained")
        axis = figure.subplots()
        methods = list(next(iter(rules.values())))
        for row, results in enumerate(rules.values()):
            for index, method in enumerate(methods):
                values = 100 * np.asarray(results[method])
                height = row + 0.24 * (index - (len(methods) - 1) / 2)
                axis.plot([values.min(), values.max()], [height] * 2, color=LINES[index], linewidth=1.2, alpha=0.5)
                axis.plot(values, [height] * len(values), "o", color=LINES[index], markersize=4,
                          label=method if row == 0 else None)
        axis.set_yticks(range(len(rules)), list(rules))
        axis.invert_yaxis()
        axis.set(xlabel="test accuracy in %", title=title)
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def pattern(target: Array, spikes: Array, distances: Sequence[float]) -> Figure:
    """Target spikes and those that were learned, (ticks, neurons), and the distance of each presentation."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 5.4), layout="constrained")
        above, below = figure.subplots(2, 1, gridspec_kw={"height_ratios": [2, 1]})
        for trains, color, label, offset in ((target, MUTED, "target", -0.18), (spikes, LINES[1], "learned", 0.18)):
            ticks, neurons = np.nonzero(trains)
            above.plot(ticks, neurons + offset, "|", color=color, markersize=5, label=label)
        above.set(title="Output spikes", ylabel="neuron", xlabel="tick")
        above.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        below.semilogy(range(1, len(distances) + 1), distances, color=LINES[0], linewidth=1.4)
        below.set(title="van Rossum distance, while learning", xlabel="presentation")
    return figure


def regression(target: Array, outputs: Array, errors: Sequence[float], dt: float) -> Figure:
    """Target values and the outputs that follow them, (ticks, outputs), and the error of each presentation."""
    count = target.shape[1]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 1.5 * count + 2.2), layout="constrained")
        grid = figure.add_gridspec(count + 1, 1, height_ratios=[1.0] * count + [1.3])
        seconds = np.arange(1, len(target) + 1) * dt
        for number in range(count):
            axis = figure.add_subplot(grid[number])
            axis.plot(seconds, target[:, number], color=MUTED, linewidth=1.2, linestyle="--", label="target")
            axis.plot(seconds, outputs[:, number], color=LINES[1], linewidth=1.2, label="output")
            axis.set(ylabel=f"output {number}", xlim=(0.0, seconds[-1]))
            if number == 0:
                axis.set_title("Outputs, when all is learned")
                axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        axis.set_xlabel("s")
        below = figure.add_subplot(grid[count])
        below.semilogy(range(1, len(errors) + 1), errors, color=LINES[0], linewidth=1.4)
        below.set(title="Mean-square error as a part of the variance, while learning", xlabel="presentation")
    return figure


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What was measured, and below it what is the least that there can be; `label` where a picture has several."""

    label: str
    x: Sequence[float]
    measured: Sequence[float]
    limit: Sequence[float]


def growth(panels: Mapping[str, Sequence[Curve]], *, title: str, axis: str, limit: str,
           logarithmic: bool = False) -> Figure:
    """Cycles of a tick against `axis`, solid, and their limit, dashed and called so: a panel for each entry."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.3), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for panel, (name, curves) in zip(axes, panels.items(), strict=True):
            for color, curve in zip(LINES, curves, strict=False):
                panel.plot(curve.x, curve.measured, color=color, marker="o", markersize=4, linewidth=1.6,
                           clip_on=False, zorder=3)
                panel.plot(curve.x, curve.limit, color=color, linestyle="--", linewidth=1.2)
            panel.set(title=name, xlabel=axis, ylabel="cycles a tick")
            if logarithmic:
                panel.set_xscale("log", base=2)
                panel.set_yscale("log")
                panel.xaxis.set_major_locator(FixedLocator(sorted({x for curve in curves for x in curve.x})))
                for side in (panel.xaxis, panel.yaxis):
                    side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                    side.set_minor_formatter(NullFormatter())
            else:
                panel.set_ylim(bottom=0)
                panel.set_xlim(left=0)
        named = [curve for curve in next(iter(panels.values())) if curve.label]
        handles = [Line2D([], [], color=color, linewidth=1.6, label=curve.label)
                   for color, curve in zip(LINES, named, strict=False)]
        color = MUTED if named else LINES[0]
        handles += [Line2D([], [], color=color, marker="o", markersize=4, linewidth=1.6, label="cycles"),
                    Line2D([], [], color=color, linestyle="--", linewidth=1.2, label=limit)]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8)
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    return figure
