# amaranth: UnusedElaboratable=no
"""The USB device's constructors, for each kind of bus that a board may have. `tests/sim/test_usb.py` runs it."""

from types import SimpleNamespace

import pytest
from amaranth import ClockDomain, Module, Signal
from amaranth.back import rtlil
from luna.gateware.interface.utmi import UTMIInterface

from relif_hw.config import CoreConfig
from relif_hw.usb import UsbDevice, UsbPort
from relif_hw.usb_endpoints import BulkIn

TINY = CoreConfig(lanes=4, weight_words=64, state_words=32, neuron_words=8, program_length=16, queue_depth=16,
                  max_outputs=4, eligibility_words=64, name="tiny")


def pin(directions, width=1):
    """A pin of a board's resource."""
    return SimpleNamespace(**{name: Signal(width if name != "oe" else 1) for name in directions})


def pads():
    """What a board's `usb` resource is: two pads, and the pull-up."""
    return SimpleNamespace(d_p=pin(("i", "o", "oe")), d_n=pin(("i", "o", "oe")), pullup=pin(("o",)))


def ulpi():
    """What a board's `ulpi` resource is: a PHY that drives the clock."""
    return SimpleNamespace(data=pin(("i", "o", "oe"), 8), clk=pin(("i",)), nxt=pin(("i",)), stp=pin(("o",)),
                           dir=pin(("i",)), rst=pin(("o",)))


@pytest.mark.parametrize(("bus", "asked", "high_speed", "clock"), [
    pytest.param(pads, None, False, 12e6, id="pads"),
    pytest.param(ulpi, None, True, 60e6, id="ULPI"),
    pytest.param(ulpi, False, False, 60e6, id="ULPI held at full speed"),
    pytest.param(UTMIInterface, None, False, 12e6, id="UTMI"),
    pytest.param(UTMIInterface, True, True, 60e6, id="UTMI at high speed"),
])
def test_a_core_behind_every_kind_of_bus(bus, asked, high_speed, clock):
    device = UsbDevice(TINY, bus=bus(), serial="A1", high_speed=asked)
    assert device.port.high_speed == high_speed
    assert device.port.usb.data_clock == clock
    m = Module()
    for domain in ("sync", "usb", "usb_io"):
        m.domains += ClockDomain(domain)
    m.submodules.device = device
    ports = {name: (getattr(device, name), None) for name in ("configured", "idle", "waiting", "fault")}
    text = rtlil.convert(m, name="relif", ports=ports, emit_src=False)
    assert "module \\relif.device.port.usb.BulkOut" in text
    assert "module \\relif.device.device.core" in text


def test_wrong_arguments():
    with pytest.raises(ValueError, match="bare pads are a full-speed bus; high speed needs a ULPI PHY"):
        UsbPort(bus=pads(), serial="A1", high_speed=True)
    for serial in ("", "A 1", "A/1", "é", "A" * 33):
        with pytest.raises(ValueError, match="a serial number has 1 to 32 letters, digits, -, _ and ., not "):
            UsbPort(bus=UTMIInterface(), serial=serial)
    with pytest.raises(ValueError, match="a pause must be 2 cycles or more, not 1"):
        BulkIn(1, pause=1)
