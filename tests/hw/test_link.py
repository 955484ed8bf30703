"""The gateware's link with the host's own driver at the other end, and frames by hand."""

import numpy as np
import pytest
from link_bench import LinkBench

from entries import canonical
from faults import FaultyTransport
from relif.host.board import LinkBoard
from relif.host.protocol import Frame, decode_frame, encode_frame
from relif_hw.config import CoreConfig
from relif_hw.frames import ACCESS, PROTOCOL_VERSION, BoardFlag, FrameType, Identity
from relif_hw.isa import TICK_ENTRY, Space, space_shape

SMALL = CoreConfig(lanes=4, weight_words=64, state_words=32, neuron_words=8, program_length=16, queue_depth=16,
                   max_outputs=4, eligibility_words=16, name="small")
WIDE = CoreConfig(lanes=128, weight_bits=16, weight_words=16, state_words=16, neuron_words=8, program_length=16,
                  queue_depth=16, max_outputs=4, name="wide")
STALLS = {"flowing": 0.0, "stalling": 0.5}


def image(config, space, rng, words=None):
    depth, elements, bits, signed = space_shape(config, space)
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
    return rng.integers(low, high, (words or depth, elements))


def frames(data):
    """The frames of a run of bytes, all of which must be whole."""
    assert data.endswith(b"\0")
    return [decode_frame(encoded) for encoded in data.split(b"\0") if encoded]


class Wire:
    """Frames by hand: the board's answers are all frames since the last question."""

    def __init__(self, bench):
        self.bench = bench

    def ask(self, *questions):
        for kind, seq, ack, payload in questions:
            self.bench.write(encode_frame(Frame(kind, seq, ack, 0, payload)))
        answer = b""
        for _ in range(12):
            answer += self.bench.read()
            if self.bench.rest:
                break
        return frames(answer) if answer else []

    def hello(self, nonce=0x1234):
        *_, identity = self.ask((FrameType.HELLO, nonce & 255, nonce >> 8, bytes([])))
        return identity


def test_hello_is_answered_with_the_identity():
    bench = LinkBench(SMALL, slots=2)
    frame = Wire(bench).hello(0xBEEF)
    assert (frame.kind, frame.seq, frame.ack) == (FrameType.IDENTITY, 0xEF, 0xBE)
    assert frame.payload[0] == PROTOCOL_VERSION
    identity = Identity.unpack(frame.payload)
    assert identity.config == CoreConfig(**{**SMALL.__dict__, "name": "custom"})
    assert (identity.receive_slots, identity.transmit_slots) == (2, 2)
    assert frame.flags & BoardFlag.CREDITS == 2


@pytest.mark.parametrize("stall", STALLS.values(), ids=STALLS)
@pytest.mark.parametrize(("config", "spaces"), [(SMALL, list(Space)), (WIDE, [Space.STATE])],
                         ids=["small", "a word in two frames"])
def test_every_space_is_written_and_read_back(config, spaces, stall):
    rng = np.random.default_rng(3)
    bench = LinkBench(config, stall=stall)
    with LinkBoard(bench, config=config) as board:
        for space in spaces:
            # Two words in the middle of the space come back, and nothing beside them changes.
            words = image(config, space, rng, 2)
            board.write(space, 1, words)
            assert (board.read(space, 1, 2) == words).all(), space.name
            assert (bench.memory[space][1:3] == words).all(), space.name
            assert not bench.memory[space][:1].any(), space.name
            assert not bench.memory[space][3:].any(), space.name


def test_a_large_image_is_streamed():
    # More than the window, several frames of words in two frames each.
    rng = np.random.default_rng(4)
    bench = LinkBench(SMALL)
    with LinkBoard(bench) as board:
        words = image(SMALL, Space.WEIGHTS, rng)
        board.write(Space.WEIGHTS, 0, words)
        words2 = image(SMALL, Space.STATE, rng)
        board.write(Space.STATE, 0, words2)
        assert (board.read(Space.WEIGHTS) == words).all()
        assert (board.read(Space.STATE) == words2).all()


def noting(kinds, send):
    """A `Session.send` that also notes the types of frames."""
    def noted(kind, payload):
        kinds.add(kind)
        send(kind, payload)
    return noted


@pytest.mark.parametrize("stall", STALLS.values(), ids=STALLS)
@pytest.mark.parametrize("slots", [2, 8])
def test_entries_arrive_once_in_order_and_results_come_back(stall, slots):
    rng = np.random.default_rng(5)
    entries = rng.integers(0, 32, 600)
    ticks = rng.random(600) < np.repeat([0.1, 0.7], 300)        # many spikes a tick, then few
    entries[ticks] |= TICK_ENTRY
    entries = canonical(entries)
    bench = LinkBench(SMALL, stall=stall, slots=slots)
    kinds = set()
    with LinkBoard(bench) as board:
        board.session.send = noting(kinds, board.session.send)
        results = []
        for part in np.array_split(entries, 9):
            board.submit(part)
        results += board.results()
    assert bench.log == entries
    assert [result.values.tolist() for result in results] == [[-1 - k] for k, entry in enumerate(entries)
                                                              if entry & TICK_ENTRY]
    assert kinds == {FrameType.ENTRIES, FrameType.SPIKES}
    assert {(result.stream, result.kind) for result in results} == {(7, 0)}


