"""The CRC of frames, bit by bit: a quarter of the logic of a byte in a cycle, for the link of a compact core."""

from amaranth import Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SerialCrc"]

_POLYNOMIAL = 0xEDB8_8320
"""CRC-32 (zlib's), lowest bit first."""

_RESIDUE = 0xDEBB_20E3
"""What a frame and its own CRC leave in the register."""


class SerialCrc(wiring.Component):
    """CRC-32 of bytes, of eight cycles each.

    The members are those of `amaranth.lib.crc.Processor`, and `ready`.

    Members
    -------
    start : In(1)
        Begin anew; not while a byte is worked on.
    data : In(8), valid : In(1), ready : Out(1)
        A byte is taken when both are high.
    crc : Out(32), match_detected : Out(1)
        The CRC of all bytes taken, and whether they end with their own; while `ready`.
    """

    start: In(1)
    data: In(8)
    valid: In(1)
    ready: Out(1, init=1)
    crc: Out(32)
    match_detected: Out(1)

    def elaborate(self, platform):
        m = Module()
        register = Signal(32, init=0xFFFF_FFFF)
        byte, left = Signal(8), Signal(range(9))
        m.d.comb += [
            self.crc.eq(~register), self.match_detected.eq(register == _RESIDUE), self.ready.eq(left == 0),
        ]
        with m.If(self.ready):
            with m.If(self.start):
                m.d.sync += register.eq(0xFFFF_FFFF)
            with m.Elif(self.valid):
                m.d.sync += [byte.eq(self.data), left.eq(8)]
        with m.Else():
            feedback = register[0] ^ byte[0]
            m.d.sync += [
                register.eq((register >> 1) ^ Mux(feedback, Const(_POLYNOMIAL, 32), 0)), byte.eq(byte >> 1),
                left.eq(left - 1),
            ]
        return m
