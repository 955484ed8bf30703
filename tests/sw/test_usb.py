"""The host's end of native USB against a backend of pyusb that does as it is told."""

from __future__ import annotations

import builtins
import errno
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import usb.backend
import usb.core

import relif
from relif.cli import main
from relif.errors import TransportError
from relif.host import usb as relif_usb
from relif.host.usb import UDEV_FILE, UDEV_RULE, UsbTransport
from relif_hw.usb_identity import MANUFACTURER, PRODUCT, PRODUCT_ID, VENDOR_ID

IDS = {"idVendor": VENDOR_ID, "idProduct": PRODUCT_ID}


def board(serial="A1", **changes):
    """A device on the bus: its strings, and what goes wrong with it."""
    fields = {"strings": (MANUFACTURER, PRODUCT, serial), "configuration": 1, "driver": False, "claim": None,
              "open": None, "read": [], "written": [], "sizes": None, **IDS, **changes}
    return SimpleNamespace(**fields, log=[])


def failure(code, text="it went wrong"):
    return usb.core.USBError(text, -1, code)


class Backend(usb.backend.IBackend):
    """Devices in a list, and a log of what was done to each."""

    def __init__(self, *devices):
        self.devices = devices

    def enumerate_devices(self):
        return iter(self.devices)

    def get_parent(self, dev):
        return None

    def get_device_descriptor(self, dev):
        return SimpleNamespace(
            bLength=18, bDescriptorType=1, bcdUSB=0x200, bDeviceClass=0, bDeviceSubClass=0, bDeviceProtocol=0,
            bMaxPacketSize0=64, idVendor=dev.idVendor, idProduct=dev.idProduct, bcdDevice=0, iManufacturer=1,
            iProduct=2, iSerialNumber=3, bNumConfigurations=1, address=1, bus=1, port_number=1,
            port_numbers=(1,), speed=2)

    def get_configuration_descriptor(self, dev, config):
        return SimpleNamespace(bLength=9, bDescriptorType=2, wTotalLength=32, bNumInterfaces=1, bConfigurationValue=1,
                               iConfiguration=0, bmAttributes=0x80, bMaxPower=250, extra_descriptors=b"")

    def get_interface_descriptor(self, dev, intf, alt, config):
        if intf or alt:
            raise IndexError
        return SimpleNamespace(bLength=9, bDescriptorType=4, bInterfaceNumber=0, bAlternateSetting=0, bNumEndpoints=2,
                               bInterfaceClass=255, bInterfaceSubClass=255, bInterfaceProtocol=255, iInterface=0,
                               extra_descriptors=b"")

    def get_endpoint_descriptor(self, dev, ep, intf, alt, config):
        return SimpleNamespace(bLength=7, bDescriptorType=5, bEndpointAddress=(0x01, 0x81)[ep], bmAttributes=2,
                               wMaxPacketSize=64, bInterval=0, bRefresh=0, bSynchAddress=0, extra_descriptors=b"")

    def open_device(self, dev):
        if dev.open:
            raise dev.open
        return dev

    def close_device(self, dev_handle):
        dev_handle.log.append("close")

    def get_configuration(self, dev_handle):
        return dev_handle.configuration

    def set_configuration(self, dev_handle, config_value):
        dev_handle.log.append("configure")
        dev_handle.configuration = config_value

    def claim_interface(self, dev_handle, intf):
        if dev_handle.claim:
            raise dev_handle.claim
        dev_handle.log.append("claim")

    def release_interface(self, dev_handle, intf):
        dev_handle.log.append("release")

    def is_kernel_driver_active(self, dev_handle, intf):
        if dev_handle.driver is None:
            raise NotImplementedError
        return dev_handle.driver

    def detach_kernel_driver(self, dev_handle, intf):
        dev_handle.log.append("detach")
        dev_handle.driver = False

    def ctrl_transfer(self, dev_handle, bmRequestType, bRequest, wValue, wIndex, data, timeout):
        assert (bmRequestType, bRequest, wValue >> 8, wIndex) == (0x80, 6, 3, 0x0409)
        text = dev_handle.strings[(wValue & 0xFF) - 1].encode("utf-16-le")
        answer = bytes([len(text) + 2, 3]) + text
        data[:len(answer)] = type(data)("B", answer)
        return len(answer)

    def bulk_write(self, dev_handle, ep, intf, data, timeout):
        assert ep == 0x01
        assert timeout == 10_000
        size = dev_handle.sizes.pop(0) if dev_handle.sizes is not None else len(data)
        if isinstance(size, Exception):
            raise size
        dev_handle.written.append(data.tobytes()[:size])
        return size

    def bulk_read(self, dev_handle, ep, intf, buff, timeout):
        assert ep == 0x81
        assert timeout > 0                  # zero would wait for ever
        data = dev_handle.read.pop(0) if dev_handle.read else usb.core.USBTimeoutError("timeout", -7, errno.ETIMEDOUT)
        if isinstance(data, Exception):
            raise data
        buff[:len(data)] = type(buff)("B", data)
        return len(data)


