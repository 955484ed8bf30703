"""The USB device from the bus's side: a host that keeps to the letter of USB 2.0, and one on a bad line.

The device here is a port whose two byte streams meet, so that what goes out must come in.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from relif_hw.frames import CORE_VERSION
from relif_sim.usb_bus import (
    ACK,
    DATA0,
    DATA1,
    IN,
    NAK,
    OUT,
    PING,
    SETUP,
    NoAnswer,
    Stalled,
    UsbBus,
    UsbHost,
    crc5,
    crc16,
    data_packet,
    token,
)

pytestmark = pytest.mark.timeout(600)       # the first one compiles

HIGH, FULL = True, False
SPEEDS = pytest.mark.parametrize("high_speed", [HIGH, FULL], ids=["high", "full"])
GUID = "{6E45736A-2B1B-4078-B772-B3AF2B6FDE1C}"


@pytest.fixture(scope="module")
def bus():
    """A device that can do both speeds."""
    bus = UsbBus(None, serial="LOOP-1", high_speed=True)
    yield bus
    bus.close()


@pytest.fixture
def host(bus, high_speed):
    """The device, plugged in anew and enumerated."""
    bus.mode(0)
    bus.plug(False)
    bus.plug(True)
    host = UsbHost(bus)
    host.enumerate(high_speed=high_speed)
    assert bus.high_speed == high_speed
    assert bus.state.configured
    return host


def noise(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8).tobytes()


def fetch(host, size):
    """Bulk transfers until so many bytes have come, or nothing more does."""
    data = b""
    while len(data) < size and (part := host.bulk_in(size - len(data))):
        data += part
    return data


def test_checksums_are_those_of_the_specification():
    """The examples of the USB-IF's "Cyclic Redundancy Checks in USB", bits in the order of the wire."""
    for address, endpoint, bits in ((0x15, 0xE, "10111"), (0x3A, 0xA, "11100"), (0x70, 0x4, "01110")):
        assert f"{crc5(address | endpoint << 7):05b}"[::-1] == bits
    for data, bits in ((b"\x00\x01\x02\x03", "1111011101011110"), (b"\x23\x45\x67\x89", "0111000000111000")):
        assert f"{crc16(data):016b}"[::-1] == bits


# Enumeration.

def configuration(kind, packet):
    size = packet.to_bytes(2, "little")
    return (bytes([9, kind, 32, 0, 1, 1, 0, 0x80, 250]) + bytes([9, 4, 0, 0, 2, 0xFF, 0xFF, 0xFF, 0])
            + bytes([7, 5, 0x01, 2]) + size + b"\0" + bytes([7, 5, 0x81, 2]) + size + b"\0")


