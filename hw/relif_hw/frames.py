"""The frames of the link: declared here once, read by the gateware and by the host.

A frame is `HEADER_BYTES` of header, a payload, and a CRC-32 (zlib's, little-endian) over both. On the
wire it is COBS-encoded and ends with a zero byte. `docs/protocol.md` says how frames are used.

    byte  0     1      2    3                    4 ..           last 4
          type  seq    ack  flags (from the board)  payload     CRC-32
"""

from __future__ import annotations

import dataclasses
import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from .config import CoreConfig
from .isa import ADDRESS_BITS, Space, space_shape

__all__ = [
    "ACCESS", "CORE_VERSION", "CRC_BYTES", "ELEMENT_MAX_BYTES", "HEADER", "HEADER_BYTES", "IDENTITY_FIELDS",
    "LENGTH_INDEX", "MAX_FRAME", "MAX_PAYLOAD", "PROTOCOL_VERSION", "RUN_BYTES", "RUN_STARTS", "SEQUENCED",
    "SLOT_BYTES", "TYPE_INDEX", "BoardFlag", "FrameType", "Identity", "element_bytes", "spike_run",
]

PROTOCOL_VERSION = 3
"""Of frames; a host talks only to boards of its own."""
CORE_VERSION = 4
"""Of instructions, memories and what they compute; a host talks only to cores of its own."""


class FrameType(IntEnum):
    """What a frame is; those with bit 3 are sequenced: they arrive once, in order."""

    HELLO = 1
    """Host: abandon what was, start from sequence number 0. `seq` and `ack` are a nonce."""
    ACK = 2
    """Host: nothing but its acknowledgement."""
    POLL = 3
    """Host: send a STATUS, and once more every frame that is not acknowledged."""
    IDENTITY = 4
    """Board: the answer to HELLO, with its nonce; the payload is an `Identity`."""
    STATUS = 5
    """Board: its acknowledgement and flags; `seq` is the number of its next sequenced frame."""
    BUSY = 6
    """A server in the place of the board: another host is using it."""
    ENTRIES = 8
    """Host: 16-bit queue entries, little-endian."""
    WRITE = 9
    """Host: `ACCESS`, then the elements of whole words."""
    WRITE_FIRST = 10
    """Host: like WRITE, but the elements go on in the REST that follows."""
    REST = 11
    """Host: the elements that a WRITE_FIRST left over."""
    READ = 12
    """Host: `ACCESS`; the board answers with DATA."""
    RESULTS = 13
    """Board: 32-bit elements of the core's results, little-endian."""
    DATA = 14
    """Board: whole elements of the words that a READ asked for."""
    SPIKES = 15
    """Host: as ENTRIES, but instead of each event a `spike_run` and its bytes, one bit a neuron."""


SEQUENCED = 8
"""The bit of a frame's type that says that it has a sequence number."""


class BoardFlag(IntFlag):
    """The fourth header byte of the board's frames."""

    CREDITS = 0x0F
    """Frames that the board takes beyond those that it acknowledges."""
    GAP = 0x10
    """A frame was lost or damaged: the host goes back to the acknowledged one."""
    FAULT = 0x20
    """The core dropped an event beyond its spike memory (until reset)."""
    IDLE = 0x40
    """STATUS: everything acknowledged has been done, and its results have been sent."""


HEADER = struct.Struct("<BBBB")
"""type, seq, ack, flags; the host sends zero as flags."""
ACCESS = struct.Struct("<BHH")
"""space, address, words: the beginning of the payload of WRITE, WRITE_FIRST and READ."""

HEADER_BYTES = HEADER.size
CRC_BYTES = 4
MAX_FRAME = 254
"""Bytes of a frame before COBS, so that it is at most 256 on the wire, delimiter included."""
MAX_PAYLOAD = MAX_FRAME - HEADER_BYTES - CRC_BYTES

SLOT_BYTES = 256
"""Bytes of a slot of the board's rings: the payload from 0 on, and below its type and length."""
TYPE_INDEX = 254
LENGTH_INDEX = 255

ELEMENT_MAX_BYTES = 4

RUN_BYTES = 8
"""Bytes of a run of spikes at most."""
RUN_STARTS = 1 << ADDRESS_BITS - 3
"""A run begins at one of so many bytes of the spike memory: at every eighth neuron."""


def spike_run(byte: int, count: int) -> int:
    """What announces `count` bytes of spikes in a SPIKES frame: neuron 8 `byte` is the lowest bit of the first.

    `ValueError` if there is no such byte, or `count` is not 1 to `RUN_BYTES`.
    """
    if not (0 <= byte < RUN_STARTS and 1 <= count <= RUN_BYTES):
        raise ValueError(f"a run has 1 to {RUN_BYTES} bytes from 0 to {RUN_STARTS - 1}, not {count} from {byte}")
    return (count - 1) * RUN_STARTS | byte


def element_bytes(config: CoreConfig, space: Space) -> int:
    """Bytes of an element of that space on the link: little-endian, two's complement."""
    return -(-space_shape(config, space)[2] // 8)


IDENTITY_FIELDS: dict[str, str] = {
    "protocol_version": "B",
    "core_version": "B",
    "receive_slots": "B",
    "transmit_slots": "B",
    "weight_bits": "B",
    "state_bits": "B",
    "accumulator_bits": "B",
    "surrogates": "B",
    "lanes": "H",
    "state_words": "H",
    "neuron_words": "H",
    "program_length": "H",
    "queue_depth": "H",
    "max_outputs": "H",
    "weight_words": "I",
    "eligibility_words": "I",
}
"""Payload of IDENTITY: little-endian, without padding. `protocol_version` stays the first byte for ever."""

_IDENTITY = struct.Struct("<" + "".join(IDENTITY_FIELDS.values()))


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a board says of itself.

    Parameters
    ----------
    config : CoreConfig
        Its core. The name does not cross the link.
    receive_slots, transmit_slots : int
        Frames that its rings hold.
    protocol_version, core_version : int
    """

    config: CoreConfig
    receive_slots: int = 4
    transmit_slots: int = 4
    protocol_version: int = PROTOCOL_VERSION
    core_version: int = CORE_VERSION

    def pack(self) -> bytes:
        """The payload of an IDENTITY."""
        values = dataclasses.asdict(self) | dataclasses.asdict(self.config)
        return _IDENTITY.pack(*(values[field] for field in IDENTITY_FIELDS))

    @classmethod
    def unpack(cls, payload: bytes) -> Identity:
        """The inverse of `pack`; `ValueError` if it has another length or values out of range."""
        if len(payload) != _IDENTITY.size:
            raise ValueError(f"an identity has {_IDENTITY.size} bytes, not {len(payload)}")
        values = dict(zip(IDENTITY_FIELDS, _IDENTITY.unpack(payload), strict=True))
        own = {field: values.pop(field)
               for field in ("protocol_version", "core_version", "receive_slots", "transmit_slots")}
        return cls(config=CoreConfig(**values), **own)
