"""Queue entries as frames: nothing lost, nothing cut, and never longer than plain entries."""

import numpy as np
import pytest

from entries import canonical, unpacked
from relif.host.packing import pack
from relif_hw.frames import MAX_PAYLOAD, RUN_BYTES, RUN_STARTS, FrameType, spike_run
from relif_hw.isa import TICK_ENTRY, VALUE_ENTRY


def ticks(neurons, density, values=0, number=40, seed=0):
    random = np.random.default_rng(seed)
    parts = []
    for _ in range(number):
        parts += [VALUE_ENTRY + random.integers(100, size=values), np.flatnonzero(random.random(neurons) < density),
                  [TICK_ENTRY | int(random.integers(10))]]
    return np.concatenate(parts).astype(np.uint16)


CASES = {
    "digits": (ticks(64, 0.3), FrameType.SPIKES),
    "a few of many": (ticks(700, 0.02), FrameType.ENTRIES),
    "many of many": (ticks(700, 0.2), FrameType.SPIKES),
    "all neurons": (ticks(8 * RUN_STARTS, 1.0, number=2), FrameType.SPIKES),
    "values before": (ticks(40, 0.5, values=3), FrameType.SPIKES),
    "values alone": (ticks(1, 0.0, values=3), FrameType.ENTRIES),
    "one event": (np.array([5], dtype=np.uint16), FrameType.ENTRIES),
    "one tick": (np.array([TICK_ENTRY], dtype=np.uint16), FrameType.ENTRIES),
    "the last byte of a tick and the first of the next": (
        np.array([*range(16376, 16384), TICK_ENTRY, *range(8)], dtype=np.uint16), FrameType.SPIKES),
    "a gap at the end of a run": (np.array([*range(64), *range(72, 80)], dtype=np.uint16), FrameType.SPIKES),
}


@pytest.mark.parametrize(("entries", "kind"), CASES.values(), ids=CASES)
def test_frames_carry_the_entries(entries, kind):
    packed = pack(entries)
    frames = list(packed.frames())
    assert packed.kind == kind
    assert [entry for frame in frames for entry in unpacked(kind, frame)] == entries.tolist()
    assert max(map(len, frames)) <= MAX_PAYLOAD
    assert min(map(len, frames[:-1]), default=MAX_PAYLOAD) > MAX_PAYLOAD - 2 - RUN_BYTES     # as full as can be
    assert len(packed.data) <= 2 * len(entries)


@pytest.mark.parametrize("seed", range(20))
def test_any_order_means_the_same(seed):
    random = np.random.default_rng(seed)
    entries = random.integers(random.choice([8, 64, 1000, VALUE_ENTRY]), size=400)
    special = random.random(400) < 0.1
    entries[special] = random.integers(VALUE_ENTRY, 1 << 16, special.sum())
    packed = pack(entries.astype(np.uint16))
    got = [entry for frame in packed.frames() for entry in unpacked(packed.kind, frame)]
    assert canonical(got) == canonical(entries)
    if packed.kind == FrameType.SPIKES:
        assert got == canonical(entries)


def test_a_rest_goes_in_front():
    first, second = pack(ticks(64, 0.3, number=2)), pack(ticks(64, 0.3, number=30, seed=1))
    frames = list(second.after(first.data).frames())
    assert b"".join(frames) == first.data + second.data
    assert frames[0].startswith(first.data) and len(frames[0]) > MAX_PAYLOAD - 2 - RUN_BYTES


def test_a_digit_takes_twelve_bytes_a_tick():
    packed = pack(ticks(64, 0.3, number=1000))
    assert len(packed.data) <= 12 * 1000


@pytest.mark.parametrize(("byte", "count"), [(-1, 1), (RUN_STARTS, 1), (0, 0), (0, RUN_BYTES + 1)])
def test_a_run_is_checked(byte, count):
    with pytest.raises(ValueError, match=f"a run has 1 to 8 bytes from 0 to 2047, not {count} from {byte}"):
        spike_run(byte, count)
