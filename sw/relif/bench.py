"""Cycles per tick and lane use of three fixed networks, counted by the simulated board.

Spikes are synthetic, so that a density means the same for every population: inputs and hidden neurons
alike get theirs as events, and thresholds are too high for spikes of the network's own. A *useful*
lane-cycle is a synapse that an instruction has to do: in INTEGRATE each synapse of a spiking source,
in LEARN each synapse of a row that is not skipped. Lane use is useful lane-cycles over lanes times all
cycles of the instruction, its start and drain included. It is also given for the projections alone whose
rows fill the lanes: without the words of all others, but with the whole start and drain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from relif_hw.config import CoreConfig
from relif_hw.isa import Flag, Opcode, Space, TickFlag, tick_entry

from .compiler import Compiled, compile
from .errors import BoardError
from .first_samples import check_weights
from .host.board import Board
from .layout import Stored
from .model.fixed import FixedCore, Operation
from .network import Network
from .rules import EProp, Surrogate

__all__ = ["DENSITIES", "NETWORKS", "Case", "CountingCore", "Measurement", "LEARNING", "Profiled", "markdown",
           "measure", "network", "percent", "profiled", "spikes"]

DENSITIES = (0.02, 0.10)
LEARNING = TickFlag.TRAIN | TickFlag.TARGET
WARM_UP = 32
"""Ticks before a measurement, after which the traces are as they stay."""


@dataclass(frozen=True)
class Case:
    """A network of the bench: inputs, a hidden population, readouts; recurrent or not."""

    inputs: int
    hidden: int
    readouts: int
    recurrent: bool

    @property
    def name(self) -> str:
        return f"{self.inputs}/{self.hidden}{' recurrent' if self.recurrent else ''}/{self.readouts}"


NETWORKS = (Case(40, 100, 2, True), Case(256, 256, 16, True), Case(700, 256, 20, True))


class Profiled(Protocol):
    """The transport of a simulated board."""

    def profile(self) -> Mapping[Opcode, tuple[int, int]]:
        """Per instruction: cycles in which the core worked for it, and in which a word entered the lanes."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one network did at one density: averages of a tick."""

    network: str
    mode: str
    density: float
    cycles_per_tick: float
    instructions: dict[str, float]
    """Cycles of a tick by instruction."""
    lane_use: dict[str, float | None]
    """Of INTEGRATE and LEARN, 0 to 1."""
    filled_use: dict[str, float | None]
    """The same of the projections whose rows fill the lanes; None if there are none."""


def network(case: Case, seed: int) -> Network:
    """The network of a case; its thresholds are out of reach, its surrogates wide."""
    net = Network(dt=1e-3, seed=seed)
    x = net.input(case.inputs, name="x")
    h = net.lif(case.hidden, name="h", tau_mem=20e-3, tau_syn=5e-3, threshold=16.0,
                surrogate=Surrogate(kind="fast_sigmoid", width=5.0))
    y = net.readout(case.readouts, name="y", tau_mem=20e-3)
    net.connect(x, h, gain=0.5)
    if case.recurrent:
        net.connect(h, h, gain=0.5)
    net.connect(h, y, gain=0.5)
    net.learn(EProp(feedback="random", loss="softmax", rate=2.0**-8))
    return net


def entries(case: Case, compiled: Compiled, density: float, ticks: int, flags: TickFlag,
            random: np.random.Generator) -> npt.NDArray[np.uint16]:
    """Queue entries of so many ticks: spikes of that density in both populations, random targets."""
    parts: list[int] = []
    for _ in range(ticks):
        for name, size in (("x", case.inputs), ("h", case.hidden)):
            parts += (compiled.base(name) + np.flatnonzero(random.random(size) < density)).tolist()
        parts.append(tick_entry(flags, int(random.integers(case.readouts))))
    return np.array(parts, dtype=np.uint16)


def spikes(case: Case, compiled: Compiled, density: float, ticks: int, flags: TickFlag, seed: int,
           before: float | None = None) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
    """The entries of a measurement: those of its warm-up, with the density `before` if it is another, and those of so
    many ticks."""
    random = np.random.default_rng([seed, case.inputs, round(1000 * density)])
    return (entries(case, compiled, density if before is None else before, WARM_UP, flags, random),
            entries(case, compiled, density, ticks, flags, random))


@dataclass
class Work:
    """What an instruction had to do."""

    useful: int = 0
    """Lane-cycles."""
    filled: int = 0
    """Those of projections whose rows fill the lanes."""
    ragged_words: int = 0
    """Words of projections whose rows do not."""
    words: int = 0
    """Of all."""

    def add(self, stored: Stored, lanes: int, useful: int, rows: int) -> None:
        self.useful += useful
        self.words += rows * stored.row_words
        row = stored.pre if stored.by_target else stored.post
        if row.population.size % lanes == 0:
            self.filled += useful
        else:
            self.ragged_words += rows * stored.row_words