@SPEEDS
def test_every_descriptor(bus, high_speed):
    host = UsbHost(bus)
    host.reset(high_speed=high_speed)
    assert bus.high_speed == high_speed
    assert not bus.state.configured
    device = bytes([18, 1, 0x00, 0x02, 0, 0, 0, 64, 0x09, 0x12, 0x01, 0x00, 0x00, CORE_VERSION, 1, 2, 3, 1])
    # A host asks for 64 bytes of it at first, then again at the address that it gives.
    assert host.descriptor(1, length=64) == device
    assert host.descriptor(1, length=8) == device[:8]
    host.set_address(93)
    assert host.descriptor(1, length=18) == device
    with pytest.raises(NoAnswer):
        UsbHost(bus).descriptor(1)          # at address 0 there is nobody any more

    # A configuration is what it is at this speed; at the other one it would have other packets.
    here, there = (512, 64) if high_speed else (64, 512)
    assert host.descriptor(2, length=9) == configuration(2, here)[:9]
    assert host.descriptor(2) == configuration(2, here)
    assert host.descriptor(7) == configuration(7, there)
    assert host.descriptor(6) == bytes([10, 6, 0x00, 0x02, 0, 0, 0, 64, 1, 0])

    assert host.descriptor(3, 0) == bytes([4, 3, 0x09, 0x04])
    assert [host.string(index) for index in (1, 2, 3)] == ["Relif", "Relif core", "LOOP-1"]

    # Microsoft's: the string at 0xEE says with which request Windows gets the others.
    microsoft = host.descriptor(3, 0xEE)
    assert microsoft == bytes([18, 3]) + "MSFT100".encode("utf-16-le") + bytes([0xEE, 0])
    identity = bytes([40, 0, 0, 0, 0x00, 0x01, 4, 0, 1]) + bytes(7) + bytes([0, 1]) + b"WINUSB\0\0" + bytes(14)
    assert host.control_in(0xC0, 0xEE, 0, 4, 16) == identity[:16]
    assert host.control_in(0xC0, 0xEE, 0, 4, 40) == identity
    name, value = ("DeviceInterfaceGUIDs\0".encode("utf-16-le"), f"{GUID}\0\0".encode("utf-16-le"))
    section = (bytes([7, 0, 0, 0]) + len(name).to_bytes(2, "little") + name + len(value).to_bytes(4, "little") + value)
    properties = bytes([0x00, 0x01, 5, 0, 1, 0]) + (len(section) + 4).to_bytes(4, "little") + section
    properties = (len(properties) + 4).to_bytes(4, "little") + properties
    assert host.control_in(0xC1, 0xEE, 0, 5, 10) == properties[:10]
    assert host.control_in(0xC1, 0xEE, 0, 5, 1024) == properties

    # Configurations: there is 0, none, and 1.
    assert host.control_in(0x80, 8, 0, 0, 1) == b"\0"
    host.configure()
    assert host.control_in(0x80, 8, 0, 0, 1) == b"\1"
    assert host.control_in(0x80, 0, 0, 0, 2) == b"\0\0"
    bus.run(1)
    assert bus.state.configured
    host.configure(0)
    bus.run(1)
    assert not bus.state.configured
    with pytest.raises(Stalled):
        host.configure(2)


@pytest.mark.timeout(600)
def test_a_device_of_full_speed_only():
    bus = UsbBus(None, serial="LOOP-2", high_speed=False)
    host = UsbHost(bus)
    host.enumerate(high_speed=True)
    assert not bus.high_speed
    assert host.descriptor(2) == configuration(2, 64)
    assert host.string(3) == "LOOP-2"
    for kind in (6, 7):
        with pytest.raises(Stalled):        # there is no other speed
            host.descriptor(kind)
    data = noise(1000)
    assert host.bulk_out(data) == 1000
    assert fetch(host, 1000) == data
    bus.close()


@SPEEDS
@pytest.mark.parametrize(("kind", "request_code", "value", "index", "length"), [
    pytest.param(0x80, 6, 0x0400, 0, 9, id="an interface descriptor alone"),
    pytest.param(0x80, 6, 0x0F00, 0, 5, id="a BOS descriptor"),
    pytest.param(0x80, 6, 0x0201, 0, 9, id="a second configuration"),
    pytest.param(0x80, 6, 0x0701, 0, 9, id="a second configuration at the other speed"),
    pytest.param(0x80, 6, 0x0304, 0x0409, 255, id="a fourth string"),
    pytest.param(0x80, 6, 0xFF00, 0, 255, id="a descriptor that there cannot be"),
    pytest.param(0x81, 10, 0, 0, 1, id="GET_INTERFACE"),
    pytest.param(0xC0, 0xEE, 0, 6, 16, id="a third one of Microsoft's"),
    pytest.param(0xC0, 0x42, 0, 0, 16, id="a vendor's request"),
    pytest.param(0xA1, 0x21, 0, 0, 7, id="a class's request"),
    pytest.param(0x00, 3, 1, 0, 0, id="SET_FEATURE"),
    pytest.param(0x40, 0x42, 0, 0, 0, id="a vendor's request without data"),
    pytest.param(0x40, 0x42, 0, 0, 100, id="a vendor's request with data"),
    pytest.param(0x00, 7, 0x0100, 0, 18, id="SET_DESCRIPTOR"),
])
def test_other_requests_are_stalled(host, kind, request_code, value, index, length):
    transfer = partial(host.control_in if kind & 0x80 else host.control_out, kind, request_code, value, index)
    for _ in range(2):
        with pytest.raises(Stalled):
            transfer(length if kind & 0x80 else bytes(length))
        # The next request is as good as ever.
        assert host.string(2) == "Relif core"


