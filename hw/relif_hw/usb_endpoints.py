"""The two bulk endpoints of the USB device, between luna's packets and byte streams, in the domain `usb`.

luna has endpoints of its own; these differ in that a reset or SET_CONFIGURATION starts them afresh
(data toggles, buffers), that they follow the speed of the bus, that a data packet counts only after its
own token, and in when a packet is sent (`BulkIn`).
"""

from amaranth import Array, Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from luna.gateware.memory import TransactionalizedFIFO
from luna.gateware.usb.usb2 import USBSpeed
from luna.gateware.usb.usb2.endpoint import EndpointInterface

from .usb_identity import FULL_SPEED_PACKET, HIGH_SPEED_PACKET

__all__ = ["BulkIn", "BulkOut"]


class BulkOut(wiring.Component):
    """Bytes from the host. A packet enters the stream whole or not at all: whole when its CRC is right, it is
    no repetition and there is room; the host is told NAK if there is none.

    Parameters
    ----------
    number : int
        Of the endpoint.

    Members
    -------
    o : Out(stream of 8)
    reset : In(1)
        Forget what has been received and not yet left the stream, and expect DATA0.

    Attributes
    ----------
    interface : EndpointInterface
        To luna's `USBDevice`.
    """

    def __init__(self, number):
        self.number = number
        self.interface = EndpointInterface()
        super().__init__({"o": Out(stream.Signature(8)), "reset": In(1)})

    def elaborate(self, platform):
        m = Module()
        usb, token = self.interface, self.interface.tokenizer
        m.submodules.fifo = fifo = TransactionalizedFIFO(
            width=8, depth=2 * HIGH_SPEED_PACKET - 1, name="packets", domain="usb")
        here = (token.endpoint == self.number) & usb.active_config.any()

        # A token opens the endpoint for one data packet.
        opened = Signal()
        with m.If(token.new_token):
            m.d.usb += opened.eq(1)
        with m.If(usb.rx_complete | usb.rx_invalid):
            m.d.usb += opened.eq(0)
        listening = opened & here & token.is_out

        toggle = Signal()
        overflow = Signal()
        fresh = usb.rx_pid_toggle[0] == toggle
        byte = listening & fresh & usb.rx.valid & usb.rx.next
        m.d.comb += [
            fifo.write_data.eq(usb.rx.payload), fifo.write_en.eq(byte & ~fifo.full),
            fifo.write_commit.eq(listening & usb.rx_complete & ~overflow),
            fifo.write_discard.eq(listening & (usb.rx_invalid | usb.rx_complete & overflow)),
            self.o.payload.eq(fifo.read_data), self.o.valid.eq(~fifo.empty),
            fifo.read_en.eq(self.o.ready), fifo.read_commit.eq(1),
        ]
        with m.If(byte & fifo.full):
            m.d.usb += overflow.eq(1)

        # The answer, after the pause that the bus wants. A packet that came before was acknowledged, which the
        # host has not heard: it is acknowledged again.
        ack, nak = Signal(), Signal()
        with m.If(listening & usb.rx_complete):
            m.d.usb += [
                ack.eq(~overflow), nak.eq(overflow), overflow.eq(0), toggle.eq(toggle ^ (fresh & ~overflow))]
        with m.Elif(listening & usb.rx_invalid):
            m.d.usb += overflow.eq(0)
        with m.If(usb.rx_ready_for_response):
            m.d.usb += [ack.eq(0), nak.eq(0)]
        ping = here & token.is_ping & token.ready_for_response
        room = fifo.space_available >= HIGH_SPEED_PACKET
        m.d.comb += [
            usb.handshakes_out.ack.eq(usb.rx_ready_for_response & ack | ping & room),
            usb.handshakes_out.nak.eq(usb.rx_ready_for_response & nak | ping & ~room),
        ]

        halt = usb.clear_endpoint_halt_in
        with m.If(halt.enable & ~halt.direction & (halt.number == self.number)):
            m.d.usb += toggle.eq(0)
        return ResetInserter({"usb": self.reset})(m)