class CountingCore(FixedCore):
    """The golden model, which counts the useful lane-cycles of INTEGRATE and LEARN."""

    def __init__(self, compiled: Compiled) -> None:
        super().__init__(compiled.config)
        self.count_anew()
        self._stored = {stored.base: stored for stored in compiled.layout.stored.values()}
        compiled.load(self)

    def count_anew(self) -> None:
        """Forget what has been counted."""
        self.work = {Opcode.INTEGRATE: Work(), Opcode.LEARN: Work()}

    def _integrate(self, i: Operation) -> Callable[[], None]:
        step = super()._integrate(i)
        stored = self._stored[i.b]
        sources = self._spikes[:, i.a:i.a + stored.pre.words]
        targets = stored.post.population.size

        def counted() -> None:
            spikes = int(sources.sum())
            rows = stored.rows if stored.by_target else spikes
            self.work[Opcode.INTEGRATE].add(stored, self.config.lanes, spikes * targets, rows)
            step()
        return counted

    def _scalars(self, i: Operation, values: torch.Tensor, random: torch.Tensor | int) -> torch.Tensor:
        scalars = super()._scalars(i, values, random)
        if i.opcode is Opcode.LEARN:
            stored = self._stored[i.b]
            row = stored.pre if i.flags & Flag.BY_TARGET else stored.post
            rows = int(torch.count_nonzero(scalars))
            self.work[Opcode.LEARN].add(stored, self.config.lanes, rows * row.population.size, rows)
        return scalars


def profiled(board: Board) -> Profiled:
    transport = getattr(board, "transport", None)
    if not hasattr(transport, "profile"):
        raise BoardError(f"{board.name} counts no cycles: only the simulated board does")
    return transport    # type: ignore[return-value]


def counted(board: Board, compiled: Compiled, warm: npt.NDArray[np.uint16], measured: npt.NDArray[np.uint16],
            what: str) -> tuple[dict[Opcode, int], dict[Opcode, Work]]:
    """Cycles of each instruction, and the work that there was for two of them, while a simulated board does `measured`.

    The board has held no larger network before, of which weights would be left. The golden model runs along, to count
    what is useful; `BoardError`, which says after `what`, if its weights then differ.
    """
    model = CountingCore(compiled)
    compiled.load(board)
    board.submit(warm)
    board.results()
    before = dict(profiled(board).profile())
    board.submit(measured)
    board.results()
    after = profiled(board).profile()
    model.run(warm)
    model.count_anew()
    model.run(measured)
    check_weights(board, model.read(Space.WEIGHTS), what)
    spent: dict[Opcode, int] = {
        opcode: after[opcode][0] - before[opcode][0] for opcode in Opcode if opcode is not Opcode.END}
    return spent, model.work


def measure(board: Board, case: Case, *, seed: int, ticks: int,
            progress: Callable[[], None] = lambda: None) -> list[Measurement]:
    """Measure a network on a simulated board, inference and learning, at each of `DENSITIES`.

    `CompileError` if the network does not fit; else as `counted`.
    """
    compiled = compile(network(case, seed), board.config)
    measurements = []
    for mode, flags in (("inference", TickFlag(0)), ("learning", LEARNING)):
        for density in DENSITIES:
            warm, measured = spikes(case, compiled, density, ticks, flags, seed)
            spent, work = counted(board, compiled, warm, measured, f"{case.name}, {mode}")
            measurements.append(_measurement(case, mode, density, ticks, board.config, spent, work))
            progress()
    return measurements


def _measurement(case: Case, mode: str, density: float, ticks: int, config: CoreConfig,
                 spent: Mapping[Opcode, int], work: Mapping[Opcode, Work]) -> Measurement:
    def part(useful: int, cycles: int) -> float | None:
        return useful / (cycles * config.lanes) if useful else None

    return Measurement(
        network=case.name, mode=mode, density=density,
        cycles_per_tick=sum(spent.values()) / ticks,
        instructions={opcode.name: cycles / ticks for opcode, cycles in spent.items() if cycles},
        lane_use={opcode.name: part(w.useful, spent[opcode]) for opcode, w in work.items()},
        filled_use={opcode.name: part(w.filled, spent[opcode] - w.ragged_words) for opcode, w in work.items()},
    )


def percent(value: float | None) -> str:
    """A part of 1 in per cent, or a dash."""
    return "-" if value is None else f"{100 * value:.1f} %"


COLUMNS = ("network", "mode", "density", "cycles/tick", "INTEGRATE", "TRACE", "STEP", "ERROR", "FEEDBACK",
           "POST", "LEARN", "other", "use INTEGRATE", "filled", "use LEARN", "filled")


def rows(measurements: Iterable[Measurement]) -> list[tuple[str, ...]]:
    """The measurements as the cells of a table with `COLUMNS`."""
    table = []
    for m in measurements:
        shown = [m.instructions.get(name, 0.0) for name in COLUMNS[4:11]]
        other = m.cycles_per_tick - sum(shown)
        table.append((m.network, m.mode, f"{100 * m.density:.0f} %", f"{m.cycles_per_tick:.1f}",
                      *(f"{cycles:.1f}" for cycles in shown), f"{other:.1f}",
                      *(percent(part[name]) for name in m.lane_use for part in (m.lane_use, m.filled_use))))
    return table


def markdown(measurements: Sequence[Measurement], config: CoreConfig, command: str) -> str:
    """The tables for `docs/performance.md`, under the command that made them."""
    lines = [f"    {command}", "",
             f"Core `{config.name}`: {config.lanes} lanes, {config.weight_bits}-bit weights.", "",
             "| " + " | ".join(COLUMNS) + " |", "| --- | --- " + "| ---: " * (len(COLUMNS) - 2) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows(measurements)]
    return "\n".join(lines) + "\n"


def plain(measurement: Measurement) -> dict[str, Any]:
    """A measurement in JSON's types."""
    return asdict(measurement)
