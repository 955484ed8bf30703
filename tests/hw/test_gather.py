"""Events gathered into words, with gaps on every side."""

import random

import pytest
from streams import simulate, sink, source

from relif_hw.config import CoreConfig
from relif_hw.gather import DEPTH, Gather

CONFIG = CoreConfig(lanes=8)


def runs(seed, count=60):
    """Neurons in ascending order, again and again from another one on."""
    rng = random.Random(seed)
    events = []
    for _ in range(count):
        first = rng.randrange((1 << 14) - 20)
        events += [first + n for n in range(20) if rng.random() < 0.4]
    return events


def words_of(events):
    """Words, and the spikes in each, of events behind each other."""
    words = []
    for event in events:
        number, spike = event // CONFIG.lanes, 1 << event % CONFIG.lanes
        if words and words[-1][0] == number:
            words[-1] = number, words[-1][1] | spike
        else:
            words.append((number, spike))
    return words


def events_of(words):
    return [number * CONFIG.lanes + lane for number, spikes in words for lane in range(CONFIG.lanes)
            if spikes >> lane & 1]


def gathered(events, *, stall, closing):
    """The words that come; `closing` is how often no more events are waited for."""
    dut = Gather(CONFIG)
    rng = random.Random(2)
    words, told = [], []

    async def feed(ctx):
        await source(dut.i, events, stall=stall[0])(ctx)
        told.append(True)

    async def close(ctx):
        while not told or not ctx.get(dut.empty):
            ctx.set(dut.close, bool(told) or rng.random() < closing)
            await ctx.tick()

    async def take(ctx):
        while not told or not ctx.get(dut.empty):
            ready = rng.random() >= stall[1]
            ctx.set(dut.o.ready, ready)
            *_, valid, word = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid and ready:
                words.append((word.number, word.spikes))

    simulate(dut, feed, close, take)
    return words


@pytest.mark.parametrize("stall", [(0.0, 0.0), (0.4, 0.0), (0.0, 0.6), (0.4, 0.6)])
def test_events_behind_each_other_come_as_a_word(stall):
    events = runs(3)
    assert gathered(events, stall=stall, closing=0.0) == words_of(events)


@pytest.mark.parametrize("stall", [(0.6, 0.0), (0.4, 0.6)])
def test_words_that_are_closed_early_lose_no_event(stall):
    events = runs(4)
    words = gathered(events, stall=stall, closing=0.5)
    assert events_of(words) == events and len(words) > len(words_of(events))


def test_as_many_words_wait_as_there_is_room_for():
    dut = Gather(CONFIG)
    events = [CONFIG.lanes * n for n in range(DEPTH + 4)]
    taken, words = [], []

    async def feed(ctx):
        for event in events:
            ctx.set(dut.i.payload, event)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            taken.append(event)
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.close, 1)

    async def take(ctx):
        for _ in range(3 * DEPTH):
            await ctx.tick()
        assert taken == events[:DEPTH + 1]          # the last one is still open
        await sink(dut.o, words, len(events))(ctx)

    simulate(dut, feed, take)
    assert [(word.number, word.spikes) for word in words] == words_of(events)
