"""Queue entries as the core sees them, and what the frames of the link carry of them."""

from relif_hw.frames import RUN_STARTS, FrameType
from relif_hw.isa import TICK_ENTRY, VALUE_ENTRY


def canonical(entries):
    """The entries with each tick's events once, in ascending order, after its target values."""
    ordered, events = [], set()
    for entry in map(int, entries):
        if entry < VALUE_ENTRY:
            events.add(entry)
        else:
            if entry >= TICK_ENTRY:
                ordered += sorted(events)
                events.clear()
            ordered.append(entry)
    return ordered + sorted(events)


def unpacked(kind, payload):
    """The entries of a frame, bit by bit as docs/protocol.md says."""
    entries, octets = [], iter(payload)
    for low in octets:
        item = low | next(octets) << 8
        if kind == FrameType.SPIKES and item < VALUE_ENTRY:
            for byte in range(item % RUN_STARTS, item % RUN_STARTS + item // RUN_STARTS + 1):
                spikes = next(octets)
                entries += [8 * byte + bit for bit in range(8) if spikes >> bit & 1]
        else:
            entries.append(item)
    return entries
