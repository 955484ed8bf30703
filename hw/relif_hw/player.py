"""The player: frames of the receive ring to entries and accesses of the core, in their order."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .access import AccessLayout
from .config import CoreConfig
from .frames import ACCESS, ELEMENT_MAX_BYTES, LENGTH_INDEX, RUN_BYTES, TYPE_INDEX, FrameType, element_bytes
from .isa import ADDRESS_BITS, Space, space_shape

__all__ = ["Player"]


class Player(wiring.Component):
    """Plays one frame after the other, and frees its slot when it is done.

    In SPIKES, a run of bytes with one bit a neuron becomes the events of the bits that are set; it takes nine
    cycles a byte, and the frame's end ends it.
    A WRITE_FIRST is not begun before its REST is there, so that an access always ends. An access
    gets exactly the elements that it needs: surplus bytes are dropped, and missing ones are zero.

    Parameters
    ----------
    config : CoreConfig
    slots : int
        Of the receive ring.

    Members
    -------
    count : In, pop : Out(1), read_index : Out(8), read_data : In(8)
        The receive ring; `read_data` comes one cycle after `read_index`.
    flushing : In(1)
        No more frames will come: drop a WRITE_FIRST without its REST.
    entries, access, wdata : Out(stream)
        To the core.
    element : In(1)
        The packer has taken an element of the core's `rdata`.
    size : Out(2)
        Bytes of an element of the present access, less one.
    flush : Out(1)
        All elements have come: the packer closes the frame.
    packed : In(1)
        The packer has no open frame.
    idle : Out(1)
        No frame is being played, and none is waiting.
    """

    def __init__(self, config: CoreConfig, slots: int):
        self.config = config
        super().__init__({
            "count": In(range(slots + 1)), "pop": Out(1), "read_index": Out(8), "read_data": In(8),
            "flushing": In(1),
            "entries": Out(stream.Signature(16)),
            "access": Out(stream.Signature(AccessLayout)),
            "wdata": Out(stream.Signature(32)),
            "element": In(1), "size": Out(2), "flush": Out(1), "packed": In(1),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        shapes = {space: space_shape(self.config, space) for space in Space}
        kind = Signal(8)
        index, left = Signal(8), Signal(8)      # of the byte at `read_data`; bytes from it to the end
        after = index + 1
        rest = Signal()                         # the second frame of a WRITE_FIRST is being played
        take = Signal()
        header = Signal(8 * ACCESS.size)
        count = Signal(range(ACCESS.size))
        space, address, words = header[:4], header[8:24], Signal(16)
        elements = Signal(range(max(shape[1] for shape in shapes.values())))   # of a word, less one
        element = Signal.like(elements)
        gathered = Signal(8 * ELEMENT_MAX_BYTES)
        byte_index = Signal(2)
        last = Signal()
        run = (kind == FrameType.SPIKES) & (self.read_data[6:] == 0)        # in the place of an event
        run_address, run_left, run_spikes = gathered[:ADDRESS_BITS], Signal(range(RUN_BYTES)), gathered[16:24]
        in_run = Signal()

        with m.Switch(space):
            for number, shape in shapes.items():
                with m.Case(number):
                    m.d.comb += [
                        self.size.eq(element_bytes(self.config, number) - 1), elements.eq(shape[1] - 1),
                    ]
        m.d.comb += [
            self.read_index.eq(Mux(take, after, index)),       # whether it is taken is known late
            last.eq((element == elements) & (words == 1)),
            self.entries.payload.eq(Cat(gathered[:8], Mux(in_run, run_address[8:], self.read_data))),
            self.access.payload.space.eq(space), self.access.payload.address.eq(address),
            self.access.payload.words.eq(words),
            self.access.payload.write.eq(kind != FrameType.READ),
            self.wdata.payload.eq(gathered),
        ]
        byte = Mux(left == 0, Const(0, 8), self.read_data)
        with m.If(take):
            m.d.sync += [index.eq(after), left.eq(left - 1)]
        for k in range(ELEMENT_MAX_BYTES):
            with m.If(byte_index == k):
                m.d.comb += self.wdata.payload[8 * k:8 * k + 8].eq(byte)

        def next_element():
            m.d.sync += element.eq(element + 1)
            with m.If(element == elements):
                m.d.sync += [element.eq(0), words.eq(words - 1)]

        with m.FSM():
            with m.State("wait"):
                m.d.comb += [self.read_index.eq(TYPE_INDEX), self.idle.eq(self.count == 0)]
                m.d.sync += [index.eq(0), rest.eq(0), count.eq(0), element.eq(0), byte_index.eq(0),
                             gathered.eq(0)]
                with m.If(self.count != 0):
                    m.next = "type"
            with m.State("type"):
                m.d.comb += self.read_index.eq(LENGTH_INDEX)
                m.d.sync += kind.eq(self.read_data)
                m.next = "length"
                with m.If((self.read_data == FrameType.WRITE_FIRST) & (self.count == 1)):
                    m.next = "wait"
                    with m.If(self.flushing):
                        m.next = "pop"
            with m.State("length"):
                m.d.comb += self.read_index.eq(0)
                m.d.sync += left.eq(self.read_data)
                with m.If(rest):
                    m.next = "write"
                with m.Else():
                    with m.Switch(kind):
                        with m.Case(FrameType.ENTRIES, FrameType.SPIKES):
                            m.next = "entry low"
                        with m.Case(FrameType.WRITE, FrameType.WRITE_FIRST, FrameType.READ):
                            m.next = "header"
                        with m.Default():
                            m.next = "pop"
            with m.State("entry low"):
                m.d.comb += take.eq(left != 0)
                m.d.sync += gathered[:8].eq(self.read_data)
                m.next = "entry high"
                with m.If(left == 0):
                    m.next = "pop"
            with m.State("entry high"):
                m.d.comb += [self.entries.valid.eq((left != 0) & ~run),
                             take.eq((left != 0) & (run | self.entries.ready))]
                with m.If(left == 0):
                    m.next = "pop"
                with m.Elif(run):
                    m.d.sync += [Cat(run_address[3:], run_left).eq(Cat(gathered[:8], self.read_data)),
                                 run_address[:3].eq(0)]
                    m.next = "run"
                with m.Elif(self.entries.ready):
                    m.next = "entry low"
            with m.State("run"):
                m.d.comb += take.eq(left != 0)
                m.d.sync += run_spikes.eq(self.read_data)
                m.next = "spikes"
                with m.If(left == 0):
                    m.next = "pop"
            with m.State("spikes"):
                m.d.comb += [in_run.eq(1), self.entries.valid.eq(run_spikes[0])]
                with m.If(~run_spikes[0] | self.entries.ready):
                    m.d.sync += [run_spikes.eq(run_spikes >> 1), run_address.eq(run_address + 1)]
                    with m.If(run_address[:3].all()):
                        m.d.sync += run_left.eq(run_left - 1)
                        m.next = "run"
                        with m.If(run_left == 0):
                            m.next = "entry low"
            with m.State("header"):
                m.d.comb += take.eq(left != 0)
                m.d.sync += [
                    header.eq(Cat(header[8:], self.read_data)), count.eq(count + 1),
                    words.eq(Cat(header[-8:], self.read_data)),
                ]
                with m.If(left == 0):
                    m.next = "pop"
                with m.Elif(count == ACCESS.size - 1):
                    m.next = "access"
            with m.State("access"):
                valid = (header[:8] < len(Space)) & (words != 0)
                m.d.comb += self.access.valid.eq(valid)
                with m.If(~valid):
                    m.next = "pop"
                with m.Elif(self.access.ready):
                    m.next = "write"
                    with m.If(kind == FrameType.READ):
                        m.next = "read"
            with m.State("write"):
                with m.If((left == 0) & (kind == FrameType.WRITE_FIRST) & ~rest):
                    m.d.comb += self.pop.eq(1)
                    m.next = "rest"
                with m.Elif(byte_index != self.size):
                    m.d.comb += take.eq(left != 0)
                    m.d.sync += [gathered.word_select(byte_index, 8).eq(byte), byte_index.eq(byte_index + 1)]
                with m.Else():
                    m.d.comb += [self.wdata.valid.eq(1), take.eq(self.wdata.ready & (left != 0))]
                    with m.If(self.wdata.ready):
                        next_element()
                        m.d.sync += [byte_index.eq(0), gathered.eq(0)]
                        with m.If(last):
                            m.next = "pop"
            with m.State("rest"):
                m.d.comb += self.read_index.eq(LENGTH_INDEX)
                m.d.sync += [index.eq(0), rest.eq(1)]
                m.next = "length"
            with m.State("read"):
                with m.If(self.element):
                    next_element()
                    with m.If(last):
                        m.next = "flush"
            with m.State("flush"):
                m.d.comb += self.flush.eq(1)
                with m.If(self.packed):
                    m.next = "pop"
            with m.State("pop"):
                m.d.comb += self.pop.eq(1)
                m.next = "wait"
        return m
