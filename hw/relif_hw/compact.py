"""What a compact core works out step by step: the scalars of its rows, and all hashes with one mixer.

The registers and the keys made of them lie in one small memory:

    x ─► + ─► x ─► mix, eight cycles ─► x ─► hash
         ▲                              └─► memory
    memory, offset
"""

from amaranth import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .arithmetic import APART, InstructionLayout, saturated
from .config import CoreConfig
from .isa import Flag, Opcode, Register
from .numerics import RANDOM_BITS
from .scaler import is_scaled, row_layout
from .scanner import item_layout

__all__ = ["Hasher", "SerialScaler"]

_KEY, _FEEDBACK_KEY, _ZERO = range(len(Register), len(Register) + 3)
"""What the memory holds beside the registers. The last is never written: `export` keeps that it starts with zeros."""

_STREAM_BITS = 8

_MIX = ((1, 15), (0, 5), (0, 0), (1, 3), (0, 18), (1, 6), (0, 8), (1, 17))
_MIX_CONSTANT = 0x5851_F42D
"""`numerics.mix` in steps (t, s): with t x ^= x >> s, without x += x << s, or the constant if s is zero."""


class Hasher(wiring.Component):
    """The registers, `numerics.tick_key` and `numerics.row_hash`.

    The registers are in memory: a reset of the core leaves them as they are.

    Members
    -------
    write, read : In(1), address : In(2), value : In(32), data : Out(32)
        Host access to the registers while `ready`; `data` is valid one cycle after `read`.
    tick : In(1)
        A tick has ended: TICK counts, and the keys are made anew.
    ready : Out(1)
        The keys are those of the registers.
    start : In(1), feedback : In(1), offset : In(24)
        Hash that row, `row + (stream << 16)`, of the tick or of the hashed weights.
    done : Out(1), hash : Out(32)
        The hash of the row that was started last is there.
    """

    write: In(1)
    read: In(1)
    address: In(2)
    value: In(32)
    data: Out(32)
    tick: In(1)
    ready: Out(1)
    start: In(1)
    feedback: In(1)
    offset: In(16 + _STREAM_BITS)
    done: Out(1)
    hash: Out(32)

    def elaborate(self, platform):
        m = Module()
        m.submodules.registers = memory = Memory(shape=32, depth=8, init=[], attrs=APART)
        store, load = memory.write_port(), memory.read_port()
        x = Signal(32)
        job = Signal(3)
        count = Signal()                        # TICK + 1 is to be written
        stale = Signal(init=1)                  # the keys are to be made anew
        with m.If(self.tick):
            m.d.sync += [count.eq(1), stale.eq(1)]
        with m.If(self.write):
            m.d.sync += stale.eq(1)

        # One adder for all, and exclusive-ors before it; at most one of what goes into it is not zero.
        enter, token = Signal(), Signal(len(_MIX))          # the step of `mix`, one bit each
        add_data, add_offset = Signal(), Signal()
        left, right, total = x, Const(0, 32), Signal(32)
        for number, (turned, shift) in enumerate(_MIX):
            if turned:
                left = left ^ Mux(token[number], x >> shift, 0)
            else:
                right = right | Mux(token[number], (x << shift)[:32] if shift else _MIX_CONSTANT, 0)
        right = right | Mux(add_data, load.data, 0) | Mux(add_offset, self.offset, 0)
        m.d.comb += total.eq(left + right)
        m.d.sync += token.eq(Cat(enter, token[:-1]))
        with m.If(token.any() | add_data | add_offset):
            m.d.sync += x.eq(total)

        # One job for each line: what is read, what is added to it, and where the hash of the sum goes.
        jobs = Array(Const(address, 3) for address in (
            Register.TICK, Register.FEEDBACK_SEED, _ZERO, Register.SEED, Register.TICK))
        m.d.comb += [
            self.hash.eq(x), self.data.eq(load.data), self.ready.eq(0),
            store.data.eq(Mux(self.write, self.value, x)), store.addr.eq(self.address), store.en.eq(self.write),
            load.addr.eq(jobs[job]),
        ]
        with m.FSM():
            with m.State("idle"):
                m.d.comb += [
                    self.ready.eq(~stale & ~self.tick & ~self.write), self.done.eq(1), load.en.eq(1),
                    load.addr.eq(Mux(self.start, Mux(self.feedback, _FEEDBACK_KEY, _KEY), self.address)),
                ]
                m.d.sync += job.eq(0)
                with m.If(self.start):
                    m.d.sync += x.eq(0)
                    m.next = "row"
                with m.Elif(stale):
                    m.d.sync += stale.eq(0)
                    m.next = "read"
            with m.State("row"):
                m.d.comb += add_data.eq(1)
                m.next = "offset"
            with m.State("offset"):
                m.d.comb += [add_offset.eq(1), enter.eq(1)]
                m.next = "mix row"
            with m.State("mix row"):
                with m.If(token[-1]):
                    m.next = "idle"
            with m.State("read"):
                m.d.comb += load.en.eq(1)
                with m.If((job == 0) | (job == 1) | (job == 3)):
                    m.d.sync += x.eq((job == 0) & count)
                m.next = "add"
            with m.State("add"):
                m.d.comb += [add_data.eq(1), enter.eq(job != 0)]
                m.next = "mix"
                with m.If(job == 0):
                    m.d.sync += count.eq(0)
                    m.next = "write"
            with m.State("mix"):
                with m.If(token[-1]):
                    m.next = "write"
            with m.State("write"):
                with m.Switch(job):
                    with m.Case(0):
                        m.d.comb += [store.addr.eq(Register.TICK), store.en.eq(1)]
                    with m.Case(2):
                        m.d.comb += [store.addr.eq(_FEEDBACK_KEY), store.en.eq(1)]
                    with m.Case(4):
                        m.d.comb += [store.addr.eq(_KEY), store.en.eq(1)]
                m.d.sync += job.eq(job + 1)
                m.next = "read"
                with m.If(job == 4):
                    m.next = "idle"
        return m


