"""Random numbers: the hash of a tick, of a row, and of a group of four lanes.

The functions are those of `relif_hw.numerics`, cut into pipeline stages; each stage has one
32-bit addition.
"""

from amaranth import Cat, Module, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .numerics import GROUP_STEP, HASH_MASK

__all__ = ["GroupHash", "KeyUnit", "MIX_STAGES", "lane_random", "mix_stage"]

MIX_STAGES = 3
"""Additions, and so pipeline stages, of `numerics.mix`."""


def mix_stage(x, stage):
    """Stage 0 to 2 of `numerics.mix` on a 32-bit value."""
    if stage == 0:
        x = x ^ (x >> 15)
        return (x + (x << 5) + 0x5851_F42D)[:32]
    if stage == 1:
        x = x ^ (x >> 3)
        return (x + (x << 18))[:32]
    x = x ^ (x >> 6)
    y = (x + (x << 8))[:32]
    return y ^ (y >> 17)


def lane_random(hashes, lane, turn=0):
    """The 16-bit random number of a lane, `numerics.lane_random`; `turn` 4 gives another one."""
    group, number = divmod(lane, 4)
    return Cat(hashes[group][(bit - 8 * number - turn) % 32] for bit in range(16, 32))


class GroupHash(wiring.Component):
    """Hashes of the groups of four lanes for a stream of words, `numerics.finish`.

    Parameters
    ----------
    groups : int
        Groups of four lanes.

    Members
    -------
    enable : In(1)
        A word enters.
    word_hash : In(32)
        Hash of the row plus `GROUP_STEP` times the number of the word's first group.
    o : Out(32), one a group
        The groups' hashes, `LATENCY` cycles later.
    """

    LATENCY = 3

    def __init__(self, groups):
        self.groups = groups
        super().__init__({
            "enable": In(1),
            "word_hash": In(32),
            "o": Out(32).array(groups),
        })

    def elaborate(self, platform):
        m = Module()
        enable_1, enable_2 = Signal(), Signal()
        m.d.sync += [enable_1.eq(self.enable), enable_2.eq(enable_1)]
        for group in range(self.groups):
            y_1, y_2, y_3 = (Signal(32, name=f"y{stage}_{group}", reset_less=True) for stage in (1, 2, 3))
            stepped = (self.word_hash + (group * GROUP_STEP & HASH_MASK))[:32]
            with m.If(self.enable):
                m.d.sync += y_1.eq(stepped ^ (stepped >> 14))
            with m.If(enable_1):
                m.d.sync += y_2.eq(y_1 + (y_1 << 12))
            mixed = y_2 ^ (y_2 >> 3)
            with m.If(enable_2):
                m.d.sync += y_3.eq(mixed + (mixed << 6))
            m.d.comb += self.o[group].eq(y_3 ^ (y_3 >> 11))
        return m


class KeyUnit(wiring.Component):
    """The keys of a tick, `numerics.tick_key`, worked out ahead with one small mixer.

    Members
    -------
    seed, feedback_seed, tick : In(32)
    changed : In(1)
        Any of them is new: start again.
    ready : Out(1)
        The keys are those of the inputs.
    key, feedback_key : Out(32)
    """

    seed: In(32)
    feedback_seed: In(32)
    tick: In(32)
    changed: In(1)
    ready: Out(1)
    key: Out(unsigned(32))
    feedback_key: Out(unsigned(32))

    def elaborate(self, platform):
        m = Module()
        x = Signal(32)
        stage = Signal(2)
        job = Signal(3)
        mixed = Signal(32)
        with m.Switch(stage):
            for number in range(MIX_STAGES):
                with m.Case(number):
                    m.d.comb += mixed.eq(mix_stage(x, number))
        working = Signal()
        m.d.comb += self.ready.eq(~working & ~self.changed)
        m.d.sync += stage.eq(stage + 1)
        with m.If(self.changed):
            m.d.sync += [working.eq(1), job.eq(0), stage.eq(0), x.eq(self.feedback_seed)]
        with m.Elif(working):
            m.d.sync += x.eq(mixed)
            with m.If(stage == MIX_STAGES - 1):
                m.d.sync += [stage.eq(0), job.eq(job + 1)]
                with m.Switch(job):
                    with m.Case(1):
                        m.d.sync += [self.feedback_key.eq(mixed), x.eq(self.seed)]
                    with m.Case(2):
                        m.d.sync += x.eq(mixed + self.tick)
                    with m.Case(3):
                        m.d.sync += [self.key.eq(mixed), working.eq(0)]
        return m
