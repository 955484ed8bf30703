"""What `relif serve` runs: a simulated board of a configuration behind a line of the operating system."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from relif_hw.config import CoreConfig

from .board import open_transport
from .serve import Endpoint, PtyEndpoint, TcpEndpoint, serve

__all__ = ["serve_board"]


def serve_board(config: CoreConfig, *, port: int | None, progress: Callable[[str], None],
                ready: Callable[[str], Any]) -> None:
    """Serve until Ctrl-C, which goes on as `KeyboardInterrupt`.

    Parameters
    ----------
    config : CoreConfig
    port : int or None
        TCP port of 127.0.0.1, 0 for any free one; None: a pseudo-terminal.
    progress : callable
        Gets a line at each phase of the compilation.
    ready : callable
        Gets what a host gives `relif.open`, when the board can be opened.

    Raises
    ------
    TransportError
        The port cannot be listened to.
    ToolError
        The simulated board cannot be compiled.
    """
    endpoint: Endpoint = PtyEndpoint() if port is None else TcpEndpoint(port=port)
    try:
        board = open_transport(config, progress=progress)
    except BaseException:
        endpoint.close()
        raise
    ready(endpoint.address)
    serve(board, endpoint)      # ends at Ctrl-C, and closes both
    raise KeyboardInterrupt
