"""The simulated USB devices as a backend of pyusb, so that the host's own driver talks to them."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

from usb.backend import IBackend
from usb.core import USBError, USBTimeoutError

from .usb_bus import NoAnswer, Stalled, UsbBus, UsbHost

__all__ = ["SimulatedBackend"]

_REST = 50e-6
"""Seconds of the bus's time after which a device that has nothing to do will send nothing more."""

_DEVICE = ("bLength", "bDescriptorType", "bcdUSB", "bDeviceClass", "bDeviceSubClass", "bDeviceProtocol",
           "bMaxPacketSize0", "idVendor", "idProduct", "bcdDevice", "iManufacturer", "iProduct", "iSerialNumber",
           "bNumConfigurations")
_CONFIGURATION = ("bLength", "bDescriptorType", "wTotalLength", "bNumInterfaces", "bConfigurationValue",
                  "iConfiguration", "bmAttributes", "bMaxPower")
_INTERFACE = ("bLength", "bDescriptorType", "bInterfaceNumber", "bAlternateSetting", "bNumEndpoints",
              "bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol", "iInterface")
_ENDPOINT = ("bLength", "bDescriptorType", "bEndpointAddress", "bmAttributes", "wMaxPacketSize", "bInterval")
_WIDE = ("bcd", "w", "idV", "idP")


def _fields(names: Iterable[str], data: bytes, **more: Any) -> SimpleNamespace:
    """A descriptor by the names of its fields."""
    fields, position = {}, 0
    for name in names:
        size = 2 if name.startswith(_WIDE) else 1
        fields[name] = int.from_bytes(data[position:position + size], "little")
        position += size
    return SimpleNamespace(**fields, extra_descriptors=b"", **more)


class _Device:
    """A device on its bus, as the operating system has enumerated it."""

    def __init__(self, bus: UsbBus, number: int, high_speed: bool) -> None:
        self.bus, self.number, self.high_speed = bus, number, high_speed
        self.host = UsbHost(bus)
        self.claimed: object | None = None
        self.present = True
        self.host.enumerate(address=number, high_speed=high_speed)

    def parts(self) -> list[bytes]:
        """The configuration descriptor, cut into descriptors."""
        total = int.from_bytes(self.host.descriptor(2, length=9)[2:4], "little")
        data, parts = self.host.descriptor(2, length=total), []
        while data:
            parts.append(data[:data[0]])
            data = data[data[0]:]
        return parts


