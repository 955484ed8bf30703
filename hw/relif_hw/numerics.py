"""The arithmetic that the gateware and the golden model share: hashes, tables, constants.

Functions of this module use only operators, so they take Python integers and PyTorch integer
tensors alike, and change neither; `docs/numerics.md` says where each is used. Nothing here imports
Amaranth or PyTorch.
"""

from __future__ import annotations

import math
from typing import TypeVar

__all__ = [
    "EXP_TABLE", "GROUP_STEP", "HASH_MASK", "RANDOM_BITS", "RECIPROCAL_TABLE", "SURROGATE_BITS",
    "SURROGATE_ENTRIES", "finish", "lane_feedback", "lane_random", "mix", "row_hash", "tick_key",
]

T = TypeVar("T")

HASH_MASK = 0xFFFF_FFFF
GROUP_STEP = 0x9E37_79B1
"""What one group of four lanes adds to the hash of its row: an odd number near 2**32 / phi."""

RANDOM_BITS = 16
"""Bits of the random number that a stochastic rounding adds."""


def mix(x: T) -> T:
    """Hash of 32 bits to 32 bits by shifts, exclusive-ors and additions (no multiplier)."""
    x = x ^ (x >> 15)                       # type: ignore[operator]
    x += (x << 5) + 0x5851_F42D
    x &= HASH_MASK
    x ^= x >> 3
    x += x << 18
    x &= HASH_MASK
    x ^= x >> 6
    x += x << 8
    x &= HASH_MASK
    x ^= x >> 17
    return x


def finish(x: T) -> T:
    """The last, short part of the hash, which every group of four lanes computes for itself."""
    x = x ^ (x >> 14)                       # type: ignore[operator]
    x += x << 12
    x &= HASH_MASK
    x ^= x >> 3
    x += x << 6
    x &= HASH_MASK
    x ^= x >> 11
    return x


def tick_key(seed: int, tick: int) -> int:
    """Key of all random numbers of a tick; hashed feedback uses its own seed and tick 0."""
    return mix((mix(seed) + tick) & HASH_MASK)


def row_hash(key: T | int, stream: T | int, row: T) -> T:
    """Hash of a row (0 to 65535) of the instruction with that stream number."""
    return mix((row + (key + (stream << 16))) & HASH_MASK)          # type: ignore[operator]


def lane_random(word: T, lane: T | int) -> T:
    """The 16-bit random number of lane 0 to 3 of a group, from the group's 32-bit hash: the top of `word` turned left
    by 8 lane."""
    twice = (word << 32) | word                                 # type: ignore[operator]
    return (twice >> (lane * -8 + 48)) & 0xFFFF                 # type: ignore[operator]


def lane_feedback(word: T, lane: int) -> T:
    """The random feedback weight of lane 0 to 3 of a group: odd, -255 to 255, in units of 1/256."""
    byte = (word >> (24 - 8 * lane)) & 0xFF                     # type: ignore[operator]
    return 2 * (byte - ((byte >> 7) << 8)) + 1


SURROGATE_ENTRIES = 32
"""Steps of a surrogate table over |U - theta|; past the last one the last entry holds."""
SURROGATE_BITS = 8
"""Bits of an entry, unsigned; 128 is 1.0."""

EXP_TABLE = [min(32767, round(32768 * 2 ** (-f / 256))) for f in range(256)]
"""2**-x for x = f/256, in units of 2**-15 (15 bits)."""

RECIPROCAL_TABLE = [math.floor(2**24 / (512 + m + 0.5)) for m in range(512)]
"""2**24 / (512 + m + 1/2): the reciprocal of a number whose ten leading bits are 1, m (15 bits)."""
