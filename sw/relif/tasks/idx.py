"""Files of the idx format, gzipped or not: the form in which MNIST and its kin are published."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import DataError

__all__ = ["read_idx"]

UNSIGNED_BYTES = 8


def read_idx(folder: Path, name: str, *, axes: int) -> npt.NDArray[np.uint8]:
    """The array of unsigned bytes in the file `name`, or `name`.gz, of that folder.

    A file begins with two zero bytes, the type of its numbers, how many axes it has, and the length of each (32 bits,
    most significant byte first). `DataError` where it is absent, cut short, or of another form.
    """
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.exists()), None)
    if path is None:
        raise DataError(f"{folder}: there is neither {name} nor {name}.gz")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    head = 4 + 4 * axes
    if len(data) < head or data[:2] != b"\0\0" or data[2] != UNSIGNED_BYTES or data[3] != axes:
        raise DataError(f"{path}: no idx file of unsigned bytes with {axes} axes: it begins with {data[:4].hex(' ')}")
    shape = tuple(int.from_bytes(data[4 + 4 * axis:8 + 4 * axis], "big") for axis in range(axes))
    if len(data) - head != math.prod(shape):
        raise DataError(f"{path}: {len(data) - head} bytes of numbers, not the {math.prod(shape)} of the shape {shape}")
    return np.frombuffer(data, dtype=np.uint8, offset=head).reshape(shape)
