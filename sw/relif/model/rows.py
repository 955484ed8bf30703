"""Rows of a projection in a memory, as the golden model reads and writes them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Rows"]


class Rows:
    """Rows of a projection, of all replicas: number n * rows + r is row r of replica n.

    Parameters
    ----------
    memory : tensor
        Of shape (replicas, memory words, lanes).
    base : int
        The first word of row 0. A row that does not fit the memory must never be taken or put (`IndexError`).
    rows : int
        Of a replica.
    words : int
        Of a row.
    """

    def __init__(self, memory: Tensor, base: int, rows: int, words: int) -> None:
        self.replicas, depth, lanes = memory.shape
        self._rows, self._width, self._memory = rows, words * lanes, memory.view(-1, lanes)
        word = base + torch.arange(rows * words)
        place = torch.where(word < depth, word + depth * torch.arange(self.replicas)[:, None], len(self._memory))
        self._places = place.reshape(self.replicas * rows, words)

    def take(self, numbers: Tensor) -> Tensor:
        """Copies of the rows of these numbers: (numbers, words * lanes)."""
        places = self._places.index_select(0, numbers).view(-1)
        return self._memory.index_select(0, places).view(numbers.numel(), self._width)

    def put(self, numbers: Tensor, values: Tensor) -> None:
        """Write these rows."""
        places = self._places.index_select(0, numbers).view(-1)
        self._memory.index_copy_(0, places, values.reshape(places.numel(), self._memory.shape[1]))

    def own(self, vectors: Tensor, numbers: Tensor) -> Tensor:
        """Of vectors (replicas, n) that of each row's replica. One replica's fits all rows as it is."""
        return vectors if self.replicas == 1 else vectors.index_select(0, numbers // self._rows)

    def add_up(self, totals: Tensor, numbers: Tensor, terms: Tensor) -> None:
        """Add terms (numbers, neurons) of these rows to the totals (replicas, neurons) of their replicas."""
        if self.replicas == 1:
            totals += terms.sum(0)
        else:
            totals.index_add_(0, numbers // self._rows, terms)
