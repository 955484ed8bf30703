"""Requests to the USB device's control endpoint: luna's handlers, and what a strict host finds missing in them."""

from amaranth import Elaboratable, Module, Mux, ResetInserter, Signal
from luna.gateware.usb.request.standard import StandardRequestHandler
from luna.gateware.usb.request.windows import MicrosoftOS10RequestHandler
from luna.gateware.usb.usb2 import USBSpeed
from luna.gateware.usb.usb2.control import USBControlEndpoint
from luna.gateware.usb.usb2.descriptor import GetDescriptorHandlerBlock
from luna.gateware.usb.usb2.request import USBRequestHandler
from usb_protocol.types import USBStandardRequests

from .usb_descriptors import (
    CONFIGURATION,
    CONTROL_PACKET,
    FULL_SPEED_INDEX,
    MICROSOFT_REQUEST,
    OTHER_SPEED,
    microsoft_descriptors,
    standard_descriptors,
)

__all__ = ["ControlEndpoint"]


def _carries_data(setup):
    """A request whose data goes to the device: there is none that this device knows."""
    return ~setup.is_in_request & setup.length.any()


def _not_configurable(setup):
    """SET_CONFIGURATION to one that does not exist."""
    return (setup.request == USBStandardRequests.SET_CONFIGURATION) & (setup.value > 1)


class _Aborting:
    """A request handler that a new SETUP returns to its beginning, wherever the last request was left."""

    def elaborate(self, platform):
        token = self.interface.tokenizer
        return ResetInserter({"usb": token.new_token & token.is_setup})(super().elaborate(platform))


class _Descriptors(Elaboratable):
    """Descriptors in a ROM, with luna's ports. At full speed the configurations are those with `FULL_SPEED_INDEX`."""

    def __init__(self, collection, speed):
        self.rom = GetDescriptorHandlerBlock(collection, max_packet_length=CONTROL_PACKET)
        self.speed = speed
        self.value = Signal(16)
        self.length, self.start, self.start_position = self.rom.length, self.rom.start, self.rom.start_position
        self.tx, self.stall = self.rom.tx, self.rom.stall

    def elaborate(self, platform):
        m = Module()
        m.submodules.rom = self.rom
        kind, index = self.value[8:], self.value[:8]
        m.d.comb += self.rom.value.eq(self.value)
        with m.If((kind == CONFIGURATION) | (kind == OTHER_SPEED)):
            at_speed = Mux(self.speed == USBSpeed.HIGH, 0, FULL_SPEED_INDEX)
            m.d.comb += self.rom.value[:8].eq(Mux(index.any(), 0xFF, at_speed))     # 0xFF: there is none
        return m


class _StandardRequests(_Aborting, StandardRequestHandler):
    """Chapter 9 of the USB 2.0 specification."""

    def __init__(self, collection, speed):
        super().__init__(collection, max_packet_size=CONTROL_PACKET, avoid_blockram=False,
                         skiplist=[_carries_data, _not_configurable])
        self.speed = speed

    def get_descriptor_handler_submodule(self):
        if self.speed is None:
            return GetDescriptorHandlerBlock(self.descriptors, max_packet_length=CONTROL_PACKET)
        return _Descriptors(self.descriptors, self.speed)


class _MicrosoftRequests(_Aborting, MicrosoftOS10RequestHandler):
    """Microsoft's OS descriptors, version 1.0."""


class _NoData(USBRequestHandler):
    """Stalls requests that carry data to the device as soon as the data comes."""

    def elaborate(self, platform):
        m = Module()
        usb = self.interface
        m.d.comb += [
            usb.claim.eq(_carries_data(usb.setup)),
            usb.handshakes_out.stall.eq(usb.rx_ready_for_response | usb.data_requested | usb.status_requested),
        ]
        return m


class ControlEndpoint(USBControlEndpoint):
    """Endpoint 0: standard requests and Microsoft's; all others are stalled.

    Parameters
    ----------
    utmi
        The bus.
    serial : str
    high_speed : bool
        Whether the device runs at high speed too.

    Attributes
    ----------
    reset : Signal
        Strobe: forget the request at hand.
    """

    def __init__(self, *, utmi, serial, high_speed):
        super().__init__(utmi=utmi, max_packet_size=CONTROL_PACKET)
        self.reset = Signal()
        collection = standard_descriptors(serial, high_speed=high_speed)
        self.add_request_handler(_StandardRequests(collection, self.interface.speed if high_speed else None))
        self.add_request_handler(_MicrosoftRequests(microsoft_descriptors(), request_code=MICROSOFT_REQUEST,
                                                    max_packet_size=CONTROL_PACKET))
        self.add_request_handler(_NoData())

    def elaborate(self, platform):
        return ResetInserter({"usb": self.reset})(super().elaborate(platform))
