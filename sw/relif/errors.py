"""The errors of the host: one small hierarchy, which the command line turns into one line and an exit code."""

from __future__ import annotations

__all__ = [
    "BoardError", "CheckpointError", "CompileError", "DataError", "LinkError", "NetworkError", "RelifError",
    "ToolError", "TransportError",
]


class RelifError(Exception):
    """Whatever Relif refuses; the message names the thing, its value and what would be right."""


class NetworkError(RelifError):
    """A network description that makes no sense."""


class CompileError(RelifError):
    """A network that does not fit a core configuration."""


class BoardError(RelifError):
    """A board that is not what was expected, or that was asked for something it cannot do."""


class LinkError(BoardError):
    """A board that does not answer, or answers against the protocol."""


class TransportError(LinkError):
    """A byte stream that cannot be opened, or that ended: no such port, busy, unplugged."""


class CheckpointError(RelifError):
    """A checkpoint that is cut short or belongs to another network."""


class DataError(RelifError):
    """Samples, targets or weights out of range."""


class ToolError(RelifError):
    """An outside tool (C++ compiler, Verilator, Yosys) that is missing or failed."""
