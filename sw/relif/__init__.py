"""Relif: a spiking processor that learns while it runs. Describe a network, open a board, train.

    import relif
    net = relif.Network(dt=1e-3)
    x, h, y = net.input(64), net.lif(128, tau_mem=10e-3), net.readout(10, tau_mem=10e-3)
    net.connect(x, h); net.connect(h, y)
    net.learn(relif.EProp(feedback="random", loss="softmax"))
    with relif.open("sim") as board:
        run = relif.fit(net, board, relif.tasks.digits())

Names are imported when they are first used, so that `relif --version` does not wait for PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .errors import (
    BoardError,
    CheckpointError,
    CompileError,
    DataError,
    LinkError,
    NetworkError,
    RelifError,
    ToolError,
    TransportError,
)
from .version import __version__

if TYPE_CHECKING:
    from . import tasks
    from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from .compiler import Compiled
    from .compiler import compile as compile_network
    from .host.board import Board
    from .host.board import open as open
    from .loop import fit_in_the_loop
    from .network import Network
    from .rules import EProp, Surrogate
    from .training import evaluate, fit, predict

__all__ = [
    "Board", "BoardError", "Checkpoint", "CheckpointError", "CompileError", "Compiled", "DataError", "EProp",
    "LinkError", "Network", "NetworkError", "RelifError", "Surrogate", "ToolError", "TransportError",
    "__version__", "compile_network", "evaluate", "fit", "fit_in_the_loop", "load_checkpoint", "open", "predict",
    "save_checkpoint", "tasks",
]

_LATER = {
    "Board": ("host.board", "Board"),
    "Checkpoint": ("checkpoint", "Checkpoint"),
    "Compiled": ("compiler", "Compiled"),
    "EProp": ("rules", "EProp"),
    "Network": ("network", "Network"),
    "Surrogate": ("rules", "Surrogate"),
    "compile_network": ("compiler", "compile"),
    "evaluate": ("training", "evaluate"),
    "fit": ("training", "fit"),
    "fit_in_the_loop": ("loop", "fit_in_the_loop"),
    "load_checkpoint": ("checkpoint", "load_checkpoint"),
    "open": ("host.board", "open"),
    "predict": ("training", "predict"),
    "save_checkpoint": ("checkpoint", "save_checkpoint"),
}


def __getattr__(name: str) -> Any:
    if name == "tasks":
        return importlib.import_module(".tasks", __name__)
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LATER[name]
    value = getattr(importlib.import_module(f".{module}", __name__), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
