"""The host's own driver, pyusb and all, over a simulated bus to a core that learns."""

from __future__ import annotations

import errno

import numpy as np
import pytest
import usb.core
import usb.util

import relif
from networks import training_run
from relif.errors import TransportError
from relif.host.board import LinkBoard, ModelBoard
from relif.host.usb import UsbTransport
from relif_hw.config import CoreConfig
from relif_hw.isa import Space
from relif_hw.usb_identity import PRODUCT_ID, VENDOR_ID
from relif_sim.usb_backend import SimulatedBackend
from relif_sim.usb_bus import OUT, UsbBus, data_packet, token

pytestmark = pytest.mark.timeout(900)       # the first two compile

CONFIG = CoreConfig(lanes=4, state_bits=16, weight_words=256, state_words=64, neuron_words=16, program_length=56,
                    queue_depth=16, max_outputs=16, name="lanes4")


@pytest.fixture(scope="module")
def buses():
    """Two boards: one of both speeds, one of full speed with the clocks of bare pads."""
    buses = [UsbBus(CONFIG, serial="BOARD-1", high_speed=True),
             UsbBus(CONFIG, serial="BOARD-2", high_speed=False, clock=24_000_000)]
    yield buses
    for bus in buses:
        bus.close()


@pytest.fixture
def backend(buses):
    """pyusb's sight of both boards, plugged in anew."""
    for bus in buses:
        bus.plug(False)
        bus.plug(True)
    return SimulatedBackend(*buses)


def train(board, samples=24):
    """A small network learns online; what it sent, and every memory of the core."""
    scenario, _ = training_run(board.config, samples)
    for space, address, values in scenario.loads:
        board.write(space, address, values)
    results = []
    for step in scenario.steps:
        board.submit(step.entries)
        results += board.results()
    return results, {space: board.read(space) for space in Space}


def same(board, samples=24):
    results, memories = train(board, samples)
    with ModelBoard(CONFIG) as model:
        expected, wanted = train(model, samples)
    assert len(results) == len(expected) > 0
    assert all(one[:2] == other[:2] and (one.values == other.values).all()
               for one, other in zip(results, expected, strict=True))
    for space in Space:
        assert (memories[space] == wanted[space]).all(), space.name
    initial = {address: values for space, address, values in training_run(CONFIG, samples)[0].loads
               if space == Space.WEIGHTS}
    assert any((memories[Space.WEIGHTS][address:address + len(values)] != values).any()
               for address, values in initial.items())              # it has learned something


@pytest.mark.parametrize("serial", ["BOARD-1", "BOARD-2"])
def test_it_trains_as_the_golden_model(backend, serial):
    with relif.open(f"usb://{serial}", backend=backend, config=CONFIG) as board:
        assert board.name == f"usb://{serial}"
        same(board)
        assert board.session.repeated == 0


def test_a_board_of_both_speeds_at_full_speed(buses):
    buses[0].plug(True)
    backend = SimulatedBackend(buses[0], high_speed=False)
    assert not buses[0].high_speed
    with relif.open("usb://", backend=backend, config=CONFIG) as board:
        assert board.name == "usb://BOARD-1"
        same(board, samples=6)


def test_boards_are_told_apart_by_their_serial_numbers(backend):
    with pytest.raises(TransportError, match=r"several boards on USB, name one of them: usb://BOARD-1, usb://BOARD-2$"):
        relif.open("usb://", backend=backend)
    with pytest.raises(TransportError, match=r"usb://BOARD-3: there is no board with this serial number on USB; "
                                             r"there is usb://BOARD-1, usb://BOARD-2$"):
        relif.open("usb://BOARD-3", backend=backend)
    weights = {serial: np.full((256, 4), value) for serial, value in (("BOARD-1", 11), ("BOARD-2", 22))}
    with (relif.open("usb://BOARD-1", backend=backend) as one, relif.open("usb://BOARD-2", backend=backend) as two):
        one.write(Space.WEIGHTS, 0, weights["BOARD-1"])
        two.write(Space.WEIGHTS, 0, weights["BOARD-2"])
        assert (one.read(Space.WEIGHTS) == 11).all()
        assert (two.read(Space.WEIGHTS) == 22).all()
        # One host at a time.
        with pytest.raises(TransportError, match=r"usb://BOARD-1: the board is busy: another program has it open"):
            relif.open("usb://BOARD-1", backend=backend)
    # Closed, they can be opened again, and have kept what they knew.
    for serial, values in weights.items():
        with relif.open(f"usb://{serial}", backend=backend) as board:
            assert (board.read(Space.WEIGHTS) == values).all()


