"""What several commands need: the configuration that the arguments name, and tools of other packages."""

from __future__ import annotations

import argparse
from importlib.metadata import entry_points
from typing import Any

import torch

from relif_hw.config import CoreConfig, load_config, preset

from ..console import Console
from ..errors import ToolError
from ..host.board import Board
from ..host.board import open as open_board
from ..network import Network

__all__ = ["MADE", "chosen_config", "core_for", "opened", "tool"]

MADE = ("sim", "model")
"""Boards whose core is made as it is wanted."""
SYNAPTIC_PRESET = "synaptic32"
"""The core that is made for networks that need an eligibility memory, unless another one is asked for."""


def chosen_config(options: argparse.Namespace, default: str | None = None) -> CoreConfig | None:
    """The configuration of --preset or --config, or the preset called `default`, or None."""
    if options.config is not None:
        return load_config(options.config)
    name = options.preset or default
    return preset(name) if name is not None else None


def core_for(network: Network, options: argparse.Namespace) -> CoreConfig | None:
    """The configuration that the arguments name, or where they name none the one that the network needs."""
    needed = options.board in MADE and network.needs_eligibility_memory
    return chosen_config(options, SYNAPTIC_PRESET if needed else None)


def tool(name: str) -> Any:
    """An object that another package of this distribution offers under `relif.tools`.

    So the host never imports gateware or simulator itself, and works where they are not installed.
    """
    for entry in entry_points(group="relif.tools", name=name):
        try:
            return entry.load()
        except ImportError as error:
            raise ToolError(f"{name} cannot be used: {error}") from None
    raise ToolError(f"{name} is not installed: no entry point relif.tools of that name")


def opened(spec: str, config: CoreConfig | None, console: Console) -> Board:
    """Open a board; what the simulated one says while it is compiled goes to standard error.

    PyTorch gets one thread: the golden model's tensors are small, and more threads make them slower.
    """
    torch.set_num_threads(1)
    if spec == "sim":
        return open_board(spec, config=config, progress=console.note)
    return open_board(spec, config=config)
