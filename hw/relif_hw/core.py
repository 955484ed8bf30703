"""The core: memories, and the blocks that work on them.

    entries ─► sequencer ─► scanner ─┬─► scaler ─► issue ─┬─► lanes ─► memories
                               │     │ errors             │     ▲
                               ├─► error unit ────────────│─────│─► post factors
                               └─► sender ─► results      │     │ poke
    access ───────────────────────────────────────────────│─────┘
                                                          └─► synapses ─► eligibility, weights (synaptic cores)
"""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect

from .access import Access, AccessLayout
from .arithmetic import APART, NEAR, InstructionLayout
from .compact import Hasher, SerialScaler
from .compact_lanes import CompactLanes
from .config import CoreConfig
from .copies import Copies
from .error import ErrorUnit
from .isa import INSTRUCTION_WORDS, Flag, Opcode, Register, Space
from .issue import Issue
from .lanes import Lanes
from .random import KeyUnit
from .scaler import Scaler
from .scanner import Scanner, Source
from .sender import Sender
from .sequencer import Sequencer
from .synapses import Synapses
from .weights import WeightMemory

__all__ = ["Core"]


class Core(wiring.Component):
    """A spiking processor that learns; `docs/design.md` describes its ports.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    entries : In(stream of 16)
        Events, target values and ticks: `isa.event_entry`, `value_entry`, `tick_entry`.
    access : In(stream of AccessLayout), wdata : In(stream of 32), rdata : Out(stream of 32)
        Reads and writes of whole words, served when the core is idle.
    results : Out(stream of 32)
        What SEND sends.
    idle : Out(1)
        No tick runs and the queue is empty.
    fault : Out(1)
        An event beyond the spike memory, or a target value too many, was dropped; sticky until reset.
    profile_opcode : Out(4), profile_issue : Out(1)
        The instruction that the core is busy with, and whether a word enters the lanes.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__({
            "entries": In(stream.Signature(16)),
            "access": In(stream.Signature(AccessLayout)),
            "wdata": In(stream.Signature(32)),
            "rdata": Out(stream.Signature(32)),
            "results": Out(stream.Signature(32)),
            "idle": Out(1),
            "fault": Out(1),
            "profile_opcode": Out(Opcode),
            "profile_issue": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        lanes, bits = config.lanes, config.state_bits

        m.submodules.sequencer = sequencer = Sequencer(config)
        m.submodules.scanner = scanner = Scanner(config)
        m.submodules.scaler = scaler = SerialScaler(config) if config.compact else Scaler(config)
        m.submodules.issue = issue = Issue(config)
        m.submodules.lanes = array = CompactLanes(config) if config.compact else Lanes(config)
        m.submodules.error = error = ErrorUnit(config)
        m.submodules.sender = sender = Sender(config)
        m.submodules.access = access = Access(config)
        m.submodules.keys = keys = Hasher() if config.compact else KeyUnit()

        # The memories.
        m.submodules.weights = weights = WeightMemory(config)
        m.submodules.state = state = Memory(shape=lanes * bits, depth=config.state_words, init=[], attrs=APART)
        m.submodules.post = post = Memory(shape=lanes * bits, depth=config.neuron_words, init=[], attrs=APART)
        m.submodules.spikes = spikes = Memory(shape=lanes, depth=config.neuron_words, init=[])
        if not config.compact:              # those of the lanes, which read while the scanner does
            m.submodules.lanes_spikes = lanes_spikes = Memory(shape=lanes, depth=config.neuron_words, init=[])
        reads = {
            Source.STATE: (state.read_port(), array.state_enable, array.state_address),
            Source.POST: (post.read_port(), array.post_enable, array.post_address),
        }
        if config.synaptic:
            m.submodules.synapses = synapses = Synapses(config)
            m.submodules.eligibility = eligibility = Memory(
                shape=lanes * bits, depth=config.eligibility_words, init=[], attrs=APART)
            reads[Source.ELIGIBILITY] = (
                eligibility.read_port(), synapses.eligibility_enable, synapses.eligibility_address)
            port, enable, address = reads[Source.POST]
            mine = synapses.post_enable
            reads[Source.POST] = port, enable | mine, Mux(mine, synapses.post_address, address)
            m.d.comb += [synapses.post.eq(port.data), synapses.weights.eq(weights.read_data)]
        spikes_write = spikes.write_port()
        spikes_read = spikes.read_port(transparent_for=[spikes_write])
        for source, (port, enable, address) in reads.items():
            m.d.comb += [
                port.en.eq(enable | (scanner.read_enable & (scanner.read_source == source))),
                port.addr.eq(Mux(enable, address, scanner.read_address)),
            ]
        enable, address = array.weights_enable, array.weights_address
        if config.synaptic:
            mine = synapses.weights_enable
            enable, address = enable | mine, Mux(mine, synapses.weights_address, address)
        scanned = scanner.read_source == Source.WEIGHTS         # by host access alone
        m.d.comb += [
            weights.read_enable.eq(enable | (scanner.read_enable & scanned)),
            weights.read_address.eq(Mux(scanned, scanner.read_address, address)),
            issue.ready.eq(array.ready),
            scanner.weights.eq(weights.read_data), array.weights.eq(weights.read_data),
            scanner.state.eq(reads[Source.STATE][0].data), array.state.eq(reads[Source.STATE][0].data),
            scanner.post.eq(reads[Source.POST][0].data), array.post.eq(reads[Source.POST][0].data),
            scanner.spikes.eq(spikes_read.data),
        ]

        # The path of a row.
        to_lanes, in_synapses = Signal(), Signal()
        m.d.comb += to_lanes.eq(issue.valid)
        if config.synaptic:
            synaptic = (issue.word.opcode == Opcode.LEARN) & ((issue.word.flags & Flag.SYNAPTIC) != 0)
            data = reads[Source.ELIGIBILITY][0].data
            m.d.comb += [
                to_lanes.eq(issue.valid & ~synaptic), in_synapses.eq(synapses.busy),
                synapses.valid.eq(issue.valid & synaptic), synapses.word.eq(issue.word),
                synapses.psi.eq(array.psi), synapses.write_psi.eq(array.write_psi),
                synapses.write_psi_address.eq(array.write_psi_address),
                scanner.eligibility.eq(data), synapses.eligibility.eq(data),
            ]
        items = scanner.items
        connect(m, scaler.o, issue.i)
        if config.compact:
            connect(m, items, scaler.i)
        else:                               # a streamed FEEDBACK has its values from the error unit
            waits = scanner.streamed & ~error.errors.valid
            value = Mux(scanner.streamed, error.errors.payload, items.payload.value)
            m.d.comb += [
                scaler.i.payload.eq(Cat(Value.cast(items.payload)[:-len(value)], value)),
                scaler.i.valid.eq(items.valid & ~waits), items.ready.eq(scaler.i.ready & ~waits),
                error.errors.ready.eq(scanner.streamed & items.valid & scaler.i.ready),
            ]
        instructions = [(scaler.instruction, items.payload.context), (issue.instruction, scaler.o.payload.context)]
        if config.compact:                  # rows are of the program alone
            m.d.comb += [
                *(instruction.eq(sequencer.dispatch.payload) for instruction, _ in instructions),
                scaler.done.eq(keys.done), scaler.hash.eq(keys.hash),
                keys.start.eq(scaler.start), keys.feedback.eq(scaler.feedback), keys.offset.eq(scaler.offset),
            ]
        else:
            key = Signal(32)                # of this tick; that of the next is made meanwhile
            with m.If(sequencer.begin):
                m.d.sync += key.eq(keys.key)
            m.d.comb += [scaler.key.eq(key), scaler.feedback_key.eq(keys.feedback_key)]
        m.d.comb += [
            array.word.eq(issue.word), array.valid.eq(to_lanes),
            issue.meets.eq(array.meets),
            issue.pending.eq(array.pending),        # errors are post factors too
            issue.pending.any.eq(array.pending.any | error.busy | in_synapses),
            issue.pending.posts.eq(array.pending.posts | error.busy),
        ]

        # Values: to the error unit or the sender.
        values = scanner.values
        instruction = Signal(InstructionLayout)
        if config.compact:
            m.d.comb += instruction.eq(scanner.i.payload)
        else:
            # The contexts' instructions: three see one in the cycle in which they get something of its context.
            m.submodules.contexts = contexts = Memory(shape=InstructionLayout, depth=config.contexts, init=[])
            load = contexts.write_port()
            m.d.comb += [load.en.eq(scanner.load), load.addr.eq(scanner.context), load.data.eq(scanner.i.payload)]
            for seen, context in (*instructions, (instruction, values.payload.context)):
                port = contexts.read_port(domain="comb")
                m.d.comb += [port.addr.eq(context), seen.eq(port.data)]
        m.d.comb += [
            error.i.payload.eq(values.payload), sender.i.payload.eq(values.payload),
            error.instruction.eq(instruction), sender.instruction.eq(instruction),
            error.i.valid.eq(values.valid & scanner.to_error), sender.i.valid.eq(values.valid & ~scanner.to_error),
            values.ready.eq(Mux(scanner.to_error, error.i.ready, sender.i.ready)),
            error.target.eq(sequencer.target),
            scanner.done.eq(issue.done | Mux(
                values.valid & values.ready & values.payload.end, 1 << values.payload.context, 0)),
        ]
        connect(m, sender.rdata, access.read_data)
        connect(m, wiring.flipped(self.results), sender.results)

        # Instructions: from the program, or from host access while no tick runs.
        live, event_late = Signal(), Signal()
        to_issue = scanner.busy | issue.busy
        quiet = ~(to_issue | issue.pending.any | event_late)
        with m.If(access.busy):
            m.d.comb += [
                scanner.i.payload.eq(access.read.payload), scanner.i.valid.eq(access.read.valid),
                access.read.ready.eq(scanner.i.ready),
            ]
        with m.Else():
            m.d.comb += [
                scanner.i.payload.eq(sequencer.dispatch.payload), scanner.i.valid.eq(sequencer.dispatch.valid),
                sequencer.dispatch.ready.eq(scanner.i.ready),
            ]
        if config.compact:
            m.d.sync += sequencer.quiet.eq(quiet)
            m.d.comb += sequencer.settled.eq(sequencer.quiet)
        else:
            m.d.comb += [
                sequencer.quiet.eq(quiet),
                sequencer.settled.eq(~(to_issue | issue.pending.soon | issue.pending.posts | in_synapses)),
                sequencer.spikes_ready.eq(~issue.pending.spikes),
                # A word that is issued in this cycle is before a scan that begins in the next.
                sequencer.states_ready.eq(~(scanner.busy | (issue.busy & ~issue.last) | issue.pending.states)),
                sequencer.errors_ready.eq(~(scanner.errors | error.busy)),
            ]
        with m.If(sequencer.begin):
            m.d.sync += live.eq(0)
        with m.Elif(array.live | error.live):
            m.d.sync += live.eq(1)
        m.d.comb += [
            sequencer.live.eq(live), sequencer.keys_ready.eq(keys.ready),
            sequencer.hold.eq(access.busy), access.grant.eq(sequencer.idle), self.idle.eq(
                sequencer.idle & ~access.busy),
        ]
        connect(m, wiring.flipped(self.entries), sequencer.entries)
        connect(m, wiring.flipped(self.access), access.access)
        connect(m, wiring.flipped(self.wdata), access.wdata)
        connect(m, wiring.flipped(self.rdata), access.rdata)

        # Writes: results of the lanes; words of the host, poked into them; errors, one by one, to the post factors.
        m.d.comb += [array.poke_lane.eq(access.poke_lane), array.poke_value.eq(access.poke_value)]
        results = Cat(array.result)
        memories = [(state.write_port(), Space.STATE, array.write_state, array.write_state_address, results)]
        weight_write, weight_address = array.write_weights, array.write_weights_address
        weight_word = array.result_weights
        if config.synaptic:
            mine = synapses.write_weights
            weight_write, weight_address = weight_write | mine, Mux(
                mine, synapses.write_weights_address, weight_address)
            weight_word = Mux(mine, synapses.weights_result, weight_word)
            mine = synapses.write_eligibility
            memories.append((eligibility.write_port(), Space.ELIGIBILITY, array.write_eligibility | mine,
                             Mux(mine, synapses.write_eligibility_address, array.write_state_address),
                             Mux(mine, synapses.eligibility_result, results)))
        for port, space, write, address, word in memories:
            committed = access.write & (access.space == space)
            m.d.comb += [
                port.en.eq(write | committed), port.addr.eq(Mux(committed, access.address, address)),
                port.data.eq(word),
            ]
        committed = access.write & (access.space == Space.WEIGHTS)
        m.d.comb += [
            weights.write_enable.eq(weight_write | committed), weights.write_data.eq(weight_word),
            weights.write_address.eq(Mux(committed, access.address, weight_address)),
        ]
        post_write = post.write_port(granularity=bits)
        self._write_post_factors(m, post_write, array, error, access)

        # Spikes are also set by events: a word is read, and written with the spikes one cycle later.
        event = sequencer.event
        event_word = sequencer.event_word
        event_address, event_spikes = Signal(16), Signal(lanes)
        in_range = event_word < config.neuron_words
        m.d.sync += [
            event_late.eq(event & in_range), event_address.eq(event_word),
            event_spikes.eq(sequencer.event_spikes),
        ]
        value_in_range = sequencer.value_index < config.max_outputs
        with m.If((event & ~in_range) | (sequencer.value_valid & ~value_in_range)):
            m.d.sync += self.fault.eq(1)
        m.d.comb += [
            error.value_write.eq((sequencer.value_valid & value_in_range) | access.target_write),
            error.value_address.eq(Mux(access.busy, access.address, sequencer.value_index)),
            error.target_value.eq(Mux(access.busy, access.target_value, sequencer.value)),
            access.target_data.eq(error.value_data),
        ]
        committed = access.write & (access.space == Space.SPIKES)
        scans = scanner.read_enable & (scanner.read_source == Source.SPIKES)
        if config.compact:
            m.d.comb += [
                spikes_read.en.eq(event | array.spikes_enable | scans), array.spikes.eq(spikes_read.data),
                spikes_read.addr.eq(Mux(event, event_word, Mux(
                    array.spikes_enable, array.spikes_address, scanner.read_address))),
            ]
        else:
            write = lanes_spikes.write_port()
            read = lanes_spikes.read_port(transparent_for=[write])      # like the other: CLEAR may write what is read
            m.d.comb += [
                spikes_read.en.eq(event | scans), spikes_read.addr.eq(Mux(event, event_word, scanner.read_address)),
                read.en.eq(array.spikes_enable), read.addr.eq(array.spikes_address), array.spikes.eq(read.data),
                write.en.eq(spikes_write.en), write.addr.eq(spikes_write.addr), write.data.eq(spikes_write.data),
            ]
        m.d.comb += [
            spikes_write.en.eq(event_late | array.write_spikes | committed),
            spikes_write.addr.eq(Mux(event_late, event_address, Mux(
                committed, access.address, array.write_neuron_address))),
            spikes_write.data.eq(Mux(event_late, spikes_read.data | event_spikes, array.result_spikes)),
        ]

        # Program, tables and registers.
        m.d.comb += [
            array.table_write.eq(access.table_write), array.table_read.eq(access.table_read),
            array.table_address.eq(access.address), array.table_value.eq(access.table_value),
            access.table_data.eq(array.table_data),
        ]
        self._program(m, sequencer, access)
        if config.compact:
            m.d.comb += [
                keys.read.eq(access.table_read), keys.write.eq(access.register_write), keys.address.eq(access.address),
                keys.value.eq(access.register_value), keys.tick.eq(sequencer.end), access.register_data.eq(keys.data),
                access.ready.eq(keys.ready),
            ]
        else:
            self._registers(m, sequencer, access, keys)

        # For measurements: the instruction whose word enters the lanes; without one, that whose rows are
        # waited for, or whose results are, where a fence holds the next; a tick begins with its first.
        working, before = Signal(Opcode), Signal(Opcode)
        m.d.sync += before.eq(working)
        with m.If(~sequencer.running):
            m.d.comb += working.eq(Opcode.END)
        with m.Elif(issue.valid):
            m.d.comb += working.eq(issue.word.opcode)
        with m.Elif(scanner.busy & ~issue.held):
            m.d.comb += working.eq(scanner.oldest)
        with m.Else():
            m.d.comb += working.eq(Mux(before == Opcode.END, sequencer.dispatch.payload.opcode, before))
        m.d.comb += [self.profile_issue.eq(issue.valid), self.profile_opcode.eq(working)]
        return m

    def _write_post_factors(self, m, port, array, error, access):
        """Words of the lanes, or an error to one lane of a word, which the first of them clears; a cycle late."""
        lanes = self.config.lanes
        committed = access.write & (access.space == Space.POST)
        copies = Copies(m, lanes, apart=not self.config.compact)
        put, put_lanes, put_address = Signal(), Signal(lanes), Signal(16)
        m.d.sync += [put.eq(error.write.any()), put_lanes.eq(error.write), put_address.eq(error.address)]
        puts, values = copies.register("put", error.write.any()), copies.register("error", error.value)
        chosen = Signal(lanes)
        m.d.sync += chosen.eq(error.lane)
        m.d.comb += [
            port.en.eq((array.write_post | committed).replicate(lanes) | put_lanes),
            port.addr.eq(Mux(committed, access.address, Mux(put, put_address, array.write_neuron_address))),
            port.data.eq(Cat(
                Mux(puts[lane], Mux(chosen[lane], values[lane], 0), array.result[lane]) for lane in range(lanes))),
        ]

    def _program(self, m, sequencer, access):
        """The program memory: an instruction in a word, or in a compact core in `INSTRUCTION_WORDS` words."""
        config = self.config
        value = access.program_value
        if config.compact:
            m.submodules.program = program = Memory(
                shape=32, depth=INSTRUCTION_WORDS * config.program_length, init=[], attrs=APART)
            read, write = program.read_port(), program.write_port()
            address = (access.address[:8] << 2) + access.address[:8] + access.element      # times INSTRUCTION_WORDS
            m.d.comb += [write.en.eq(access.program_write.any()), write.data.eq(value)]
        else:
            m.submodules.program = program = Memory(
                shape=32 * INSTRUCTION_WORDS, depth=config.program_length, init=[], attrs=NEAR)
            read, write = program.read_port(), program.write_port(granularity=32)
            address = access.address
            m.d.comb += [write.en.eq(access.program_write), write.data.eq(value.replicate(INSTRUCTION_WORDS))]
        m.d.comb += [
            read.en.eq(sequencer.fetch | access.program_enable),
            read.addr.eq(Mux(access.busy, address, sequencer.fetch_address)), write.addr.eq(address),
            sequencer.fetched.eq(read.data[:len(Value.cast(sequencer.fetched))]), access.program_data.eq(read.data),
        ]

    def _registers(self, m, sequencer, access, keys):
        """The registers, and the keys that follow from them."""
        registers = {register: Signal(32, name=register.name.lower()) for register in Register}
        ticked, started = Signal(), Signal()
        m.d.sync += [ticked.eq(sequencer.begin), started.eq(1)]
        with m.If(sequencer.begin):         # which the host cannot tell from its end
            m.d.sync += registers[Register.TICK].eq(registers[Register.TICK] + 1)
        for register, signal in registers.items():
            with m.If(access.address == register):
                m.d.comb += access.register_data.eq(signal)
            with m.If(access.register_write & (access.address == register)):
                m.d.sync += signal.eq(access.register_value)
        register_written = Signal()
        m.d.sync += register_written.eq(access.register_write)
        m.d.comb += [
            keys.seed.eq(registers[Register.SEED]), keys.feedback_seed.eq(registers[Register.FEEDBACK_SEED]),
            keys.tick.eq(registers[Register.TICK]),
            keys.changed.eq(ticked | register_written | ~started),
        ]
