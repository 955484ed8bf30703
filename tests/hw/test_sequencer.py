"""The sequencer: the queue, the tick program, its fences and flags."""

import pytest
from amaranth import Cat
from streams import simulate

from relif_hw.config import CoreConfig
from relif_hw.isa import (
    INSTRUCTION_BITS,
    VALUE_BITS,
    Flag,
    Instruction,
    Opcode,
    TickFlag,
    event_entry,
    tick_entry,
    value_entry,
    with_skips,
)
from relif_hw.sequencer import Sequencer

CONFIG = CoreConfig(lanes=4, program_length=32, queue_depth=16)


def instruction(opcode, **fields):
    return Instruction(opcode=opcode, **{"fence": 0, **fields})


def number(instruction):
    value = sum(element << 32 * n for n, element in enumerate(instruction.encode()))
    assert value < 1 << INSTRUCTION_BITS
    return value


class Bench:
    """The sequencer with a program memory; notes events, begins, ends and what is dispatched."""

    def __init__(self, program, *, ready=lambda cycle: True, quiet=lambda log, cycle: True):
        self.dut = Sequencer(CONFIG)
        self.program = [*map(number, program)]
        self.ready, self.quiet = ready, quiet
        self.log = []

    async def watch(self, ctx):
        """Every cycle: what happens, then the memory's answer and the answers of the core."""
        dut, fetched = self.dut, 0
        for cycle in range(600):
            ctx.set(dut.dispatch.ready, self.ready(cycle))
            quiet = self.quiet(self.log, cycle)
            ctx.set(dut.quiet, quiet)
            ctx.set(dut.settled, quiet)
            *_, event, word, spikes, value, fetch, fetch_address, begin, end, valid, ready, opcode, stream, target = (
                await ctx.tick().sample(
                    dut.event, dut.event_word, dut.event_spikes, Cat(dut.value_valid, dut.value_index, dut.value),
                    dut.fetch, dut.fetch_address, dut.begin, dut.end,
                    dut.dispatch.valid, dut.dispatch.ready, dut.dispatch.payload.opcode, dut.dispatch.payload.stream,
                    dut.target))
            if value & 1:
                signed = (value >> 17) - ((value >> 30) << VALUE_BITS)
                self.log.append(("value", (value >> 1 & 0xFFFF, signed), cycle))
            if event:
                self.log += [("event", word * CONFIG.lanes + lane, cycle) for lane in range(CONFIG.lanes)
                             if spikes >> lane & 1]
            if begin:
                self.log.append(("begin", None, cycle))
            if valid and ready:
                self.log.append((Opcode(opcode).name, stream, cycle))
            if end:
                self.log.append(("end", target, cycle))
            if fetch:
                fetched = self.program[fetch_address]
            ctx.set(dut.fetched.as_value(), fetched)

    def run(self, entries, *benches):
        async def feed(ctx):
            ctx.set(self.dut.keys_ready, 1)
            for entry in entries:
                ctx.set(self.dut.entries.payload, entry)
                ctx.set(self.dut.entries.valid, 1)
                await ctx.tick().until(self.dut.entries.ready)
            ctx.set(self.dut.entries.valid, 0)

        simulate(self.dut, feed, self.watch, *benches)
        return self.log


def names(log):
    return [(name, value) for name, value, _ in log]


def test_events_then_the_program_once_for_each_tick():
    program = [instruction(Opcode.INTEGRATE, stream=1), instruction(Opcode.STEP, stream=2), instruction(Opcode.END)]
    entries = [event_entry(5), event_entry(16383), tick_entry(TickFlag(0), 3), tick_entry(TickFlag(0), 2047),
               event_entry(0)]
    tick = [("begin", None), ("INTEGRATE", 1), ("STEP", 2)]
    assert names(Bench(program).run(entries)) == [
        ("event", 5), ("event", 16383), *tick, ("end", 3), *tick, ("end", 2047), ("event", 0)]


def test_events_of_the_next_tick_are_gathered_while_one_runs():
    """Only words that differ take a cycle between ticks."""
    program = [instruction(Opcode.INTEGRATE), instruction(Opcode.END)]
    entries = [tick_entry(TickFlag(0)), *map(event_entry, (4, 5, 7, 16, 17)), tick_entry(TickFlag(0))]
    log = Bench(program, quiet=lambda log, cycle: not 3 < cycle < 30).run(entries)
    assert names(log)[2:] == [("end", 0), *(("event", neuron) for neuron in (4, 5, 7, 16, 17)), ("begin", None),
                              ("INTEGRATE", 0), ("end", 0)]
    end, *_, begin = (cycle for name, _, cycle in log[2:9])
    assert end == 30 and begin - end == 3