# Finding.

def test_no_board():
    foreign = board(strings=("Somebody", "Something else", "A1"))
    other = board(idProduct=2)
    for devices in ((), (other,), (foreign,), (board(strings=(MANUFACTURER, "Relif cores", "A1")),)):
        with pytest.raises(TransportError, match=r"usb://: there is no board on USB \(no 'Relif core' with the id "
                                                 r"1209:0001\); is it plugged in and configured\?"):
            UsbTransport(backend=Backend(*devices))
    assert foreign.log == ["close"]
    with pytest.raises(TransportError, match=r"usb://A1: there is no board with this serial number on USB; "
                                             r"there is none at all"):
        UsbTransport("A1", backend=Backend(foreign))


def test_the_only_board_or_the_one_that_is_named():
    one, two, foreign = board("A1"), board("B2"), board(strings=("Somebody", "Something", "C3"))
    assert UsbTransport(backend=Backend(foreign, two)).name == "usb://B2"
    transport = UsbTransport("A1", backend=Backend(two, one, foreign))
    assert transport.name == "usb://A1"
    transport.write(b"to A1")
    assert (one.written, two.written) == ([b"to A1"], [])
    with pytest.raises(TransportError, match=r"usb://: there are several boards on USB, name one of them: "
                                             r"usb://A1, usb://B2$"):
        UsbTransport(backend=Backend(two, one))
    with pytest.raises(TransportError, match=r"usb://C3: there is no board with this serial number on USB; there is "
                                             r"usb://A1, usb://B2$"):
        UsbTransport("C3", backend=Backend(two, one, foreign))


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM])
def test_permission_denied(code):
    with pytest.raises(TransportError, match="permission denied") as error:
        UsbTransport(backend=Backend(board(open=failure(code))))
    assert str(error.value).endswith(f"write this line to {UDEV_FILE} and plug the board in again: {UDEV_RULE}")
    assert UDEV_RULE == ('SUBSYSTEM=="usb", ATTR{idVendor}=="1209", ATTR{idProduct}=="0001", '
                         'ATTR{product}=="Relif core", TAG+="uaccess"')
    text = (Path(__file__).parents[2] / "docs" / "usb.md").read_text(encoding="utf-8")
    assert f"    {UDEV_RULE}\n" in text
    assert UDEV_FILE in text
    with pytest.raises(TransportError, match="usb://A1: permission denied"):
        UsbTransport("A1", backend=Backend(board(claim=failure(code))))
    # One that may be opened is opened all the same.
    assert UsbTransport(backend=Backend(board(open=failure(code)), board("B2"))).name == "usb://B2"


@pytest.mark.parametrize("trouble", [failure(errno.EIO), NotImplementedError("no driver")])
def test_a_device_that_cannot_be_asked_is_none(trouble):
    with pytest.raises(TransportError, match="there is no board on USB"):
        UsbTransport(backend=Backend(board(open=trouble)))
    assert UsbTransport(backend=Backend(board(open=trouble), board("B2"))).name == "usb://B2"


def test_a_busy_board_and_one_that_fails():
    busy = board(claim=failure(errno.EBUSY))
    with pytest.raises(TransportError, match="usb://A1: the board is busy: another program has it open"):
        UsbTransport(backend=Backend(busy))
    assert busy.log == ["close"]
    with pytest.raises(TransportError, match="usb://A1: the board cannot be opened: it went wrong"):
        UsbTransport(backend=Backend(board(claim=failure(errno.EIO))))


