"""What instructions that were issued have still to write, and the next one may wait for."""

from amaranth import Cat, Signal, Value
from amaranth.lib import data

from .isa import Flag, Opcode

__all__ = ["PENDING", "is_late", "watch"]

PENDING = data.StructLayout({
    "any": 1,
    "late": 1,      # a word that comes to c0 two cycles after it was issued, and could meet another one there
    "sums": 1,      # sums by target
    "adds": 1,      # what is added to accumulators
    "states": 1,
    "posts": 1,
    "spikes": 1,
    "soon": 1,      # spikes that a scan which begins in two cycles would come too early for
})
"""Whether what has been issued has still to be written, so that a word of the next cycle would come too early."""


def is_late(word: data.View) -> Value:
    """Whether words of that instruction come to c0 two cycles later, with their hash or surrogate.

    Behind each other they meet nothing, but for a hash behind POST: there the program has a fence.
    """
    return (word.opcode == Opcode.FEEDBACK) | (word.opcode == Opcode.POST) | (
        (word.opcode == Opcode.INTEGRATE) & ((word.flags & Flag.HASHED) != 0))


def watch(m, pending, at, issued, waiting, late, end, row_valid, *, compact):
    """Drive `pending`: a register tells of all words but the one that is being issued.

    Parameters
    ----------
    m : Module
    pending : View of PENDING
    at : function of (name, stage)
        What the lanes know at each stage.
    issued, waiting : (word, its validity)
        The word of this cycle, and the late one of the cycle before.
    late : Signal
        The word of this cycle is late.
    end : int
        Stage at which a word's sum by target is there; `row_valid` when a row's is.
    compact : bool
        Only `any` is driven.
    """
    def tell(name, concerns, stages):
        """Words that it `concerns`, from when they are issued until they leave the last of the stages of
        `{what: last stage}`, from where on they are in time."""
        now, then = (valid & concerns(word) for word, valid in (issued, waiting))
        on_their_way = Signal(name=f"{name}_on_their_way")
        m.d.sync += on_their_way.eq(Cat(now, then, *(
            at(what, n) for what, last in stages.items() for n in range(last))).any())
        m.d.comb += pending[name].eq(now | on_their_way)

    def sums(word):
        return (word.opcode == Opcode.INTEGRATE) & ((word.flags & Flag.BY_TARGET) != 0)

    def adds(word):
        return (((word.opcode == Opcode.INTEGRATE) & ((word.flags & Flag.BY_TARGET) == 0))
                | (word.opcode == Opcode.FEEDBACK) | (word.opcode == Opcode.REGULATE))

    def spikes(word):
        return ((word.opcode == Opcode.STEP) & ((word.flags & Flag.LEAKY) == 0)) | (
            (word.opcode == Opcode.CLEAR) & ((word.flags & Flag.SPIKES) != 0))

    def states(word):
        return (word.opcode == Opcode.STEP) | (word.opcode == Opcode.TRACE) | (word.opcode == Opcode.CLEAR)

    # What is written in this cycle is read in the next. POST is told apart by zeros once they are written.
    drained = 6 if compact else 5
    on_their_way = Signal(name="any_on_their_way")
    m.d.sync += on_their_way.eq(Cat(
        issued[1], waiting[1], *(at("valid", n) for n in range(drained)), at("post", 5),
        *(at("tree", n) for n in range(4, end)), at("tree", end) & at("last", end), row_valid).any())
    m.d.comb += pending.any.eq(issued[1] | on_their_way)
    if compact:
        return
    m.d.comb += pending.late.eq((issued[1] & late) | waiting[1])
    # STEP reads sums at c3, POST at c0, two cycles after it was issued; others what they need when they are.
    tell("sums", sums, {"tree": end - 2})
    tell("adds", adds, {"mac": 1})
    tell("states", states, {"decay": 5, "clear_state": 5})
    tell("posts", lambda word: word.opcode == Opcode.POST, {"post": 5})
    tell("spikes", spikes, {"spiking": 5, "clear_spikes": 5})
    tell("soon", spikes, {"spiking": 3, "clear_spikes": 3})
