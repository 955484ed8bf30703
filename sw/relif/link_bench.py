"""What a serial line leaves of the core's speed: digits training on the simulated board behind a `Line`.

The host takes no time, so the figures are those of the line and the core alone. A cycle counts as *learning*
if the core worked on the program's instructions, as *sending* if it was in SEND (which may wait for the line),
else as *waiting*: the core was idle, since no entry had come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import relif
from relif_hw.config import CoreConfig, preset
from relif_hw.isa import Opcode

from .first_samples import FirstSamples, check_weights
from .host.transport import Line
from .tasks.digits import Digits

__all__ = ["CASES", "LINK_COLUMNS", "LinkMeasurement", "link_markdown", "link_plain", "link_rows", "measure_link"]

CASES = tuple((name, Line(clock_hz=clock, baudrate=baud)) for name, clock, baud in (
    ("lanes1", 20.25e6, 3e6), ("lanes4", 12e6, 3e6), ("lanes32", 48e6, 3e6), ("lanes32", 48e6, 12e6)))
"""Cores and clocks of boards (the first and third; `relif_boards`), one between them, and the line's rates."""


@dataclass(frozen=True, kw_only=True)
class LinkMeasurement:
    """Digits training over one line."""

    core: str
    clock_hz: float
    baudrate: float
    seconds: float
    """Simulated, for all samples."""
    to_board: float
    """Bytes per second to the board; `from_board` the other way, `limit` the most that the line carries."""
    from_board: float
    limit: float
    events: float
    """Per second, ticks not counted."""
    bytes_per_tick: float
    """To the board, frames and acknowledgements included."""
    cycles_per_tick: float
    """Of the core's work, SEND not counted."""
    learning: float
    """Parts of the time, 0 to 1; see above."""
    sending: float
    waiting: float


HIDDEN = {"lanes4": [48]}
"""Hidden neurons of the network where the task's own does not fit."""


class _Counted:
    """A transport that counts the bytes."""

    def __init__(self, transport: Any) -> None:
        self._transport, self.sent, self.received = transport, 0, 0
        self.name: str = transport.name

    def write(self, data: bytes) -> None:
        self.sent += len(data)
        self._transport.write(data)

    def read(self, timeout: float) -> bytes:
        data: bytes = self._transport.read(timeout)
        self.received += len(data)
        return data

    def close(self) -> None:
        self._transport.close()


def measure_link(samples: int, seed: int = 0, *, config: CoreConfig | None = None, cases: Any = CASES,
                 progress: Callable[[str], None] = lambda line: None) -> list[LinkMeasurement]:
    """Train the first `samples` digits of the first epoch over each line.

    `BoardError` if the weights are then not those of the golden model, bit for bit.
    """
    measurements: list[LinkMeasurement] = []
    trainings: dict[CoreConfig, FirstSamples] = {}
    for name, line in cases:
        core = config or preset(name)
        if core not in trainings:
            trainings[core] = FirstSamples(Digits(seed, hidden=HIDDEN.get(core.name)), core, samples)
        training = trainings[core]
        with relif.open("sim", config=core, progress=progress, line=line, retry=60.0) as board:
            simulated = board.transport         # type: ignore[attr-defined]
            counted = _Counted(simulated)
            training.compiled.load(board)
            board.results()
            board.session.transport = counted   # type: ignore[attr-defined]
            before, start = simulated.profile(), simulated.cycles
            board.submit(training.entries)
            board.results()
            after, cycles = simulated.profile(), simulated.cycles - start
            received = counted.received
            taken = counted.sent - simulated.queued     # the last acknowledgements may still be on the host's side
            check_weights(board, training.weights, "training over the line")
            spent = {opcode: after[opcode][0] - before[opcode][0] for opcode in Opcode}
        ticks = training.ticks
        seconds = cycles / line.clock_hz
        waiting, sending = spent[Opcode.END], spent[Opcode.SEND]
        measurements.append(LinkMeasurement(
            core=core.name, clock_hz=line.clock_hz, baudrate=line.baudrate, seconds=seconds,
            to_board=taken / seconds, from_board=received / seconds, limit=line.baudrate / 10,
            events=(len(training.entries) - ticks) / seconds, bytes_per_tick=taken / ticks,
            cycles_per_tick=(cycles - waiting - sending) / ticks, learning=(cycles - waiting - sending) / cycles,
            sending=sending / cycles, waiting=waiting / cycles))
    return measurements


LINK_COLUMNS = ("core", "clock", "line", "bytes/s in", "limit", "bytes/s out", "events/s", "bytes/tick",
                "cycles/tick", "learning", "sending", "waiting")


def link_rows(measurements: Sequence[LinkMeasurement]) -> list[tuple[str, ...]]:
    """The cells of a table with `LINK_COLUMNS`."""
    return [(m.core, f"{m.clock_hz / 1e6:g} MHz", f"{m.baudrate / 1e6:g} Mbaud", f"{m.to_board:,.0f}",
             f"{m.limit:,.0f}", f"{m.from_board:,.0f}", f"{m.events:,.0f}", f"{m.bytes_per_tick:.1f}",
             f"{m.cycles_per_tick:.0f}", *(f"{100 * part:.1f} %" for part in (m.learning, m.sending, m.waiting)))
            for m in measurements]


def link_markdown(measurements: Sequence[LinkMeasurement], samples: int, command: str) -> str:
    """The table for `docs/uart.md`, under the command that made it."""
    lines = [f"    {command}", "", f"Digits training, {samples} samples.", "", "| " + " | ".join(LINK_COLUMNS) + " |",
             "| --- | --- | --- " + "| ---: " * (len(LINK_COLUMNS) - 3) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in link_rows(measurements)]
    return "\n".join(lines) + "\n"


def link_plain(measurement: LinkMeasurement) -> dict[str, Any]:
    """A measurement in JSON's types."""
    return asdict(measurement)