def test_entries_and_accesses_keep_their_order():
    bench = LinkBench(SMALL)
    with LinkBoard(bench) as board:
        board.submit([1, 2, TICK_ENTRY])
        board.write(Space.POST, 2, np.ones((1, 4), dtype=int))
        board.submit([3])
        board.read(Space.POST, 0, 1)
        board.submit([4])
        results = board.results()
    assert bench.log == [1, 2, TICK_ENTRY, (Space.POST, 1, 2, 1), 3, (Space.POST, 0, 0, 1), 4]
    assert [result.values.tolist() for result in results] == [[-3]]


def test_a_repeated_frame_is_acknowledged_again_and_done_once():
    bench = LinkBench(SMALL)
    wire = Wire(bench)
    wire.hello()
    question = (FrameType.ENTRIES, 0, 0, b"\x05\x00")
    first, again = wire.ask(question)[-1], wire.ask(question)[-1]
    assert first.kind == again.kind == FrameType.STATUS
    assert first.ack == again.ack == 1
    assert not again.flags & BoardFlag.GAP
    assert bench.log == [5]


def test_a_gap_is_told_at_once():
    bench = LinkBench(SMALL)
    wire = Wire(bench)
    wire.hello()
    answer = wire.ask((FrameType.ENTRIES, 1, 0, b"\x05\x00"))[-1]
    assert answer.kind == FrameType.STATUS
    assert answer.ack == 0
    assert answer.flags & BoardFlag.GAP
    assert bench.log == []


def test_frames_beyond_the_credits_are_dropped_not_lost():
    # The core is frozen: four frames fill the ring, and a fifth changes nothing.
    bench = LinkBench(SMALL)
    wire = Wire(bench)
    wire.hello()
    bench.frozen = True
    wire.ask(*[(FrameType.ENTRIES, number, 0, bytes([number, 0])) for number in range(5)])
    answer = wire.ask((FrameType.POLL, 0, 0, b""))[-1]
    assert answer.ack == 4
    assert answer.flags & BoardFlag.CREDITS == 0
    assert not answer.flags & BoardFlag.IDLE
    # Once it goes on, the fifth is taken when it comes again.
    bench.frozen = False
    answer = wire.ask((FrameType.ENTRIES, 4, 0, b"\x04\x00"))[-1]
    assert answer.ack == 5
    assert answer.flags & BoardFlag.CREDITS == 4
    assert answer.flags & BoardFlag.IDLE
    assert bench.log == [0, 1, 2, 3, 4]


def test_the_host_is_told_of_rest_after_frames_that_waited():
    # The core is at rest long before the line has taken the frames of data: rest is told after the last.
    bench = LinkBench(SMALL)
    wire = Wire(bench)
    wire.hello()
    bench.deaf = True
    wire.ask((FrameType.READ, 0, 0, ACCESS.pack(Space.STATE, 0, SMALL.state_words)))
    bench.run(4000)
    bench.deaf = False
    *data, last = wire.ask()
    assert len([frame for frame in data if frame.kind == FrameType.DATA]) > 1
    assert last.kind == FrameType.STATUS
    assert last.flags & BoardFlag.IDLE


def test_results_are_sent_again_until_they_are_acknowledged():
    bench = LinkBench(SMALL)
    wire = Wire(bench)
    wire.hello()
    first = wire.ask((FrameType.ENTRIES, 0, 0, b"\x00\x80"))
    second = wire.ask((FrameType.POLL, 0, 0, b""))
    results = [frame for frame in first + second if frame.kind == FrameType.RESULTS]
    assert [frame.seq for frame in results] == [0, 0]
    assert results[0].payload == results[1].payload
    # Acknowledged, they are gone.
    third = wire.ask((FrameType.POLL, 0, 1, b""))
    assert [frame.kind for frame in third] == [FrameType.STATUS]
    assert third[0].seq == 1