class BulkIn(wiring.Component):
    """Bytes to the host. Of two buffers one is sent while the other is filled.

    A buffer is sent as soon as it is full, and otherwise when no byte has come for `pause` cycles, unless the
    other one still waits for the host: then it goes on being filled. Where the bytes pause after a full packet,
    an empty one follows, which ends the host's transfer.

    Parameters
    ----------
    number : int
        Of the endpoint.
    pause : int
        Cycles of the domain `usb` without a byte after which the stream has paused.

    Members
    -------
    i : In(stream of 8)
    reset : In(1)
        Forget what has not been sent, and begin with DATA0.

    Attributes
    ----------
    interface : EndpointInterface
        To luna's `USBDevice`.
    """

    def __init__(self, number, *, pause):
        if pause < 2:
            raise ValueError(f"a pause must be 2 cycles or more, not {pause!r}")
        self.number, self.pause = number, pause
        self.interface = EndpointInterface()
        super().__init__({"i": In(stream.Signature(8)), "reset": In(1)})

    def elaborate(self, platform):
        m = Module()
        usb, token = self.interface, self.interface.tokenizer
        m.submodules.buffers = buffers = Memory(shape=8, depth=2 * HIGH_SPEED_PACKET, init=[])
        write, read = buffers.write_port(domain="usb"), buffers.read_port(domain="usb")
        most = Mux(usb.speed == USBSpeed.HIGH, HIGH_SPEED_PACKET, FULL_SPEED_PACKET)
        count = range(HIGH_SPEED_PACKET + 1)
        closed = Array(Signal(name=f"closed_{n}") for n in range(2))    # waits for the host, or for its ACK
        sizes = Array(Signal(count, name=f"size_{n}") for n in range(2))

        # Filling.
        filling = Signal()                  # which buffer
        size = Signal(count)
        unended = Signal()                  # the last packet closed was a full one
        quiet = Signal(range(self.pause + 1))
        paused = quiet == self.pause
        full = size == most
        m.d.comb += [
            self.i.ready.eq(~closed[filling] & ~full),
            write.en.eq(self.i.valid & self.i.ready), write.data.eq(self.i.payload),
            write.addr.eq(Cat(size[:-1], filling)),
        ]
        with m.If(self.i.valid):
            m.d.usb += quiet.eq(0)
        with m.Elif(~paused):
            m.d.usb += quiet.eq(quiet + 1)
        with m.If(write.en):
            m.d.usb += size.eq(size + 1)
        short = paused & ~self.i.valid & ~closed[~filling] & (size.any() | unended)
        with m.Elif(~closed[filling] & (full | short)):
            m.d.usb += [
                closed[filling].eq(1), sizes[filling].eq(size), unended.eq(full), size.eq(0), filling.eq(~filling)]

        # Sending.
        sending = Signal()                  # which buffer
        toggle = Signal()
        position = Signal(count)
        moved = usb.tx.valid & usb.tx.ready
        asked = (token.endpoint == self.number) & token.is_in & usb.active_config.any()
        next_position = Mux(moved, position + 1, position)
        m.d.comb += [
            read.addr.eq(Cat(next_position[:len(size) - 1], sending)),
            usb.tx.payload.eq(read.data), usb.tx_pid_toggle.eq(toggle),
        ]
        with m.FSM(domain="usb"):
            with m.State("wait"):
                m.d.usb += position.eq(0)
                with m.If(asked & token.ready_for_response):
                    with m.If(~closed[sending]):
                        m.d.comb += usb.handshakes_out.nak.eq(1)
                    with m.Elif(sizes[sending] == 0):
                        m.d.comb += [usb.tx.valid.eq(1), usb.tx.last.eq(1)]     # without `first`: an empty packet
                        m.next = "sent"
                    with m.Else():
                        m.next = "send"
            with m.State("send"):
                m.d.comb += [
                    usb.tx.valid.eq(1), usb.tx.first.eq(position == 0),
                    usb.tx.last.eq(position + 1 == sizes[sending]),
                ]
                m.d.usb += position.eq(next_position)
                with m.If(moved & usb.tx.last):
                    m.next = "sent"
            with m.State("sent"):
                m.d.usb += position.eq(0)
                with m.If(usb.handshakes_in.ack):
                    m.d.usb += [closed[sending].eq(0), sending.eq(~sending), toggle.eq(~toggle)]
                    m.next = "wait"
                with m.Elif(token.new_token | ~asked):      # the host has not heard it, and asks again
                    m.next = "wait"

        halt = usb.clear_endpoint_halt_in
        with m.If(halt.enable & halt.direction & (halt.number == self.number)):
            m.d.usb += toggle.eq(0)
        return ResetInserter({"usb": self.reset})(m)
