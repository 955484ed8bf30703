"""A transport that loses, repeats, cuts and changes frames, and puts noise between them; seeded."""

from __future__ import annotations

import random
from collections import Counter

FAULTS = ("lost", "repeated", "cut", "flipped", "joined", "noise")


class FaultyTransport:
    """Between a host and another transport.

    Parameters
    ----------
    inner : Transport
    rate : float
        Part of the frames, in each direction, that something happens to.
    seed : int
    """

    def __init__(self, inner, *, rate, seed):
        self.inner, self.rate, self.name = inner, rate, f"faulty {inner.name}"
        self.random = random.Random(seed)
        self.counts = Counter()

    def _spoil(self, data: bytes) -> bytes:
        out = b""
        for frame in data.split(b"\0")[:-1]:
            fault = self.random.choice(FAULTS) if frame and self.random.random() < self.rate else ""
            self.counts[fault] += 1
            if fault == "lost":
                continue
            if fault == "repeated":
                out += (frame + b"\0") * self.random.randint(1, 3)
            elif fault == "cut":
                start = self.random.randrange(len(frame))
                frame = frame[:start] + frame[start + self.random.randint(1, len(frame)):]
            elif fault == "flipped":
                position = self.random.randrange(len(frame))
                flipped = frame[position] ^ 1 << self.random.randrange(8)
                frame = frame[:position] + bytes([flipped]) + frame[position + 1:]
            elif fault == "joined":                     # the delimiter is lost
                out += frame
                continue
            elif fault == "noise":
                out += self.random.randbytes(self.random.randint(1, 600))
            out += frame + b"\0"
        return out + data.rpartition(b"\0")[2]

    def write(self, data: bytes) -> None:
        self.inner.write(self._spoil(data))

    def read(self, timeout: float) -> bytes:
        return self._spoil(self.inner.read(timeout))

    def close(self) -> None:
        self.inner.close()
