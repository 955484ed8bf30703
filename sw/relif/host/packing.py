"""Queue entries as the payloads of frames: ENTRIES, or SPIKES where that is shorter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from relif_hw.frames import MAX_PAYLOAD, RUN_BYTES, RUN_STARTS, FrameType, spike_run
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
    stride = 2 * RUN_STARTS                     # of a tick's keys: its bytes of spikes, and then the rest of it
    ends_tick = entries >= TICK_ENTRY
    tick = (np.cumsum(ends_tick) - ends_tick) * stride
    event = entries < VALUE_ENTRY

    keys, which = np.unique(tick[event] + (entries[event] >> 3), return_inverse=True)
    bits = np.zeros(len(keys), dtype=np.uint8)
    np.bitwise_or.at(bits, which, (1 << (entries[event] & 7)).astype(np.uint8))

    # A run begins after a gap, and again after RUN_BYTES.
    begins = np.diff(keys, prepend=-stride) > _BRIDGE + 1
    begin = np.maximum.accumulate(np.where(begins, keys, 0))
    begin = keys - (keys - begin) % RUN_BYTES
    runs, run = np.unique(begin, return_inverse=True)
    counts = np.zeros(len(runs), dtype=np.int64)
    np.maximum.at(counts, run, keys - begin + 1)

    announced = [spike_run(byte, count) for byte, count in zip((runs % stride).tolist(), counts.tolist(), strict=True)]
    heads = np.array([*announced, *entries[~event].tolist()], dtype=np.int64)
    sizes = np.concatenate([2 + counts, np.full(len(heads) - len(runs), 2)])
    order = np.argsort(np.concatenate([runs, tick[~event] + RUN_STARTS]), kind="stable")
    ends = np.empty(len(order), dtype=np.int64)
    ends[order] = np.cumsum(sizes[order])
    starts = ends - sizes
    data = np.zeros(sizes.sum(), dtype=np.uint8)
    data[starts], data[starts + 1] = heads & 0xFF, heads >> 8
    data[starts[run] + 2 + keys - begin] = bits
    return Packed(FrameType.SPIKES, data.tobytes(), ends[order])
