"""The sequencer: takes events and ticks from the queue and runs the tick program."""

from amaranth import Array, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .arithmetic import InstructionLayout
from .config import CoreConfig
from .gather import Gather
from .isa import ADDRESS_BITS, FIELDS, INSTRUCTION_WORDS, VALUE_BITS, Flag, Opcode, TickFlag
from .queue import Queue

__all__ = ["Sequencer"]


class Sequencer(wiring.Component):
    """Runs the program once for each tick, one instruction per cycle where nothing stands in the way.

    In a compact core an instruction is fetched in parts, when all before it have written their results, and stays
    at `dispatch` until it has written its own; `skip` is not looked at.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    entries : In(stream of 16)
        Events and ticks, see `relif_hw.isa`.
    event_word : Out, event_spikes : Out(config.lanes), event : Out(1)
        Spikes to set, in a word of neurons; of a compact core one.
    value : Out(14), value_index : Out(16), value_valid : Out(1)
        A target value to set, and its output.
    fetch_address : Out(11), fetch : Out(1), fetched : In(InstructionLayout), or In(32) in a compact core
        The program memory.
    dispatch : Out(stream of InstructionLayout)
    target : Out(11)
        The class of this tick.
    quiet : In(1)
        All dispatched instructions have written their results, the last in this cycle; later in a compact core.
    settled : In(1)
        They have written all that another tick could meet, spikes and post factors, or will in time.
    spikes_ready : In(1)
        They have written their spikes.
    states_ready : In(1)
        All dispatched instructions have read what they need of the state memory, and written their results there.
    errors_ready : In(1)
        No ERROR is on its way.
    live : In(1)
        A post factor of this tick is not zero; without any, LEARN has nothing to do.
    keys_ready : In(1)
    hold : In(1)
        Host access goes on; start nothing.
    idle : Out(1)
        No tick runs and the queue is empty.
    running : Out(1)
        A tick runs.
    begin, end : Out(1)
        A tick begins, ends.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__({
            "entries": In(stream.Signature(16)),
            "event_word": Out(ADDRESS_BITS - (config.lanes - 1).bit_length()),
            "event_spikes": Out(config.lanes),
            "event": Out(1),
            "value": Out(signed(VALUE_BITS)),
            "value_index": Out(16),
            "value_valid": Out(1),
            "fetch_address": Out(11),
            "fetch": Out(1),
            "fetched": In(32) if config.compact else In(InstructionLayout),
            "dispatch": Out(stream.Signature(InstructionLayout)),
            "target": Out(11),
            "quiet": In(1),
            "settled": In(1),
            "spikes_ready": In(1, init=1),
            "states_ready": In(1),
            "errors_ready": In(1, init=1),
            "live": In(1),
            "keys_ready": In(1),
            "hold": In(1),
            "idle": Out(1),
            "running": Out(1),
            "begin": Out(1),
            "end": Out(1),
        })

    def _widths(self):
        """Bits of each field of an instruction that mean something in this core: a compact one keeps no others."""
        config = self.config
        if not config.compact:
            return FIELDS
        address = max(config.state_address_bits, config.neuron_address_bits)
        narrow = {
            "words": config.neuron_address_bits + 1, "a": address, "b": config.weight_address_bits, "c": address,
            "rows": max(config.row_bits, address) + 1,
            "x": config.state_bits, "y": config.state_bits, "z": config.state_bits,
        }
        return {name: min(bits, narrow.get(name, bits)) for name, bits in FIELDS.items()}

    def elaborate(self, platform):
        m = Module()
        compact = self.config.compact
        m.submodules.queue = queue = Queue(16, self.config.queue_depth, late=not compact)
        entry = queue.r_data
        flags = Signal(4)
        address = Signal(11 if compact else 8)
        instruction = Signal(InstructionLayout) if compact else self.fetched
        part = Signal(range(INSTRUCTION_WORDS))
        next_instruction = Signal()
        unmet, passed_over = Signal(), Signal()
        following = Signal.like(address)
        # What is fetched is known late: every sum is made before it is known which one is wanted.
        sums = Array(address + n for n in range(1 + (1 << FIELDS["skip"])))
        over = Mux(unmet, instruction.skip, 0)

        m.d.comb += [
            queue.w_data.eq(self.entries.payload), queue.w_en.eq(self.entries.valid),
            self.entries.ready.eq(queue.w_rdy),
            self.value.eq(entry[:VALUE_BITS].as_signed()),
            *(self.dispatch.payload[name].eq(instruction[name][:bits]) for name, bits in self._widths().items()),
            self.fetch_address.eq(address),
            following.eq(sums[over]),
            unmet.eq(((instruction.when & ~flags) != 0) | (
                (instruction.opcode == Opcode.STEP) & ((instruction.flags & Flag.UNTARGETED) != 0)
                & ((flags & TickFlag.TARGET) != 0))),
            passed_over.eq(unmet | ((instruction.opcode == Opcode.LEARN) & ((instruction.flags & Flag.SYNAPTIC) == 0)
                             & self.quiet & ~self.live)),
        ]
        no_event_left = Signal(init=1)
        lane_bits = (self.config.lanes - 1).bit_length()
        is_event = entry[14:] == 0
        if compact:
            m.d.comb += [
                self.event_word.eq(entry[lane_bits:ADDRESS_BITS]), self.event_spikes.eq(1 << entry[:lane_bits]),
            ]
        else:                               # they leave the queue while a tick runs, too
            m.submodules.gather = gather = Gather(self.config)
            m.d.comb += [
                gather.i.payload.eq(entry[:ADDRESS_BITS]), gather.i.valid.eq(queue.r_rdy & is_event),
                gather.close.eq(queue.r_rdy | ~self.running), no_event_left.eq(gather.empty),
                self.event_word.eq(gather.o.payload.number), self.event_spikes.eq(gather.o.payload.spikes),
            ]
            with m.If(is_event):
                m.d.comb += queue.r_en.eq(gather.i.ready)
        # What is scanned must be there; for the rest of what a fence is about, `Issue` holds the words back. With
        # nothing to learn from, LEARN will be passed over.
        scannable = Signal()
        with m.Switch(instruction.opcode):
            with m.Case(Opcode.TRACE, Opcode.STEP, Opcode.POST, Opcode.REGULATE):
                m.d.comb += scannable.eq(1)
            with m.Case(Opcode.ERROR):
                m.d.comb += scannable.eq(self.states_ready)
            with m.Case(Opcode.LEARN):
                apart = (instruction.flags & (Flag.BY_TARGET | Flag.SYNAPTIC)) != 0
                m.d.comb += scannable.eq(self.states_ready & self.live & ~apart)
        reads_errors = (instruction.opcode == Opcode.LEARN) | (
            (instruction.opcode == Opcode.FEEDBACK) & ((instruction.flags & Flag.STREAMED) == 0))
        waits = 0 if compact else (instruction.fence & ~self.quiet & ~scannable) | (
            ~self.errors_ready & reads_errors)
        if not compact:
            # What is for a RESET alone, at the beginning, need not be fetched without one: found out while idle.
            first, known = Signal.like(address), Signal()
            m.d.sync += known.eq(0)
            with m.If(known):
                m.d.sync += first.eq(Mux(instruction.when == TickFlag.RESET, instruction.skip + 1, 0))
            with m.If(self.hold):
                m.d.sync += first.eq(0)
        with m.FSM() as fsm:
            with m.State("idle"):
                if not compact:
                    m.d.comb += self.fetch.eq(1)
                    m.d.sync += known.eq(~self.hold & ~self.begin)
                    with m.If(self.spikes_ready & ~self.hold):
                        m.d.comb += [self.event.eq(gather.o.valid), gather.o.ready.eq(1)]
                with m.If(queue.r_rdy & ~self.hold):
                    with m.If(is_event):
                        if compact:
                            m.d.comb += [self.event.eq(self.spikes_ready), queue.r_en.eq(self.spikes_ready)]
                    with m.Elif(entry[14:] == 1):
                        m.d.comb += [self.value_valid.eq(1), queue.r_en.eq(1)]
                        m.d.sync += self.value_index.eq(self.value_index + ~self.value_index.all())
                    with m.Elif(self.keys_ready & self.settled & no_event_left):
                        m.d.comb += [queue.r_en.eq(1), self.begin.eq(1), self.fetch.eq(1)]
                        m.d.sync += [flags.eq(entry[11:15]), self.target.eq(entry[:11]), address.eq(1),
                                     self.value_index.eq(0)]
                        if not compact:
                            with m.If(~entry[11]):
                                m.d.comb += self.fetch_address.eq(first)
                                m.d.sync += address.eq(first + 1)
                        m.next = "load" if compact else "run"
            with m.State("run"):
                with m.If(passed_over):
                    m.d.comb += next_instruction.eq(1)
                with m.Elif(instruction.opcode == Opcode.END):
                    with m.If(self.settled):
                        m.d.comb += self.end.eq(1)
                        m.d.sync += address.eq(0)
                        m.next = "idle"
                with m.Else():
                    m.d.comb += [
                        self.dispatch.valid.eq(1 if compact else ~waits),
                        next_instruction.eq(self.dispatch.valid & self.dispatch.ready),
                    ]
                if compact:
                    with m.If(next_instruction):
                        m.next = "begun"
                else:
                    m.d.comb += [self.fetch_address.eq(following), self.fetch.eq(next_instruction)]
                    with m.If(next_instruction):
                        m.d.sync += address.eq(Array(sums[1:])[over])
            if compact:
                with m.State("begun"):          # or passed over
                    m.next = "work"
                with m.State("work"):
                    with m.If(self.quiet):
                        m.d.comb += self.fetch.eq(1)
                        m.d.sync += address.eq(address + 1)
                        m.next = "load"
                with m.State("load"):
                    whole = Value.cast(instruction)
                    for k in range(INSTRUCTION_WORDS):
                        with m.If(part == k):
                            bits = whole[32 * k:32 * (k + 1)]
                            m.d.sync += bits.eq(self.fetched)
                    m.d.sync += part.eq(part + 1)
                    with m.If(part == INSTRUCTION_WORDS - 1):
                        m.d.sync += part.eq(0)
                        m.next = "run"
                    with m.Else():
                        m.d.comb += self.fetch.eq(1)
                        m.d.sync += address.eq(address + 1)
        m.d.comb += self.running.eq(~fsm.ongoing("idle"))
        m.d.comb += self.idle.eq(fsm.ongoing("idle") & queue.empty & no_event_left & ~self.entries.valid
                                & self.quiet)
        return m
