"""The host's side of the link, against boards of a few lines."""

import dataclasses
import importlib.metadata
import os
import random

import numpy as np
import pytest

from relif.errors import BoardError, LinkError, RelifError, ToolError, TransportError
from relif.host import board as boards
from relif.host.board import LinkBoard, ModelBoard
from relif.host.protocol import Frame, Session, decode_frame, encode_frame
from relif.host.transport import SerialTransport
from relif_hw.config import preset
from relif_hw.frames import (
    CORE_VERSION,
    MAX_PAYLOAD,
    PROTOCOL_VERSION,
    SEQUENCED,
    BoardFlag,
    FrameType,
    Identity,
    element_bytes,
)
from relif_hw.isa import Space

CONFIG = preset("lanes64")


READY = BoardFlag.IDLE | BoardFlag(4)
"""Idle, with four credits."""


class FakeBoard:
    """A board that answers HELLO, takes every frame, and sends `results` with the next STATUS.

    Parameters
    ----------
    identity : bytes
        Payload of its IDENTITY.
    flags : BoardFlag
        Of every frame.
    """

    name = "fake"

    def __init__(self, identity=None, *, flags=READY):
        self.identity = Identity(config=CONFIG).pack() if identity is None else identity
        self.flags = flags
        self.deaf = False
        self.expected = self.sent = 0
        self.payloads, self.kinds = [], []
        self.results = b""
        self.answer = b""
        self.closed = False

    def write(self, data):
        for encoded in data.split(b"\0"):
            if encoded and not self.deaf:
                self.take(decode_frame(encoded))

    def take(self, frame):
        if frame.kind == FrameType.HELLO:
            self.expected = self.sent = 0
            self.say(FrameType.IDENTITY, frame.seq, frame.ack, self.identity)
        elif frame.kind & SEQUENCED:
            assert frame.seq == self.expected & 255
            self.expected += 1
            self.payloads.append(frame.payload)
            self.kinds.append(frame.kind)
            if self.results:
                self.say(FrameType.RESULTS, self.sent, self.expected, self.results)
                self.results, self.sent = b"", self.sent + 1
            self.say(FrameType.STATUS, self.sent, self.expected)
        elif frame.kind == FrameType.POLL:
            self.say(FrameType.STATUS, self.sent, self.expected)

    def say(self, kind, seq, ack, payload=b""):
        self.answer += encode_frame(Frame(kind, seq & 255, ack & 255, self.flags, payload))

    def read(self, timeout):
        answer, self.answer = self.answer, b""
        return answer

    def close(self):
        self.closed = True


# Frames.

def test_frames_come_back():
    rng = random.Random(1)
    for length in range(MAX_PAYLOAD + 1):
        frame = Frame(rng.randrange(1, 16), rng.randrange(256), 0, rng.randrange(128),
                      bytes(rng.choices((0, 1, 255), k=length)))
        wire = encode_frame(frame)
        assert wire.find(0) == len(wire) - 1
        assert len(wire) <= 256
        assert decode_frame(wire[:-1]) == frame


def test_a_changed_frame_is_never_taken():
    wire = encode_frame(Frame(FrameType.ENTRIES, 7, 3, 0, bytes(range(40))))[:-1]
    for position in range(len(wire)):
        assert decode_frame(wire[:position]) is None
        for bit in range(8):
            changed = wire[:position] + bytes([wire[position] ^ 1 << bit]) + wire[position + 1:]
            assert all(decode_frame(part) is None for part in changed.split(b"\0"))


def test_noise_is_never_taken():
    rng = random.Random(2)
    assert all(decode_frame(rng.randbytes(rng.randrange(300)).replace(b"\0", b"\1")) is None for _ in range(5000))


def test_a_payload_too_long_is_refused():
    with pytest.raises(ValueError, match=r"a payload has at most 246 bytes, not 247"):
        encode_frame(Frame(FrameType.WRITE, 0, 0, 0, bytes(247)))


@pytest.mark.parametrize("name", ["lanes4", "lanes32", "lanes128"])
def test_an_identity_comes_back(name):
    identity = Identity(config=preset(name), receive_slots=8, transmit_slots=2)
    again = Identity.unpack(identity.pack())
    assert dataclasses.replace(again, config=identity.config) == identity
    assert dataclasses.replace(again.config, name=name) == identity.config