def test_target_values_are_numbered_from_one_tick_to_the_next():
    entries = [value_entry(-8192), event_entry(3), value_entry(8191), tick_entry(TickFlag(0)), value_entry(5),
               tick_entry(TickFlag(0))]
    log = names(Bench([instruction(Opcode.END)]).run(entries))
    assert [what for what in log if what[0] in ("event", "value", "begin")] == [
        ("value", (0, -8192)), ("value", (1, 8191)), ("event", 3), ("begin", None), ("value", (0, 5)),
        ("begin", None)]


@pytest.mark.parametrize(("flags", "dispatched"), [(0, False), (Flag.SYNAPTIC, True)], ids=["factored", "synaptic"])
def test_without_a_post_factor_traces_of_synapses_go_on(flags, dispatched):
    # Nothing is live: an update would change no weight, but traces of synapses decay all the same.
    program = [instruction(Opcode.LEARN, flags=Flag(flags), stream=1), instruction(Opcode.END)]
    log = names(Bench(program).run([tick_entry(TickFlag(0))]))
    assert (("LEARN", 1) in log) == dispatched


def test_one_instruction_a_cycle():
    program = [*(instruction(Opcode.TRACE, stream=n) for n in range(20)), instruction(Opcode.END)]
    log = Bench(program).run([tick_entry(TickFlag(0))])
    cycles = [cycle for name, _, cycle in log if name == "TRACE"]
    assert cycles == list(range(cycles[0], cycles[0] + 20))


@pytest.mark.parametrize("flags", range(16))
def test_when_must_be_among_the_flags(flags):
    program = [*(instruction(Opcode.SEND, when=TickFlag(when), stream=when) for when in range(16)),
               instruction(Opcode.END)]
    log = Bench(program, ready=lambda cycle: cycle % 3 == 0).run([tick_entry(TickFlag(flags))])
    assert names(log)[1:-1] == [("SEND", when) for when in range(16) if when & flags == when]


@pytest.mark.parametrize("opcode", [Opcode.INTEGRATE, Opcode.LEARN, Opcode.SEND, Opcode.CLEAR, Opcode.ERROR])
def test_a_fence_waits_until_all_is_quiet(opcode):
    # The core is busy for 20 cycles after the first instruction; the fenced one and END wait for that.
    program = [instruction(Opcode.STEP, stream=1), instruction(opcode, stream=2),
               instruction(opcode, stream=3, fence=1), instruction(Opcode.END)]

    def quiet(log, cycle):
        dispatched = [when for name, _, when in log if name not in ("begin", "end")]
        return not dispatched or cycle > dispatched[-1] + 20

    bench = Bench(program, quiet=quiet)

    async def live(ctx):
        ctx.set(bench.dut.live, 1)

    log = bench.run([tick_entry(TickFlag(0))], live)
    step, free, fenced, end = (cycle for *_, cycle in log[1:])
    assert free == step + 1
    assert fenced > free + 20
    assert end > fenced + 20


@pytest.mark.parametrize("opcode", [Opcode.TRACE, Opcode.STEP, Opcode.POST])
def test_what_scans_nothing_is_held_back_by_issue(opcode):
    # The core is never quiet again: the instruction is dispatched all the same, END is not.
    program = [instruction(Opcode.INTEGRATE, stream=1), instruction(opcode, stream=2, fence=1),
               instruction(Opcode.END)]
    log = Bench(program, quiet=lambda log, cycle: len(log) < 2).run([tick_entry(TickFlag(0))])
    assert names(log) == [("begin", None), ("INTEGRATE", 1), (opcode.name, 2)]


@pytest.mark.parametrize("live", [0, 1])
def test_learn_is_passed_over_when_no_post_factor_is_live(live):
    program = [instruction(Opcode.LEARN, stream=1, fence=1), instruction(Opcode.LEARN, stream=2),
               instruction(Opcode.SEND, stream=3, fence=1), instruction(Opcode.END)]
    bench = Bench(program)

    async def tell(ctx):
        ctx.set(bench.dut.live, live)

    learned = [("LEARN", 1), ("LEARN", 2)] if live else []
    assert names(bench.run([tick_entry(TickFlag.TARGET)], tell))[1:-1] == [*learned, ("SEND", 3)]