@pytest.mark.parametrize("end", ["the host dies", "reset", "SET_CONFIGURATION", "unplugged", "half a packet"])
def test_whatever_ends_a_session_the_next_one_works(backend, end):
    """In the middle of frames both ways: the next host opens the board at once and trains as ever."""
    device = backend.devices[0]
    for bytes_sent in (3, 70, 300, 1500):
        board = LinkBoard(UsbTransport("BOARD-1", backend=backend), config=CONFIG)
        board.submit(training_run(CONFIG, 2)[0].steps[0].entries)
        frames = bytearray()
        board.transport.write, write = frames.extend, board.transport.write
        board.session.flush()
        for _ in range(3):
            board._submit(np.zeros(123, dtype=np.uint16))
        frames = bytes(frames) * 4
        write(frames[:bytes_sent])                  # ends in the middle of a frame
        if end == "half a packet":
            device.bus.send(token(OUT, device.host.address, 1))
            device.bus.send(data_packet(0xC3, frames[:40])[:17])
        if end == "reset":
            device.host.enumerate(address=9)
        if end == "SET_CONFIGURATION":
            device.host.configure()
        board._abandon()
        if end == "unplugged":
            backend.unplug("BOARD-1")
            backend.plug("BOARD-1")
        with relif.open("usb://BOARD-1", backend=backend, config=CONFIG) as board:
            board.write(Space.WEIGHTS, 0, np.full((256, 4), bytes_sent % 100))
            assert (board.read(Space.WEIGHTS) == bytes_sent % 100).all()
    with relif.open("usb://BOARD-1", backend=backend, config=CONFIG) as board:
        same(board, samples=3)


def test_unplugged_while_open(backend):
    board = relif.open("usb://BOARD-1", backend=backend)
    backend.unplug("BOARD-1")
    message = r"usb://BOARD-1: the board does not respond any more; was it unplugged\? \(No such device"
    with pytest.raises(TransportError, match=message):
        board.read(Space.WEIGHTS)
    with pytest.raises(TransportError, match=message):
        board.transport.read(0.01)
    board._abandon()
    board._abandon()                                # once more does no harm
    with pytest.raises(TransportError, match=r"usb://BOARD-1: there is no board with this serial number on USB"):
        relif.open("usb://BOARD-1", backend=backend)
    backend.plug("BOARD-1")
    with relif.open("usb://BOARD-1", backend=backend) as board:
        assert board.results() == []


def test_pyusb_itself_sees_the_device_as_it_is(backend):
    """Through the backend, as any other program would."""
    device = usb.core.find(backend=backend, idVendor=VENDOR_ID, idProduct=PRODUCT_ID)
    assert (device.manufacturer, device.product, device.serial_number) == ("Relif", "Relif core", "BOARD-1")
    interface = device[0][0, 0]
    assert (interface.bInterfaceClass, interface.bNumEndpoints) == (0xFF, 2)
    assert [(end.bEndpointAddress, end.wMaxPacketSize) for end in interface] == [(0x01, 512), (0x81, 512)]
    with pytest.raises(usb.core.USBError) as error:
        device.ctrl_transfer(0xC0, 0x42, 0, 0, 4)
    assert error.value.errno == errno.EPIPE
    device.reset()
    device.clear_halt(0x81)
    with pytest.raises(usb.core.USBTimeoutError):
        device.read(0x81, 512, 10)
    usb.util.dispose_resources(device)