@SPEEDS
def test_a_request_may_be_left_at_any_point(host):
    bus = host.bus
    request = bytes([0xC1, 0xEE, 0, 0, 5, 0, 0xFF, 0])          # 146 bytes in three packets
    for packets in range(4):
        assert bus.transact(token(SETUP, host.address, 0), data_packet(DATA0, request)) == bytes([ACK])
        for _ in range(packets):
            assert bus.transact(token(IN, host.address, 0), expected=64)[0] in (DATA0, DATA1)
        assert host.string(1) == "Relif"
    # A lost handshake: the packet comes again.
    assert bus.transact(token(SETUP, host.address, 0), data_packet(DATA0, request)) == bytes([ACK])
    first = bus.transact(token(IN, host.address, 0), expected=64, ack=False)
    assert bus.transact(token(IN, host.address, 0), expected=64) == first
    assert bus.transact(token(IN, host.address, 0), expected=64) != first
    assert len(host.control_in(0xC1, 0xEE, 0, 5, 255)) == 146
    # And a reset of the bus, after which the device is as new.
    assert bus.transact(token(SETUP, host.address, 0), data_packet(DATA0, request)) == bytes([ACK])
    bus.transact(token(IN, host.address, 0), expected=64)
    host.reset(high_speed=bus.high_speed)
    assert bus.transact(token(IN, 0, 0), expected=64) == b""
    host.enumerate(high_speed=bus.high_speed)
    assert host.string(1) == "Relif"


# Bulk transfers.

@SPEEDS
def test_bytes_go_out_and_come_in(host):
    random = np.random.default_rng(1)
    packet = host.packet
    sizes = [1, 2, 3, packet - 1, packet, packet + 1, 2 * packet - 1, 2 * packet, *random.integers(1, 1500, 20)]
    for seed, size in enumerate(map(int, sizes)):
        data = noise(size, seed)
        assert host.bulk_out(data) == size
        # One transfer, however large the buffer: a short packet, if need be an empty one, ends it at once.
        before = host.bus.seconds
        assert host.bulk_in(1 << 16, patience=0.01) == data
        assert host.bus.seconds - before < 0.005


@SPEEDS
def test_small_answers_come_within_microseconds(host):
    before = host.bus.seconds
    for _ in range(20):
        assert host.bulk_out(b"?") == 1
        assert fetch(host, 1) == b"?"
    assert (host.bus.seconds - before) / 20 < (20e-6 if host.bus.high_speed else 200e-6)


@SPEEDS
def test_an_empty_packet_only_follows_a_full_one(host):
    packets = []
    assert host.bulk_out(noise(2 * host.packet)) == 2 * host.packet
    for _ in range(100):
        if (part := host.bulk_in_packet()) is not None:
            packets.append(len(part))
    assert packets[-1] == 0
    assert sum(packets) == 2 * host.packet
    assert packets.count(0) == 1


@SPEEDS
def test_nobody_reads(host):
    """What does not fit is refused and stays with the host; once somebody reads, all of it comes in order."""
    host.bus.mode(2)
    data = noise(20_000)
    sent = host.bulk_out(data, patience=1e-3)
    assert 512 <= sent < 3000
    refused = data_packet((DATA0, DATA1)[host.toggles[0x01]], data[sent:sent + host.packet])
    assert host.bus.transact(token(OUT, host.address, 1), refused) == bytes([NAK])
    assert host.bus.transact(token(IN, host.address, 1), expected=512) == bytes([NAK])
    if host.bus.high_speed:
        assert host.bus.transact(token(PING, host.address, 1)) == bytes([NAK])
    host.bus.mode(0)
    received, limit = b"", host.bus.seconds + 0.5
    while len(received) < len(data) and host.bus.seconds < limit:
        sent += host.bulk_out(data[sent:sent + 2048], patience=1e-4)
        received += host.bulk_in(1 << 12, patience=1e-4)
    assert received == data
    if host.bus.high_speed:
        assert host.bus.transact(token(PING, host.address, 1)) == bytes([ACK])