def test_elements_take_whole_bytes():
    assert [element_bytes(CONFIG, space) for space in Space] == [4, 4, 1, 3, 3, 1, 1, 2, 3]


# Opening.

def test_the_preset_of_a_board_is_recognised():
    board = LinkBoard(FakeBoard(), config=CONFIG)
    assert board.identity.config == CONFIG
    assert board.config.name == "lanes64"


def identity(**changes):
    return dataclasses.replace(Identity(config=CONFIG), **changes).pack()


REFUSED = {
    "protocol": (identity(protocol_version=9),
                 rf"fake: the board speaks version 9 of the protocol, this host version {PROTOCOL_VERSION}"),
    "a later protocol with another identity": (b"\x07and whatever comes then", r"speaks version 7 of the protocol"),
    "core": (identity(core_version=9),
             rf"fake: the board has version 9 of the core, this host compiles for version {CORE_VERSION}"),
    "length": (identity()[:-1], r"identity makes no sense: an identity has 28 bytes, not 27"),
    "values": (identity().replace(b"\x40\x00", b"\x41\x00", 1), r"makes no sense: lanes must be a power of two"),
    "nothing": (b"", r"speaks version 0"),
}


@pytest.mark.parametrize(("payload", "message"), REFUSED.values(), ids=REFUSED)
def test_boards_that_are_refused(payload, message):
    board = FakeBoard(payload)
    with pytest.raises(BoardError, match=message):
        LinkBoard(board)
    assert board.closed


def test_every_difference_of_configuration_is_named():
    other = dataclasses.replace(CONFIG, lanes=32, weight_bits=6, name="mine")
    with pytest.raises(BoardError, match=r"fake: the board's core \(lanes64\) is not the expected one \(mine\): "
                                         r"it has lanes 64, not 32; weight_bits 8, not 6"):
        LinkBoard(FakeBoard(), config=other)


def test_no_answer():
    board = FakeBoard()
    board.deaf = True
    with pytest.raises(LinkError, match=r"fake: no answer from a board after 5 attempts; is it powered"):
        LinkBoard(board, polls=5)
    assert board.closed


def test_answers_to_an_older_hello_are_not_taken():
    board = FakeBoard()
    board.answer = b"rubbish\0" + encode_frame(Frame(FrameType.IDENTITY, 1, 2, 0, identity(core_version=9)))
    board.answer += encode_frame(Frame(FrameType.RESULTS, 0, 0, 0, b"old!"))
    session = Session(board)
    session._nonce = 0
    assert session.hello().config.lanes == 64
    assert session.results == b""


# Running.

def test_a_board_that_falls_silent():
    board = FakeBoard()
    link = LinkBoard(board, polls=4)
    board.deaf = True
    link.submit([1])
    with pytest.raises(LinkError, match=r"fake: the board has stopped answering \(4 polls without an answer\)"):
        link.results()


def test_a_board_that_hangs():
    board = FakeBoard(flags=BoardFlag(4))           # never idle
    link = LinkBoard(board, patience=0.05)
    link.submit([1])
    with pytest.raises(LinkError, match=r"answers but has made no progress for 0.05 s"):
        link.results()


def test_a_fault_of_the_core_is_told_once():
    board = FakeBoard()
    link = LinkBoard(board)
    board.flags |= BoardFlag.FAULT
    link.submit([1])
    with pytest.raises(BoardError, match=r"fake: the core dropped an event beyond its 4096 neurons"):
        link.results()
    assert link.results() == []


def test_results_are_parted():
    board = FakeBoard()
    link = LinkBoard(board)
    header = [2 | 5 << 24, 0xFFFF_FFFF, 7, 4 | 1 << 16 | 6 << 24, 1, 0x8000_0000, 0, 3]
    board.results = np.array(header, dtype="<u4").tobytes()
    link.submit([1])
    values, spikes = link.results()
    assert (values.stream, values.kind, values.values.tolist()) == (5, 0, [-1, 7])
    assert (spikes.stream, spikes.kind) == (6, 1)
    assert np.nonzero(spikes.values)[0].tolist() == [0, 63, 96, 97]
    assert len(spikes.values) == 128


