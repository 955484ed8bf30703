"""How far the core is on its way, in seconds: clocks of built boards, ticks of the simulated one and of the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .outcome import Outcome, rest
from .speed_bench import SpeedMeasurement

__all__ = ["CLOCK_TARGETS", "SPEED_PRESET", "SPEED_TARGETS", "BuiltCore", "ClockTarget", "SpeedTarget",
           "clock_outcomes"]


# Clocks, as place and route computes them.

@dataclass(frozen=True, kw_only=True)
class BuiltCore:
    """A core in a bitstream, as the reports of its build tell."""

    board: str
    core: str
    lanes: int
    clocks: Mapping[int, float]
    """MHz of the core's clock by the seed of place and route."""
    used: int
    """LUTs, or logic cells where each has one; `available` in the device."""
    available: int
    path: str
    """The longest one with the slowest seed, by the blocks at its ends; `wire` is the routed part of its time."""
    wire: float
    tools: Sequence[str]

    @classmethod
    def of(cls, built: Any) -> BuiltCore:
        """Of a board that the tool `built` found."""
        cells = built.best.cells
        used, available = cells.get("LUT") or cells["logic cell"]
        slowest = min(built.core_clocks.values(), key=lambda clock: clock.reached)
        return cls(board=built.board.name, core=built.config.name, lanes=built.config.lanes,
                   clocks={seed: clock.reached for seed, clock in built.core_clocks.items()}, used=used,
                   available=available, path=slowest.path, wire=slowest.wire, tools=built.tools)

    @property
    def slowest(self) -> float:
        """MHz with the seed that brought least."""
        return min(self.clocks.values())

    @property
    def share(self) -> float:
        """Part of the LUTs."""
        return self.used / self.available

    @property
    def text(self) -> str:
        """As tables show it."""
        clocks = ", ".join(f"{mhz:.1f}" for mhz in self.clocks.values())
        seeds = f"seed{'s' if len(self.clocks) > 1 else ''} {', '.join(map(str, self.clocks))}"
        return f"{lanes_text(self.lanes)} at {clocks} MHz ({seeds}) in {100 * self.share:.0f} % of the LUTs"


def lanes_text(lanes: int) -> str:
    """A number of lanes."""
    return "1 lane" if lanes == 1 else f"{lanes} lanes"


@dataclass(frozen=True, kw_only=True)
class ClockTarget:
    """So many lanes at such a clock in a device, with every seed; its device is known by its number of LUTs.

    What is compared is lanes times clock: words of weights a second.
    """

    device: str
    luts: int
    lanes: int
    mhz: float
    why: str
    share: float | None = None
    """Part of the LUTs that it may take."""

    @property
    def aim(self) -> str:
        share = "" if self.share is None else f" in {100 * self.share:.0f} % of the LUTs"
        return f"{lanes_text(self.lanes)} at {self.mhz:g} MHz{share}"

    def values(self, reached: float | None) -> dict[str, float | None]:
        """In lane-MHz."""
        return {"aim": self.lanes * self.mhz, "reached": reached, "limit": None}

    def outcome(self, core: BuiltCore) -> Outcome:
        """Of a core in this device."""
        reached, aim = core.lanes * core.slowest, self.lanes * self.mhz
        missing = []
        if core.lanes < self.lanes:
            missing.append(f"{lanes_text(self.lanes - core.lanes)}")
        if core.slowest < self.mhz:
            missing.append(f"{self.mhz - core.slowest:.1f} MHz")
        if self.share is not None and core.share > self.share:
            missing.append(f"{100 * (core.share - self.share):.0f} % of the LUTs too many")
        return Outcome(what=f"clock of {core.board} ({self.device})", core=core.core, aim=self.aim, reached=core.text,
                       values=self.values(reached), ratio=reached / aim, met=not missing,
                       rest=rest(" and ".join(missing) if missing else None, None,
                                 f"{core.path}, {100 * core.wire:.0f} % of it wire; {self.why}"))


APART = ("all lanes share the rows and the control, so that more of them are farther apart, and block memory gives its "
         "words late in a cycle")
CLOCK_TARGETS = (
    ClockTarget(device="ECP5-85F", luts=83640, lanes=128, mhz=80.0, share=0.60, why=APART),
    ClockTarget(device="ECP5-85F", luts=83640, lanes=64, mhz=100.0, why=APART),
    ClockTarget(device="iCE40UP5K", luts=5280, lanes=1, mhz=20.0, why="one lane and its link fill the device"),
)


def clock_outcomes(cores: Sequence[BuiltCore], targets: Sequence[ClockTarget] = CLOCK_TARGETS) -> list[Outcome]:
    """Each board beside the aim that is next to it: of those for its device, the one with the fewest lanes that are
    not less than its own, or else the one with most. An aim with no such board, and a board of a device without aims,
    have a row too."""
    outcomes, none = [], dict.fromkeys(targets)
    for core in cores:
        aims = sorted((t for t in targets if t.luts == core.available), key=lambda t: t.lanes)
        if aims:
            target = next((t for t in aims if t.lanes >= core.lanes), aims[-1])
            none.pop(target, None)
            outcomes.append(target.outcome(core))
        else:
            outcomes.append(Outcome(
                what=f"clock of {core.board}", core=core.core, aim="-", reached=core.text, ratio=None, met=None,
                values={"aim": None, "reached": core.lanes * core.slowest, "limit": None},
                rest="nothing is aimed at for this device"))
    outcomes += [Outcome(what=f"clock of a board with an {target.device}", core="-", aim=target.aim, reached="-",
                         values=target.values(None), ratio=None, met=None, rest="no board with such a core is built")
                 for target in none]
    return outcomes


# Ticks of processors.

@dataclass(frozen=True, kw_only=True)
class SpeedTarget:
    """Something of the training of digits on a machine; `show` puts it in words."""

    what: str
    aim: float
    reached: Callable[[SpeedMeasurement], float]
    show: Callable[[float], str]
    why: str
    most: bool = False
    """It should be at most this, and not at least."""

    def outcome(self, measurement: SpeedMeasurement) -> Outcome:
        """Of a measurement."""
        value = self.reached(measurement)
        met = value <= self.aim if self.most else value >= self.aim
        return Outcome(
            what=self.what, core=measurement.core, aim=self.show(self.aim), reached=self.show(value),
            values={"aim": self.aim, "reached": value, "limit": None}, ratio=value / self.aim, met=met,
            rest=rest(None if met else self.show(abs(self.aim - value)), None, self.why))


def _ticks(value: float) -> str:
    return f"{value:,.0f} ticks/s"


SPEED_PRESET = "lanes32"
SPEED_TARGETS = (
    SpeedTarget(what="simulated board, digits", aim=5000.0, reached=lambda m: m.ticks_per_second, show=_ticks,
                why="the code of a cycle, of all lanes, the link and the control, is run once from end to end and does "
                    "not fit a first-level instruction cache; no statement of it stands out"),
    SpeedTarget(what="host of 1,000 ticks/s, digits", aim=0.1, most=True,
                reached=lambda m: 1000 * m.host_microseconds / 1e6, show=lambda part: f"{100 * part:.1f} % of a core",
                why="encoding, frames and results, in Python"),
    SpeedTarget(what="golden model, digits", aim=2000.0, reached=lambda m: m.model_ticks_per_second, show=_ticks,
                why="its tensors are small, so that a call of PyTorch costs more than the work in it"),
)
