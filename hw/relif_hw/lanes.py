"""The lanes: P multipliers with their rounding, accumulators, adder tree and surrogate tables.

Stages of a word; c0 is the cycle in which the memories are addressed:

    c0        c1             c2        c3              c4                c5              c6
    address ─► operands a,b ─► a x b ─► + r, >> ─► term ─► keep + term ─► + addend, sat ─► write
                                                    └─► accumulator + term
                                                    └─► adder tree ─► accumulator of one lane

FEEDBACK, POST and an INTEGRATE of hashed weights need those or the surrogate at c1, which take two
cycles more to make; they wait that long before c0 (`Issue` keeps other words away).

Where thresholds adapt, a word with the threshold's rise B goes right before the one of the membrane:
theta + B is then in the result registers one cycle before the membrane is there to be compared (STEP),
and at hand where the distance to it is taken (POST).
"""

from amaranth import Cat, Const, Module, Mux, ResetSignal, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .arithmetic import APART, Stages, aligned, saturated
from .config import CoreConfig
from .copies import Copies
from .isa import Flag, Opcode
from .issue import word_layout
from .numerics import SURROGATE_BITS, SURROGATE_ENTRIES
from .pending import PENDING, is_late, watch
from .random import GroupHash, lane_random

__all__ = ["Lanes"]


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
    write_NAME, write_NAME_address, result, result_spikes : writes of the same; post and spikes
        share the neuron address.
    write_eligibility : Out(1)
        CLEAR of a word of the eligibility memory, at `write_state_address`.
    psi : Out(lanes * SURROGATE_BITS), write_psi : Out(1), write_psi_address : Out(16)
        POST with SYNAPTIC: the surrogate derivatives of a word of neurons.
    live : Out(1)
        A post factor that is not zero is being written.
    poke_lane : In(lanes), poke_value : In(signed)
        Put a value into the result registers of the lanes named: a cycle late, but for a compact core.
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
        p1, p1_valid = self._delay(m, late, c0, c0_valid)

        # What each stage knows of its word.
        by_target = (c0.flags & Flag.BY_TARGET) != 0
        integrate, feedback = c0.opcode == Opcode.INTEGRATE, c0.opcode == Opcode.FEEDBACK
        step, trace = c0.opcode == Opcode.STEP, c0.opcode == Opcode.TRACE
        hashed = (integrate | feedback) & ((c0.flags & Flag.HASHED) != 0)
        learn, post, clear = c0.opcode == Opcode.LEARN, c0.opcode == Opcode.POST, c0.opcode == Opcode.CLEAR
        regulate, limit = c0.opcode == Opcode.REGULATE, self._limit(c0)
        synaptic = Const(0) if not config.synaptic else (c0.flags & Flag.SYNAPTIC) != 0
        m.submodules.stages = stages = Module()
        self._copies = Copies(m, lanes, apart=not config.compact)
        # What is done with a word, and with all words of an instruction alike.
        works = {
            "mac": (integrate & ~by_target) | feedback | regulate,
            "tree": integrate & by_target,
            "decay": (step | trace) & ~limit,
            "step": step & ~limit,
            "limit": limit,
            "learn": learn,
            "post": post & ~limit,
            "apart": post & ~limit & synaptic,
            "spiking": step & ~limit & ((c0.flags & Flag.LEAKY) == 0),
            "clear_state": clear & ((c0.flags & (Flag.SPIKES | Flag.SYNAPTIC)) == 0),
            "clear_traces": clear & synaptic,
            "clear_spikes": clear & ((c0.flags & Flag.SPIKES) != 0),
        }
        ways = {
            "regulate": regulate, "hashed": hashed, "by_target": by_target,
            "adaptive": step & ((c0.flags & Flag.ADAPTIVE) != 0),
            "keeps": trace & synaptic & (c0.phase | c0.single),
            "reset_zero": (c0.flags & Flag.RESET_ZERO) != 0,
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
        c2_spikes, c3_spikes, c4_spikes = (Signal(lanes, name=f"c{n}_spikes", reset_less=True) for n in (2, 3, 4))
        m.d.sync += [c2_spikes.eq(self.spikes), c3_spikes.eq(c2_spikes), c4_spikes.eq(c3_spikes)]

        # Random numbers: at c3, or at c1 for hashed weights.
        m.submodules.hash = group_hash = GroupHash(config.groups)
        hash_early = self._fresh & late_hash
        m.d.comb += [
            group_hash.word_hash.eq(Mux(hash_early, self.word.hash, c0.hash)),
            group_hash.enable.eq(hash_early | (c0_valid & (step | trace | learn | post))),
        ]

        psi = self._surrogates(m, late)
        totals, term, keep = self._multiply(m, at, group_hash, psi)
        end, row_valid = self._accumulate(m, at, c0, totals, term, c4_spikes)

        result = [Signal(signed(bits), name=f"c6_result_{lane}", reset_less=True) for lane in range(lanes)]
        self._finish(m, at, works, totals, term, keep, c4_spikes, result)

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
        m.d.comb += [self.result[lane].eq(result[lane]) for lane in range(lanes)]
        if config.synaptic:
            within = [~at("beyond", 1)[lane] for lane in range(lanes)]
            m.d.comb += [
                self.write_eligibility.eq(at("clear_traces", 6)),
                self.write_psi.eq(at("apart", 1)), self.write_psi_address.eq(at("neuron", 1)),
                self.psi.eq(Cat(Mux(inside, value, 0) for inside, value in zip(within, psi, strict=True))),
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
            ("beyond", 0): Cat(c0.last & (lane >= c0.count) for lane in range(self.config.lanes)),
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

    def _finish(self, m, at, works, totals, term, keep, c4_spikes, result):
        """c4 and c5: the results, and what is poked into their registers."""
        config = self.config
        lanes, bits = config.lanes, config.state_bits
        # c4: keep + term, and what is added to it; c5: the sum.
        wide = config.accumulator_bits + 1
        y = [Signal(signed(wide), name=f"c5_y_{lane}", reset_less=True) for lane in range(lanes)]
        addend = [Signal(signed(wide), name=f"c5_addend_{lane}", reset_less=True) for lane in range(lanes)]
        previous = [Signal(signed(bits), name=f"c4_previous_{lane}", reset_less=True) for lane in range(lanes)]
        if config.synaptic:
            began = Signal(lanes, name="c5_began")              # the trace was not zero before
            m.d.sync += began.eq(Cat(kept.any() for kept in keep))
        poked = Signal(lanes)
        m.d.sync += poked.eq(self.poke_lane)
        poke_values = self._copies.register("poke_value", self.poke_value)
        for lane, of in enumerate(self._of):
            phase, decay, constant = of("phase", 4), of("decay", 4), of("addend", 4)
            cleared = of("clear_state", 4) | of("clear_spikes", 4) | of("clear_traces", 4)
            keeping = decay | of("learn", 4) | of("limit", 4)
            adding = decay | of("learn", 4) | of("post", 4)
            resetting = decay & phase & of("spiking", 4)        # a neuron that spiked loses theta, or all
            spike = c4_spikes[lane]
            none = (of("post", 4) & at("beyond", 4)[lane]) | (spike & resetting & of("reset_zero", 4))
            with m.If(keeping | adding | cleared):
                m.d.sync += y[lane].eq(
                    Mux(keeping & ~none, keep[lane], 0) + Mux(adding & ~none, term[lane], 0))
                with m.If(decay & phase):
                    subtract = spike & resetting & ~of("reset_zero", 4)
                    m.d.sync += addend[lane].eq(previous[lane] - Mux(subtract, constant, 0))
                with m.Elif(decay & of("step", 4)):
                    m.d.sync += addend[lane].eq(totals[lane])
                with m.Else():
                    m.d.sync += addend[lane].eq(Mux(of("limit", 4) | (decay & spike), constant, 0))
            with m.If(decay & ~phase):
                m.d.sync += previous[lane].eq(keep[lane])
            with m.If(of("learn", 5)):
                m.d.sync += result[lane].eq(saturated(y[lane], config.weight_bits))
            with m.Elif(of("valid", 5) & ~of("mac", 5) & ~of("tree", 5)):
                total = y[lane] + addend[lane]
                m.d.sync += result[lane].eq(saturated(total, bits))
                if config.synaptic:
                    with m.If(of("keeps", 5) & began[lane] & (total == 0)):
                        m.d.sync += result[lane].eq(1)
            with m.Elif(poked[lane]):
                m.d.sync += result[lane].eq(poke_values[lane])

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
            entry = Mux(steps >= SURROGATE_ENTRIES, SURROGATE_ENTRIES - 1, steps[:index_bits])
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
        mac_shift = config.mac_shift
        term_bits = max(bits + 3, 2 * bits - config.update_shift + 1)

        def signals(name, width):
            return [Signal(signed(width), name=f"{name}_{lane}", reset_less=True) for lane in range(lanes)]

        a, b, product, term = (signals(n, w) for n, w in (
            ("c2_a", bits), ("c2_b", bits), ("c3_product", 2 * bits), ("c4_term", term_bits)))
        keep = {n: signals(f"c{n}_keep", bits) for n in (2, 3, 4)}
        totals = signals("total", config.accumulator_bits)

        for lane in range(lanes):
            weight = self.weights.word_select(lane, weight_bits).as_signed()
            state = self.state.word_select(lane, bits).as_signed()
            post = self.post.word_select(lane, bits).as_signed()
            feedback = Cat(Const(0, mac_shift - 8), Const(1, 1), self._hash_byte(at, group_hash, lane)).as_signed()
            of = self._of[lane]
            with m.If(of("mac", 1) | of("tree", 1)):
                m.d.sync += [a[lane].eq(Mux(of("hashed", 1), feedback, weight)), b[lane].eq(of("scalar", 1))]
                with m.If(of("regulate", 1)):
                    m.d.sync += a[lane].eq(state)
            with m.Elif(of("learn", 1)):
                m.d.sync += [
                    a[lane].eq(Mux(of("by_target", 1), state, post)), b[lane].eq(of("scalar", 1)),
                ]
            with m.Elif(of("decay", 1)):
                m.d.sync += [a[lane].eq(state), b[lane].eq(of("scalar", 1))]
            with m.Elif(of("post", 1)):
                m.d.sync += [a[lane].eq(saturated(totals[lane], bits)), b[lane].eq(Mux(
                    of("apart", 1), of("scalar", 1), psi[lane] << (mac_shift - 7)))]
            with m.If(self._goes(of, 2)):
                m.d.sync += product[lane].eq(a[lane] * b[lane])
        self._keep(m, at, keep)
        self._round(m, at, product, group_hash, term)
        return totals, term, keep[4]

    def _goes(self, at, n):
        """Whether registers of stage n take anything."""
        return at("valid", n)

    def _hash_byte(self, at, group_hash, lane):
        """Of a lane, at c1."""
        return group_hash.o[lane // 4].word_select(3 - lane % 4, 8)

    def _keep(self, m, at, keep):
        """c1 to c4: weights or states that wait for their term."""
        lanes, bits, weight_bits = self.config.lanes, self.config.state_bits, self.config.weight_bits
        for lane in range(lanes):
            of = self._of[lane]
            with m.If(of("learn", 1)):
                m.d.sync += keep[2][lane].eq(self.weights.word_select(lane, weight_bits).as_signed())
            with m.Elif(of("decay", 1) | of("limit", 1)):
                m.d.sync += keep[2][lane].eq(self.state.word_select(lane, bits).as_signed())
            for n in (2, 3):
                with m.If(of("decay", n) | of("learn", n) | of("limit", n)):
                    m.d.sync += keep[n + 1][lane].eq(keep[n][lane])

    def _round(self, m, at, product, group_hash, term):
        """c3: one adder rounds, whatever is cut off: half a unit, a random number, or the aim of REGULATE besides."""
        config = self.config
        mac_shift, decay_shift, update_shift = config.mac_shift, config.decay_fraction, config.update_shift
        for lane, of in enumerate(self._of):
            regulate, post = of("mac", 3) & of("regulate", 3), of("post", 3) & ~of("apart", 3)
            plain = (of("mac", 3) | of("tree", 3)) & ~regulate
            by_mac = plain | post                       # cut by MS bits; LEARN by K, all else by R
            aim = Cat(Const(1 << decay_shift - 1, decay_shift), of("addend", 3)).as_signed()
            with m.If(of("valid", 3)):
                random = lane_random(group_hash.o, lane)
                rounding = Signal(signed(len(aim) + 1), name=f"c3_rounding_{lane}")
                with m.If(regulate):
                    m.d.comb += rounding.eq(aim)
                with m.Elif(plain):
                    m.d.comb += rounding.eq(1 << mac_shift - 1)
                with m.Elif(post):
                    m.d.comb += rounding.eq(Cat(Const(0, mac_shift - 7), aligned(random, 7)))
                with m.Elif(of("learn", 3)):
                    m.d.comb += rounding.eq(aligned(random, update_shift))
                with m.Else():
                    m.d.comb += rounding.eq(aligned(random, decay_shift))
                rounded = Signal(signed(len(product[lane]) + 2), name=f"c3_rounded_{lane}")
                m.d.comb += rounded.eq(product[lane] + rounding)
                m.d.sync += term[lane].eq(Mux(by_mac, rounded >> mac_shift, Mux(
                    of("learn", 3), rounded >> update_shift, rounded >> decay_shift)))

    def _accumulate(self, m, at, c0, totals, term, c4_spikes):
        """The accumulators' memory (read at c3, written at c4; by POST at c0 and c1) and the adder tree.

        Returns the stage at which a word's sum is there, and whether a row's is, a cycle later."""
        config = self.config
        lanes, total_bits = config.lanes, config.accumulator_bits
        m.submodules.accumulators = memory = Memory(
            shape=lanes * total_bits, depth=config.neuron_words, init=[], attrs=APART)
        write = memory.write_port()
        read = memory.read_port()
        row_valid, row_valid_late = Signal(), Signal()
        end, row_total = self._sum(m, at, term, c4_spikes, row_valid)
        m.d.sync += [row_valid.eq(at("tree", end) & at("last", end)), row_valid_late.eq(row_valid)]
        row_lane = Signal(lanes)
        m.d.sync += row_lane.eq(1 << at("target_lane", end + 1))

        step_read = at("step", 3) & ~at("phase", 3)
        used, used_address = self._used(at)
        reads = at("mac", 3) | step_read | row_valid
        for lane, sum_so_far in enumerate(self._so_far(m, reads, used | row_valid_late, write, read)):
            m.d.comb += totals[lane].eq(sum_so_far.as_signed())
        # The host cannot write them: a reset clears them, a word in a cycle, in any order.
        in_reset = ResetSignal(allow_reset_less=True)
        sweep = Signal.like(write.addr, name="sweep", reset_less=True)
        m.d.sync += sweep.eq(sweep + 1)
        m.d.comb += [
            read.en.eq(reads | at("post", 0)),
            read.addr.eq(Mux(row_valid, at("target", end + 1), Mux(
                at("mac", 3) | step_read, at("neuron", 3), c0.neuron))),
            write.en.eq(used | row_valid_late | in_reset),
            write.addr.eq(Mux(in_reset, sweep, Mux(row_valid_late, at("target", end + 2), used_address))),
        ]
        # Zero is what STEP, POST and a reset leave.
        rows = self._copies.register("row", row_valid)
        for lane, (of, row) in enumerate(zip(self._of, rows, strict=True)):
            more = Mux(row, Mux(row_lane[lane], row_total[lane], 0), term[lane])
            with m.If((row | of("mac", 4)) & ~in_reset):
                m.d.comb += write.data.word_select(lane, total_bits).eq(totals[lane] + more)
        return end, row_valid

    def _so_far(self, m, reads, writes, write, read):
        """Each lane's accumulator: what has been read, or what was written in that cycle, by the word or row before."""
        written = Signal.like(write.data, name="c4_written", reset_less=True)
        m.d.sync += written.eq(write.data)
        again = self._copies.register("again", reads & writes & (read.addr == write.addr))
        return [Mux(again[lane], written.word_select(lane, self.config.accumulator_bits),
                    read.data.word_select(lane, self.config.accumulator_bits)) for lane in range(self.config.lanes)]

    def _used(self, at):
        """Whether a word of accumulators has been used, and is written; which one."""
        used = Cat(at("mac", 4), at("step", 4) & ~at("phase", 4), at("post", 1)).any()
        return used, Mux(at("post", 1), at("neuron", 1), at("neuron", 4))

    def _sum(self, m, at, term, c4_spikes, row_valid):
        """The tree: sums the terms of the spiking sources, then the words of a row.

        Returns the stage at which a word's sum is there, and a row's total, two cycles later, for each lane."""
        config = self.config
        lanes, bits, total_bits = config.lanes, config.state_bits, config.accumulator_bits
        levels = (lanes - 1).bit_length()
        level = [Signal(signed(bits), name=f"c5_leaf_{lane}", reset_less=True) for lane in range(lanes)]
        for lane, of in enumerate(self._of):
            with m.If(of("tree", 4)):
                m.d.sync += level[lane].eq(Mux(c4_spikes[lane], term[lane], 0))
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
