"""Where what takes long to make is kept: compiled simulations and bitstreams."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """$RELIF_CACHE, else relif in $XDG_CACHE_HOME, else in ~/.cache. It may not exist yet."""
    if chosen := os.environ.get("RELIF_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "relif"