@pytest.mark.parametrize(("flags", "ready", "live", "early"), [
    (0, 1, 1, True), (0, 0, 1, False), (0, 1, 0, False), (Flag.BY_TARGET, 1, 1, False), (Flag.SYNAPTIC, 1, 1, False)])
def test_learn_finds_its_rows_while_post_factors_are_being_written(flags, ready, live, early):
    program = [instruction(Opcode.POST, stream=1), instruction(Opcode.LEARN, stream=2, fence=1, flags=Flag(flags)),
               instruction(Opcode.END)]
    bench = Bench(program, quiet=lambda log, cycle: names(log)[-1:] in ([], [("begin", None)]))

    async def tell(ctx):
        ctx.set(bench.dut.live, live)
        ctx.set(bench.dut.states_ready, ready)

    assert (("LEARN", 2) in names(bench.run([tick_entry(TickFlag.TARGET)], tell))) == early


def test_instructions_that_are_passed_over_together():
    whens = [1, 3, 0, 4, 6, 4, 4, 4, 0, 2]
    program = with_skips([*(instruction(Opcode.TRACE, when=TickFlag(when), stream=n) for n, when in enumerate(whens)),
                          instruction(Opcode.END)])
    assert [i.skip for i in program] == [1, 0, 0, 3, 0, 2, 1, 0, 0, 0, 0]
    for flags in range(8):
        log = Bench(program).run([tick_entry(TickFlag(flags))])
        assert names(log)[1:-1] == [("TRACE", n) for n, when in enumerate(whens) if when & flags == when]
        # A cycle for each that runs, for 3 (to 6), 7 and 9 where they do not; none for 0 (and 1) without a RESET.
        over = {0: 5, 7: 0}.get(flags)
        assert over is None or log[-1][2] - log[0][2] == len(program) - over


@pytest.mark.parametrize("flags", [0, TickFlag.TARGET, TickFlag.TRAIN, TickFlag.TRAIN | TickFlag.TARGET])
def test_a_step_that_has_been_run_early_is_passed_over(flags):
    # Flag.UNTARGETED means that to STEP alone: to TRACE the same bit is something else.
    program = [instruction(Opcode.STEP, when=TickFlag.TARGET, stream=1),
               instruction(Opcode.TRACE, flags=Flag.WIDE, stream=2),
               instruction(Opcode.STEP, flags=Flag.UNTARGETED, stream=3), instruction(Opcode.END)]
    log = names(Bench(program).run([tick_entry(TickFlag(flags))]))
    early, late = [("STEP", 1)], [("STEP", 3)]
    targeted = bool(flags & TickFlag.TARGET)
    assert log[1:-1] == [*(early if targeted else []), ("TRACE", 2), *([] if targeted else late)]


@pytest.mark.parametrize(("opcode", "flags", "waits"), [
    (Opcode.LEARN, 0, True), (Opcode.LEARN, Flag.BY_TARGET, True), (Opcode.FEEDBACK, 0, True),
    (Opcode.FEEDBACK, Flag.STREAMED, False), (Opcode.TRACE, 0, False), (Opcode.STEP, 0, False)])
def test_what_reads_errors_waits_for_them(opcode, flags, waits):
    # The ERROR before never ends.
    program = [instruction(Opcode.ERROR, stream=1), instruction(opcode, flags=Flag(flags), stream=2),
               instruction(Opcode.END)]
    bench = Bench(program)

    async def tell(ctx):
        ctx.set(bench.dut.live, 1)
        ctx.set(bench.dut.errors_ready, 0)

    log = names(bench.run([tick_entry(TickFlag.TARGET)], tell))
    assert ((opcode.name, 2) in log) != waits


def test_an_error_is_found_as_soon_as_states_are_written():
    # The core is never quiet again; its states are written 30 cycles later.
    program = [instruction(Opcode.STEP, stream=1), instruction(Opcode.ERROR, stream=2, fence=1),
               instruction(Opcode.END)]
    bench = Bench(program, quiet=lambda log, cycle: names(log)[-1:] in ([], [("begin", None)]))

    async def tell(ctx):
        await ctx.tick().until(bench.dut.dispatch.valid)
        await ctx.tick().repeat(30)
        ctx.set(bench.dut.states_ready, 1)

    (_, _, step), (name, _, error) = bench.run([tick_entry(TickFlag.TARGET)], tell)[1:]
    assert (name, error - step) == ("ERROR", 31)


