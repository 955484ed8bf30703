"""A USB host in Python, down to packets, and the simulated bus on which it talks to a device's UTMI port.

Packets are bytes as UTMI carries them: the PID, and what follows it with its CRC. `UsbBus` plays them with
the bus's timing; `UsbHost` makes transfers of them as a host controller and its driver do.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from relif_hw.config import CoreConfig
from relif_hw.usb_identity import FULL_SPEED_PACKET, HIGH_SPEED_PACKET

from .library import Progress
from .usb_library import usb_library

__all__ = [
    "ACK", "DATA0", "DATA1", "IN", "NAK", "OUT", "PING", "SETUP", "STALL", "NoAnswer", "Stalled", "UsbBus",
    "UsbHost", "crc5", "crc16", "data_packet", "token",
]

OUT, IN, SOF, SETUP = 0xE1, 0x69, 0xA5, 0x2D
DATA0, DATA1 = 0xC3, 0x4B
ACK, NAK, STALL = 0xD2, 0x5A, 0x1E
PING = 0xB4
"""PIDs with their complement, as the first byte of a packet has them."""

_REPLY = 1100


def crc5(value: int) -> int:
    """Of the 11 bits of a token."""
    crc = 0x1F
    for bit in range(11):
        crc = crc >> 1 ^ (0x14 if (crc ^ value >> bit) & 1 else 0)
    return crc ^ 0x1F


def _crc16_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
        table.append(value)
    return table


_CRC16 = _crc16_table()


def crc16(data: bytes) -> int:
    """Of a data packet's payload."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC16[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFF


def token(pid: int, address: int, endpoint: int) -> bytes:
    """OUT, IN, SETUP or PING."""
    value = address | endpoint << 7
    return bytes([pid]) + (value | crc5(value) << 11).to_bytes(2, "little")


def data_packet(pid: int, payload: bytes) -> bytes:
    """DATA0 or DATA1."""
    return bytes([pid]) + payload + crc16(payload).to_bytes(2, "little")


_SOFS = b"".join(bytes([SOF]) + (frame | crc5(frame) << 11).to_bytes(2, "little") for frame in range(2048))


class Stalled(Exception):
    """The device refused a request."""


class NoAnswer(Exception):
    """The device did not answer a packet, three times in a row."""


class State(NamedTuple):
    """What the simulation sees from within the device."""

    idle: bool
    configured: bool
    driving: bool


def _load(path: str) -> ctypes.CDLL:
    handle = ctypes.CDLL(path)
    u64, size, text, board = ctypes.c_uint64, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p
    for name, result, arguments in (
            ("usb_create", board, [u64, u64, u64, text]),
            ("usb_destroy", None, [board]),
            ("usb_mode", None, [board, ctypes.c_uint8]),
            ("usb_plug", None, [board, ctypes.c_int]),
            ("usb_reset", ctypes.c_int, [board, u64, ctypes.c_int]),
            ("usb_run", None, [board, u64]),
            ("usb_transact", ctypes.c_int64,
             [board, text, size, text, ctypes.c_int64, text, size, size, text, size]),
            ("usb_send", None, [board, text, size]),
            ("usb_cycles", u64, [board]),
            ("usb_state", ctypes.c_int, [board])):
        function = getattr(handle, name)
        function.restype, function.argtypes = result, arguments
    return handle


