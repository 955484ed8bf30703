"""The lanes of a compact core: what they do otherwise, to be small.

A row of an instruction is done with before the next one's begins, so that what an instruction does to its words is
known without a register at each stage, and addresses are counted where they are used. One sum finishes all
instructions, one surrogate table serves all lanes.
"""

from amaranth import Array, Cat, Const, Mux, Signal, signed
from amaranth.lib.memory import Memory

from .arithmetic import APART, Stages, aligned
from .lanes import Lanes
from .numerics import SURROGATE_BITS, SURROGATE_ENTRIES
from .random import lane_random

__all__ = ["CompactLanes"]


class CompactLanes(Lanes):
    """`Lanes` of one or two, which may keep a word waiting at `word` (`ready`)."""

    def _stages(self, m, stages, c0, c0_valid, works, ways):
        """All words on their way are of one instruction, and those that are written to memory of one row. Their
        addresses are counted where they are used: C4 those of the accumulators, which may be of two rows; C6 the
        others."""
        config = self.config
        self._works = works
        delayed = Stages(stages, "c", {
            ("valid", 0): c0_valid, ("phase", 0): c0.phase, ("last", 0): c0.last, ("scalar", 0): c0.scalar,
            ("first", 0): c0.first, ("part", 0): c0.part,
        }, {**ways, "target": c0.target, "target_lane": c0.target_lane})
        c3_neuron, c4_neuron, c4_next = (Signal(config.neuron_address_bits, name=name)
                                         for name in ("c3_neuron", "c4_neuron", "c4_next"))
        c6_neuron = Signal(config.neuron_address_bits)
        c6_address = Signal(max(config.weight_address_bits, config.state_address_bits))

        def at(name, n):
            if name in works:
                return delayed("valid", n) & works[name]
            if name == "neuron":
                return {3: c3_neuron, 4: c4_neuron, 6: c6_neuron}[n]
            return c6_address if name in ("weight", "state") else delayed(name, n)

        m.d.comb += c3_neuron.eq(Mux(at("first", 3), c0.begin, c4_next))
        m.d.sync += c4_neuron.eq(c3_neuron)
        with m.If(at("mac", 3) | at("post", 3) | (at("step", 3) & ~at("phase", 3))):
            m.d.sync += c4_next.eq(c3_neuron + 1)
        with m.If(c0_valid & c0.first):
            m.d.sync += [c6_address.eq(Mux(works["learn"], c0.weight, c0.state)), c6_neuron.eq(c0.neuron)]
        with m.Elif(self.write_weights | self.write_state | self.write_post | self.write_spikes):
            m.d.sync += c6_address.eq(c6_address + 1)
            with m.If(self.write_post | self.write_spikes):
                m.d.sync += c6_neuron.eq(c6_neuron + 1)
        self._of = [at] * self.config.lanes
        return at

    def _delay(self, m, late, c0, c0_valid):
        """Words that need it wait at `word`, for P1, P2 and the lookups in the surrogate table but the last."""
        last = 1 + self.config.lanes
        waited = Signal(range(last + 1))
        m.d.comb += [
            c0.eq(self.word), self._fresh.eq(self.valid & (waited == 0)),
            c0_valid.eq(self.valid & (~late | (waited == last))),
            self.ready.eq(c0_valid),
        ]
        with m.If(self.valid & late):
            m.d.sync += waited.eq(Mux(waited == last, 0, waited + 1))
        self._waited = waited
        return self.word, waited == 1

    def _surrogates(self, m, late):
        """One table, in which the lanes of a word are looked up one after the other."""
        config, waited = self.config, self._waited
        m.submodules.surrogate = table = Memory(shape=SURROGATE_BITS, depth=self.table_entries, init=[], attrs=APART)
        write, read = table.write_port(), table.read_port()
        distance = Signal(config.state_bits + 1, name="p2_distance")
        state = Signal(signed(config.state_bits))
        psi = [Signal(SURROGATE_BITS, name=f"psi_{lane}", reset_less=True) for lane in range(config.lanes - 1)]
        with m.Switch(waited):
            for lane in range(config.lanes):
                with m.Case(lane + 1):
                    m.d.comb += state.eq(self.state.word_select(lane, config.state_bits))
        v = state - self.word.addend
        m.d.sync += distance.eq(Mux(v < 0, -v, v))
        for lane in range(config.lanes - 1):
            with m.If(waited == lane + 3):
                m.d.sync += psi[lane].eq(read.data)
        steps = distance >> self.word.shift
        entry = Mux(steps >= SURROGATE_ENTRIES, SURROGATE_ENTRIES - 1, steps)
        index_bits = (SURROGATE_ENTRIES - 1).bit_length()
        address = Cat(entry[:index_bits], (self.word.flags >> 4)[:2])[:len(read.addr)]
        m.d.comb += [
            write.en.eq(self.table_write), write.addr.eq(self.table_address), write.data.eq(self.table_value),
            read.en.eq((waited >= 2) | self.table_read),
            read.addr.eq(Mux(self.table_read, self.table_address, address)), self.table_data.eq(read.data),
        ]
        return [*psi, read.data]

    def _cuts(self):
        return self.config.mac_shift, self.config.mac_shift

    def _goes(self, of, n):
        return Const(1)

    def _hash_byte(self, at, group_hash, lane):
        word, lanes = group_hash.o[0], self.config.lanes
        return Array(word.word_select(3 - n, 8) for n in range(lane, 4, lanes))[at("part", 1)]

    def _emptied(self, at):
        """They are emptied by `_finish`."""
        return Const(0, self.config.lanes)

    def _keep_and_round(self, m, at, keep, emptied, product, group_hash, term):
        lanes, bits, weight_bits = self.config.lanes, self.config.state_bits, self.config.weight_bits
        for lane in range(lanes):
            weight = self.weights.word_select(lane, weight_bits).as_signed()
            state = self.state.word_select(lane, bits).as_signed()
            m.d.sync += [
                keep[2][lane].eq(Mux(at("post", 1), 0, Mux(at("learn", 1), weight, state))),
                keep[3][lane].eq(keep[2][lane]), keep[4][lane].eq(keep[3][lane]),
            ]
            random = Array(lane_random(group_hash.o, n) for n in range(lane, 4, lanes))[at("part", 3)]
            self._round_lane(m, at, product[lane], random, term[lane])

    def _round_lane(self, m, at, product, random, term):
        """c3 and c4: one sum, which a multiplier block can make, and the shift behind it."""
        config = self.config
        mac_shift, decay_shift, update_shift = config.mac_shift, config.decay_fraction, config.update_shift
        rounding, total = Signal.like(product), Signal.like(product, name=f"{product.name.replace('c3', 'c4')}_sum")
        with m.If(at("regulate", 3)):
            m.d.comb += rounding.eq(Cat(Const(1 << decay_shift - 1, decay_shift), at("addend", 3)).as_signed())
        with m.Elif(at("mac", 3) | at("tree", 3)):
            m.d.comb += rounding.eq(1 << mac_shift - 1)
        with m.Elif(at("learn", 3)):
            m.d.comb += rounding.eq(aligned(random, update_shift))
        with m.Elif(at("post", 3)):
            m.d.comb += rounding.eq(Cat(Const(0, mac_shift - 7), aligned(random, 7)))
        with m.Else():
            m.d.comb += rounding.eq(aligned(random, decay_shift))
        m.d.sync += total.eq(product + rounding)
        with m.If(at("learn", 4)):
            m.d.comb += term.eq(total >> update_shift)
        with m.Elif(at("decay", 4) | at("regulate", 4)):
            m.d.comb += term.eq(total >> decay_shift)
        with m.Else():
            m.d.comb += term.eq(total >> mac_shift)

    def _finish(self, m, at, totals, term, keep, result):
        """All by one sum: (keep + term or 0) + base +- constant.

        A saturated weight has its sign in the topmost bit of the result."""
        config = self.config
        bits, wide = config.state_bits, config.accumulator_bits + 1
        works, c4_spikes = self._works, self._spikes[4]
        phase, constant, spiking = at("phase", 4), at("addend", 4), works["spiking"] & ~at("reset_zero", 4)
        for lane in range(config.lanes):
            y = Signal(signed(len(term[lane]) + 1), name=f"c5_y_{lane}", reset_less=True)
            addend = Signal(signed(wide), name=f"c5_addend_{lane}", reset_less=True)
            previous = Signal(signed(bits), name=f"c4_previous_{lane}", reset_less=True)
            nothing = (works["clear_state"] | works["clear_spikes"]
                       | (works["spiking"] & at("reset_zero", 4) & phase & c4_spikes[lane]))
            with m.If(~phase):
                m.d.sync += previous.eq(keep[lane])
            base = Mux(phase, previous, Mux(works["step"], totals[lane], 0))
            less = works["step"]
            changed = c4_spikes[lane] & Mux(phase, spiking, works["decay"] & ~less)
            change = Mux(changed, Mux(less, ~constant, constant), 0)
            m.d.sync += [
                y.eq(Mux(nothing, 0, keep[lane] + term[lane])),
                addend.eq((Cat(1, base).as_signed() + Cat(changed & less, change).as_signed()) >> 1),    # the carry in
            ]
            total = Signal(signed(wide + 1), name=f"c5_total_{lane}")
            head, short_head = total[bits - 1:], total[config.weight_bits - 1:]
            fits = Mux(works["learn"], (short_head == 0) | short_head.all(), (head == 0) | head.all())
            m.d.comb += total.eq(y + addend)
            with m.If(at("valid", 5) & ~works["mac"] & ~works["tree"]):
                m.d.sync += result[lane].eq(
                    Mux(fits, total[:bits], Cat((~total[-1]).replicate(bits - 1), total[-1])))
            with m.Elif(self.poke_lane[lane]):
                m.d.sync += result[lane].eq(self.poke_value)

    _begun_bits = 0

    def _add(self, m, word, total, adds):
        """STEP, POST and a reset leave zero."""
        with m.If(adds):
            m.d.comb += word.eq(total)

    def _so_far(self, m, at, c0, end, row_valid, adds, write, read):
        """The gap between rows keeps reads and writes of a word apart."""
        words = at("mac", 3) | (at("step", 3) & ~at("phase", 3))
        m.d.comb += [
            read.en.eq(words | row_valid | at("post", 0)),
            read.addr.eq(Mux(row_valid, at("target", end + 1), Mux(words, at("neuron", 3), c0.neuron))),
        ]
        bits = self.config.accumulator_bits
        return [read.data.word_select(lane, bits) for lane in range(self.config.lanes)]

    def _used(self, at):
        return Cat(at("mac", 4), at("step", 4) & ~at("phase", 4), at("post", 4)).any(), at("neuron", 4)

    def _sum(self, m, at, term, row_valid):
        """The sum of a word at once, that of a row where it stays until the next."""
        lanes, bits = self.config.lanes, self.config.state_bits
        word_sum = Mux(self._spikes[4][0], term[0], 0)
        end = 4
        if lanes == 2:
            c5_word_sum = Signal(signed(bits + 1))
            m.d.sync += c5_word_sum.eq(word_sum + Mux(self._spikes[4][1], term[1], 0))
            word_sum, end = c5_word_sum, 5
        row_sum = Signal(signed(self.config.accumulator_bits))
        begun = Signal()
        with m.If(at("tree", end)):
            m.d.sync += [row_sum.eq(Mux(begun, row_sum, 0) + word_sum), begun.eq(~at("last", end))]
        return end, [row_sum] * lanes
