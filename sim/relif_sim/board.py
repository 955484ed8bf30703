"""The simulated board: the Verilog of a device, run by Verilator behind the byte stream of a real board."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

from relif.host.transport import Line
from relif_hw.config import CoreConfig
from relif_hw.isa import Opcode

from .library import Progress, library

__all__ = ["Line", "SimulatedTransport", "open_transport"]

_OPCODES = 16
_OUTPUT = 1 << 16
_CHUNK = 100_000
"""Cycles that the library runs before Python looks at the clock (and at Ctrl-C)."""


def _load(path: str) -> ctypes.CDLL:
    handle = ctypes.CDLL(path)
    size, pointer = ctypes.c_size_t, ctypes.POINTER(ctypes.c_size_t)
    handle.relif_create.restype = ctypes.c_void_p
    handle.relif_create.argtypes = []
    handle.relif_destroy.restype = None
    handle.relif_destroy.argtypes = [ctypes.c_void_p]
    handle.relif_step.restype = ctypes.c_int
    handle.relif_step.argtypes = [ctypes.c_void_p, ctypes.c_char_p, size, pointer, ctypes.c_char_p, size,
                                  pointer, ctypes.c_uint64]
    handle.relif_limit.restype = None
    handle.relif_limit.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64]
    handle.relif_profile.restype = None
    handle.relif_profile.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint64)]
    return handle


class SimulatedTransport:
    """The byte stream to a simulated board. Its time passes only in `read`, and stops while it is idle.

    Parameters
    ----------
    config : CoreConfig
    progress : callable or None
        Gets a line at each phase of the compilation; by default they go to standard error.
    line : Line or None
        What bytes pass through; by default one is taken and one made in each cycle.
    compiled : Path or None
        The library of that device if it is not the usual one, see `gates`.
    """

    def __init__(self, config: CoreConfig, *, progress: Progress | None = None, line: Line | None = None,
                 compiled: Path | None = None) -> None:
        self.name = "sim"
        self.config = config
        self.at_rest = False
        """After the last step the board had nothing more to do."""
        self._library = _load(str(compiled or library(config, progress=progress)))
        self._board: int | None = self._library.relif_create()
        self.line = line
        if line is not None:
            self._library.relif_limit(self._board, *line.fraction())
        self._input = bytearray()
        self._output = ctypes.create_string_buffer(_OUTPUT)
        self._taken, self._made = ctypes.c_size_t(), ctypes.c_size_t()

    def write(self, data: bytes) -> None:
        self._input += data
        self.at_rest = False

    def step(self, cycles: int) -> bytes:
        """Run until the board is at rest, at most so many cycles; what it sent."""
        if self._board is None:
            raise ValueError("the simulated board has been closed")
        rest = self._library.relif_step(
            self._board, bytes(self._input), len(self._input), ctypes.byref(self._taken), self._output, _OUTPUT,
            ctypes.byref(self._made), cycles)
        del self._input[:self._taken.value]
        self.at_rest = bool(rest)
        return self._output.raw[:self._made.value] if self._made.value else b""

    def read(self, timeout: float) -> bytes:
        """What the board sent; empty as soon as it is at rest, or after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            data = self.step(_CHUNK)
            if data or self.at_rest or time.monotonic() >= deadline:
                return data

    def close(self) -> None:
        if self._board is not None:
            self._library.relif_destroy(self._board)
            self._board = None

    def _numbers(self) -> list[int]:
        numbers = (ctypes.c_uint64 * (1 + 2 * _OPCODES))()
        self._library.relif_profile(self._board, numbers)
        return list(numbers)

    @property
    def queued(self) -> int:
        """Bytes written that the board has not taken yet."""
        return len(self._input)

    @property
    def cycles(self) -> int:
        """Clock cycles since the board was made."""
        return self._numbers()[0]

    def profile(self) -> dict[Opcode, tuple[int, int]]:
        """Since the board was made, per instruction: cycles in which the core worked for it, and those
        in which a word entered the lanes. END stands for the cycles in which the core was idle."""
        numbers = self._numbers()
        return {opcode: (numbers[1 + opcode], numbers[1 + _OPCODES + opcode]) for opcode in Opcode}


def open_transport(config: CoreConfig, *, progress: Progress | None = None,
                   line: Line | None = None) -> SimulatedTransport:
    """The simulated board of that configuration; the entry point `sim` of `relif.transports`.

    `ToolError` if it is not in the cache and cannot be compiled.
    """
    return SimulatedTransport(config, progress=progress, line=line)
