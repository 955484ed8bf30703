"""The lanes: P multipliers with their rounding, accumulators, adder tree and surrogate tables.

Stages of a word; c0 is the cycle in which the memories are addressed:

    c0         c1              c2        c3          c4              c5               c6
    address ─► operands a,b ─► a x b ─► + r, >> ─► keep + term ─► + addend, sat ─► write
                                                 └─► accumulator + term
                                                 └─► adder tree ─► accumulator of one lane

r is half a unit or a random number, and a constant besides: what a spike adds to a trace or takes from a membrane, or
the aim of REGULATE. Where a result has no term, or nothing of what was, their registers take zeros from c1 on. What the
host pokes goes the same way, as the constant of a product that is zero.

FEEDBACK, POST and an INTEGRATE of hashed weights need those or the surrogate at c1, which take two
cycles more to make; they wait that long before c0 (`Issue` keeps other words away).

Where thresholds adapt, a word with the threshold's rise B goes right before the one of the membrane:
theta + B is then in the result registers one cycle before the membrane is there to be compared (STEP),
and at hand where the distance to it is taken (POST).
"""

from itertools import pairwise

from amaranth import Cat, Const, Module, Mux, ResetSignal, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .arithmetic import APART, Stages, aligned, one_of, saturated
from .config import CoreConfig
from .copies import Copies
from .isa import Flag, Opcode
from .issue import word_layout
from .numerics import SURROGATE_BITS, SURROGATE_ENTRIES
from .pending import PENDING, is_late, watch
from .random import GroupHash, lane_random

__all__ = ["POKE_LATENCY", "Lanes"]

POKE_LATENCY = 6
"""Cycles from a poke until it is in the result registers."""


