"""`relif serve`: the simulated board behind a pseudo-terminal or a TCP port.

The host then opens it through the operating system, as it opens a real board.
"""

from __future__ import annotations

import os
import select
import socket
import termios
import tty
from collections.abc import Callable
from typing import Protocol

from relif.errors import TransportError
from relif.host.protocol import Frame, encode_frame
from relif_hw.frames import FrameType

from .board import SimulatedTransport

__all__ = ["Endpoint", "PtyEndpoint", "TcpEndpoint", "serve"]

_STEP = 20_000
"""Cycles between two looks at the line while the board is busy."""
_LINE = 1 << 16
_BUSY = encode_frame(Frame(FrameType.BUSY, 0, 0, 0, b""))


class Endpoint(Protocol):
    """A line to one host at a time."""

    address: str
    """What a host gives `relif.open`."""

    def descriptors(self) -> list[int]:
        """What to wait for: a host that comes, or bytes from it."""

    def receive(self) -> bytes:
        """Bytes that have come, at once; empty if there are none."""

    def send(self, data: bytes) -> int:
        """Send what the line takes, at once; how many bytes that was."""

    def writable(self) -> list[int]:
        """What to wait for until `send` takes more."""

    def close(self) -> None: ...


class PtyEndpoint:
    """A pseudo-terminal: a serial device of the operating system, without a wire.

    Parameters
    ----------
    link : str or None
        A symbolic link to the device, for a name that is known beforehand; replaced if it is one.
    """

    def __init__(self, link: str | None = None) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave, termios.TCSANOW)
        os.set_blocking(self._master, False)
        self.device = os.ttyname(self._slave)
        self._link = link
        if link is not None:
            try:
                if os.path.islink(link):
                    os.unlink(link)
                os.symlink(self.device, link)
            except OSError as error:
                self._link = None
                self.close()
                raise TransportError(f"{link}: the link to {self.device} cannot be made: {error.strerror}") from None
        # The device stays open here, so that a host may come and go.
        self.address = f"serial://{link or self.device}"

    def descriptors(self) -> list[int]:
        return [self._master]

    def receive(self) -> bytes:
        try:
            return os.read(self._master, _LINE)
        except BlockingIOError:
            return b""

    def send(self, data: bytes) -> int:
        try:
            return os.write(self._master, data)
        except BlockingIOError:
            return 0

    def writable(self) -> list[int]:
        return [self._master]

    def close(self) -> None:
        for descriptor in (self._master, self._slave):
            os.close(descriptor)
        if self._link is not None:
            os.unlink(self._link)


class TcpEndpoint:
    """A TCP port. A second host is told that the board is busy, and its connection closed.

    Parameters
    ----------
    host : str
    port : int
        0 takes a free one; `address` tells which.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        try:
            self._listener = socket.create_server((host, port))
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise TransportError(f"tcp://{host}:{port}: cannot listen there: {why}") from None
        self._listener.setblocking(False)
        self._client: socket.socket | None = None
        self.address = f"tcp://{host}:{self._listener.getsockname()[1]}"

    def descriptors(self) -> list[int]:
        return [self._listener.fileno()] + ([self._client.fileno()] if self._client else [])

    def _accept(self, client: socket.socket) -> None:
        if self._client is None:
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._client = client
            return
        client.settimeout(1.0)
        try:
            client.sendall(_BUSY)
        except OSError:
            pass                        # it has left already
        client.close()

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def receive(self) -> bytes:
        # Who comes is taken first and judged last: whoever left before that has been noticed then.
        try:
            new, _ = self._listener.accept()
        except BlockingIOError:
            new = None
        data = b""
        try:
            while self._client is not None:
                part = self._client.recv(_LINE)
                data += part
                if not part:
                    self._drop()
        except BlockingIOError:
            pass
        except OSError:
            self._drop()
        if new is not None:
            self._accept(new)
        return data

    def send(self, data: bytes) -> int:
        if self._client is None:
            return len(data)            # nobody listens
        try:
            return self._client.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._drop()
            return len(data)

    def writable(self) -> list[int]:
        return [self._client.fileno()] if self._client else []

    def close(self) -> None:
        self._drop()
        self._listener.close()


def serve(board: SimulatedTransport, endpoint: Endpoint, *, stop: Callable[[], bool] = lambda: False,
          poll: float = 0.5) -> None:
    """Move bytes between the board and the line until `stop` says so (asked every `poll` seconds at
    least) or Ctrl-C comes. The board keeps its memories while no host is there. Closes both."""
    outgoing = b""
    try:
        while not stop():
            select.select(endpoint.descriptors(), endpoint.writable() if outgoing else [], [],
                          poll if board.at_rest else 0)
            incoming = endpoint.receive()
            if incoming:
                board.write(incoming)
            if outgoing:
                outgoing = outgoing[endpoint.send(outgoing):]
                if len(outgoing) > _LINE:
                    select.select([], endpoint.writable(), [], poll)
                    continue            # the host does not read: the board waits
            if not board.at_rest:
                outgoing += board.step(_STEP)
    except KeyboardInterrupt:
        pass
    finally:
        endpoint.close()
        board.close()