def test_a_result_that_is_cut():
    board = FakeBoard()
    link = LinkBoard(board)
    board.results = np.array([5, 1], dtype="<u4").tobytes()
    link.submit([1])
    with pytest.raises(LinkError, match=r"a result announces 5 elements, 1 came"):
        link.results()


def test_small_submissions_share_frames_while_the_board_is_busy():
    board = FakeBoard()
    link = LinkBoard(board)
    for entry in range(300):
        link.submit([entry])
    link.results()
    assert b"".join(board.payloads) == np.arange(300, dtype="<u2").tobytes()
    assert len(board.payloads) <= 5


def test_words_are_packed_into_frames():
    board = FakeBoard()
    link = LinkBoard(board)
    words = np.arange(10 * 64).reshape(10, 64) % 128
    link.write(Space.WEIGHTS, 5, words)
    link.results()
    # Seven words of 64 bytes go into two frames, where three would go into one; then the other three.
    first, rest, last = board.payloads
    assert board.kinds == [FrameType.WRITE_FIRST, FrameType.REST, FrameType.WRITE]
    assert (first[:5], last[:5]) == (b"\x02\x05\0\x07\0", b"\x02\x0c\0\x03\0")
    assert first[5:] + rest + last[5:] == words.astype(np.int8).tobytes()
    assert len(first) == MAX_PAYLOAD


def test_closing_delivers_what_was_submitted():
    board = FakeBoard()
    with LinkBoard(board) as link:
        link.submit([1])
        link.submit([2])
    assert b"".join(board.payloads) == b"\1\0\2\0"
    assert board.closed


def test_an_error_closes_the_board_without_waiting():
    board = FakeBoard()
    with pytest.raises(RuntimeError, match="elsewhere"):
        _fail_with(board)
    assert board.closed


def _fail_with(board):
    with LinkBoard(board):
        board.deaf = True
        raise RuntimeError("elsewhere")


# Transports.

def test_names_of_boards():
    with pytest.raises(BoardError, match=r"no board is called 'usb'; there are sim, model, serial:URL, usb:"):
        boards.open("usb")
    with pytest.raises(TransportError, match=r"a TCP board is tcp://HOST:PORT, not 'tcp://here'"):
        boards.open("tcp://here")
    with boards.open("model") as board:
        assert isinstance(board, ModelBoard)
        assert board.config == preset("lanes32")


def test_a_serial_port_that_does_not_exist():
    for spec in ("serial:///dev/no-such-port", "serial:/dev/no-such-port"):
        with pytest.raises(TransportError, match=r"^/dev/no-such-port: there is no such serial port$"):
            boards.open(spec)


def test_a_serial_url_that_pyserial_does_not_know():
    with pytest.raises(TransportError, match=r"nowhere://x: the port cannot be opened: invalid URL"):
        boards.open("serial:nowhere://x")


def test_a_serial_port_that_is_busy():
    master, slave = os.openpty()
    first = SerialTransport(os.ttyname(slave))
    with pytest.raises(TransportError, match=r"the port is busy: another program has it open"):
        SerialTransport(os.ttyname(slave))
    first.close()
    SerialTransport(os.ttyname(slave)).close()
    os.close(master)
    os.close(slave)


def test_a_serial_port_that_is_unplugged():
    master, slave = os.openpty()
    port = SerialTransport(os.ttyname(slave))
    os.write(master, b"abc")
    data = b""
    while len(data) < 3:
        data += port.read(1.0)
    assert data == b"abc"
    assert port.read(0.01) == b""
    os.close(slave)
    os.close(master)
    with pytest.raises(TransportError, match=r"was it unplugged\?"):
        port.read(1.0)
    with pytest.raises(TransportError, match=r"was it unplugged\?"):
        port.write(b"abc")
    port.close()


def test_no_simulated_board(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **which: [])
    with pytest.raises(ToolError, match=r"no simulated board: relif is not installed"):
        boards.open("sim")


def test_every_error_is_one_of_relif():
    assert issubclass(TransportError, LinkError)
    assert issubclass(LinkError, BoardError)
    assert issubclass(BoardError, RelifError)