@SPEEDS
def test_a_repeated_packet_is_delivered_once(host):
    """The host did not hear the ACK, and sends again what the device has."""
    first = data_packet(DATA0, b"once")
    for _ in range(3):
        assert host.bus.transact(token(OUT, host.address, 1), first) == bytes([ACK])
    assert host.bus.transact(token(OUT, host.address, 1), data_packet(DATA1, b" only")) == bytes([ACK])
    assert fetch(host, 9) == b"once only"
    assert host.bulk_in(100) == b""

    # The other way: the device did not hear the ACK.
    host.toggles[0x01] = 0
    assert host.bulk_out(b"again") == 5
    host.bus.run(10)
    replies = [host.bus.transact(token(IN, host.address, 1), expected=64, ack=False) for _ in range(3)]
    assert replies == [data_packet((DATA0, DATA1)[host.toggles[0x81]], b"again")] * 3
    # Not even when meanwhile the host acknowledges another device.
    host.bus.send(token(IN, host.address ^ 1, 1))
    host.bus.send(bytes([ACK]))
    assert host.bulk_in(100) == b"again"
    assert host.bulk_in(100) == b""


def flipped(packet, bit):
    changed = bytearray(packet)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@SPEEDS
def test_damaged_packets_do_not_count(host):
    """One bit wrong anywhere, or a packet cut short: no answer, and nothing comes of it."""
    payload = b"a packet of bytes"
    out, data = token(OUT, host.address, 1), data_packet(DATA0, payload)
    for bit in range(8 * len(data)):
        assert host.bus.transact(out, flipped(data, bit)) == b"", bit
    for bit in range(8 * len(out)):
        assert host.bus.transact(flipped(out, bit), data) == b"", bit
    for size in range(1, len(data)):
        assert host.bus.transact(out, data[:size]) == b"", size
    assert host.bus.transact(out, data + b"\0") == b""
    # Data without a token of its own, or with one for another device or endpoint.
    for other in (token(OUT, host.address ^ 1, 1), token(OUT, host.address, 2), bytes([ACK])):
        assert host.bus.transact(out, flipped(data, 20)) == b""
        assert host.bus.transact(other, data) == b""
    host.bus.run(100)
    assert host.bulk_in(100) == b""
    # The whole one is taken.
    assert host.bulk_out(payload) == len(payload)
    assert fetch(host, 100) == payload
    # IN tokens alike.
    assert host.bulk_out(b"here") == 4
    host.bus.run(20)
    into = token(IN, host.address, 1)
    for bit in range(8 * len(into)):
        assert host.bus.transact(flipped(into, bit), expected=64) == b"", bit
    assert host.bulk_in(100) == b"here"


@SPEEDS
@pytest.mark.parametrize("seed", range(3))
def test_thousands_of_bytes_over_a_bad_line(host, seed):
    """Packets and handshakes lost or damaged at random, both ways, repeated until they are right."""
    random = np.random.default_rng(seed)
    data, sent, received = noise(6000, seed), 0, b""
    bus = host.bus
    limit = bus.seconds + 0.5
    while len(received) < len(data) and bus.seconds < limit:
        trouble = random.random() < 0.3
        if sent < len(data) and random.random() < 0.5:
            size = int(random.integers(0, host.packet + 1))
            packet = data_packet((DATA0, DATA1)[host.toggles[0x01]], data[sent:sent + size])
            if trouble and random.random() < 0.5:
                damaged = flipped(packet, random.integers(8 * len(packet)))
                assert bus.transact(token(OUT, host.address, 1), damaged) == b""
            else:
                # The host repeats exactly what it sent as long as it does not hear the ACK.
                for _ in range(int(random.integers(2, 4)) if trouble else 1):
                    reply = bus.transact(token(OUT, host.address, 1), packet)
                    assert reply in (bytes([ACK]), bytes([NAK]))
                if reply == bytes([ACK]):
                    host.toggles[0x01] ^= 1
                    sent = min(sent + size, len(data))
        elif trouble:
            bus.transact(token(IN, host.address, 1), expected=host.packet, ack=False)
        elif (part := host.bulk_in_packet()) is not None:
            received += part
    assert received == data