class SerialScaler(wiring.Component):
    """Scales items to rows as `scaler.Scaler` does, one at a time.

    An item stays at `i` until its row has been taken. A row that needs the address alone passes in a cycle; others
    wait for their hash, and for their product to be shifted, by four bits or one in a cycle.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    i : In(stream of item_layout)
    instruction : In(InstructionLayout)
    start, feedback : Out(1), offset : Out(24), done : In(1), hash : In(32)
        To `Hasher`.
    o : Out(stream of row_layout)
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(item_layout(config))),
            "instruction": In(InstructionLayout),
            "start": Out(1), "feedback": Out(1), "offset": Out(16 + _STREAM_BITS),
            "done": In(1), "hash": In(32),
            "o": Out(stream.Signature(row_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        bits = self.config.state_bits
        item, row, instruction = self.i.payload, self.o.payload, self.instruction
        integrate, feedback = instruction.opcode == Opcode.INTEGRATE, instruction.opcode == Opcode.FEEDBACK
        hashed = (integrate | feedback) & ((instruction.flags & Flag.HASHED) != 0)
        plain = item.end | (integrate & ~hashed) | (instruction.opcode == Opcode.CLEAR)

        # v x << 16 >> shift, and what rounding adds to it.
        shifted = Signal(signed(2 * bits - 1 + RANDOM_BITS))
        left = Signal(6)
        random = Mux(instruction.opcode == Opcode.LEARN, self.hash[RANDOM_BITS:], 1 << (RANDOM_BITS - 1))
        scalar = Signal(signed(bits))
        dropped = Signal()
        m.d.comb += [
            self.feedback.eq(hashed), self.offset.eq(Cat(item.row, Const(0, 16 - len(item.row)), instruction.stream)),
            scalar.eq(saturated((shifted + random) >> RANDOM_BITS, bits)),
            row.end.eq(item.end), row.context.eq(item.context), row.row.eq(item.row),
            row.weight.eq(item.row * instruction.words + instruction.b),
            row.scalar.eq(scalar), row.hash.eq(self.hash),
        ]
        with m.FSM():
            with m.State("new"):
                m.d.sync += [
                    shifted.eq((item.value * Cat(instruction.x[:bits - 1], Const(0, 1)).as_signed()) << RANDOM_BITS),
                    left.eq(instruction.shift),
                ]
                with m.If(self.i.valid & plain):
                    m.d.comb += [self.o.valid.eq(1), self.i.ready.eq(self.o.ready)]
                with m.Elif(self.i.valid & self.done):
                    m.d.comb += self.start.eq(1)
                    m.next = "work"
            with m.State("work"):
                with m.If(left >= 4):
                    m.d.sync += [shifted.eq(shifted >> 4), left.eq(left - 4)]
                with m.Elif(left != 0):
                    m.d.sync += [shifted.eq(shifted >> 1), left.eq(left - 1)]
                with m.Elif(self.done):
                    m.d.sync += dropped.eq(is_scaled(instruction.opcode) & (scalar == 0))
                    m.next = "row"
            with m.State("row"):
                m.d.comb += [self.o.valid.eq(~dropped), self.i.ready.eq(dropped | self.o.ready)]
                with m.If(self.i.ready):
                    m.next = "new"
        return m
