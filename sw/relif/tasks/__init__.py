"""Tasks: data sets with encoders, networks and settings. `digits(seed)` makes one, `TASKS` lists them."""

from __future__ import annotations

from .base import Split, Task
from .digits import Digits

__all__ = ["TASKS", "Digits", "Split", "Task", "digits"]

TASKS: dict[str, type[Task]] = {"digits": Digits}
"""The tasks by name."""

digits = Digits
