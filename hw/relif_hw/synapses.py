"""Eligibility traces of single synapses: decayed and read in the same pass as the weight (synaptic cores).

    s0        s1       s2          s3          s4     s5              s6          s7
    address ─► E, psi ─► t, E, psi ─► psi t ───► e ──► rise e ───────► sum + r ──► saturate ─► write E
                                    leak E ──────────────────────────┘

    s6        s7   s8       s9          s10             s11     s12
    address ─► L ─► L, out ─► L x out ──► + r, >> ──────► w + ─► saturate ─► write w
                              address ──► w ───────────┘

One word enters per cycle. With the trace P_j of the row (its scalar p) and the surrogate derivative psi_i:

    E[n+1] = kappa E[n] + psi p                                  out = E[n+1]
    e      = psi (p - E[n])     E[n+1] = rho E[n] + rise e       out = e          thresholds that adapt
    W     += L out

In the second line E is the derivative of the threshold to the weight: a spike raises it.
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .arithmetic import Stages, aligned, saturated
from .config import CoreConfig
from .isa import Flag
from .issue import word_layout
from .numerics import SURROGATE_BITS
from .random import GroupHash, lane_random

__all__ = ["Synapses"]


class Synapses(wiring.Component):
    """Works on one word of a synaptic LEARN per cycle.

    Parameters
    ----------
    config : CoreConfig
        Of a synaptic core.

    Members
    -------
    word : In(word_layout), valid : In(1)
    busy : Out(1)
        A word has not yet written its weights.
    NAME_address, NAME_enable, NAME : reads of the eligibility, weights and post memories, data one
        cycle after the address.
    write_NAME, write_NAME_address, NAME_result : writes of eligibility and weights.
    psi, write_psi, write_psi_address : In
        Surrogate derivatives, from POST.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        traces, weights = config.lanes * config.state_bits, config.lanes * config.weight_bits
        super().__init__({
            "word": In(word_layout(config)),
            "valid": In(1),
            "busy": Out(1),
            "eligibility_address": Out(16), "eligibility_enable": Out(1), "eligibility": In(traces),
            "weights_address": Out(16), "weights_enable": Out(1), "weights": In(weights),
            "post_address": Out(16), "post_enable": Out(1), "post": In(traces),
            "write_eligibility": Out(1), "write_eligibility_address": Out(16), "eligibility_result": Out(traces),
            "write_weights": Out(1), "write_weights_address": Out(16), "weights_result": Out(weights),
            "psi": In(config.lanes * SURROGATE_BITS), "write_psi": In(1), "write_psi_address": In(16),
        })

    def elaborate(self, platform):
        m = Module()
        config, word = self.config, self.word
        lanes = config.lanes
        m.submodules.stages = stages = Module()
        at = Stages(stages, "s", {
            ("valid", 0): self.valid, ("address", 0): word.weight, ("neuron", 0): word.neuron,
            ("scalar", 0): word.scalar, ("leak", 0): word.leak, ("rise", 0): word.addend, ("hash", 0): word.hash,
            ("adaptive", 0): (word.flags & Flag.ADAPTIVE) != 0,
        })
        m.submodules.psis = psis = Memory(shape=lanes * SURROGATE_BITS, depth=config.neuron_words, init=[])
        psi_write, psi_read = psis.write_port(), psis.read_port()
        m.d.comb += [
            psi_write.en.eq(self.write_psi), psi_write.addr.eq(self.write_psi_address), psi_write.data.eq(self.psi),
            psi_read.en.eq(at("valid", 0)), psi_read.addr.eq(at("neuron", 0)),
            self.eligibility_enable.eq(at("valid", 0)), self.eligibility_address.eq(at("address", 0)),
            self.post_enable.eq(at("valid", 6)), self.post_address.eq(at("neuron", 6)),
            self.weights_enable.eq(at("valid", 9)), self.weights_address.eq(at("address", 9)),
            self.write_eligibility.eq(at("valid", 7)), self.write_eligibility_address.eq(at("address", 7)),
            self.write_weights.eq(at("valid", 12)), self.write_weights_address.eq(at("address", 12)),
            self.busy.eq(Cat(at("valid", n) for n in range(13)).any()),
        ]
        m.submodules.hash = group_hash = GroupHash(config.groups)
        m.d.comb += [group_hash.enable.eq(at("valid", 2)), group_hash.word_hash.eq(at("hash", 2))]
        hashes = Stages(stages, "s", {(f"hash_{g}", 5): o for g, o in enumerate(group_hash.o)})
        results = [self._lane(m, lane, at, psi_read.data, hashes) for lane in range(lanes)]
        m.d.comb += [
            self.eligibility_result.eq(Cat(trace for trace, _ in results)),
            self.weights_result.eq(Cat(weight for _, weight in results)),
        ]
        return m

    def _lane(self, m, lane, at, psi_word, hashes):
        """One lane: its trace at s7 and its weight at s12."""
        config, bits, weight_bits = self.config, self.config.state_bits, self.config.weight_bits
        one, update_shift = config.decay_fraction, config.update_shift

        def register(name, value):
            signal = Signal.like(value, name=f"{name}_{lane}", reset_less=True)
            m.d.sync += signal.eq(value)
            return signal

        def random(stage, turn=0):
            return lane_random([hashes(f"hash_{g}", stage) for g in range(config.groups)], lane, turn)

        # The trace.
        trace = self.eligibility.word_select(lane, bits).as_signed()
        psi = psi_word.word_select(lane, SURROGATE_BITS)
        p = at("scalar", 1)
        of = Stages(m, f"lane{lane}_s", {
            ("trace", 1): trace, ("psi", 1): psi,
            ("t", 2): register("s2_t", saturated(p - Mux(at("adaptive", 1), trace, 0), bits)),
        })
        of.known["share", 3] = register("s3_share", of("t", 2) * of("psi", 2))         # psi t, 7 fraction bits
        of.known["leak", 3] = register("s3_leak", of("trace", 2) * at("leak", 2))
        of.known["e", 4] = register("s4_e", saturated((of("share", 3) + 64) >> 7, bits))
        rise = register("s5_rise", of("e", 4) * at("rise", 4))
        gain = Mux(at("adaptive", 5), rise << one - config.state_fraction, of("share", 5) << one - 7)
        total = register("s6_total", (of("leak", 5) + gain + aligned(random(5, turn=4), one)) >> one)
        new = register("s7_trace", saturated(of("trace", 6) + total, bits))

        # The weight.
        out = register("s8_out", Mux(at("adaptive", 7), of("e", 7), new))
        signal = register("s8_signal", self.post.word_select(lane, bits).as_signed())
        product = register("s9_product", out * signal)
        term = register("s10_term", (product + aligned(random(9), update_shift)) >> update_shift)
        weight = self.weights.word_select(lane, weight_bits).as_signed()
        total = register("s11_weight", weight + term)
        return new, register("s12_weight", saturated(total, weight_bits))
