"""Tasks: data sets with encoders, networks and settings. `digits(seed)` makes one, `TASKS` lists them."""

from __future__ import annotations

from .base import Split, Task
from .cue import CueAccumulation
from .digits import Digits

__all__ = ["TASKS", "CueAccumulation", "Digits", "Split", "Task", "cue_accumulation", "digits"]

TASKS: dict[str, type[Task]] = {task.name: task for task in (Digits, CueAccumulation)}
"""The tasks by name."""

digits, cue_accumulation = Digits, CueAccumulation
