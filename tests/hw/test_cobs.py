"""COBS in gateware against the host's."""

import random

import pytest
from streams import simulate, sink, source

from relif.host.protocol import Frame, decode_frame, encode_frame
from relif_hw.cobs import CobsDecoder, CobsEncoder

STALLS = {"flowing": (0.0, 0.0), "slow source": (0.7, 0.0), "slow sink": (0.0, 0.7), "both": (0.4, 0.4)}

FRAMES = {
    "one byte": [b"\x01"],
    "one zero": [b"\x00"],
    "zeros": [bytes(20)],
    "zeros at the ends": [b"\x00\x07\x08\x00", b"\x00\x09"],
    "longest without zeros": [bytes(1 + k % 255 for k in range(254))],
    "longest of zeros": [bytes(254)],
    "noise": [bytes(random.Random(5).choices(range(4), k=60)) for _ in range(6)],
}


def stuffed(frame):
    """COBS by the definition: the distance to the next zero, then the bytes up to it."""
    out = b""
    for run in frame.split(b"\0"):
        out += bytes([len(run) + 1]) + run
    return out + b"\0"


@pytest.mark.parametrize("stalls", STALLS.values(), ids=STALLS)
@pytest.mark.parametrize("frames", FRAMES.values(), ids=FRAMES)
def test_encoder(frames, stalls):
    dut, wire, expected = CobsEncoder(), [], b"".join(map(stuffed, frames))
    items = [{"data": byte, "last": k == len(frame) - 1} for frame in frames for k, byte in enumerate(frame)]
    simulate(dut, source(dut.i, items, stall=stalls[0]), sink(dut.o, wire, len(expected), stall=stalls[1]))
    assert bytes(wire) == expected


@pytest.mark.parametrize("stalls", STALLS.values(), ids=STALLS)
@pytest.mark.parametrize("frames", FRAMES.values(), ids=FRAMES)
def test_decoder(frames, stalls):
    # Empty frames between the others leave no trace.
    dut, out = CobsDecoder(), []
    wire = b"\0" + b"\0\0".join(map(stuffed, frames))
    count = sum(map(len, frames)) + len(frames)
    simulate(dut, source(dut.i, wire, stall=stalls[0]), sink(dut.o, out, count, stall=stalls[1]))
    decoded = [b""]
    for item in out:
        if item.end:
            assert item.ok
            decoded.append(b"")
        else:
            decoded[-1] += bytes([item.data])
    assert decoded == [*frames, b""]


def test_a_cut_frame_is_not_ok():
    # The code promises four bytes, two come: the end says so, and the next frame is whole again.
    dut, out = CobsDecoder(), []
    simulate(dut, source(dut.i, b"\x05\x11\x22\0" + stuffed(b"\x33")), sink(dut.o, out, 5))
    assert [(item.end, item.ok) for item in out if item.end] == [(1, 0), (1, 1)]
    assert [item.data for item in out if not item.end] == [0x11, 0x22, 0x33]


def test_the_host_agrees():
    rng = random.Random(2)
    for length in [0, 1, 2, 100, 245, 246]:
        frame = Frame(9, 255, 0, 0, bytes(rng.choices(range(3), k=length)))
        wire = encode_frame(frame)
        assert 0 not in wire[:-1]
        assert len(wire) <= 256
        assert wire == stuffed(bytes(frame[:4]) + frame.payload + wire_crc(frame))
        assert decode_frame(wire[:-1]) == frame


def wire_crc(frame):
    from zlib import crc32
    return crc32(bytes(frame[:4]) + frame.payload).to_bytes(4, "little")