@SPEEDS
def test_empty_packets_are_taken_and_mean_nothing(host):
    for _ in range(3):
        assert host.bulk_out_packet(b"")
    assert host.bulk_out(b"x") == 1
    assert host.bulk_out_packet(b"")
    assert fetch(host, 1) == b"x"
    assert host.bulk_in(100) == b""


@SPEEDS
def test_a_reset_in_the_middle_leaves_nothing(host):
    """In the middle of a transfer out, of a packet, and with answers that nobody fetched."""
    high_speed = host.bus.high_speed
    for stop, size in enumerate((host.packet, 2 * host.packet, 2500), 1):
        assert host.bulk_out(noise(size)) == size
        if stop == 2:
            host.bus.send(token(OUT, host.address, 1))
            host.bus.send(data_packet(DATA0, noise(40))[:20])
        if stop == 3:
            assert host.bulk_in_packet()
            host.bus.run(50)
            host.bus.transact(token(IN, host.address, 1), expected=512, ack=False)
        host.reset(high_speed=high_speed)
        host.address = 5
        with pytest.raises(NoAnswer):       # it has no address yet
            host.bulk_out_packet(b"lost")
        host.address = 0
        with pytest.raises(NoAnswer):       # and no configuration
            host.bulk_out_packet(b"lost")
        with pytest.raises(NoAnswer):
            host.bulk_in_packet()
        host.enumerate(high_speed=high_speed)
        assert host.bulk_out(b"new") == 3
        assert host.bulk_in(100) == b"new"


@SPEEDS
def test_out_of_the_socket_and_in_again(host):
    assert host.bulk_out(noise(700)) == 700
    speed = host.bus.high_speed
    host.bus.plug(False)
    with pytest.raises(NoAnswer):
        host.bulk_in_packet()
    host.bus.run(20_000)
    assert not host.bus.state.configured
    host.bus.plug(True)
    # To another host, of the other speed.
    host.enumerate(high_speed=not speed)
    assert host.bus.high_speed == (not speed)
    assert host.bulk_out(noise(700, 1)) == 700
    assert fetch(host, 700) == noise(700, 1)


@SPEEDS
def test_toggles_begin_again(host):
    """With SET_CONFIGURATION for both, with CLEAR_FEATURE(ENDPOINT_HALT) for one."""
    def loop(data):
        assert host.bulk_out(data) == len(data)
        assert fetch(host, len(data)) == data

    for again in (lambda: None, host.configure, lambda: host.clear_halt(0x01), lambda: host.clear_halt(0x81)):
        loop(b"one packet")
        again()
        loop(b"another")
    with pytest.raises(Stalled):
        host.control_out(0x02, 1, 1, 0x81)      # there is no such feature


@SPEEDS
def test_full_packets_in_every_frame(high_speed):
    """As many as fit into a frame: the device never makes the host wait if its clock is as fast as the bus."""
    bus = UsbBus(None, serial="LOOP-1", high_speed=True, clock=60_000_000)
    host = UsbHost(bus)
    host.enumerate(high_speed=high_speed)
    frame, most = (125e-6, 13) if high_speed else (1e-3, 19)
    bus.mode(1)
    for transfer in (lambda: host.bulk_out_packet(bytes(host.packet)), host.bulk_in_packet):
        for _ in range(4):
            transfer()
        before, moved = bus.seconds, 0
        while bus.seconds - before < 8 * frame:
            moved += transfer() not in (None, False)
        assert moved / ((bus.seconds - before) / frame) > most - 0.5
    bus.close()


@SPEEDS
@pytest.mark.parametrize("clock", [7_000_000, 25_000_000, 61_000_000, 133_000_000])
def test_any_clock_of_the_core(high_speed, clock):
    bus = UsbBus(None, serial="LOOP-1", high_speed=True, clock=clock)
    host = UsbHost(bus)
    host.enumerate(high_speed=high_speed)
    for seed in range(4):
        data = noise(3000, seed)
        assert host.bulk_out(data) == len(data)
        assert fetch(host, len(data)) == data
    bus.close()
