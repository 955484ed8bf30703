"""Boards on native USB: the byte stream over two bulk endpoints, by pyusb and libusb.

Boards are known by the ids and strings of `relif_hw.usb_identity`. pyusb is imported when it is needed.
"""

from __future__ import annotations

import errno
import math
import time
from typing import Any

from relif_hw.usb_identity import ENDPOINT, INTERFACE, MANUFACTURER, PRODUCT, PRODUCT_ID, VENDOR_ID

from ..errors import TransportError

__all__ = ["UDEV_FILE", "UDEV_RULE", "UsbTransport"]

UDEV_FILE = "/etc/udev/rules.d/60-relif.rules"
UDEV_RULE = (f'SUBSYSTEM=="usb", ATTR{{idVendor}}=="{VENDOR_ID:04x}", ATTR{{idProduct}}=="{PRODUCT_ID:04x}", '
             f'ATTR{{product}}=="{PRODUCT}", TAG+="uaccess"')
"""Lets the user who sits at a Linux machine open the board."""

_ENGLISH = 0x0409
_DENIED = (errno.EACCES, errno.EPERM)
_READ_SIZE = 1 << 14
_WRITE_TIMEOUT = 10.0
_INSTALL = "install it with pip install 'relif[usb]'"


def _backend(name: str) -> Any:
    """libusb of the wheel, or else of the system."""
    try:
        import libusb_package
    except ImportError:
        import usb.backend.libusb1
        backend = usb.backend.libusb1.get_backend()
    else:
        backend = libusb_package.get_libusb1_backend()
    if backend is None:
        raise TransportError(f"{name}: there is no libusb on this system; {_INSTALL}")
    return backend


class UsbTransport:
    """A board on native USB.

    `TransportError` if there is no such board, if it may not be opened or another program holds it, and as soon
    as it fails.

    Parameters
    ----------
    serial : str
        Serial number of the board; empty: the only one that there is.
    backend : usb.backend.IBackend or None
        In place of libusb.
    """

    def __init__(self, serial: str = "", *, backend: Any = None) -> None:
        self.name = f"usb://{serial}"
        try:
            import usb.core
            import usb.util
        except ImportError:
            raise TransportError(f"{self.name}: the Python package pyusb is missing; {_INSTALL}") from None
        self._usb = usb
        device = self._find(serial, _backend(self.name) if backend is None else backend)
        self._device: Any = device
        try:
            self._claim(device)
        except usb.core.USBError as error:
            usb.util.dispose_resources(device)
            raise self._refused(error) from None

    # Finding and opening.

    def _find(self, serial: str, backend: Any) -> Any:
        boards: dict[str, Any] = {}
        denied = False
        try:
            candidates = list(self._usb.core.find(find_all=True, idVendor=VENDOR_ID, idProduct=PRODUCT_ID,
                                                  backend=backend))
        except self._usb.core.USBError as error:
            raise TransportError(f"{self.name}: the USB devices cannot be listed: {error.strerror or error}") from None
        for device in candidates:
            try:
                maker, product, number = (self._usb.util.get_string(device, index, _ENGLISH) for index in (
                    device.iManufacturer, device.iProduct, device.iSerialNumber))
            except (self._usb.core.USBError, NotImplementedError) as error:
                denied |= getattr(error, "errno", None) in _DENIED
                continue
            if (maker, product) == (MANUFACTURER, PRODUCT):
                boards[number] = device
            else:
                self._usb.util.dispose_resources(device)
        wanted = serial or (next(iter(boards)) if len(boards) == 1 else "")
        chosen = boards.pop(wanted, None)
        for device in boards.values():
            self._usb.util.dispose_resources(device)
        if chosen is not None:
            self.name = f"usb://{wanted}"
            return chosen
        if denied:
            raise self._denied()
        there = ", ".join(f"usb://{number}" for number in sorted(boards))
        if serial:
            raise TransportError(f"{self.name}: there is no board with this serial number on USB; "
                                 f"there is {there or 'none at all'}")
        if boards:
            raise TransportError(f"usb://: there are several boards on USB, name one of them: {there}")
        raise TransportError(f"usb://: there is no board on USB (no {PRODUCT!r} with the id "
                             f"{VENDOR_ID:04x}:{PRODUCT_ID:04x}); is it plugged in and configured?")

    def _claim(self, device: Any) -> None:
        try:
            if device.is_kernel_driver_active(INTERFACE):
                device.detach_kernel_driver(INTERFACE)
        except NotImplementedError:
            pass                        # only Linux has drivers in the way
        try:
            device.get_active_configuration()
        except self._usb.core.USBError:
            device.set_configuration()
        self._usb.util.claim_interface(device, INTERFACE)

    def _denied(self) -> TransportError:
        return TransportError(
            f"{self.name}: permission denied; on Linux, write this line to {UDEV_FILE} and plug the board in again: "
            f"{UDEV_RULE}")

    def _refused(self, error: OSError) -> TransportError:
        if error.errno in _DENIED:
            return self._denied()
        if error.errno == errno.EBUSY:
            return TransportError(f"{self.name}: the board is busy: another program has it open")
        return TransportError(f"{self.name}: the board cannot be opened: {error.strerror or error}")

    # The stream.

    def write(self, data: bytes) -> None:
        limit = time.monotonic() + _WRITE_TIMEOUT
        while data:
            try:
                sent = self._device.write(ENDPOINT, data, int(1000 * _WRITE_TIMEOUT))
            except self._usb.core.USBTimeoutError:
                sent = 0
            except self._usb.core.USBError as error:
                raise self._gone(error) from None
            data = data[sent:]
            if data and time.monotonic() > limit:
                raise TransportError(f"{self.name}: the board takes no data")

    def read(self, timeout: float) -> bytes:
        deadline = time.monotonic() + timeout
        while True:
            # libusb takes whole milliseconds, and zero for no limit.
            left = max(1, math.ceil(1000 * (deadline - time.monotonic())))
            try:
                data = bytes(self._device.read(0x80 | ENDPOINT, _READ_SIZE, left))
            except self._usb.core.USBTimeoutError:
                return b""
            except self._usb.core.USBError as error:
                raise self._gone(error) from None
            # An empty packet only ends a transfer.
            if data or time.monotonic() >= deadline:
                return data

    def _gone(self, error: OSError) -> TransportError:
        return TransportError(f"{self.name}: the board does not respond any more; was it unplugged? "
                              f"({error.strerror or error})")

    def close(self) -> None:
        if self._device is None:
            return
        device, self._device = self._device, None
        try:
            self._usb.util.release_interface(device, INTERFACE)
        except self._usb.core.USBError:
            pass                        # it is gone
        self._usb.util.dispose_resources(device)
