"""The core: memories, and the blocks that work on them.

    entries ─► sequencer ─► scanner ─► scaler ─► issue ─┬─► lanes ─► memories
                               │ values                 │     ▲
                               ├─► error unit ──────────│─────┤ poke
                               └─► sender ─► results    │     │
    access ─────────────────────────────────────────────│─────┘
                                                        └─► synapses ─► eligibility, weights (synaptic cores)
"""

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect

from .access import Access, AccessLayout
from .arithmetic import InstructionLayout
from .config import CoreConfig
from .error import ErrorUnit
from .isa import INSTRUCTION_BITS, INSTRUCTION_WORDS, Flag, Opcode, Register, Space
from .issue import Issue
from .lanes import Lanes
from .random import KeyUnit
from .scaler import Scaler
from .scanner import CONTEXTS, Scanner, Source
from .sender import Sender
from .sequencer import Sequencer
from .synapses import Synapses

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
        lanes, bits, weight_bits = config.lanes, config.state_bits, config.weight_bits
        lane_bits = (lanes - 1).bit_length()

        m.submodules.sequencer = sequencer = Sequencer(config)
        m.submodules.scanner = scanner = Scanner(config)
        m.submodules.scaler = scaler = Scaler(config)
        m.submodules.issue = issue = Issue(config)
        m.submodules.lanes = array = Lanes(config)
        m.submodules.error = error = ErrorUnit(config)
        m.submodules.sender = sender = Sender(config)
        m.submodules.access = access = Access(config)
        m.submodules.keys = keys = KeyUnit()

        # The memories.
        m.submodules.weights = weights = Memory(shape=lanes * weight_bits, depth=config.weight_words, init=[])
        m.submodules.state = state = Memory(shape=lanes * bits, depth=config.state_words, init=[])
        m.submodules.post = post = Memory(shape=lanes * bits, depth=config.neuron_words, init=[])
        m.submodules.spikes = spikes = Memory(shape=lanes, depth=config.neuron_words, init=[])
        m.submodules.program = program = Memory(
            shape=32 * INSTRUCTION_WORDS, depth=config.program_length, init=[])
        reads = {
            Source.WEIGHTS: (weights.read_port(), array.weights_enable, array.weights_address),
            Source.STATE: (state.read_port(), array.state_enable, array.state_address),
            Source.POST: (post.read_port(), array.post_enable, array.post_address),
        }
        if config.synaptic:
            m.submodules.synapses = synapses = Synapses(config)
            m.submodules.eligibility = eligibility = Memory(
                shape=lanes * bits, depth=config.eligibility_words, init=[])
            reads[Source.ELIGIBILITY] = (
                eligibility.read_port(), synapses.eligibility_enable, synapses.eligibility_address)
            for source, name in ((Source.WEIGHTS, "weights"), (Source.POST, "post")):
                port, enable, address = reads[source]
                mine = getattr(synapses, f"{name}_enable")
                reads[source] = port, enable | mine, Mux(mine, getattr(synapses, f"{name}_address"), address)
                m.d.comb += getattr(synapses, name).eq(port.data)
        spikes_write = spikes.write_port()
        spikes_read = spikes.read_port(transparent_for=[spikes_write])
        for source, (port, enable, address) in reads.items():
            m.d.comb += [
                port.en.eq(enable | (scanner.read_enable & (scanner.read_source == source))),
                port.addr.eq(Mux(enable, address, scanner.read_address)),
            ]
        m.d.comb += [
            scanner.weights.eq(reads[Source.WEIGHTS][0].data), array.weights.eq(reads[Source.WEIGHTS][0].data),
            scanner.state.eq(reads[Source.STATE][0].data), array.state.eq(reads[Source.STATE][0].data),
            scanner.post.eq(reads[Source.POST][0].data), array.post.eq(reads[Source.POST][0].data),
            scanner.spikes.eq(spikes_read.data), array.spikes.eq(spikes_read.data),
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
        connect(m, scanner.items, scaler.i)
        connect(m, scaler.o, issue.i)
        for c in range(CONTEXTS):
            m.d.comb += [scaler.contexts[c].eq(scanner.contexts[c]), issue.contexts[c].eq(scanner.contexts[c])]
        m.d.comb += [
            scaler.key.eq(keys.key), scaler.feedback_key.eq(keys.feedback_key),
            array.word.eq(issue.word), array.valid.eq(to_lanes),
            issue.fenced.eq(array.busy | error.busy | in_synapses),
        ]

        # Values: to the error unit or the sender.
        values = scanner.values
        instruction = Signal(InstructionLayout)
        to_error = Signal()
        m.d.comb += [
            instruction.eq(Array(scanner.contexts)[values.payload.context]),
            to_error.eq(instruction.opcode == Opcode.ERROR),
            error.i.payload.eq(values.payload), sender.i.payload.eq(values.payload),
            error.instruction.eq(instruction), sender.instruction.eq(instruction),
            error.i.valid.eq(values.valid & to_error), sender.i.valid.eq(values.valid & ~to_error),
            values.ready.eq(Mux(to_error, error.i.ready, sender.i.ready)),
            error.target.eq(sequencer.target),
            scanner.done.eq(issue.done | Mux(
                values.valid & values.ready & values.payload.end, 1 << values.payload.context, 0)),
        ]
        connect(m, sender.rdata, access.read_data)
        connect(m, wiring.flipped(self.results), sender.results)

        # Instructions: from the program, or from host access while no tick runs.
        live, event_late = Signal(), Signal()
        quiet = ~(scanner.busy | issue.busy | array.busy | error.busy | in_synapses | event_late)
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
        with m.If(sequencer.begin):
            m.d.sync += live.eq(0)
        with m.Elif(array.live | error.live):
            m.d.sync += live.eq(1)
        m.d.comb += [
            sequencer.quiet.eq(quiet), sequencer.live.eq(live), sequencer.keys_ready.eq(keys.ready),
            sequencer.hold.eq(access.busy), access.grant.eq(sequencer.idle), self.idle.eq(
                sequencer.idle & ~access.busy),
        ]
        connect(m, wiring.flipped(self.entries), sequencer.entries)
        connect(m, wiring.flipped(self.access), access.access)
        connect(m, wiring.flipped(self.wdata), access.wdata)
        connect(m, wiring.flipped(self.rdata), access.rdata)

        # Writes: results of the lanes; words of the host and of the error unit, poked into them.
        m.d.comb += [
            array.poke_lane.eq(access.poke_lane | error.poke_lane),
            array.poke_value.eq(Mux(error.busy, error.poke_value, access.poke_value)),
            array.poke_clear.eq(error.poke_clear),
        ]
        results = Cat(array.result)
        writes = [
            (weights, Space.WEIGHTS, array.write_weights, array.write_weights_address,
             Cat(result[:weight_bits] for result in array.result)),
            (state, Space.STATE, array.write_state, array.write_state_address, results),
        ]
        if config.synaptic:
            memory, space, write, address, word = writes[0]
            mine = synapses.write_weights
            writes[0] = (memory, space, write | mine, Mux(mine, synapses.write_weights_address, address),
                         Mux(mine, synapses.weights_result, word))
            mine = synapses.write_eligibility
            writes.append((eligibility, Space.ELIGIBILITY, array.write_eligibility | mine,
                           Mux(mine, synapses.write_eligibility_address, array.write_state_address),
                           Mux(mine, synapses.eligibility_result, results)))
        for memory, space, write, address, word in writes:
            port = memory.write_port()
            committed = access.write & (access.space == space)
            m.d.comb += [
                port.en.eq(write | committed), port.addr.eq(Mux(committed, access.address, address)),
                port.data.eq(word),
            ]
        post_write = post.write_port()
        committed = access.write & (access.space == Space.POST)
        m.d.comb += [
            post_write.en.eq(array.write_post | error.write | committed), post_write.data.eq(results),
            post_write.addr.eq(Mux(committed, access.address, Mux(
                error.write, error.address, array.write_neuron_address))),
        ]

        # Spikes are also set by events: a word is read, and written with the spike one cycle later.
        event = sequencer.event
        event_word = sequencer.event_address >> lane_bits
        event_address, event_lane = Signal(16), Signal(lanes)
        in_range = event_word < config.neuron_words
        m.d.sync += [
            event_late.eq(event & in_range), event_address.eq(event_word),
            event_lane.eq(1 << sequencer.event_address[:lane_bits]),
        ]
        value_in_range = sequencer.value_index < config.max_outputs
        with m.If((event & ~in_range) | (sequencer.value_valid & ~value_in_range)):
            m.d.sync += self.fault.eq(1)
        m.d.comb += [
            error.value_write.eq((sequencer.value_valid & value_in_range) | access.target_write),
            error.value_address.eq(Mux(access.busy, access.address, sequencer.value_index)),
            error.value.eq(Mux(access.busy, access.target_value, sequencer.value)),
            access.target_data.eq(error.value_data),
        ]
        committed = access.write & (access.space == Space.SPIKES)
        m.d.comb += [
            spikes_read.en.eq(event | array.spikes_enable
                              | (scanner.read_enable & (scanner.read_source == Source.SPIKES))),
            spikes_read.addr.eq(Mux(event, event_word, Mux(
                array.spikes_enable, array.spikes_address, scanner.read_address))),
            spikes_write.en.eq(event_late | array.write_spikes | committed),
            spikes_write.addr.eq(Mux(event_late, event_address, Mux(
                committed, access.address, array.write_neuron_address))),
            spikes_write.data.eq(Mux(event_late, spikes_read.data | event_lane, array.result_spikes)),
        ]

        # Program, tables and registers.
        program_read, program_write = program.read_port(), program.write_port(granularity=32)
        m.d.comb += [
            program_read.en.eq(sequencer.fetch | access.program_enable),
            program_read.addr.eq(Mux(access.busy, access.address, sequencer.fetch_address)),
            sequencer.fetched.eq(program_read.data[:INSTRUCTION_BITS]),
            access.program_data.eq(program_read.data),
            program_write.en.eq(access.program_write), program_write.addr.eq(access.address),
            program_write.data.eq(access.program_value.replicate(INSTRUCTION_WORDS)),
            array.table_write.eq(access.table_write), array.table_read.eq(access.table_read),
            array.table_address.eq(access.address), array.table_value.eq(access.table_value),
            access.table_data.eq(array.table_data),
        ]
        registers = {register: Signal(32, name=register.name.lower()) for register in Register}
        ticked, started = Signal(), Signal()
        m.d.sync += [ticked.eq(sequencer.end), started.eq(1)]
        with m.If(sequencer.end):
            m.d.sync += registers[Register.TICK].eq(registers[Register.TICK] + 1)
        for register, signal in registers.items():
            m.d.comb += access.registers[register].eq(signal)
            with m.If(access.register_write & (access.address == register)):
                m.d.sync += signal.eq(access.register_value)
        register_written = Signal()
        m.d.sync += register_written.eq(access.register_write)
        m.d.comb += [
            keys.seed.eq(registers[Register.SEED]), keys.feedback_seed.eq(registers[Register.FEEDBACK_SEED]),
            keys.tick.eq(registers[Register.TICK]),
            keys.changed.eq(ticked | register_written | ~started),
        ]

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
            m.d.comb += working.eq(Mux(before == Opcode.END, sequencer.fetched.opcode, before))
        m.d.comb += [self.profile_issue.eq(issue.valid), self.profile_opcode.eq(working)]
        return m
