"""The boards that there are."""

from __future__ import annotations

from relif.errors import ToolError

from .board import Board
from .ecpix5 import ECPIX5, ECPIX5_SERIAL
from .icebreaker import ICEBREAKER
from .orangecrab import ORANGECRAB
from .tangnano20k import TANGNANO20K
from .ulx3s import ULX3S, ULX3S_USB

__all__ = ["BOARDS", "find_board"]

BOARDS: dict[str, Board] = {
    board.name: board for board in (
        ICEBREAKER, TANGNANO20K, ULX3S, ULX3S_USB, ORANGECRAB, ECPIX5, ECPIX5_SERIAL)}


def find_board(name: str) -> Board:
    """The board of that name; `ToolError` lists the ones there are."""
    if name not in BOARDS:
        raise ToolError(f"no board is called {name!r}; there are {', '.join(BOARDS)}")
    return BOARDS[name]
