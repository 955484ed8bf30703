"""What a board says of itself on USB, and where its byte streams are: read by the gateware and by the host."""

__all__ = [
    "ENDPOINT", "FULL_SPEED_PACKET", "HIGH_SPEED_PACKET", "INTERFACE", "MANUFACTURER", "PRODUCT", "PRODUCT_ID",
    "VENDOR_ID", "check_serial",
]

VENDOR_ID, PRODUCT_ID = 0x1209, 0x0001
"""The test id of https://pid.codes: others use it too, so that a board is known by its strings."""

MANUFACTURER = "Relif"
PRODUCT = "Relif core"

INTERFACE = 0
ENDPOINT = 1
"""Number of both bulk endpoints: OUT 0x01 to the board, IN 0x81 from it."""

FULL_SPEED_PACKET, HIGH_SPEED_PACKET = 64, 512
"""Bytes of a full packet of the bulk endpoints."""


def check_serial(serial: str) -> str:
    """A serial number as USB and `usb://SERIAL` can carry it: 1 to 32 letters, digits, `-`, `_` and `.`."""
    if not (0 < len(serial) <= 32 and all(c.isascii() and (c.isalnum() or c in "-_.") for c in serial)):
        raise ValueError(f"a serial number has 1 to 32 letters, digits, -, _ and ., not {serial!r}")
    return serial
