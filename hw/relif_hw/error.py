"""The error unit: errors of an output population, a neuron per cycle and pass.

    collect  U_k ─► buffer, maximum
    exp      2^-((max - U_k) gain) ─► buffer, sum          softmax only; two neurons per cycle
    norm     leading bit and reciprocal of the sum          softmax only
    out      target - output, dead zone ─► post factors
"""

from amaranth import Array, Cat, Module, Mux, ResetInserter, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .arithmetic import APART, LOGIC, InstructionLayout, constant, saturated
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
    value_write, value_address, target_value, value_data
        The target values: a write, or a read while no error is made, whose data are there one cycle later.
    busy : Out(1)
    write : Out(lanes), address : Out(16)
        Write these lanes of that word of the post factors: one of them `value`, the others zero.
    lane : Out(lanes), value : Out(signed)
        Which one that is, and what.
    live : Out(1)
        An error that is not zero.
    errors : Out(stream of signed)
        The errors of the last instruction once more, for a FEEDBACK that is streamed; not in a compact core.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(item_layout(config))),
            "instruction": In(InstructionLayout),
            "target": In(11),
            "value_write": In(1),
            "value_address": In(16),
            "target_value": In(signed(VALUE_BITS)),
            "value_data": Out(signed(VALUE_BITS)),
            "busy": Out(1),
            "write": Out(config.lanes),
            "address": Out(16),
            "lane": Out(config.lanes),
            "value": Out(signed(config.state_bits)),
            "live": Out(1),
            **({} if config.compact else {"errors": Out(stream.Signature(signed(config.state_bits)))}),
        })

    def elaborate(self, platform):
        m = Module()
        config, bits, fraction = self.config, self.config.state_bits, self.config.state_fraction
        lane_bits = (config.lanes - 1).bit_length()
        count_bits = (config.max_outputs - 1).bit_length()
        sum_bits = _EXP_BITS + count_bits

        # So many neurons go through `exp` side by side; they share a word of the buffer.
        ways = 1 if config.compact else 2
        way_bits = ways.bit_length() - 1
        m.submodules.buffer = buffer = Memory(
            shape=ways * bits, depth=-(-config.max_outputs // ways), init=[], attrs=APART)
        exp_reads = []
        for way in range(ways):
            m.submodules[f"exp_{way}"] = exp = Memory(
                shape=_EXP_BITS, depth=len(EXP_TABLE), init=EXP_TABLE, attrs={} if config.compact else LOGIC)
            exp_reads.append(exp.read_port())
        m.submodules.reciprocal = reciprocal = Memory(
            shape=_EXP_BITS, depth=len(RECIPROCAL_TABLE), init=RECIPROCAL_TABLE)
        m.submodules.targets = targets = Memory(
            shape=signed(VALUE_BITS), depth=config.max_outputs, init=[], attrs=APART)
        store, load = buffer.write_port(granularity=bits), buffer.read_port()
        target_write, target_read = targets.write_port(), targets.read_port()
        reciprocal_read = reciprocal.read_port()

        softmax, analog = Signal(), Signal()
        gain, one, dead = Signal(bits - 1), Signal(signed(bits)), Signal(bits)
        base = Signal(16)
        count = Signal(range(config.max_outputs + 1))
        maximum = Signal(signed(bits))
        k = Signal(range(config.max_outputs + 2))
        total = Signal(sum_bits)
        lead = Signal(range(count_bits + 2))          # above _LEAST_LEAD

        # The multipliers: operands one cycle after the buffer's data, product one later. The first makes outputs, too.
        mul_a, mul_b, products = (
            [Signal(signed(width), name=f"{name}_{way}") for way in range(ways)]
            for name, width in (("mul_a", bits), ("mul_b", bits), ("product", 2 * bits)))
        m.d.sync += [products[way].eq(mul_a[way] * mul_b[way]) for way in range(ways)]
        product = products[0]

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
        enter = (k != count) & ~Cat(valid[1:]).any() if config.compact else k < count
        leave = valid[stages] if config.compact else valid[0]
        m.d.comb += load.en.eq(valid[0])
        loaded = [load.data.word_select(way, bits).as_signed() for way in range(ways)]

        distances, powers = [], []
        for way, exp_read in enumerate(exp_reads):
            distance = Signal(signed(bits + 1), name=f"distance_{way}")
            m.d.comb += distance.eq(maximum - loaded[way])
            distances.append(distance)
            scaled = products[way] >> fraction + 2              # e3
            exponent = Signal(range(16), name=f"exponent_{way}")          # e4
            vanished = Signal(name=f"vanished_{way}")
            m.d.comb += exp_read.addr.eq(scaled[:8])
            m.d.sync += [exponent.eq(scaled[8:12]), vanished.eq(scaled[12:].any())]
            power = Signal(_EXP_BITS, name=f"power_{way}")
            m.d.comb += power.eq(Mux(vanished, 0, exp_read.data >> exponent))
            powers.append(power)

        # out: p at e3, error at e4, poked at e5.
        shifted = (product >> (_EXP_BITS + _LEAST_LEAD - fraction - 1)) >> lead
        output = Mux(softmax, ((shifted + 1) >> 1)[:bits].as_signed(), product[:bits].as_signed())
        error_4 = Signal(signed(bits))
        wanted = Mux(analog, target_read.data << fraction - VALUE_FRACTION, Mux(index[3] == self.target, one, 0))
        m.d.sync += error_4.eq(saturated(wanted - output, bits))
        m.d.comb += [
            target_write.en.eq(self.value_write), target_write.addr.eq(self.value_address),
            target_write.data.eq(self.target_value), self.value_data.eq(target_read.data),
            target_read.addr.eq(Mux(self.busy, index[2], self.value_address)),
        ]
        size = Mux(error_4 < 0, -error_4, error_4)
        error_5 = Signal(signed(bits))
        m.d["comb" if config.compact else "sync"] += error_5.eq(Mux(size < dead, 0, error_4))
        putting, begin = Signal(), Signal()

        instruction, item = self.instruction, self.i.payload
        m.d.comb += self.i.ready.eq(item.end)         # which means nothing: the last row has been there
        settings = [
            softmax.eq((instruction.flags & Flag.SOFTMAX) != 0), analog.eq((instruction.flags & Flag.ANALOG) != 0),
            gain.eq(instruction.x), dead.eq(instruction.z), base.eq(instruction.c),
            one.eq(Mux((instruction.flags & Flag.SOFTMAX) != 0, 1 << fraction, constant(instruction.y, bits))),
        ]
        if config.compact:                            # the instruction stays
            m.d.comb += [*settings, count.eq(instruction.rows)]

        with m.FSM() as fsm:
            with m.State("collect"):
                m.d.comb += [
                    self.i.ready.eq(1), store.addr.eq(item.row[way_bits:count_bits]),
                    store.data.eq(item.value.replicate(ways)),
                ]
                with m.If(self.i.valid & ~item.end):
                    m.d.comb += store.en.eq(1 << item.row[:way_bits])
                    m.d.sync += [k.eq(0), total.eq(0), lead.eq(sum_bits - 1 - _LEAST_LEAD)]
                    if not config.compact:
                        m.d.sync += [*settings, count.eq(item.row + 1)]
                    with m.If((item.row == 0) | (item.value > maximum)):
                        m.d.sync += maximum.eq(item.value)
                    with m.If(item.row == instruction.rows - 1):
                        m.d.comb += begin.eq(1)
                        with m.If((instruction.flags & Flag.SOFTMAX) != 0):
                            m.next = "exp"
                        with m.Else():
                            m.next = "out"
            with m.State("exp"):
                m.d.comb += [
                    valid[0].eq(enter), load.addr.eq(k[way_bits:count_bits]),
                    store.en.eq(valid[4].replicate(ways)), store.addr.eq(index[4][way_bits:count_bits]),
                    *(store.data.word_select(way, bits).eq(power) for way, power in enumerate(powers)),
                ]
                m.d.sync += k.eq(k + Mux(leave, ways, 0))
                for way, distance in enumerate(distances):
                    m.d.sync += [
                        mul_a[way].eq(Mux(distance[bits - 1], (1 << bits - 1) - 1, distance)), mul_b[way].eq(gain),
                    ]
                with m.If(valid[4]):
                    beyond = [index[4] + way >= count for way in range(ways)]
                    m.d.sync += total.eq(total + sum(
                        Mux(beyond[way], 0, power) if way else power for way, power in enumerate(powers)))
                with m.If(summed):
                    m.next = "norm"
            with m.State("norm"):                     # the reciprocal is there in the cycle after the next
                m.d.sync += k.eq(0)
                if config.compact:
                    with m.If(~total[-1]):
                        m.d.sync += [total.eq(total << 1), lead.eq(lead - 1)]
                    with m.Else():
                        m.next = "out"
                else:
                    for n in range(sum_bits - _LEAST_LEAD):
                        with m.If(total[-1 - n:] == 1):
                            m.d.sync += [total.eq(total << n), lead.eq(lead - n)]
                    m.next = "out"
            with m.State("out"):
                m.d.comb += [
                    valid[0].eq(enter), load.addr.eq(k[way_bits:count_bits]), putting.eq(valid[stages]),
                ]
                m.d.sync += [
                    k.eq(k + leave), mul_b[0].eq(Mux(softmax, reciprocal_read.data, 1)),
                    mul_a[0].eq(Array(loaded)[index[1][:way_bits]]),
                ]
                with m.If(~flowing if config.compact else ~Cat(valid[:stages]).any()):     # the last is being put
                    m.next = "collect"
        m.d.comb += self.busy.eq(~fsm.ongoing("collect"))
        m.d.comb += reciprocal_read.addr.eq(total[-10:-1])

        # Errors are written one by one; the first of a word writes zero to all lanes behind it.
        lane = index[stages][:lane_bits]
        m.d.comb += [
            self.lane.eq(1 << lane), self.value.eq(error_5),
            self.write.eq(Mux(putting, Mux(lane == 0, (1 << config.lanes) - 1, 1 << lane), 0)),
            self.address.eq(base + (index[stages] >> lane_bits)),
            self.live.eq(putting & (error_5 != 0)),
        ]
        if not config.compact:
            m.submodules.errors = errors = ResetInserter(begin)(SyncFIFO(width=bits, depth=config.max_outputs))
            m.d.comb += [
                errors.w_data.eq(error_5), errors.w_en.eq(putting), errors.r_en.eq(self.errors.ready),
                self.errors.valid.eq(errors.r_rdy), self.errors.payload.eq(errors.r_data.as_signed()),
            ]
        return m
