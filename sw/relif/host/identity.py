"""Whether a board is the one that a host expects."""

from __future__ import annotations

import dataclasses

from relif_hw.config import PRESETS, CoreConfig
from relif_hw.frames import Identity

from ..errors import BoardError

__all__ = ["check_config", "named"]


def _values(config: CoreConfig) -> dict[str, int]:
    values = dataclasses.asdict(config)
    values.pop("name")
    return values


def named(identity: Identity) -> Identity:
    """The identity with the name of the preset that its configuration is, if it is one."""
    for config in PRESETS.values():
        if _values(config) == _values(identity.config):
            return dataclasses.replace(identity, config=config)
    return identity


def check_config(name: str, identity: Identity, expected: CoreConfig) -> None:
    """`BoardError` that names each field in which the board differs from `expected`, and both values."""
    board, wanted = _values(identity.config), _values(expected)
    differences = [f"{field} {board[field]}, not {wanted[field]}"
                   for field in wanted if board[field] != wanted[field]]
    if differences:
        raise BoardError(f"{name}: the board's core ({identity.config.name}) is not the expected one "
                         f"({expected.name}): it has {'; '.join(differences)}")
