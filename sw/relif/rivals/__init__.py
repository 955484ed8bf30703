"""The learning tick of the core on a CPU, as fast as one core does it: what the core's speed is measured against.

A loop for Numba (`loop`), the same in tensors of PyTorch (`dense`), and a network of snnTorch (`leaky`). All take a
`workload.Workload`: the same network and the same spikes as the board. Numba and snnTorch are optional, the extra
`baselines`.
"""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import ToolError
from . import dense, leaky, loop
from .workload import Rival

__all__ = ["RIVALS", "require"]

RIVALS: dict[str, type[Rival]] = {"numba": loop.Loop, "torch": dense.Dense, "snntorch": leaky.Leaky}
"""By the names of the packages that they need."""


def require(name: str) -> None:
    """`ToolError`, which says how to install it, unless the package of that rival is there."""
    if find_spec(name) is None:
        raise ToolError(f"bench against {name}: {name} is not installed (pip install 'relif[baselines]')")
