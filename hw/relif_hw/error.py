"""The error unit: errors of an output population, one neuron per cycle and pass.

    collect  U_k ─► buffer, maximum
    exp      2^-((max - U_k) gain) ─► buffer, sum          softmax only
    norm     leading bit and reciprocal of the sum          softmax only
    out      target - output, dead zone ─► post factors
"""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .arithmetic import APART, InstructionLayout, constant, saturated
from .config import CoreConfig
from .isa import VALUE_BITS, VALUE_FRACTION, Flag
from .numerics import EXP_TABLE, RECIPROCAL_TABLE
from .scanner import item_layout

__all__ = ["ErrorUnit"]

_EXP_BITS = 15
_LEAST_LEAD = 14
"""Bit number of the leading bit of the least sum: the largest output alone gives 32767."""


class ErrorUnit(wiring.Component):
    """Turns the membrane potentials of an output population into errors (ERROR).

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    i : In(stream of item_layout)
        Membrane potentials, in order, closed by an `end`.
    instruction : In(InstructionLayout)
        The instruction of the item at `i`.
    target : In(11)
        Class.
    value_write, value_address, value, value_data
        The target values: a write, or a read while no error is made, whose data are there one cycle later.
    busy : Out(1)
    poke_lane, poke_value, poke_clear : Out
        To the lanes' result registers.
    write, address : Out
        Write the result registers to that word of the post factors.
    live : Out(1)
        An error that is not zero.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(item_layout(config))),
            "instruction": In(InstructionLayout),
            "target": In(11),
            "value_write": In(1),
            "value_address": In(16),
            "value": In(signed(VALUE_BITS)),
            "value_data": Out(signed(VALUE_BITS)),
            "busy": Out(1),
            "poke_lane": Out(config.lanes),
            "poke_value": Out(signed(config.state_bits)),
            "poke_clear": Out(1),
            "write": Out(1),
            "address": Out(16),
            "live": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, bits, fraction = self.config, self.config.state_bits, self.config.state_fraction
        lane_bits = (config.lanes - 1).bit_length()
        count_bits = (config.max_outputs - 1).bit_length()
        sum_bits = _EXP_BITS + count_bits

        m.submodules.buffer = buffer = Memory(shape=signed(bits), depth=config.max_outputs, init=[], attrs=APART)
        m.submodules.exp = exp = Memory(shape=_EXP_BITS, depth=len(EXP_TABLE), init=EXP_TABLE)
        m.submodules.reciprocal = reciprocal = Memory(
            shape=_EXP_BITS, depth=len(RECIPROCAL_TABLE), init=RECIPROCAL_TABLE)
        m.submodules.targets = targets = Memory(
            shape=signed(VALUE_BITS), depth=config.max_outputs, init=[], attrs=APART)
        store, load = buffer.write_port(), buffer.read_port()
        target_write, target_read = targets.write_port(), targets.read_port()
        exp_read, reciprocal_read = exp.read_port(), reciprocal.read_port()

        softmax, analog = Signal(), Signal()
        gain, one, dead = Signal(bits - 1), Signal(signed(bits)), Signal(bits)
        base = Signal(16)
        count = Signal(range(config.max_outputs + 1))
        maximum = Signal(signed(bits))
        k = Signal(range(config.max_outputs + 1))
        total = Signal(sum_bits)
        lead = Signal(range(count_bits + 2))          # above _LEAST_LEAD

        # The multiplier: operands one cycle after the buffer's data, product one later.
        mul_a, mul_b = Signal(signed(bits)), Signal(signed(bits))
        product = Signal(signed(2 * bits))
        m.d.sync += product.eq(mul_a * mul_b)

        # k of each stage after the buffer's address; stage 1 is the buffer's data.
        # In a compact core a neuron goes through them all before the next one comes, and is poked at e4.
        stages = 4 if config.compact else 5
        valid = [Signal(name=f"e{n}_valid") for n in range(stages + 1)]
        index = [k] * (stages + 1) if config.compact else [
            k, *(Signal.like(k, name=f"e{n}_k") for n in range(1, stages + 1))]
        for n in range(stages):
            m.d.sync += valid[n + 1].eq(valid[n])
            if not config.compact:
                m.d.sync += index[n + 1].eq(index[n])
        # When the last neuron's power is added, and when its error is put; a compact core waits for all to be over.
        flowing = Cat(valid).any()
        summed = ~flowing if config.compact else ~Cat(valid[:4]).any()
        enter = (k != count) & ~Cat(valid[1:]).any() if config.compact else k != count
        leave = valid[stages] if config.compact else valid[0]
        m.d.comb += [load.en.eq(valid[0]), load.addr.eq(k[:count_bits])]

        distance = Signal(signed(bits + 1))
        m.d.comb += distance.eq(maximum - load.data)
        scaled = product >> fraction + 2              # e3
        exponent = Signal(range(16))                  # e4
        vanished = Signal()
        m.d.comb += exp_read.addr.eq(scaled[:8])
        m.d.sync += [exponent.eq(scaled[8:12]), vanished.eq(scaled[12:].any())]
        power = Signal(_EXP_BITS)
        m.d.comb += power.eq(Mux(vanished, 0, exp_read.data >> exponent))

        # out: p at e3, error at e4, poked at e5.
        shifted = (product >> (_EXP_BITS + _LEAST_LEAD - fraction - 1)) >> lead
        output = Mux(softmax, ((shifted + 1) >> 1)[:bits].as_signed(), product[:bits].as_signed())
        error_4 = Signal(signed(bits))
        wanted = Mux(analog, target_read.data << fraction - VALUE_FRACTION, Mux(index[3] == self.target, one, 0))
        m.d.sync += error_4.eq(saturated(wanted - output, bits))
        m.d.comb += [
            target_write.en.eq(self.value_write), target_write.addr.eq(self.value_address),
            target_write.data.eq(self.value), self.value_data.eq(target_read.data),
            target_read.addr.eq(Mux(self.busy, index[2], self.value_address)),
        ]
        size = Mux(error_4 < 0, -error_4, error_4)
        write_next = Signal()
        error_5 = Signal(signed(bits))
        m.d["comb" if config.compact else "sync"] += error_5.eq(Mux(size < dead, 0, error_4))
        putting = Signal()
        done = ~flowing & ~write_next if config.compact else ~flowing

        instruction = self.instruction
        settings = [
            softmax.eq((instruction.flags & Flag.SOFTMAX) != 0), analog.eq((instruction.flags & Flag.ANALOG) != 0),
            gain.eq(instruction.x), dead.eq(instruction.z), base.eq(instruction.c),
            one.eq(Mux((instruction.flags & Flag.SOFTMAX) != 0, 1 << fraction, constant(instruction.y, bits))),
        ]
        if config.compact:                            # the instruction stays
            m.d.comb += [*settings, count.eq(instruction.rows)]

        with m.FSM() as fsm:
            with m.State("collect"):
                item = self.i.payload
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    with m.If(item.end):
                        m.d.sync += [k.eq(0), total.eq(0), lead.eq(sum_bits - 1 - _LEAST_LEAD)]
                        if not config.compact:
                            m.d.sync += settings
                        m.d.comb += self.poke_clear.eq(1)
                        with m.If((instruction.flags & Flag.SOFTMAX) != 0):
                            m.next = "exp"
                        with m.Else():
                            m.next = "out"
                    with m.Else():
                        m.d.comb += store.en.eq(1)
                        if not config.compact:
                            m.d.sync += count.eq(item.row + 1)
                        with m.If((item.row == 0) | (item.value > maximum)):
                            m.d.sync += maximum.eq(item.value)
                m.d.comb += [store.addr.eq(item.row[:count_bits]), store.data.eq(item.value)]
            with m.State("exp"):
                m.d.comb += [
                    valid[0].eq(enter), store.en.eq(valid[4]), store.addr.eq(index[4][:count_bits]),
                    store.data.eq(power),
                ]
                m.d.sync += [
                    k.eq(k + leave),
                    mul_a.eq(Mux(distance[bits - 1], (1 << bits - 1) - 1, distance)), mul_b.eq(gain),
                ]
                with m.If(valid[4]):
                    m.d.sync += total.eq(total + power)
                with m.If(summed):
                    m.next = "norm"
            with m.State("norm"):                     # the reciprocal is there in the cycle after the last
                m.d.sync += k.eq(0)
                with m.If(~total[-4:].any() & (not config.compact)):
                    m.d.sync += [total.eq(total << 4), lead.eq(lead - 4)]
                with m.Elif(~total[-1]):
                    m.d.sync += [total.eq(total << 1), lead.eq(lead - 1)]
                with m.Else():
                    m.next = "out"
            with m.State("out"):
                m.d.comb += [valid[0].eq(enter), putting.eq(valid[stages])]
                m.d.sync += [k.eq(k + leave), mul_a.eq(load.data), mul_b.eq(Mux(softmax, reciprocal_read.data, 1))]
                with m.If(done):
                    m.next = "collect"
        m.d.comb += self.busy.eq(~fsm.ongoing("collect"))
        m.d.comb += reciprocal_read.addr.eq(total[-10:-1])

        # Errors go to the result registers lane by lane; a full word is written when the last of them is there.
        lane = index[stages][:lane_bits]
        last = (lane == config.lanes - 1) | (index[stages] == count - 1)
        word = Signal(16)
        m.d.sync += [write_next.eq(putting & last), word.eq(base + (index[stages] >> lane_bits))]
        with m.If(putting):
            m.d.comb += [self.poke_lane.eq(1 << lane), self.poke_value.eq(error_5), self.live.eq(error_5 != 0)]
        with m.If(write_next):
            m.d.comb += self.poke_clear.eq(1)
        m.d["comb" if config.compact else "sync"] += [self.write.eq(write_next), self.address.eq(word)]
        return m
