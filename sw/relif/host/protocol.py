"""The host's side of the link: frames over a transport, reliable and in order both ways.

`docs/protocol.md` is the contract; `relif_hw.frames` declares the frames.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple
from zlib import crc32

from relif_hw.frames import (
    CORE_VERSION,
    CRC_BYTES,
    HEADER,
    HEADER_BYTES,
    MAX_PAYLOAD,
    PROTOCOL_VERSION,
    SEQUENCED,
    BoardFlag,
    FrameType,
    Identity,
)

from ..errors import BoardError, LinkError
from .transport import Transport

__all__ = ["Frame", "Session", "decode_frame", "encode_frame"]


class Frame(NamedTuple):
    """A frame without its CRC."""

    kind: int
    seq: int
    ack: int
    flags: int
    payload: bytes


_CODES = [bytes([code]) for code in range(256)]


def encode_frame(frame: Frame) -> bytes:
    """The frame as it goes over the wire: CRC, COBS and the delimiter added."""
    if len(frame.payload) > MAX_PAYLOAD:
        raise ValueError(f"a payload has at most {MAX_PAYLOAD} bytes, not {len(frame.payload)}")
    body = HEADER.pack(*frame[:4]) + frame.payload
    body += crc32(body).to_bytes(CRC_BYTES, "little")
    pieces: list[bytes] = []
    for run in body.split(b"\0"):
        pieces += (_CODES[len(run) + 1], run)
    return b"".join(pieces) + b"\0"


def decode_frame(encoded: bytes) -> Frame | None:
    """A frame from the bytes between two delimiters; None if it was cut or changed on its way."""
    runs, start, end = [], 0, len(encoded)
    while start < end:
        code = encoded[start]
        runs.append(encoded[start + 1:start + code])
        start += code
    body = b"\0".join(runs)
    if start != end or len(body) < HEADER_BYTES + CRC_BYTES:
        return None
    if crc32(body[:-CRC_BYTES]) != int.from_bytes(body[-CRC_BYTES:], "little"):
        return None
    return Frame(body[0], body[1], body[2], body[3], body[HEADER_BYTES:-CRC_BYTES])


class Session:
    """One conversation with a board.

    Sequenced frames are kept until the board acknowledges them. When the board reports a gap they
    are sent again from the first one that it misses; when it says nothing it is polled, which also
    makes it send again what it holds.

    Parameters
    ----------
    transport : Transport
    retry : float
        Seconds without a valid frame after which the board is polled.
    polls : int
        Polls in a row without an answer after which the board counts as gone.
    patience : float
        Seconds without progress after which a board that answers counts as hung.
    """

    def __init__(self, transport: Transport, *, retry: float = 0.1, polls: int = 30,
                 patience: float = 60.0) -> None:
        self.transport = transport
        self.retry, self.polls, self.patience = retry, polls, patience
        self.results = bytearray()
        """Payloads of RESULTS, in order."""
        self.data = bytearray()
        """Payloads of DATA, in order."""
        self.fault = False
        """The board's core dropped an event."""
        self.repeated = 0
        """Frames sent again, for statistics."""
        self._identity: Identity | None = None
        self._nonce = -1
        self._start()

    def _start(self) -> None:
        self._sent: deque[tuple[FrameType, bytes]] = deque()   # not acknowledged yet
        self._base = 0              # number of the first of them
        self._received = 0          # number of the next sequenced frame of the board
        self._acknowledged = 0      # what we have told the board of that
        self._credits = 0           # beyond `_base`
        self._idle = False
        self._back_at = -1          # `_base` when we last went back
        self._silent_at = -1        # `_base` when we last polled because of silence
        self._polled_at = -1        # `_received` when we last polled for a gap
        self._in = bytearray()
        self._out = bytearray()
        self.results.clear()
        self.data.clear()

    # Opening.

    def hello(self) -> Identity:
        """Open the conversation, whatever was before. `LinkError` without an answer, or `BoardError`
        if the board speaks another version."""
        self._identity = None
        self._start()
        self._nonce = secrets.randbits(16)
        for _ in range(self.polls):
            self._out += b"\0" + encode_frame(Frame(FrameType.HELLO, self._nonce & 255, self._nonce >> 8,
                                                    PROTOCOL_VERSION, b""))
            deadline = time.monotonic() + self.retry
            while (left := deadline - time.monotonic()) > 0:
                quiet = self._exchange(left) is None
                if (identity := self._known()) is not None:
                    return identity
                if quiet:
                    break
        raise LinkError(f"{self.transport.name}: no answer from a board after {self.polls} attempts; "
                        "is it powered, configured with a Relif core, and the baud rate right?")

    def _known(self) -> Identity | None:
        return self._identity

    def _introduced(self, frame: Frame) -> None:
        if self._identity is not None or (frame.seq | frame.ack << 8) != self._nonce:
            return
        version = frame.payload[0] if frame.payload else 0
        if version != PROTOCOL_VERSION:
            raise BoardError(f"{self.transport.name}: the board speaks version {version} of the protocol, "
                             f"this host version {PROTOCOL_VERSION}")
        try:
            identity = Identity.unpack(frame.payload)
        except ValueError as error:
            raise BoardError(f"{self.transport.name}: the board's identity makes no sense: {error}") from None
        if identity.core_version != CORE_VERSION:
            raise BoardError(f"{self.transport.name}: the board has version {identity.core_version} of the "
                             f"core, this host compiles for version {CORE_VERSION}")
        self._identity = identity
        self._credits = frame.flags & BoardFlag.CREDITS
        self.fault = bool(frame.flags & BoardFlag.FAULT)

    # Sending.

    @property
    def pending(self) -> int:
        """Frames sent that the board has not acknowledged."""
        return len(self._sent)

    @property
    def done(self) -> bool:
        """The board has done all that was sent, and all its results have come."""
        return self._idle and not self._sent

    def send(self, kind: FrameType, payload: bytes) -> None:
        """Send a sequenced frame, as soon as the board has a slot for it."""
        if len(self._sent) >= self._credits:
            self.wait(lambda: len(self._sent) < self._credits)
        self._sent.append((kind, payload))
        self._idle = False
        self._put(kind, self._base + len(self._sent) - 1, payload)

    def _put(self, kind: FrameType, seq: int = 0, payload: bytes = b"") -> None:
        self._out += encode_frame(Frame(kind, seq & 255, self._received & 255, 0, payload))
        self._acknowledged = self._received

    def _go_back(self) -> None:
        for number, (kind, payload) in enumerate(self._sent):
            self._put(kind, self._base + number, payload)
        self.repeated += len(self._sent)
        self._back_at = self._base

    def flush(self) -> None:
        """Hand everything to the transport, with an acknowledgement if one is due."""
        if self._identity is not None and self._acknowledged != self._received:
            self._put(FrameType.ACK)
        if self._out:
            out, self._out = self._out, bytearray()
            self.transport.write(bytes(out))

    # Receiving.

    def wait(self, condition: Callable[[], bool]) -> None:
        """Exchange bytes until the condition holds. `LinkError` if the board falls silent or hangs."""
        polls, heard = 0, time.monotonic()
        progress, moved = (self._base, self._received), heard
        while not condition():
            valid = self._exchange(self.retry)
            now = time.monotonic()
            if valid:
                polls, heard = 0, now
                if (self._base, self._received) != progress:
                    progress, moved = (self._base, self._received), now
                elif now - moved > self.patience:
                    raise LinkError(f"{self.transport.name}: the board answers but has made no progress for "
                                    f"{self.patience:g} s")
            elif valid is None or now - heard > self.retry:
                if polls == self.polls:
                    raise LinkError(f"{self.transport.name}: the board has stopped answering "
                                    f"({polls} polls without an answer)")
                polls, heard = polls + 1, now
                if self._silent_at == self._base:       # the last POLL's answer did not acknowledge them
                    self._go_back()
                self._silent_at = self._base
                self._put(FrameType.POLL)
        self.flush()

    def _exchange(self, timeout: float) -> bool | None:
        """Send what is due and read what has come: whether a valid frame was in it, None if nothing came."""
        self.flush()
        incoming = self.transport.read(timeout)
        if not incoming:
            return None
        *frames, rest = (bytes(self._in) + incoming).split(b"\0")
        self._in = bytearray(rest[-1024:])          # more than a frame can only be noise
        valid = damaged = False
        for encoded in frames:
            if encoded:
                frame = decode_frame(encoded)
                if frame is None:
                    damaged = True
                else:
                    valid = True
                    self._take(frame)
        if damaged and self._identity is not None:
            self._put(FrameType.POLL)
        return valid

    def _take(self, frame: Frame) -> None:
        if frame.kind == FrameType.BUSY:
            raise BoardError(f"{self.transport.name}: the board is in use by another host")
        if frame.kind == FrameType.IDENTITY:
            self._introduced(frame)
        if self._identity is None or frame.kind not in _FROM_BOARD:
            return
        arrived = (frame.ack - self._base) & 255
        if arrived > len(self._sent):
            return                                  # of a time before the HELLO
        for _ in range(arrived):
            self._sent.popleft()
        self._base += arrived
        self._credits = frame.flags & BoardFlag.CREDITS
        self.fault = bool(frame.flags & BoardFlag.FAULT)
        if frame.flags & BoardFlag.GAP and self._sent and self._back_at != self._base:
            self._go_back()
        ahead = (frame.seq - self._received) & 255
        if frame.kind & SEQUENCED and ahead == 0:
            self._received += 1
            (self.results if frame.kind == FrameType.RESULTS else self.data).extend(frame.payload)
        elif frame.kind & SEQUENCED and ahead > 127:
            self._acknowledged = -1                 # it came before: our acknowledgement was lost
        elif ahead and self._polled_at != self._received:
            self._polled_at = self._received
            self._put(FrameType.POLL)
        self._idle = (frame.kind == FrameType.STATUS and ahead == 0 and not self._sent
                      and bool(frame.flags & BoardFlag.IDLE))


_FROM_BOARD = {FrameType.STATUS, FrameType.RESULTS, FrameType.DATA}
