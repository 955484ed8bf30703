"""The descriptors of the USB device: standard ones, and Microsoft's, by which Windows takes WinUSB.

At high speed a host may also ask what the device would be at the other speed, and either way
"configuration" means the one of the speed at hand. The collection holds both, that of full speed with
index `FULL_SPEED_INDEX`; the gateware puts the index in (`relif_hw.usb_control`).
"""

from usb_protocol.emitters import DeviceDescriptorCollection
from usb_protocol.emitters.descriptors.microsoft10 import MicrosoftOS10DescriptorCollection
from usb_protocol.emitters.descriptors.standard import (
    ConfigurationDescriptorEmitter,
    get_string_descriptor,
)
from usb_protocol.types.descriptors.microsoft10 import RegistryTypes
from usb_protocol.types.descriptors.standard import StandardDescriptorNumbers

from .frames import CORE_VERSION
from .usb_identity import (
    ENDPOINT,
    FULL_SPEED_PACKET,
    HIGH_SPEED_PACKET,
    INTERFACE,
    MANUFACTURER,
    PRODUCT,
    PRODUCT_ID,
    VENDOR_ID,
    check_serial,
)

__all__ = [
    "CONFIGURATION", "CONTROL_PACKET", "FULL_SPEED_INDEX", "INTERFACE_GUID", "MICROSOFT_REQUEST", "OTHER_SPEED",
    "microsoft_descriptors", "standard_descriptors",
]

CONTROL_PACKET = 64
CONFIGURATION = int(StandardDescriptorNumbers.CONFIGURATION)
OTHER_SPEED = int(StandardDescriptorNumbers.OTHER_SPEED)
FULL_SPEED_INDEX = 1
"""Index at which a device of both speeds keeps the configuration descriptors that a host sees at full speed."""

MICROSOFT_REQUEST = 0xEE
"""`bRequest` of Microsoft's descriptors; the string with the index 0xEE tells it to Windows."""
INTERFACE_GUID = "{6E45736A-2B1B-4078-B772-B3AF2B6FDE1C}"
"""The class of device interfaces under which programs on Windows find the board."""

_QUALIFIER = bytes([10, 6, 0x00, 0x02, 0, 0, 0, CONTROL_PACKET, 1, 0])
"""What the device would be at the other speed: the same. (That of usb_protocol lacks its last byte.)"""


def _configuration(packet: int, kind: int) -> bytes:
    emitter = ConfigurationDescriptorEmitter()
    with emitter.InterfaceDescriptor() as interface:
        interface.bInterfaceNumber = INTERFACE
        interface.bInterfaceClass = interface.bInterfaceSubclass = interface.bInterfaceProtocol = 0xFF
        for address in (ENDPOINT, 0x80 | ENDPOINT):
            with interface.EndpointDescriptor() as endpoint:
                endpoint.bEndpointAddress = address
                endpoint.bmAttributes = 2           # bulk
                endpoint.wMaxPacketSize = packet
                endpoint.bInterval = 0
    emitter.bmAttributes = 0x80                     # powered by the bus
    emitter.bMaxPower = 250                         # 500 mA
    descriptor = emitter.emit()
    return descriptor[:1] + bytes([kind]) + descriptor[2:]


def standard_descriptors(serial: str, *, high_speed: bool) -> DeviceDescriptorCollection:
    """All descriptors that GET_DESCRIPTOR can be asked for.

    Parameters
    ----------
    serial : str
        Serial number, see `check_serial`.
    high_speed : bool
        Whether the device runs at high speed too.
    """
    collection = DeviceDescriptorCollection()
    with collection.DeviceDescriptor() as device:
        device.bcdUSB = 2.00
        device.idVendor, device.idProduct = VENDOR_ID, PRODUCT_ID
        device.bcdDevice = float(CORE_VERSION)
        device.iManufacturer, device.iProduct = MANUFACTURER, PRODUCT
        device.iSerialNumber = check_serial(serial)
        device.bMaxPacketSize0 = CONTROL_PACKET
        device.bNumConfigurations = 1
    if high_speed:
        collection.add_descriptor(_configuration(HIGH_SPEED_PACKET, CONFIGURATION))
        collection.add_descriptor(_configuration(FULL_SPEED_PACKET, OTHER_SPEED))
        collection.add_descriptor(_configuration(FULL_SPEED_PACKET, CONFIGURATION), index=FULL_SPEED_INDEX)
        collection.add_descriptor(_configuration(HIGH_SPEED_PACKET, OTHER_SPEED), index=FULL_SPEED_INDEX)
        collection.add_descriptor(_QUALIFIER)
    else:
        collection.add_descriptor(_configuration(FULL_SPEED_PACKET, CONFIGURATION))
    collection.add_descriptor(get_string_descriptor("MSFT100" + chr(MICROSOFT_REQUEST)), index=0xEE)
    return collection


def microsoft_descriptors() -> MicrosoftOS10DescriptorCollection:
    """The interface's driver is WinUSB, and programs find it by `INTERFACE_GUID`."""
    collection = MicrosoftOS10DescriptorCollection()
    with collection.ExtendedCompatIDDescriptor() as identity, identity.Function() as function:
        function.bFirstInterfaceNumber = INTERFACE
        function.compatibleID = "WINUSB"
    with collection.ExtendedPropertiesDescriptor() as properties, properties.Property() as guid:
        guid.dwPropertyDataType = RegistryTypes.REG_MULTI_SZ
        guid.PropertyName = "DeviceInterfaceGUIDs"
        guid.PropertyData = [INTERFACE_GUID, ""]    # the empty string ends the list
    return collection