def test_the_bus_cannot_be_listed():
    backend = Backend()
    backend.enumerate_devices = lambda: (_ for _ in ()).throw(failure(errno.EIO, "no bus"))
    with pytest.raises(TransportError, match="usb://: the USB devices cannot be listed: no bus"):
        UsbTransport(backend=backend)


@pytest.mark.parametrize(("changes", "log"), [
    ({}, ["claim"]),
    ({"driver": True}, ["detach", "claim"]),        # of the kernel
    ({"driver": None}, ["claim"]),                  # a system without such drivers
    ({"configuration": 0}, ["configure", "claim"]),
])
def test_opening_and_closing(changes, log):
    device = board(**changes)
    transport = UsbTransport(backend=Backend(device))
    assert device.log == log
    transport.close()
    transport.close()
    assert device.log == [*log, "release", "close"]


# What is missing.

def test_pyusb_is_missing(monkeypatch):
    real = builtins.__import__

    def without(name, namespace=None, local=None, names=(), level=0):
        if level == 0 and name.split(".")[0] == "usb":
            raise ImportError(name)
        return real(name, namespace, local, names, level)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(TransportError, match=r"usb://: the Python package pyusb is missing; "
                                             r"install it with pip install 'relif\[usb\]'$"):
        relif.open("usb://")


def test_libusb_is_missing(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "libusb_package", SimpleNamespace(get_libusb1_backend=lambda: None))
    with pytest.raises(TransportError, match=r"there is no libusb on this system; install it with pip "
                                             r"install 'relif\["):
        UsbTransport("A1")
    # The command line says it in one line.
    assert main(["info", "--board", "usb://A1"]) == 1
    assert capsys.readouterr().err == ("relif: usb://A1: there is no libusb on this system; install it with "
                                       "pip install 'relif[usb]'\n")


def test_libusb_of_the_system_where_the_wheel_is_not_installed(monkeypatch):
    import usb.backend.libusb1
    monkeypatch.setitem(sys.modules, "libusb_package", None)
    chosen = Backend(board())
    monkeypatch.setattr(usb.backend.libusb1, "get_backend", lambda: chosen)
    assert UsbTransport().name == "usb://A1"
    monkeypatch.setattr(usb.backend.libusb1, "get_backend", lambda: None)
    with pytest.raises(TransportError, match="there is no libusb on this system"):
        UsbTransport()


def test_importing_relif_does_not_import_pyusb():
    done = subprocess.run([sys.executable, "-c", "import sys, relif; sys.exit('usb' in sys.modules)"], timeout=120,
                          check=False)
    assert done.returncode == 0


# The stream.

def test_writing():
    device = board()
    transport = UsbTransport(backend=Backend(device))
    transport.write(b"all of it")
    transport.write(b"")
    assert device.written == [b"all of it"]
    # libusb may take less, or nothing for a while.
    device.written.clear()
    device.sizes = [3, usb.core.USBTimeoutError("timeout", -7, errno.ETIMEDOUT), 6]
    transport.write(b"all of it")
    assert device.written == [b"all", b" of it"]
    device.sizes = [failure(errno.ENODEV, "No such device")]
    with pytest.raises(TransportError, match=r"usb://A1: the board does not respond any more; was it unplugged\? "
                                             r"\(No such device\)"):
        transport.write(b"x")


def test_a_board_that_takes_nothing(monkeypatch):
    device = board(sizes=[usb.core.USBTimeoutError("timeout", -7, errno.ETIMEDOUT)] * 3)
    transport = UsbTransport(backend=Backend(device))
    clock = iter([0.0, 5.0, 10.1])
    monkeypatch.setattr(relif_usb.time, "monotonic", lambda: next(clock))
    with pytest.raises(TransportError, match=r"usb://A1: the board takes no data"):
        transport.write(b"x")


def test_reading():
    device = board()
    transport = UsbTransport(backend=Backend(device))
    assert transport.read(0.01) == b""
    assert transport.read(0.0) == b""
    # What came, and no more; an empty packet is nothing that came.
    device.read += [b"some", b"", b"", b"more", b""]
    assert transport.read(0.1) == b"some"
    assert transport.read(0.1) == b"more"
    assert transport.read(0.01) == b""
    device.read += [failure(errno.ENODEV, "No such device")]
    with pytest.raises(TransportError, match=r"usb://A1: the board does not respond any more; was it unplugged\?"):
        transport.read(0.1)
