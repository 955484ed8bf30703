"""One sample, tick by tick: what every population did, read from the memories of a board."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from relif_hw.isa import TICK_ENTRY, Register, Space, TickFlag

from .compiler import Compiled
from .host.board import Board
from .layout import Place, TraceSet
from .plots import Probe
from .tasks.base import Task

__all__ = ["probe"]

Array = npt.NDArray[Any]


def _ticks(entries: npt.NDArray[np.uint16]) -> list[npt.NDArray[np.uint16]]:
    """The entries of each tick, its events before it."""
    ends = np.flatnonzero(entries & TICK_ENTRY) + 1
    return [part for part in np.split(entries, ends) if len(part)]


def _membrane(state: Array, place: Place) -> Array:
    """U of a population, from the words of the state memory."""
    words = state[place.state:place.state + 2 * place.words]
    return words[1::2].reshape(-1)[:place.population.size]


def _trace(state: Array, trace: TraceSet) -> Array:
    """P of a trace set."""
    words = state[trace.state:trace.state + trace.pre.words * (2 if trace.wide else 1)]
    return (words[1::2] if trace.wide else words).reshape(-1)[:trace.pre.population.size]


def probe(board: Board, compiled: Compiled, task: Task, values: npt.NDArray[np.floating],
          label: int | None = None) -> Probe:
    """Show one sample (values (inputs,)) to the network on the board, and read its state after every tick.

    Nothing is learned; the tick register is put back. Traces are kept although nothing is learned.
    """
    layout, network = compiled.layout, compiled.network
    tick = board.read(Space.REGISTERS, Register.TICK, 1)
    entries = task.entries(compiled, values[None])
    spikes: dict[str, list[Array]] = {name: [] for name, place in layout.places.items()
                                      if place.population.kind != "readout"}
    membranes: dict[str, list[Array]] = {name: [] for name, place in layout.places.items()
                                         if place.population.kind != "input"}
    traces: dict[int, list[Array]] = {index: [] for index in range(len(layout.traces))}
    for part in _ticks(entries):
        part[-1] |= int(TickFlag.TRAIN) << 11
        board.submit(part)
        state = board.read(Space.STATE, 0, layout.state_words)
        now = board.read(Space.SPIKES, 0, layout.neuron_words).reshape(-1)
        for name, kept in spikes.items():
            place = layout.places[name]
            base = place.base * compiled.config.lanes
            if place.population.kind == "input":        # its spikes are gone after the tick
                events = part[:-1][(part[:-1] >= base) & (part[:-1] < base + place.population.size)]
                kept.append(np.isin(np.arange(place.population.size), events.astype(np.int64) - base))
            else:
                kept.append(now[base:base + place.population.size] != 0)
        for name, kept in membranes.items():
            kept.append(_membrane(state, layout.places[name]))
        for index, kept in traces.items():
            kept.append(_trace(state, layout.traces[index]))
    board.results()
    board.write(Space.REGISTERS, Register.TICK, tick)
    unit = float(1 << compiled.config.state_fraction)
    outputs = {name: np.array(kept) / unit for name, kept in membranes.items()}
    readout = network.output.name if network.output else None
    names = {index: f"{trace.pre.population.name}" + (f" ({index})" if len(layout.traces) > 1 else "")
             for index, trace in enumerate(layout.traces)}
    return Probe(
        spikes={name: np.array(kept) for name, kept in spikes.items()}, membranes=outputs,
        traces={names[index]: np.array(kept) / layout.traces[index].one for index, kept in traces.items()},
        thresholds={name: layout.places[name].population.threshold for name in outputs
                    if layout.places[name].population.kind == "lif"},
        label=label, prediction=int(outputs[readout][-1].argmax()) if readout else None)
