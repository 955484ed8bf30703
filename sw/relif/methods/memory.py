"""What a method keeps in memory, counted from the tensors that it really holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Count", "count_elements", "saved_elements"]


def count_elements(held: Any) -> int:
    """Elements of all tensors in nested mappings, lists and tuples."""
    if isinstance(held, Tensor):
        return held.numel()
    if isinstance(held, Mapping):
        return sum(count_elements(value) for value in held.values())
    if isinstance(held, (list, tuple)):
        return sum(count_elements(value) for value in held)
    return 0


@dataclass
class Count:
    """How much autograd keeps for its backward pass."""

    elements: int = 0


@contextmanager
def saved_elements(parameters: Iterable[Tensor]) -> Iterator[Count]:
    """Count the elements that autograd saves in this block: each tensor once, `parameters` not."""
    count = Count()
    storages = {p.untyped_storage().data_ptr() for p in parameters}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in storages:
            storages.add(storage.data_ptr())
            count.elements += storage.nbytes() // tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield count
