"""`relif info`: what a board or a configuration is."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from relif_hw.config import PRESETS, CoreConfig
from relif_hw.isa import Space, space_shape

from ..console import Console
from .shared import chosen_config, opened

__all__ = ["run"]


def _sizes(config: CoreConfig) -> dict[str, Any]:
    """What the fields of a configuration come to."""
    return {"neurons": config.neurons, "synapses": config.synapses,
            "memory_kbit": sum(words * elements * bits for words, elements, bits, _ in (
                space_shape(config, space) for space in Space)) / 1024}


def _presets(console: Console) -> None:
    fields = ("lanes", "weight_bits", "state_bits", "weight_words", "state_words", "neuron_words")
    table = {name: dataclasses.asdict(config) | _sizes(config) for name, config in PRESETS.items()}
    if console.json_output:
        console.result({"presets": table})
    columns = ("preset", *(field.replace("_", " ") for field in fields), "neurons", "synapses")
    console.table("Core configurations", columns, [
        (name, *(str(entry[field]) for field in fields), str(entry["neurons"]), str(entry["synapses"]))
        for name, entry in table.items()])


def run(options: argparse.Namespace, console: Console) -> None:
    """Tell of the board, of the configuration, or of all presets."""
    config = chosen_config(options)
    if options.board is not None:
        with opened(options.board, None, console) as board:
            identity = board.identity
            result = {"board": options.board, "core_version": identity.core_version,
                      "protocol_version": identity.protocol_version, **dataclasses.asdict(board.config)}
            result |= _sizes(board.config)
    elif config is not None:
        result = dataclasses.asdict(config) | _sizes(config)
    else:
        _presets(console)
        return
    console.result(result, "\n".join(f"{key.replace('_', ' '):<18} {value:g}" if isinstance(value, float) else
                                     f"{key.replace('_', ' '):<18} {value}" for key, value in result.items()))