HEADER = ACCESS.pack(Space.SURROGATE, 0, 2)
MALFORMED = {
    "an unknown sequenced type": (24, b"\x01\x02\x03"),
    "no entries": (FrameType.ENTRIES, b""),
    "half an entry": (FrameType.ENTRIES, b"\x01"),
    "half a run's beginning": (FrameType.SPIKES, b"\x01"),
    "a run of nothing": (FrameType.SPIKES, b"\x01\x38"),
    "a run cut short": (FrameType.SPIKES, b"\x01\x38\x00\x00"),
    "no header": (FrameType.WRITE, b""),
    "half a header": (FrameType.READ, b"\x06\x00"),
    "an unknown space": (FrameType.WRITE, ACCESS.pack(7, 0, 1) + b"\1\2\3\4"),
    "a space of the high bits": (FrameType.WRITE, ACCESS.pack(0x10, 0, 1) + b"\1\2\3\4"),
    "no words": (FrameType.READ, ACCESS.pack(Space.STATE, 0, 0)),
    "missing elements": (FrameType.WRITE, HEADER + b"\x09"),
    "surplus elements": (FrameType.WRITE, HEADER + b"\x09\x00\x07\x07\x07"),
    "a rest of nothing": (FrameType.REST, b"\x09"),
}


@pytest.mark.parametrize(("kind", "payload"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_frame_does_not_hang_the_board(kind, payload):
    bench = LinkBench(SMALL)
    wire = Wire(bench)
    wire.hello()
    wire.ask((kind, 0, 0, payload))
    answer = wire.ask((FrameType.ENTRIES, 1, 0, b"\x05\x00"))[-1]
    assert answer.ack == 2
    assert answer.flags & BoardFlag.IDLE
    assert [item for item in bench.log if isinstance(item, int)] == [5]
    assert bench.memory[Space.SURROGATE][:2, 0].tolist() == ([9, 0] if "elements" in str(payload) or
                                                             payload.startswith(HEADER) else [0, 0])


def test_hello_drops_what_is_half_there_and_keeps_memories():
    rng = np.random.default_rng(6)
    bench = LinkBench(SMALL)
    weights = image(SMALL, Space.WEIGHTS, rng)
    with LinkBoard(bench) as board:
        board.write(Space.WEIGHTS, 0, weights)
    # A host dies after the first half of a large write, in the middle of a frame, with results unread.
    wire = Wire(bench)
    wire.hello()
    payload = ACCESS.pack(Space.WEIGHTS, 0, 64) + bytes(241)
    wire.ask((FrameType.ENTRIES, 0, 0, b"\x00\x80" * 100), (FrameType.WRITE_FIRST, 1, 0, payload))
    bench.write(encode_frame(Frame(FrameType.WRITE, 2, 0, 0, payload))[:50])
    # The next one finds a board that works, and nothing half written.
    with LinkBoard(bench) as board:
        assert board.results() == []
        assert (board.read(Space.WEIGHTS) == weights).all()
        board.submit([TICK_ENTRY])
        assert [result.values.tolist() for result in board.results()] == [[-101]]


def test_hello_waits_until_the_core_has_done_what_was_acknowledged():
    bench = LinkBench(SMALL)
    wire = Wire(bench)
    wire.hello()
    bench.frozen = True
    wire.ask((FrameType.ENTRIES, 0, 0, b"\x01\x00\x00\x80"))
    assert wire.ask((FrameType.HELLO, 9, 9, b"")) == []
    bench.frozen = False
    answer = wire.ask()
    assert [(frame.kind, frame.seq) for frame in answer][:1] == [(FrameType.IDENTITY, 9)]
    assert not any(frame.kind == FrameType.RESULTS for frame in answer)
    assert bench.log == [1, TICK_ENTRY]


@pytest.mark.parametrize("seed", range(2))
def test_faults_in_both_directions(seed):
    rng = np.random.default_rng(seed)
    bench = LinkBench(SMALL, stall=0.2, seed=seed)
    line = FaultyTransport(bench, rate=0.2, seed=seed)
    board = LinkBoard(line)
    shadow = {space: bench.memory[space].copy() for space in Space}
    sent, ticks = [], []
    for _ in range(15):
        action = rng.integers(3)
        space = Space(int(rng.integers(len(Space))))
        words = int(rng.integers(1, 1 + space_shape(SMALL, space)[0]))
        address = int(rng.integers(0, space_shape(SMALL, space)[0] - words + 1))
        if action == 0:
            shadow[space][address:address + words] = values = image(SMALL, space, rng, words)
            board.write(space, address, values)
        elif action == 1:
            assert (board.read(space, address, words) == shadow[space][address:address + words]).all()
        else:
            entries = rng.integers(0, 32, rng.integers(1, 200))
            entries[rng.random(len(entries)) < 0.2] |= TICK_ENTRY
            entries = canonical(entries)
            board.submit(entries)
            ticks += [-1 - len(sent) - k for k, entry in enumerate(entries) if entry & TICK_ENTRY]
            sent += entries
    results = board.results()
    assert [item for item in bench.log if isinstance(item, int)] == sent
    assert [int(result.values[0]) for result in results] == ticks
    assert sum(line.counts.values()) - line.counts[""] > 5
