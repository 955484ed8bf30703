"""Consistent Overhead Byte Stuffing (Cheshire & Baker 1999): frames without zero bytes, ended by one.

Frames are at most 254 bytes long, so that no code byte but the first can be 255 and the rule for
runs of 254 bytes is never needed: encoding puts the distance to the next zero in the place of each
zero, and the first distance before the frame.
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .arithmetic import APART

__all__ = ["ByteLayout", "CobsDecoder", "CobsEncoder", "DecodedLayout"]

ByteLayout = data.StructLayout({"data": 8, "last": 1})
"""A byte of a frame, and whether it is the last one."""

DecodedLayout = data.StructLayout({"data": 8, "end": 1, "ok": 1})
"""A byte of a frame; or, with `end`, no byte but the frame's end, and whether its codes fit."""


class CobsDecoder(wiring.Component):
    """Bytes from the wire to frames. Empty frames are swallowed. Combinational, one byte a cycle.

    Members
    -------
    i : In(stream of 8)
    o : Out(stream of DecodedLayout)
    """

    i: In(stream.Signature(8))
    o: Out(stream.Signature(DecodedLayout))

    def elaborate(self, platform):
        m = Module()
        inside = Signal()            # of a frame: its first code byte has come
        left = Signal(8)             # bytes until the next code byte
        zero, code = self.i.payload == 0, left == 0
        m.d.comb += [
            self.o.payload.end.eq(zero),
            self.o.payload.ok.eq(code),
            self.o.payload.data.eq(Mux(code, 0, self.i.payload)),
            self.o.valid.eq(self.i.valid & (inside | ~(zero | code))),
            self.i.ready.eq(self.o.ready),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                inside.eq(~zero),
                left.eq(Mux(zero, 0, Mux(code, self.i.payload, left) - 1)),
            ]
        return m


class CobsEncoder(wiring.Component):
    """Frames of 1 to 254 bytes to bytes on the wire, with the delimiter.

    A frame is gathered in a buffer of 256 bytes, one byte a cycle, and then sent: each zero is
    replaced by its distance to the next one when that comes.

    Members
    -------
    i : In(stream of ByteLayout)
    o : Out(stream of 8)
    empty : Out(1)
        No part of a frame is in the buffer.
    """

    i: In(stream.Signature(ByteLayout))
    o: Out(stream.Signature(8))
    empty: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.buffer = buffer = Memory(shape=8, depth=256, init=[], attrs=APART)
        write, read = buffer.write_port(), buffer.read_port()
        end = Signal(8, init=1)      # bytes in the buffer, the first code included
        code = Signal(8)             # where the next distance goes
        index = Signal(8)
        zero = self.i.payload.data == 0
        with m.FSM():
            with m.State("fill"):
                m.d.comb += [
                    self.empty.eq(end == 1),
                    self.i.ready.eq(1),
                    write.en.eq(self.i.valid),
                    write.addr.eq(Mux(zero, code, end)),
                    write.data.eq(Mux(zero, end - code, self.i.payload.data)),
                ]
                m.d.sync += index.eq(0)
                with m.If(self.i.valid):
                    m.d.sync += end.eq(end + 1)
                    with m.If(zero):
                        m.d.sync += code.eq(end)
                    with m.If(self.i.payload.last):
                        m.next = "close"
            with m.State("close"):
                m.d.comb += [write.en.eq(1), write.addr.eq(code), write.data.eq(end - code)]
                m.next = "fetch"
            with m.State("fetch"):
                m.d.comb += read.addr.eq(index)
                m.next = "send"
            with m.State("send"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o.payload.eq(Mux(index == end, 0, read.data)),
                    read.addr.eq(index + self.o.ready),
                ]
                with m.If(self.o.ready):
                    m.d.sync += index.eq(index + 1)
                    with m.If(index == end):
                        m.d.sync += [end.eq(1), code.eq(0)]
                        m.next = "fill"
        return m