class Lanes(wiring.Component):
    """Works on one word per cycle.

    The results of a word wait in the lanes' result registers for the write; the host's writes use the same
    registers, lane by lane (`poke`), while the lanes are idle.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    word : In(word_layout), valid : In(1), ready : Out(1)
        `ready` may be low in a compact core alone; the word stays then.
    pending : Out(PENDING)
        What the words, that of this cycle among them, have still to write.
    meets : Out(1)
        A word that is issued now would come to the accumulators with a row's sum; not in a compact core.
    NAME_address, NAME_enable, NAME : reads of the weights, state, post and spikes memories,
        data one cycle after the address.
    write_NAME, write_NAME_address, result, result_NAME : writes of the same; post and spikes
        share the neuron address.
    write_eligibility : Out(1)
        CLEAR of a word of the eligibility memory, at `write_state_address`.
    psi : Out(lanes * SURROGATE_BITS), write_psi : Out(1), write_psi_address : Out(16)
        POST with SYNAPTIC: the surrogate derivatives of a word of neurons.
    live : Out(1)
        A post factor that is not zero is being written.
    poke_lane : In(lanes), poke_value : In(signed)
        Put a value into the result registers of the lanes named, `POKE_LATENCY` cycles later; one in a compact core.
    table_write, table_read, table_address, table_value, table_data :
        Host access to the surrogate tables (written alike in all lanes).
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        lanes, bits = config.lanes, config.state_bits
        self.table_entries = config.surrogates * SURROGATE_ENTRIES
        super().__init__({
            "word": In(word_layout(config)),
            "valid": In(1),
            "ready": Out(1, init=1),
            "pending": Out(PENDING),
            "meets": Out(1),
            "weights_address": Out(16), "weights_enable": Out(1), "weights": In(lanes * config.weight_bits),
            "state_address": Out(16), "state_enable": Out(1), "state": In(lanes * bits),
            "post_address": Out(16), "post_enable": Out(1), "post": In(lanes * bits),
            "spikes_address": Out(16), "spikes_enable": Out(1), "spikes": In(lanes),
            "write_weights_address": Out(16), "write_state_address": Out(16), "write_neuron_address": Out(16),
            "write_weights": Out(1), "write_state": Out(1), "write_post": Out(1), "write_spikes": Out(1),
            "write_eligibility": Out(1), "write_psi": Out(1), "write_psi_address": Out(16),
            "psi": Out(lanes * SURROGATE_BITS),
            "result": Out(signed(bits)).array(lanes), "result_spikes": Out(lanes),
            "result_weights": Out(lanes * config.weight_bits),
            "live": Out(1),
            "poke_lane": In(lanes), "poke_value": In(signed(bits)),
            "table_write": In(1), "table_read": In(1), "table_address": In(range(self.table_entries)),
            "table_value": In(SURROGATE_BITS), "table_data": Out(SURROGATE_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        lanes, bits = config.lanes, config.state_bits

        # The words that wait for their hash or surrogate.
        late, late_hash = Signal(), Signal()
        m.d.comb += [
            late.eq(is_late(self.word) & ~self._limit(self.word)),
            late_hash.eq(late & (self.word.opcode != Opcode.POST)),
        ]
        c0 = Signal(word_layout(config))
        c0_valid = Signal()
        self._fresh = Signal()          # the first cycle of a word
        self._p1 = p1, p1_valid = self._delay(m, late, c0, c0_valid)

        # What each stage knows of its word.
        by_target = (c0.flags & Flag.BY_TARGET) != 0
        integrate, feedback = c0.opcode == Opcode.INTEGRATE, c0.opcode == Opcode.FEEDBACK
        step, trace = c0.opcode == Opcode.STEP, c0.opcode == Opcode.TRACE
        hashed = (integrate | feedback) & ((c0.flags & Flag.HASHED) != 0)
        learn, post, clear = c0.opcode == Opcode.LEARN, c0.opcode == Opcode.POST, c0.opcode == Opcode.CLEAR
        regulate, limit = c0.opcode == Opcode.REGULATE, self._limit(c0)
        synaptic = Const(0) if not config.synaptic else (c0.flags & Flag.SYNAPTIC) != 0
        decays = (step | trace) & ~limit
        reset_zero = (c0.flags & Flag.RESET_ZERO) != 0
        spikes = step & ~limit & ((c0.flags & Flag.LEAKY) == 0)
        m.submodules.stages = stages = Module()
        self._copies = Copies(m, lanes, apart=not config.compact)
        # What is done with a word, and with all words of an instruction alike.
        works = {
            "mac": (integrate & ~by_target) | feedback | regulate,
            "tree": integrate & by_target,
            "ends": ~(integrate | feedback | regulate),             # has a result
            "from_sum": step & ~limit & ~c0.phase,                  # to which an accumulator is added,
            "from_phase": decays & c0.phase,                        # or the state of the phase before
            # Whence the operand a.
            "by_state": decays | regulate | (learn & by_target),
            "by_post": learn & ~by_target,
            "by_weight": (integrate | feedback) & ~hashed,
            "by_hash": hashed,
            "by_sum": post & ~limit,
            # What is added before bits are cut off, but for LEARN; to two of them a constant, always or with a spike.
            "half": integrate | feedback,
            "constant": regulate,
            "random": decays | (post & ~limit & synaptic),
            "random_post": post & ~limit & ~synaptic,
            "charges": (trace & ~c0.phase) | (spikes & c0.phase & ~reset_zero),
            "empties": spikes & c0.phase & reset_zero,              # a spike leaves nothing
            "decay": decays,
            "step": step & ~limit,
            "limit": limit,
            "learn": learn,
            "post": post & ~limit,
            "apart": post & ~limit & synaptic,
            "spiking": spikes,
            "clear_state": clear & ((c0.flags & (Flag.SPIKES | Flag.SYNAPTIC)) == 0),
            "clear_traces": clear & synaptic,
            "clear_spikes": clear & ((c0.flags & Flag.SPIKES) != 0),
        }
        ways = {
            "regulate": regulate, "hashed": hashed, "by_target": by_target,
            "adaptive": step & ((c0.flags & Flag.ADAPTIVE) != 0),
            "keeps": trace & synaptic & (c0.phase | c0.single),
            "reset_zero": reset_zero,
            "addend": c0.addend,
        }
        at = self._stages(m, stages, c0, c0_valid, works, ways)

        # Addresses.
        m.d.comb += [
            self.state_address.eq(self.word.state),
            self.state_enable.eq(self._fresh & (
                (self.word.opcode == Opcode.STEP) | (self.word.opcode == Opcode.TRACE)
                | (self.word.opcode == Opcode.POST) | (self.word.opcode == Opcode.REGULATE)
                | ((self.word.opcode == Opcode.LEARN) & ((self.word.flags & Flag.BY_TARGET) != 0)))),
            self.weights_address.eq(c0.weight),
            self.weights_enable.eq(c0_valid & (learn | ((integrate | feedback) & ~hashed))),
            self.post_address.eq(c0.neuron),
            self.post_enable.eq(c0_valid & learn & ~by_target),
            self.spikes_address.eq(c0.neuron),
            self.spikes_enable.eq(at("tree", 0) | at("decay", 0)),
        ]
        self._spikes = {n: Signal(lanes, name=f"c{n}_spikes", reset_less=True) for n in (2, 3, 4)}
        m.d.sync += [after.eq(before) for before, after in pairwise([self.spikes, *self._spikes.values()])]

        # Random numbers: at c3, or at c1 for hashed weights.
        m.submodules.hash = group_hash = GroupHash(config.groups)
        hash_early = self._fresh & late_hash
        m.d.comb += [
            group_hash.word_hash.eq(Mux(hash_early, self.word.hash, c0.hash)),
            group_hash.enable.eq(hash_early | (c0_valid & (step | trace | learn | post))),
        ]

        psi = self._surrogates(m, late)
        self._beyond = Signal(lanes, name="c1_beyond", reset_less=True)     # lanes past the population's end
        m.d.sync += self._beyond.eq(Cat(c0.last & (lane >= c0.count) for lane in range(lanes)))
        totals, term, keep = self._multiply(m, at, group_hash, psi)
        end, row_valid = self._accumulate(m, at, c0, totals, term)

        result = [Signal(signed(bits), name=f"c6_result_{lane}", reset_less=True) for lane in range(lanes)]
        self._finish(m, at, totals, term, keep, result)

        # c6: writes.
        spiking = at("spiking", 6) & at("phase", 6)
        poked_spikes = Cat(result[lane][0] for lane in range(lanes))
        limits = [of("addend", 6) for of in self._of]
        if config.synaptic:
            risen = [Signal(signed(bits), name=f"c7_risen_{lane}", reset_less=True) for lane in range(lanes)]
            for lane, of in enumerate(self._of):
                with m.If(of("limit", 6)):
                    m.d.sync += risen[lane].eq(result[lane])
                limits[lane] = Mux(of("adaptive", 6), risen[lane], limits[lane])
        fired = Cat(result[lane] >= limits[lane] for lane in range(lanes))
        m.d.comb += [
            self.write_weights.eq(at("learn", 6)),
            self.write_state.eq(at("decay", 6) | at("clear_state", 6)),
            self.write_post.eq(at("post", 6)),
            self.write_spikes.eq(spiking | at("clear_spikes", 6)),
            self.write_weights_address.eq(at("weight", 6)),
            self.write_state_address.eq(at("state", 6)),
            self.write_neuron_address.eq(at("neuron", 6)),
            self.result_spikes.eq(Mux(spiking, fired, poked_spikes)),
            self.live.eq(at("post", 6) & Cat(result[lane].any() for lane in range(lanes)).any()),
        ]
        m.d.comb += [
            *(mine.eq(value) for mine, value in zip(self.result, result, strict=True)),
            self.result_weights.eq(Cat(     # a saturated weight has its sign in the topmost bit
                Cat(value[config.weight_shift:][:config.weight_bits - 1], value[-1]) for value in result)),
        ]
        if config.synaptic:
            m.d.comb += [
                self.write_eligibility.eq(at("clear_traces", 6)),
                self.write_psi.eq(at("apart", 1)), self.write_psi_address.eq(at("neuron", 1)),
                self.psi.eq(Cat(Mux(beyond, 0, value) for beyond, value in zip(self._beyond, psi, strict=True))),
            ]
        if not config.compact:
            m.d.sync += self.meets.eq(at("tree", end - 3) & at("last", end - 3))
        watch(m, self.pending, at, (self.word, self.valid), (p1, p1_valid), late, end, row_valid,
              compact=config.compact)
        return m

    def _stages(self, m, stages, c0, c0_valid, works, ways):
        """`at(name, n)`: what is known at stage n of its word. `self._of[lane]`: the same for that lane."""
        known = {
            ("valid", 0): c0_valid, ("phase", 0): c0.phase, ("last", 0): c0.last, ("scalar", 0): c0.scalar,
            **{(name, 0): value for name, value in ways.items()},
            **{(name, 0): c0_valid & value for name, value in works.items()},
            ("weight", 0): c0.weight, ("state", 0): c0.state, ("neuron", 0): c0.neuron,
            ("target", 0): c0.target, ("target_lane", 0): c0.target_lane,
            ("poke", 0): self.poke_lane.any(), ("poke_lane", 0): self.poke_lane, ("poke_value", 0): self.poke_value,
        }
        self._of = self._copies.stages("c", known)
        return Stages(stages, "c", known)

    def _delay(self, m, late, c0, c0_valid):
        """Words that need it come to c0 two cycles later, P1 and P2; others may be on their way behind them."""
        p1_valid, p2_valid = Signal(), Signal()
        p1, p2 = (Signal(word_layout(self.config), name=name, reset_less=True) for name in ("p1", "p2"))
        m.d.sync += [p1_valid.eq(self.valid & late), p2_valid.eq(p1_valid)]
        with m.If(self.valid & late):
            m.d.sync += p1.eq(self.word)
        with m.If(p1_valid):
            m.d.sync += p2.eq(p1)
        m.d.comb += [
            c0.eq(Mux(p2_valid, p2, self.word)),
            c0_valid.eq(p2_valid | (self.valid & ~late)),
            self._fresh.eq(self.valid),
        ]
        return p1, p1_valid

    def _finish(self, m, at, totals, term, keep, result):
        """c4 and c5: the results. What is poked comes as a term, and goes to the lanes named alone."""
        config = self.config
        lanes, bits = config.lanes, config.state_bits
        y_bits = len(term[0]) + 1
        y = [Signal(signed(y_bits), name=f"c5_y_{lane}", reset_less=True) for lane in range(lanes)]
        addend = [Signal(signed(config.accumulator_bits), name=f"c5_addend_{lane}", reset_less=True)
                  for lane in range(lanes)]
        previous = [Signal(signed(bits), name=f"c4_previous_{lane}", reset_less=True) for lane in range(lanes)]
        if config.synaptic:
            began = Signal(lanes, name="c5_began")              # the trace was not zero before
            m.d.sync += began.eq(Cat(kept.any() for kept in keep))
        weight_bits = config.weight_bits + config.weight_shift
        takes = Signal(lanes, name="c5_takes")
        m.d.sync += takes.eq(Mux(at("ends", 4), (1 << lanes) - 1, at("poke_lane", 4)))
        for lane, of in enumerate(self._of):
            with m.If(of("ends", 4) | of("poke", 4)):
                m.d.sync += [
                    y[lane].eq(keep[lane] + term[lane]),
                    addend[lane].eq(one_of(
                        (of("from_phase", 4), previous[lane]), (of("from_sum", 4), totals[lane]),
                        (of("limit", 4), of("addend", 4)))),
                ]
            with m.If(of("decay", 4) & ~of("phase", 4)):
                m.d.sync += previous[lane].eq(keep[lane])
            total = Signal(signed(max(y_bits, config.accumulator_bits) + 1), name=f"c5_total_{lane}")
            m.d.comb += total.eq(y[lane] + addend[lane])
            head, weight_head = total[bits - 1:], total[weight_bits - 1:]
            fits = Mux(of("learn", 5), (weight_head == 0) | weight_head.all(), (head == 0) | head.all())
            with m.If(takes[lane]):
                m.d.sync += result[lane].eq(
                    Mux(fits, total[:bits], Cat((~total[-1]).replicate(bits - 1), total[-1])))
                if config.synaptic:
                    with m.If(of("keeps", 5) & began[lane] & (total == 0)):
                        m.d.sync += result[lane].eq(1)

    def _limit(self, word):
        """Whether the word holds the threshold's rise."""
        return word.limit if self.config.synaptic else Const(0)

    def _surrogates(self, m, late):
        """The surrogate derivative of each lane at c1: P1 |U - theta|, P2 the table's address."""
        config = self.config
        index_bits = (SURROGATE_ENTRIES - 1).bit_length()
        known = {
            ("late", 0): self.valid & late, ("addend", 0): self.word.addend,
            ("shift", 0): self.word.shift, ("table", 0): (self.word.flags >> 4)[:2],
            ("adaptive", 0): (self.word.flags & Flag.ADAPTIVE) != 0,
            ("rise", 0): self.valid & self._limit(self.word),       # the word before has the threshold's rise
        }
        before = self._copies.stages("p", known)
        psi = []
        for lane in range(config.lanes):
            table = Memory(shape=SURROGATE_BITS, depth=self.table_entries, init=[])
            m.submodules[f"surrogate_{lane}"] = table
            write, read = table.write_port(), table.read_port()
            m.d.comb += [
                write.en.eq(self.table_write), write.addr.eq(self.table_address), write.data.eq(self.table_value),
            ]
            distance = Signal(config.state_bits + 1, name=f"p2_distance_{lane}", reset_less=True)
            state = self.state.word_select(lane, config.state_bits).as_signed()
            of = before[lane]
            limit = of("addend", 1)
            if config.synaptic:
                risen = Signal(signed(config.state_bits), name=f"p1_risen_{lane}", reset_less=True)
                with m.If(of("rise", 1)):
                    m.d.sync += risen.eq(saturated(state + limit, config.state_bits))
                limit = Mux(of("adaptive", 1), risen, limit)
            v = state - limit
            with m.If(of("late", 1)):
                m.d.sync += distance.eq(Mux(v < 0, -v, v))
            steps = distance >> of("shift", 2)
            entry = steps[:index_bits] | steps[index_bits:].any().replicate(index_bits)     # the last one past the end
            address = Cat(entry[:index_bits], of("table", 2))[:len(read.addr)]
            if lane == 0:
                m.d.comb += [
                    read.en.eq(of("late", 2) | self.table_read),
                    read.addr.eq(Mux(self.table_read, self.table_address, address)),
                    self.table_data.eq(read.data),
                ]
            else:
                m.d.comb += [read.en.eq(of("late", 2)), read.addr.eq(address)]
            psi.append(read.data)
        return psi

    def _multiply(self, m, at, group_hash, psi):
        """c1 operands, c2 product, c3 rounding; returns the accumulators' data, terms and what is kept, at c4."""
        config = self.config
        lanes, bits, weight_bits = config.lanes, config.state_bits, config.weight_bits
        mac_shift, post_shift = self._cuts()
        term_bits = max(bits + 3, 2 * bits - config.update_shift + 1)

        def signals(name, width):
            return [Signal(signed(width), name=f"{name}_{lane}", reset_less=True) for lane in range(lanes)]

        a, b, product, term = (signals(n, w) for n, w in (
            ("c2_a", bits), ("c2_b", bits), ("c3_product", 2 * bits), ("c4_term", term_bits)))
        keep = {n: signals(f"c{n}_keep", bits) for n in (2, 3, 4)}
        totals = signals("total", config.accumulator_bits)
        emptied = self._emptied(at)

        for lane in range(lanes):
            weight = self.weights.word_select(lane, weight_bits).as_signed().shift_left(mac_shift - config.mac_shift)
            state = self.state.word_select(lane, bits).as_signed()
            post = self.post.word_select(lane, bits).as_signed()
            feedback = Cat(Const(0, mac_shift - 8), Const(1, 1), self._hash_byte(at, group_hash, lane)).as_signed()
            of = self._of[lane]
            with m.If(self._goes(of, 1)):
                m.d.sync += [
                    a[lane].eq(one_of(
                        (of("by_state", 1) & ~emptied[lane], state), (of("by_post", 1), post),
                        (of("by_weight", 1), weight), (of("by_hash", 1), feedback),
                        (of("by_sum", 1) & ~self._beyond[lane], saturated(totals[lane], bits)))),
                    b[lane].eq(Mux(of("random_post", 1), psi[lane].shift_left(post_shift - 7), of("scalar", 1))),
                ]
            with m.If(self._goes(of, 2)):
                m.d.sync += product[lane].eq(a[lane] * b[lane])
        self._keep_and_round(m, at, keep, emptied, product, group_hash, term)
        return totals, term, keep[4]

    def _emptied(self, at):
        """At c1, the lanes of neurons that a spike resets to zero."""
        return Mux(at("empties", 1), self.spikes, 0)

    def _cuts(self):
        """Fraction bits of a product of INTEGRATE and of one of POST: their operands have zeros below, so that as
        many bits are cut off as of other products, or nearly."""
        config = self.config
        return max(config.mac_shift, config.decay_fraction), config.state_bits - 2

    def _goes(self, of, n):
        """Whether registers of stage n take anything."""
        return of("valid", n) | of("poke", n)

    def _hash_byte(self, at, group_hash, lane):
        """Of a lane, at c1."""
        return group_hash.o[lane // 4].word_select(3 - lane % 4, 8)

    def _keep_and_round(self, m, at, keep, emptied, product, group_hash, term):
        """c1 to c4: weights or states that wait for their term. c3: one adder rounds, whatever is cut off."""
        config, bits = self.config, self.config.state_bits
        mac_shift, post_shift = self._cuts()
        decay_shift, update_shift = config.decay_fraction, config.update_shift
        constant = at("addend", 2)
        charges = self._copies.register("charge", Mux(
            at("poke", 2), at("poke_value", 2), Mux(at("step", 2), -constant, constant)), at("ends", 2) | at("mac", 2)
            | at("poke", 2))
        for lane, (of, charge) in enumerate(zip(self._of, charges, strict=True)):
            weight = self.weights.word_select(lane, config.weight_bits).as_signed()
            state = self.state.word_select(lane, bits).as_signed()
            with m.If(of("ends", 1) | of("poke", 1)):
                m.d.sync += keep[2][lane].eq(one_of(
                    (of("learn", 1), weight.shift_left(config.weight_shift)),
                    ((of("decay", 1) | of("limit", 1)) & ~emptied[lane], state)))
            for n in (2, 3):
                with m.If(of("ends", n) | of("poke", n)):
                    m.d.sync += keep[n + 1][lane].eq(keep[n][lane])

            half, post, learn = of("half", 3), of("random_post", 3), of("learn", 3)      # of POST 7 bits count
            charged = of("constant", 3) | of("poke", 3) | (of("charges", 3) & self._spikes[3][lane])
            with m.If(self._goes(of, 3)):
                random = lane_random(group_hash.o, lane)
                fraction = one_of(
                    (half, Const(1 << mac_shift - 1)), (of("constant", 3), Const(1 << decay_shift - 1)),
                    (of("random", 3), aligned(random, decay_shift)), (post, aligned(random, post_shift)),
                    (learn, aligned(random, update_shift)))
                rounding = Signal(signed(2 * bits + 1), name=f"c3_rounding_{lane}")
                rounded = Signal(signed(2 * bits + 2), name=f"c3_rounded_{lane}")
                cut = rounded >> decay_shift
                for cuts, shift in ((half, mac_shift), (post, post_shift), (learn, update_shift - config.weight_shift)):
                    if shift != decay_shift:
                        cut = Mux(cuts, rounded >> shift, cut)
                m.d.comb += [
                    rounding.eq(fraction | Mux(charged, charge.shift_left(decay_shift), 0)),
                    rounded.eq(product[lane] + rounding),
                ]
                m.d.sync += term[lane].eq(cut)

    def _accumulate(self, m, at, c0, totals, term):
        """The accumulators' memory (what has been read is there at c4, and then written; of POST at c1) and the adder
        tree.

        Returns the stage at which a word's sum is there, and whether a row's is, a cycle later."""
        config = self.config
        lanes, total_bits = config.lanes, config.accumulator_bits
        width = total_bits + self._begun_bits
        m.submodules.accumulators = memory = Memory(
            shape=lanes * width, depth=config.neuron_words, init=[], attrs=APART)
        write = memory.write_port()
        read = memory.read_port()
        row_valid, row_valid_late = Signal(), Signal()
        end, row_total = self._sum(m, at, term, row_valid)
        m.d.sync += [row_valid.eq(at("tree", end) & at("last", end)), row_valid_late.eq(row_valid)]
        row_lane = Signal(lanes)
        m.d.sync += row_lane.eq(1 << at("target_lane", end + 1))

        used, used_address = self._used(at)
        # The host cannot write them: a reset clears them, a word in a cycle, in any order.
        in_reset = ResetSignal(allow_reset_less=True)
        adds = (row_valid_late | at("mac", 4)) & ~in_reset
        sweep = Signal.like(write.addr, name="sweep", reset_less=True)
        m.d.sync += sweep.eq(sweep + 1)
        m.d.comb += [
            write.en.eq(used | row_valid_late | in_reset),
            write.addr.eq(Mux(in_reset, sweep, Mux(row_valid_late, at("target", end + 2), used_address))),
        ]
        so_far = self._so_far(m, at, c0, end, row_valid, adds, write, read)
        m.d.comb += [total.eq(sum_so_far.as_signed()) for total, sum_so_far in zip(totals, so_far, strict=True)]
        rows = self._copies.register("row", row_valid)
        for lane, (of, row) in enumerate(zip(self._of, rows, strict=True)):
            more = Mux(row, Mux(row_lane[lane], row_total[lane], 0), term[lane])
            self._add(m, write.data.word_select(lane, width), totals[lane] + more, (row | of("mac", 4)) & ~in_reset)
        return end, row_valid

    _begun_bits = 1
    """Bits of an accumulator that tell whether it has begun; if not, it is zero, whatever else it holds."""

    def _add(self, m, word, total, adds):
        """What is written to an accumulator. STEP, POST and a reset add nothing: it has not begun then."""
        m.d.comb += word.eq(Cat(total[:self.config.accumulator_bits], adds))

    def _so_far(self, m, at, c0, end, row_valid, adds, write, read):
        """Each lane's accumulator. Block memory is slow: it is read two cycles before, and what has been written since,
        in the cycle of the read or the next, comes from there."""
        row, words = at("tree", end) & at("last", end), at("mac", 2) | (at("step", 2) & ~at("phase", 2))
        late, late_valid = self._p1
        posts = late_valid & (late.opcode == Opcode.POST)
        m.d.comb += [
            read.en.eq(row | words | posts),
            read.addr.eq(Mux(row, at("target", end), Mux(words, at("neuron", 2), late.neuron))),
        ]
        # A sum that is written in the next cycle; STEP and POST, which leave nothing, are never right before a read.
        meets_next = (row_valid | at("mac", 3)) & (
            read.addr == Mux(row_valid, at("target", end + 1), at("neuron", 3)))
        meets = write.en & (read.addr == write.addr)
        latest = self._copies.register("latest", meets_next)
        again = self._copies.register("again", meets & adds & ~meets_next)
        apart = self._copies.register("apart", ~meets & ~meets_next)
        sums = []
        width = self.config.accumulator_bits + self._begun_bits
        for lane in range(self.config.lanes):
            *data, begun = read.data.word_select(lane, width)
            total = write.data.word_select(lane, width)[:-1]
            written, so_far = (Signal(self.config.accumulator_bits, name=f"{name}_{lane}", reset_less=True)
                               for name in ("c4_written", "c4_so_far"))
            m.d.sync += [
                written.eq(total),
                so_far.eq(one_of(
                    (latest[lane], total), (again[lane], written), (apart[lane] & begun, Cat(data)))),
            ]
            sums.append(so_far)
        return sums

    def _used(self, at):
        """Whether a word of accumulators has been used, and is written; which one."""
        used = Cat(at("mac", 4), at("step", 4) & ~at("phase", 4), at("post", 1)).any()
        return used, Mux(at("post", 1), at("neuron", 1), at("neuron", 4))

    def _sum(self, m, at, term, row_valid):
        """The tree: sums the terms of the spiking sources, then the words of a row.

        Returns the stage at which a word's sum is there, and a row's total, two cycles later, for each lane."""
        config = self.config
        lanes, bits, total_bits = config.lanes, config.state_bits, config.accumulator_bits
        levels = (lanes - 1).bit_length()
        level = [Signal(signed(bits), name=f"c5_leaf_{lane}", reset_less=True) for lane in range(lanes)]
        for lane, of in enumerate(self._of):
            with m.If(of("tree", 4)):
                m.d.sync += level[lane].eq(Mux(self._spikes[4][lane], term[lane], 0))
        for n in range(levels):
            pairs = list(zip(level[::2], level[1::2], strict=True))
            level = [Signal(signed(bits + n + 1), name=f"tree_{n}_{k}", reset_less=True) for k in range(len(pairs))]
            with m.If(at("tree", 5 + n)):
                for total, (left, right) in zip(level, pairs, strict=True):
                    m.d.sync += total.eq(left + right)
        end = 5 + levels
        row_sum, row_total = (Signal(signed(total_bits), name=name) for name in ("row_sum", "row_total"))
        with m.If(at("tree", end)):
            m.d.sync += row_sum.eq(Mux(at("last", end), 0, row_sum + level[0]))
            m.d.sync += row_total.eq(row_sum + level[0])
        return end, self._copies.register("row_total_late", row_total)
