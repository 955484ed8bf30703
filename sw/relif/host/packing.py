"""Queue entries as the payloads of frames: ENTRIES, or SPIKES where that is shorter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from relif_hw.frames import MAX_PAYLOAD, RUN_BYTES, FrameType, spike_run
from relif_hw.isa import TICK_ENTRY, VALUE_ENTRY

__all__ = ["Packed", "pack"]

_BRIDGE = 1
"""Silent bytes that a run goes on over: one is less than the two of another run's beginning."""


class Packed(NamedTuple):
    """Items for frames of one type."""

    kind: FrameType
    data: bytes
    ends: npt.NDArray[np.int64]
    """Where each item ends in `data`; a frame has whole ones."""

    def after(self, rest: bytes) -> Packed:
        """The same behind an item more."""
        return Packed(self.kind, rest + self.data, np.concatenate([[len(rest)], self.ends + len(rest)]))

    def frames(self) -> Iterator[bytes]:
        """Payloads as full as can be; the last one may be short."""
        start = 0
        while start < len(self.data):
            stop = int(self.ends[np.searchsorted(self.ends, start + MAX_PAYLOAD, side="right") - 1])
            yield self.data[start:stop]
            start = stop


def pack(entries: npt.NDArray[np.uint16]) -> Packed:
    """The entries in whichever type of frame takes fewer bytes.

    Between two ticks SPIKES does not keep the order of events, nor how often one comes: neither matters to
    the core.
    """
    spikes = _spikes(entries)
    if len(spikes.data) < 2 * len(entries):
        return spikes
    return Packed(FrameType.ENTRIES, entries.astype("<u2").tobytes(), np.arange(2, 2 * len(entries) + 1, 2))


def _spikes(entries: npt.NDArray[np.uint16]) -> Packed:
    items: list[bytes] = []
    tick: dict[int, int] = {}           # bytes of the tick's spikes that are not zero
    for entry in entries.tolist():
        if entry < VALUE_ENTRY:
            tick[entry >> 3] = tick.get(entry >> 3, 0) | 1 << (entry & 7)
        else:
            if entry >= TICK_ENTRY:
                items += _runs(tick)
                tick.clear()
            items.append(entry.to_bytes(2, "little"))
    items += _runs(tick)
    return Packed(FrameType.SPIKES, b"".join(items), np.cumsum([len(item) for item in items]))


def _runs(spikes: dict[int, int]) -> Iterator[bytes]:
    """Runs with all of these bytes."""
    first, run = 0, bytearray()
    for byte in sorted(spikes):
        silent = byte - first - len(run)
        if run and (silent > _BRIDGE or len(run) + silent >= RUN_BYTES):
            yield spike_run(first, len(run)).to_bytes(2, "little") + run
            run.clear()
        if not run:
            first, silent = byte, 0
        run += bytes(silent) + bytes([spikes[byte]])
    if run:
        yield spike_run(first, len(run)).to_bytes(2, "little") + run