def test_events_wait_for_spikes_but_a_tick_does_not():
    # The tick that ended first may still write its spikes when the next begins; what sets spikes comes after them.
    bench = Bench([instruction(Opcode.END)])

    async def tell(ctx):
        ctx.set(bench.dut.spikes_ready, 0)
        await ctx.tick().repeat(100)
        ctx.set(bench.dut.spikes_ready, 1)

    log = bench.run([value_entry(1), tick_entry(TickFlag(0)), event_entry(7), tick_entry(TickFlag(0))], tell)
    assert names(log) == [("value", (0, 1)), ("begin", None), ("end", 0), ("event", 7), ("begin", None), ("end", 0)]
    assert log[2][2] < 20
    assert log[3][2] == 100


def test_what_is_for_a_reset_alone_is_not_fetched_without_one():
    program = with_skips([instruction(Opcode.CLEAR, when=TickFlag.RESET, stream=n) for n in range(2)]
                         + [instruction(Opcode.TRACE, stream=7), instruction(Opcode.END)])
    flags = [TickFlag(0), TickFlag.RESET, TickFlag.TRAIN]
    log = Bench(program).run([tick_entry(flag) for flag in [*flags, *flags]])
    cycles = [cycle for name, _, cycle in log if name == "TRACE"], [cycle for name, _, cycle in log if name == "begin"]
    assert [trace - begin for trace, begin in zip(*cycles, strict=True)] == [1, 3, 1, 1, 3, 1]
    assert [stream for name, stream, _ in log if name == "CLEAR"] == [0, 1, 0, 1]


def test_the_host_may_change_what_comes_first():
    # While it has the core, what was found out about the first instruction is forgotten.
    bench = Bench([instruction(Opcode.CLEAR, when=TickFlag.RESET), instruction(Opcode.END)])

    async def access(ctx):
        ctx.set(bench.dut.hold, 1)
        await ctx.tick().repeat(20)
        bench.program[0] = number(instruction(Opcode.TRACE, stream=5))
        await ctx.tick().repeat(20)
        ctx.set(bench.dut.hold, 0)

    assert names(bench.run([tick_entry(TickFlag(0))], access)) == [("begin", None), ("TRACE", 5), ("end", 0)]


def test_learn_is_not_passed_over_before_all_post_factors_are_there():
    # While POST still works nothing is live yet; LEARN waits, and by then there is something to learn.
    program = [instruction(Opcode.POST, stream=1), instruction(Opcode.LEARN, stream=2, fence=1),
               instruction(Opcode.END)]

    def quiet(log, cycle):
        return names(log)[-1:] != [("POST", 1)] or cycle > log[-1][2] + 30

    bench = Bench(program, quiet=quiet)

    async def tell(ctx):
        await ctx.tick().until(bench.dut.dispatch.valid)
        await ctx.tick().repeat(25)
        ctx.set(bench.dut.live, 1)

    assert names(bench.run([tick_entry(TickFlag.TARGET)], tell))[1:-1] == [("POST", 1), ("LEARN", 2)]


def test_hold_and_keys():
    bench = Bench([instruction(Opcode.END)])
    idle = []

    async def control(ctx):
        # Host access goes on: neither events nor ticks are taken, the core is not idle while they wait.
        dut = bench.dut
        ctx.set(dut.hold, 1)
        await ctx.tick().repeat(100)
        idle.append(ctx.get(dut.idle))
        # Access is over but the keys are not ready: events are taken, the tick is not.
        ctx.set(dut.keys_ready, 0)
        ctx.set(dut.hold, 0)
        await ctx.tick().repeat(100)
        ctx.set(dut.keys_ready, 1)
        await ctx.tick().repeat(20)
        idle.append(ctx.get(dut.idle))

    (_, _, event), (_, _, begin), _ = bench.run([event_entry(9), tick_entry(TickFlag(0))], control)
    assert 100 <= event < 110
    assert 200 <= begin < 210
    assert idle == [0, 1]


def test_the_queue_pushes_back_when_it_is_full():
    # While the core is held, the queue takes its depth and no more; afterwards nothing is missing.
    bench = Bench([instruction(Opcode.END)])
    taken = []

    async def control(ctx):
        ctx.set(bench.dut.hold, 1)
        for _ in range(60):
            *_, valid, ready = await ctx.tick().sample(bench.dut.entries.valid, bench.dut.entries.ready)
            taken.append(valid and ready)
        ctx.set(bench.dut.hold, 0)

    log = bench.run([value_entry(n) for n in range(50)], control)
    assert sum(taken) == CONFIG.queue_depth
    assert names(log) == [("value", (n, n)) for n in range(50)]
