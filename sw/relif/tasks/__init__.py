"""Tasks: data sets with encoders, networks and settings. `digits(seed)` makes one, `TASKS` lists them."""

from __future__ import annotations

from .base import Split, Task
from .cue import CueAccumulation
from .digits import Digits
from .mnist import Mnist

__all__ = ["TASKS", "CueAccumulation", "Digits", "Mnist", "Split", "Task", "cue_accumulation", "digits", "mnist"]

TASKS: dict[str, type[Task]] = {task.name: task for task in (Digits, CueAccumulation, Mnist)}
"""The tasks by name."""

digits, cue_accumulation, mnist = Digits, CueAccumulation, Mnist
