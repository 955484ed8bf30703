"""Transports: where bytes to and from a board go. What they carry is `relif.host.protocol`'s business."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import serial

from ..errors import TransportError

__all__ = ["BAUD_RATE", "Line", "SerialTransport", "TcpTransport", "Transport"]

BAUD_RATE = 3_000_000
"""Of serial ports, in baud, unless told otherwise."""


class Transport(Protocol):
    """A byte stream to a board and back."""

    name: str
    """As messages call it."""

    def write(self, data: bytes) -> None:
        """Send all of `data`."""

    def read(self, timeout: float) -> bytes:
        """Whatever has come; waits up to `timeout` seconds for the first byte, empty if none came."""

    def close(self) -> None:
        """Give the stream back; calling it again does nothing."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A serial line (8N1) before a simulated board: a byte takes ten bits in each direction.

    Its first byte arrives that long after it was handed over, the others follow without a pause. What the
    host does in the meantime takes no time.

    Parameters
    ----------
    clock_hz, baudrate : int or float
        Whole numbers of hertz. Nothing else depends on them: any line can be put before any core, also one
        whose clock would be too slow for a UART of that rate.
    """

    clock_hz: float
    baudrate: float

    def __post_init__(self) -> None:
        for name in ("clock_hz", "baudrate"):
            value = getattr(self, name)
            if not (1 <= value <= 1e9 and value == int(value)):
                raise ValueError(f"{name} must be a whole number from 1 to 1000000000, not {value!r}")

    @property
    def byte_cycles(self) -> float:
        """Cycles that a byte takes."""
        return 10 * self.clock_hz / self.baudrate

    def fraction(self) -> tuple[int, int]:
        """The same as a fraction in lowest terms."""
        exact = Fraction(10 * int(self.clock_hz), int(self.baudrate))
        return exact.numerator, exact.denominator


class SerialTransport:
    """A serial port, or any URL that pyserial opens.

    `TransportError` if there is no such port, if another program holds it, and as soon as it fails.
    """

    def __init__(self, url: str, *, baudrate: int = BAUD_RATE) -> None:
        self.name = url
        self._timeout = 0.1
        try:
            self._port = serial.serial_for_url(url, baudrate=baudrate, timeout=self._timeout,
                                               write_timeout=10.0, exclusive=True)
            self._port.reset_input_buffer()
            self._hurry()
        except (OSError, ValueError) as error:
            raise TransportError(self._why(error)) from None

    def _hurry(self) -> None:
        """Ask the driver to hand bytes over at once; an FTDI chip otherwise keeps a few for up to 16 ms.

        Ports without such a mode, and systems other than Linux, go on as they are.
        """
        try:
            self._port.set_low_latency_mode(True)
        except (AttributeError, NotImplementedError, OSError, ValueError):
            pass

    def _why(self, error: OSError | ValueError) -> str:
        code = getattr(error, "errno", None)
        if code == errno.ENOENT:
            return f"{self.name}: there is no such serial port"
        if code == errno.EACCES:
            return f"{self.name}: permission denied; is the user in the group of serial ports (dialout)?"
        if code in (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK) or "exclusively lock" in str(error):
            return f"{self.name}: the port is busy: another program has it open"
        return f"{self.name}: the port cannot be opened: {error}"

    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except (OSError, TypeError) as error:           # TypeError: pyserial after a hang-up
            raise self._gone(error) from None

    def read(self, timeout: float) -> bytes:
        try:
            if timeout != self._timeout:
                self._port.timeout = self._timeout = timeout
            data: bytes = self._port.read(1)
            if data and (waiting := self._port.in_waiting):
                data += self._port.read(waiting)
            return data
        except (OSError, TypeError) as error:
            raise self._gone(error) from None

    def _gone(self, error: Exception) -> TransportError:
        return TransportError(f"{self.name}: the board does not respond any more; was it unplugged? ({error})")

    def close(self) -> None:
        self._port.close()


class TcpTransport:
    """A board behind a TCP port, such as that of `relif serve`."""

    def __init__(self, address: str, *, connect_timeout: float = 5.0) -> None:
        self.name = f"tcp://{address}"
        host, colon, port = address.rpartition(":")
        if not (host and colon and port.isdecimal() and int(port) < 1 << 16):
            raise TransportError(f"a TCP board is tcp://HOST:PORT, not {self.name!r}")
        try:
            self._socket = socket.create_connection((host.strip("[]"), int(port)), timeout=connect_timeout)
        except OSError as error:
            raise TransportError(f"{self.name}: cannot connect: {error.strerror or error}") from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def write(self, data: bytes) -> None:
        try:
            self._socket.settimeout(10.0)
            self._socket.sendall(data)
        except OSError as error:
            raise TransportError(f"{self.name}: the connection is lost: {error.strerror or error}") from None

    def read(self, timeout: float) -> bytes:
        try:
            self._socket.settimeout(max(timeout, 1e-4))
            data = self._socket.recv(1 << 16)
        except TimeoutError:
            return b""
        except OSError as error:
            raise TransportError(f"{self.name}: the connection is lost: {error.strerror or error}") from None
        if not data:
            raise TransportError(f"{self.name}: the other side closed the connection; was the board unplugged?")
        return data

    def close(self) -> None:
        self._socket.close()