class UsbBus:
    """A simulated device in a socket.

    Parameters
    ----------
    config : CoreConfig or None
        Of the device's core; none: a port whose streams meet.
    serial : str
    high_speed : bool
        Whether the device can do high speed.
    clock : int
        Of the core, in Hz.
    progress : callable or None
        Gets a line at each phase of a compilation; by default they go to standard error.
    """

    def __init__(self, config: CoreConfig | None, *, serial: str, high_speed: bool, clock: int = 48_000_000,
                 progress: Progress | None = None) -> None:
        self.serial = serial
        self.clock = 60_000_000 if high_speed else 12_000_000
        """Of the bus, in Hz; `cycles` counts them."""
        self.high_speed = False
        """The device runs at high speed."""
        self._library = _load(str(usb_library(config, serial=serial, high_speed=high_speed, progress=progress)))
        self._bus: int | None = self._library.usb_create(clock, self.clock, self.clock // 1_500_000, _SOFS)
        self._reply = ctypes.create_string_buffer(_REPLY)

    def _handle(self) -> int:
        if self._bus is None:
            raise ValueError("the simulated bus has been closed")
        return self._bus

    def mode(self, mode: int) -> None:
        """Of a port without a core: its streams meet (0), run freely (1) or stand still (2)."""
        self._library.usb_mode(self._handle(), mode)

    def plug(self, plugged: bool) -> None:
        """Into the socket, or out of it."""
        self._library.usb_plug(self._handle(), plugged)

    def reset(self, *, high_speed: bool = True, milliseconds: float = 10.0) -> None:
        """Reset the bus, and offer high speed or not."""
        cycles = int(milliseconds * self.clock / 1000)
        self.high_speed = bool(self._library.usb_reset(self._handle(), cycles, high_speed))

    def run(self, microseconds: float) -> None:
        """Let time pass."""
        self._library.usb_run(self._handle(), max(1, int(microseconds * self.clock / 1e6)))

    def transact(self, first: bytes, data: bytes | None = None, *, expected: int = 0, ack: bool = True) -> bytes:
        """A token, data if there is any, and the device's answer, empty if there is none; data is acknowledged
        if `ack` says so."""
        handshake = bytes([ACK]) if ack else b""
        size = self._library.usb_transact(
            self._handle(), first, len(first), data or b"", -1 if data is None else len(data), self._reply, _REPLY,
            expected, handshake, len(handshake))
        if size > _REPLY:
            raise AssertionError(f"the device sent a packet of {size} bytes")
        return self._reply.raw[:size] if size > 0 else b""

    def send(self, packet: bytes) -> None:
        """A packet alone, whatever it is; no answer is waited for."""
        self._library.usb_send(self._handle(), packet, len(packet))

    @property
    def cycles(self) -> int:
        """Cycles of the bus's clock since the device was made."""
        return int(self._library.usb_cycles(self._handle()))

    @property
    def seconds(self) -> float:
        """The same as time."""
        return self.cycles / self.clock

    @property
    def state(self) -> State:
        """What the device is doing."""
        bits = self._library.usb_state(self._handle())
        return State(bool(bits & 1), bool(bits & 2), bool(bits & 4))

    def close(self) -> None:
        if self._bus is not None:
            self._library.usb_destroy(self._bus)
            self._bus = None


class UsbHost:
    """A host controller and its driver, for one device on one bus.

    Attributes
    ----------
    address : int
        Of the device.
    toggles : dict
        The next data PID (0 or 1) of the bulk endpoints, by address.
    """

    def __init__(self, bus: UsbBus) -> None:
        self.bus = bus
        self.address = 0
        self.toggles: dict[int, int] = {}
        self._fresh()

    def _fresh(self) -> None:
        self.toggles = {0x01: 0, 0x81: 0}

    @property
    def packet(self) -> int:
        """Bytes of a full bulk packet."""
        return HIGH_SPEED_PACKET if self.bus.high_speed else FULL_SPEED_PACKET

    def _answer(self, transact: Callable[[], bytes]) -> bytes:
        """As a host controller does: three attempts while nothing valid comes."""
        for _ in range(3):
            reply = transact()
            if len(reply) == 1 and reply[0] in (ACK, NAK, STALL):
                return reply
            if len(reply) >= 3 and reply == data_packet(reply[0], reply[1:-2]) and reply[0] in (DATA0, DATA1):
                return reply
        raise NoAnswer(f"no answer from address {self.address}")

    # Control transfers.

    def _setup(self, kind: int, request: int, value: int, index: int, length: int) -> None:
        packet = bytes([kind, request]) + b"".join(n.to_bytes(2, "little") for n in (value, index, length))
        reply = self._answer(lambda: self.bus.transact(token(SETUP, self.address, 0), data_packet(DATA0, packet)))
        if reply != bytes([ACK]):
            raise NoAnswer(f"SETUP was answered {reply.hex()}")

    def _patiently(self, transact: Callable[[], bytes]) -> bytes:
        for _ in range(1000):
            reply = self._answer(transact)
            if reply == bytes([STALL]):
                raise Stalled
            if reply != bytes([NAK]):
                return reply
        raise NoAnswer("a thousand NAKs in a row")

    def control_in(self, kind: int, request: int, value: int, index: int, length: int) -> bytes:
        """A request for data, all of it."""
        self._setup(kind, request, value, index, length)
        data, pid = b"", DATA1
        while len(data) < length:
            reply = self._patiently(lambda: self.bus.transact(token(IN, self.address, 0), expected=64))
            if reply[0] != pid:
                raise AssertionError(f"data came with PID {reply[0]:02x}, not {pid:02x}")
            data += reply[1:-2]
            pid ^= DATA0 ^ DATA1
            if len(reply) - 3 < 64:
                break
        if len(data) > length:
            raise AssertionError(f"{len(data)} bytes came, {length} were asked for")
        if self.bus.high_speed:
            self._patiently(lambda: self.bus.transact(token(PING, self.address, 0)))
        self._patiently(lambda: self.bus.transact(token(OUT, self.address, 0), data_packet(DATA1, b"")))
        return data

    def control_out(self, kind: int, request: int, value: int, index: int, data: bytes = b"") -> None:
        """A request without data, or with data to the device."""
        self._setup(kind, request, value, index, len(data))
        pid = DATA1
        for start in range(0, len(data), 64):
            part = data_packet(pid, data[start:start + 64])
            self._patiently(partial(self.bus.transact, token(OUT, self.address, 0), part))
            pid ^= DATA0 ^ DATA1
        reply = self._patiently(lambda: self.bus.transact(token(IN, self.address, 0)))
        if reply != data_packet(DATA1, b""):
            raise AssertionError(f"the status stage was answered {reply.hex()}")

    def descriptor(self, kind: int, index: int = 0, length: int = 255, language: int = 0) -> bytes:
        """GET_DESCRIPTOR."""
        return self.control_in(0x80, 6, kind << 8 | index, language, length)

    def string(self, index: int) -> str:
        """A string, in American English."""
        text = self.descriptor(3, index, language=0x0409)
        if text[0] != len(text) or text[1] != 3:
            raise AssertionError(f"not a string descriptor: {text.hex()}")
        return text[2:].decode("utf-16-le")

    def set_address(self, address: int) -> None:
        self.control_out(0x00, 5, address, 0)
        self.address = address
        self.bus.run(2000)

    def configure(self, value: int = 1) -> None:
        """SET_CONFIGURATION, with which all toggles begin again."""
        self.control_out(0x00, 9, value, 0)
        self._fresh()

    def clear_halt(self, endpoint: int) -> None:
        """CLEAR_FEATURE(ENDPOINT_HALT), with which the endpoint's toggle begins again."""
        self.control_out(0x02, 1, 0, endpoint)
        self.toggles[endpoint] = 0

    def reset(self, *, high_speed: bool = True) -> None:
        """Reset the bus: the device has the address 0 and no configuration."""
        self.bus.reset(high_speed=high_speed)
        self.address = 0
        self._fresh()

    def enumerate(self, *, address: int = 5, high_speed: bool = True) -> None:
        """What a host does after a plug: reset, the first descriptor, an address, the configuration."""
        self.reset(high_speed=high_speed)
        self.descriptor(1, length=64)
        self.set_address(address)
        self.descriptor(1, length=18)
        self.configure()

    # Bulk transfers.

    def bulk_out_packet(self, payload: bytes) -> bool:
        """Send one packet: whether the device took it (NAK otherwise)."""
        packet = data_packet((DATA0, DATA1)[self.toggles[0x01]], payload)
        reply = self._answer(lambda: self.bus.transact(token(OUT, self.address, 1), packet))
        if reply == bytes([STALL]):
            raise Stalled
        if reply == bytes([ACK]):
            self.toggles[0x01] ^= 1
        return reply == bytes([ACK])

    def bulk_in_packet(self) -> bytes | None:
        """Fetch one packet: None if the device has none (NAK), or if it came before."""
        reply = self._answer(lambda: self.bus.transact(token(IN, self.address, 1), expected=self.packet))
        if reply == bytes([STALL]):
            raise Stalled
        if reply == bytes([NAK]) or reply[0] != (DATA0, DATA1)[self.toggles[0x81]]:
            return None
        if len(reply) - 3 > self.packet:
            raise AssertionError(f"a packet of {len(reply) - 3} bytes came, more than {self.packet}")
        self.toggles[0x81] ^= 1
        return reply[1:-2]

    def bulk_out(self, data: bytes, *, patience: float = 0.1) -> int:
        """Send `data` in full packets and a rest: the bytes taken before `patience` seconds of the bus's time
        went by without one."""
        sent, limit = 0, self.bus.seconds + patience
        while sent < len(data):
            part = data[sent:sent + self.packet]
            if self.bulk_out_packet(part):
                sent, limit = sent + len(part), self.bus.seconds + patience
            elif self.bus.seconds > limit:
                break
        return sent

    def bulk_in(self, size: int, *, patience: float = 1e-3) -> bytes:
        """Fetch up to `size` bytes: until a short packet, or until `patience` seconds of the bus's time went by
        without one."""
        data, limit = b"", self.bus.seconds + patience
        while len(data) < size:
            part = self.bulk_in_packet()
            if part is not None:
                data, limit = data + part, self.bus.seconds + patience
                if len(part) < self.packet:
                    break
            elif self.bus.seconds > limit:
                break
        return data
