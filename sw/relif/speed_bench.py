"""How fast the simulated board is on this machine, and what of that is the host: digits training, timed.

Times are those of the processor (`time.process_time`), so that other programs on the machine matter little. The
*library* is the Verilator model with the loop around it; the *host* is all else: the encoder, the link's driver, the
results.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from relif_hw.isa import Opcode

from .bench import profiled
from .first_samples import FirstSamples, check_weights
from .host.board import Board
from .tasks.digits import Digits

__all__ = ["SPEED_COLUMNS", "SpeedMeasurement", "measure_speed", "speed_markdown", "speed_plain", "speed_row"]


@dataclass(frozen=True, kw_only=True)
class SpeedMeasurement:
    """Digits training on a simulated board."""

    core: str
    ticks: int
    ticks_per_second: float
    """Of the processor's time, host included."""
    cycles_per_tick: float
    """Of the device; `idle_cycles_per_tick` of them the core waited for entries."""
    idle_cycles_per_tick: float
    cycle_nanoseconds: float
    """What the library takes for one."""
    host_microseconds: float
    """For a tick."""
    host_share: float
    """The host's part of all the time, 0 to 1."""
    model_ticks_per_second: float
    """Of the golden model, which does the same; of its own time."""


class _Timed:
    """A transport that adds up the processor's time in `read`, where a simulated board runs."""

    def __init__(self, transport: Any) -> None:
        self._transport, self.seconds = transport, 0.0
        self.name: str = transport.name
        self.write, self.close = transport.write, transport.close

    def read(self, timeout: float) -> bytes:
        start = time.process_time()
        data: bytes = self._transport.read(timeout)
        self.seconds += time.process_time() - start
        return data


def measure_speed(board: Board, samples: int, seed: int = 0) -> SpeedMeasurement:
    """Train the first `samples` digits of the first epoch on a simulated board.

    `BoardError` if the weights are then not those of the golden model, bit for bit, or if the board counts no cycles.
    """
    simulated: Any = profiled(board)
    training = FirstSamples(Digits(seed), board.config, samples)
    training.compiled.load(board)
    board.results()
    timed = _Timed(simulated)
    board.session.transport = timed             # type: ignore[attr-defined]
    cycles, idle = simulated.cycles, simulated.profile()[Opcode.END][0]
    start = time.process_time()
    for part in training.starts:
        board.submit(training.chunk(part))          # encoding is part of the host's time
    board.results()
    seconds = time.process_time() - start
    cycles, idle = simulated.cycles - cycles, simulated.profile()[Opcode.END][0] - idle
    board.session.transport = simulated         # type: ignore[attr-defined]
    check_weights(board, training.weights, "training")
    ticks, host = training.ticks, seconds - timed.seconds
    return SpeedMeasurement(
        core=board.config.name, ticks=ticks, ticks_per_second=ticks / seconds, cycles_per_tick=cycles / ticks,
        idle_cycles_per_tick=idle / ticks, cycle_nanoseconds=1e9 * timed.seconds / cycles,
        host_microseconds=1e6 * host / ticks, host_share=host / seconds,
        model_ticks_per_second=ticks / training.model_seconds)


SPEED_COLUMNS = ("core", "ticks", "ticks/s", "cycles/tick", "of them idle", "ns/cycle", "host us/tick", "host",
                 "model ticks/s")


def speed_row(m: SpeedMeasurement) -> tuple[str, ...]:
    """The cells of a table with `SPEED_COLUMNS`."""
    return (m.core, f"{m.ticks:,}", f"{m.ticks_per_second:,.0f}", f"{m.cycles_per_tick:.0f}",
            f"{m.idle_cycles_per_tick:.0f}", f"{m.cycle_nanoseconds:.0f}", f"{m.host_microseconds:.0f}",
            f"{100 * m.host_share:.1f} %", f"{m.model_ticks_per_second:,.0f}")


def speed_markdown(measurement: SpeedMeasurement, command: str) -> str:
    """The table for `docs/performance.md`, under the command that made it."""
    lines = [f"    {command}", "", "| " + " | ".join(SPEED_COLUMNS) + " |",
             "| --- " + "| ---: " * (len(SPEED_COLUMNS) - 1) + "|", "| " + " | ".join(speed_row(measurement)) + " |"]
    return "\n".join(lines) + "\n"


def speed_plain(measurement: SpeedMeasurement) -> dict[str, Any]:
    """A measurement in JSON's types."""
    return asdict(measurement)
