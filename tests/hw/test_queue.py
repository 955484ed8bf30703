"""The queue of entries, with gaps on both sides, with and without the register behind its memory."""

import random

import pytest
from streams import simulate

from relif_hw.queue import Queue

WORDS = list(range(1, 80))


def through(*, depth, late, stall=(0.0, 0.0), held=0):
    """Words out of a queue with the cycles in which they leave; how many it had taken when reading began."""
    dut = Queue(8, depth, late=late)
    rng = random.Random(5)
    out, taken = [], []

    async def feed(ctx):
        left = list(WORDS)
        while left:
            offered = rng.random() >= stall[0]
            ctx.set(dut.w_data, left[0])
            ctx.set(dut.w_en, offered)
            *_, ready = await ctx.tick().sample(dut.w_rdy)
            if offered and ready:
                taken.append(left.pop(0))
        ctx.set(dut.w_en, 0)

    async def take(ctx):
        await ctx.tick().repeat(held or 1)
        first = len(taken)
        cycle = 0
        while len(out) < len(WORDS):
            wanted = rng.random() >= stall[1]
            ctx.set(dut.r_en, wanted)
            *_, ready, word, empty = await ctx.tick().sample(dut.r_rdy, dut.r_data, dut.empty)
            assert not (ready and empty)
            if wanted and ready:
                out.append((word, cycle))
            cycle += 1
        ctx.set(dut.r_en, 0)
        await ctx.tick()
        assert ctx.get(dut.empty)
        taken[:] = taken[:first]

    simulate(dut, feed, take)
    return out, len(taken)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("depth", [5, 8])
@pytest.mark.parametrize("stall", [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.4, 0.4)])
def test_words_come_in_order(depth, late, stall):
    out, _ = through(depth=depth, late=late, stall=stall)
    assert [word for word, _ in out] == WORDS


@pytest.mark.parametrize("late", [False, True])
def test_a_word_a_cycle_and_no_more_than_its_depth(late):
    out, taken = through(depth=8, late=late, held=40)
    assert taken == 8
    assert [cycle for _, cycle in out] == list(range(len(WORDS)))