class SimulatedBackend(IBackend):  # type: ignore[misc]
    """What `usb.core.find(backend=...)` takes.

    The devices' time passes only in transfers. A read ends as a time-out as soon as the device has nothing
    more to do.

    Parameters
    ----------
    buses : sequence of UsbBus
        Each with a device in its socket.
    high_speed : bool
        Whether the host does high speed.
    """

    def __init__(self, *buses: UsbBus, high_speed: bool = True) -> None:
        self.devices = [_Device(bus, number, high_speed) for number, bus in enumerate(buses, 1)]

    def unplug(self, serial: str) -> None:
        """Out of the socket."""
        for device in self.devices:
            if device.bus.serial == serial:
                device.present = False
                device.bus.plug(False)

    def plug(self, serial: str) -> None:
        """Back into the socket, and enumerated."""
        for device in self.devices:
            if device.bus.serial == serial:
                device.bus.plug(True)
                device.host.enumerate(address=device.number, high_speed=device.high_speed)
                device.present, device.claimed = True, None

    # Descriptors.

    def enumerate_devices(self) -> Iterator[_Device]:
        return (device for device in self.devices if device.present)

    def get_parent(self, dev: _Device) -> None:
        return None

    def get_device_descriptor(self, dev: _Device) -> SimpleNamespace:
        return _fields(_DEVICE, dev.host.descriptor(1, length=18), bus=1, address=dev.number, port_number=dev.number,
                       port_numbers=(dev.number,), speed=3 if dev.bus.high_speed else 2)

    def get_configuration_descriptor(self, dev: _Device, config: int) -> SimpleNamespace:
        if config:
            raise IndexError("there is one configuration")
        return _fields(_CONFIGURATION, dev.parts()[0])

    def get_interface_descriptor(self, dev: _Device, intf: int, alt: int, config: int) -> SimpleNamespace:
        if intf or alt or config:
            raise IndexError("there is one interface")
        return _fields(_INTERFACE, dev.parts()[1])

    def get_endpoint_descriptor(self, dev: _Device, ep: int, intf: int, alt: int, config: int) -> SimpleNamespace:
        return _fields(_ENDPOINT, dev.parts()[2 + ep], bRefresh=0, bSynchAddress=0)

    # Handles.

    def open_device(self, dev: _Device) -> SimpleNamespace:
        self._there(dev)
        return SimpleNamespace(device=dev)

    def close_device(self, dev_handle: SimpleNamespace) -> None:
        if dev_handle.device.claimed is dev_handle:
            dev_handle.device.claimed = None

    def _there(self, device: _Device) -> _Device:
        if not device.present:
            raise USBError("No such device (it may have been disconnected)", -4, errno.ENODEV)
        return device

    def claim_interface(self, dev_handle: SimpleNamespace, intf: int) -> None:
        device = self._there(dev_handle.device)
        if device.claimed is not None:
            raise USBError("Resource busy", -6, errno.EBUSY)
        device.claimed = dev_handle

    def release_interface(self, dev_handle: SimpleNamespace, intf: int) -> None:
        self._there(dev_handle.device).claimed = None

    def is_kernel_driver_active(self, dev_handle: SimpleNamespace, intf: int) -> bool:
        return False

    # Transfers.

    def set_configuration(self, dev_handle: SimpleNamespace, config_value: int) -> None:
        self._there(dev_handle.device).host.configure(config_value)

    def get_configuration(self, dev_handle: SimpleNamespace) -> int:
        return self._there(dev_handle.device).host.control_in(0x80, 8, 0, 0, 1)[0]

    def clear_halt(self, dev_handle: SimpleNamespace, ep: int) -> None:
        self._there(dev_handle.device).host.clear_halt(ep)

    def reset_device(self, dev_handle: SimpleNamespace) -> None:
        device = self._there(dev_handle.device)
        device.host.enumerate(address=device.number, high_speed=device.high_speed)

    def ctrl_transfer(self, dev_handle: SimpleNamespace, bmRequestType: int, bRequest: int, wValue: int, wIndex: int,
                      data: Any, timeout: int) -> int:
        host = self._there(dev_handle.device).host
        try:
            if not bmRequestType & 0x80:
                host.control_out(bmRequestType, bRequest, wValue, wIndex, data.tobytes())
                return len(data)
            answer = host.control_in(bmRequestType, bRequest, wValue, wIndex, len(data))
        except Stalled:
            raise USBError("Pipe error", -9, errno.EPIPE) from None
        except NoAnswer as error:
            raise USBError(str(error), -1, errno.EIO) from None
        data[:len(answer)] = type(data)("B", answer)
        return len(answer)

    def _claimed(self, handle: SimpleNamespace) -> _Device:
        device = self._there(handle.device)
        if device.claimed is not handle:
            raise USBError("Entity not found", -5, errno.ENOENT)
        return device

    def bulk_write(self, dev_handle: SimpleNamespace, ep: int, intf: int, data: Any, timeout: int) -> int:
        host = self._claimed(dev_handle).host
        sent = host.bulk_out(data.tobytes(), patience=timeout / 1000)
        if not sent:
            raise USBTimeoutError("Operation timed out", -7, errno.ETIMEDOUT)
        return sent

    def bulk_read(self, dev_handle: SimpleNamespace, ep: int, intf: int, buff: Any, timeout: int) -> int:
        device = self._claimed(dev_handle)
        host, bus = device.host, device.bus
        data, came = b"", False
        limit = bus.seconds + timeout / 1000
        rest = bus.seconds + _REST
        while len(data) < len(buff):
            part = host.bulk_in_packet()
            if part is not None:
                data, came = data + part, True
                if len(part) < host.packet:
                    break
            if part is not None or not bus.state.idle:
                rest = bus.seconds + _REST
            if bus.seconds > min(limit, rest):
                break
        if not came:
            raise USBTimeoutError("Operation timed out", -7, errno.ETIMEDOUT)
        buff[:len(data)] = type(buff)("B", data)
        return len(data)
