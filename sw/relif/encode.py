"""Encoders: from values to spikes, and from spikes to what a core's queue takes. All deterministic."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from relif_hw.isa import TickFlag, event_entry, tick_entry

from .errors import DataError

__all__ = ["phase_accumulator", "queue_entries"]

ONE = 1 << 16
"""A full phase: one spike."""
GOLDEN = 40503
"""ONE over the golden ratio: the steps from one input's phase to the next one's."""


def phase_accumulator(values: npt.ArrayLike, ticks: int, rate: float = 1.0) -> npt.NDArray[np.bool_]:
    """Spikes of one phase accumulator per input.

    At every tick, `rate` times the value is added to the input's phase; where it passes one, the input
    spikes and one is taken away. The spikes of a value are thus as regular as they can be, and their
    number is exact to one. Inputs start at phases spread by the golden ratio, so that equal values do
    not spike at the same time. Integers of 16 bits: the same spikes on every machine.

    Parameters
    ----------
    values : array (samples, inputs)
        From 0 to 1.
    ticks : int
    rate : float
        Spikes per tick of the value 1, more than 0 and at most 1.

    Returns
    -------
    array of bool (samples, ticks, inputs)
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2:
        raise DataError(f"values must have the shape (samples, inputs), not {array.shape}")
    if ticks < 1 or not 0 < rate <= 1:
        raise DataError(f"ticks must be at least 1 and the rate from 0 to 1, not {ticks} and {rate}")
    bad = np.argwhere(~((array >= 0) & (array <= 1)))
    if len(bad):
        i, j = bad[0].tolist()
        raise DataError(f"value [{i}, {j}] is {array[i, j]:g}; it must be from 0 to 1 "
                        f"({len(bad)} such values)")
    step = np.rint(array * rate * ONE).astype(np.int64)
    start = np.arange(array.shape[1], dtype=np.int64) * GOLDEN % ONE
    phases = start + step[:, None, :] * np.arange(ticks + 1, dtype=np.int64)[:, None]
    return np.asarray(np.diff(phases // ONE, axis=1) > 0)


def queue_entries(spikes: npt.NDArray[np.bool_], base: int, flags: npt.ArrayLike,
                  targets: npt.ArrayLike) -> npt.NDArray[np.uint16]:
    """Queue entries of samples: per tick its events in ascending order, then the tick.

    Parameters
    ----------
    spikes : array of bool (samples, ticks, inputs)
    base : int
        Event address of input 0.
    flags : array (ticks,) or (samples, ticks)
        `TickFlag` of each tick.
    targets : array (samples,)
        Class of each sample; it only means something in ticks with `TickFlag.TARGET`.
    """
    samples, ticks, inputs = spikes.shape
    event_entry(base + inputs - 1)          # checks the largest address
    labels = np.asarray(targets, dtype=np.int64)
    if labels.size and not 0 <= labels.min() <= labels.max() < 2048:
        raise DataError(f"target classes must be 0 to 2047, not {labels.min()} to {labels.max()}")
    entries = np.empty((samples, ticks, inputs + 1), dtype=np.uint16)
    entries[:, :, :inputs] = base + np.arange(inputs)
    entries[:, :, inputs] = (tick_entry(TickFlag(0)) | np.broadcast_to(np.asarray(flags, dtype=np.int64),
                             (samples, ticks)) << 11 | labels[:, None])
    used = np.concatenate([spikes, np.ones((samples, ticks, 1), dtype=bool)], axis=2)
    queue: npt.NDArray[np.uint16] = entries[used]
    return queue
