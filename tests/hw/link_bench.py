"""The link in Amaranth's simulator, between a Python core and a transport for the host's own driver."""

import random

import numpy as np
from amaranth.sim import Simulator

from relif_hw.frames import Identity
from relif_hw.isa import TICK_ENTRY, Space, space_shape
from relif_hw.link import Link

_CYCLES = 400
"""Cycles of one `read`."""


class LinkBench:
    """A `Link` with a core behind it that keeps memories, notes entries, and answers each tick with
    one value: minus the number of entries so far. Both sides stall as told. A transport.

    Parameters
    ----------
    config : CoreConfig
    stall : float
        Part of the cycles in which the line, or the core, does not go on.
    slots : int
        Of both rings.
    """

    name = "bench"

    def __init__(self, config, *, stall=0.0, seed=0, slots=4):
        self.config, self.stall = config, stall
        self.link = Link(Identity(config=config, receive_slots=slots, transmit_slots=slots))
        self.memory = {space: np.zeros(space_shape(config, space)[:2], dtype=np.int64) for space in Space}
        self.log = []                       # entries, and (space, write, address, words)
        self.to_board, self.from_board = bytearray(), bytearray()
        self.rest = False
        self.frozen = False                 # the core takes nothing
        self.deaf = False                   # the host takes nothing
        self._random = random.Random(seed)
        self._sim = Simulator(self.link)
        self._sim.add_clock(1e-6)
        self._sim.add_testbench(self._line, background=True)
        self._sim.add_testbench(self._core, background=True)

    # The transport.

    def write(self, data):
        self.to_board += data

    def read(self, timeout=0.0):
        self.run(_CYCLES, until_rest=True)
        data, self.from_board = bytes(self.from_board), bytearray()
        return data

    def close(self):
        pass

    def run(self, cycles, *, until_rest=False):
        for _ in range(2 * cycles):
            self._sim.advance()
            if until_rest and self.rest and not self.to_board:
                break

    # The two sides of the link.

    def _goes(self):
        return self._random.random() >= self.stall

    async def _line(self, ctx):
        rx, tx = self.link.rx, self.link.tx
        offered = False
        while True:
            offered = offered or bool(self.to_board and self._goes())
            takes = not self.deaf and self._goes()
            ctx.set(rx.valid, offered)
            ctx.set(rx.payload, self.to_board[0] if offered else 0xAA)
            ctx.set(tx.ready, takes)
            _, _, ready, valid, payload, idle, waiting = await ctx.tick().sample(
                rx.ready, tx.valid, tx.payload, self.link.idle, self.link.waiting)
            self.rest = not self.to_board and bool(idle or waiting)     # not yet with the byte below
            if offered and ready:
                del self.to_board[0]
                offered = False
            if takes and valid:
                self.from_board.append(payload)

    async def _stalls(self, ctx):
        while not self._goes():
            await ctx.tick()

    async def _take(self, ctx, stream):
        await self._stalls(ctx)
        ctx.set(stream.ready, 1)
        while True:
            _, _, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
            if valid:
                ctx.set(stream.ready, 0)
                return payload

    async def _give(self, ctx, stream, value):
        await self._stalls(ctx)
        ctx.set(stream.payload, value & 0xFFFF_FFFF)
        ctx.set(stream.valid, 1)
        while True:
            _, _, ready = await ctx.tick().sample(stream.ready)
            if ready:
                ctx.set(stream.valid, 0)
                return

    async def _core(self, ctx):
        link = self.link
        ctx.set(link.core_idle, 1)
        while True:
            goes = not self.frozen and self._goes()
            ctx.set(link.entries.ready, goes)
            ctx.set(link.access.ready, goes)
            _, _, entry, payload, access, what = await ctx.tick().sample(
                link.entries.valid, link.entries.payload, link.access.valid, link.access.payload)
            if goes and (entry or access):
                assert not (entry and access)
                ctx.set(link.core_idle, 0)
                ctx.set(link.entries.ready, 0)
                ctx.set(link.access.ready, 0)
                if entry:
                    self.log.append(payload)
                    if payload & TICK_ENTRY:
                        await self._give(ctx, link.results, 1 | 7 << 24)
                        await self._give(ctx, link.results, -self.entries)
                else:
                    await self._serve(ctx, Space(what.space), what.write, what.address, what.words)
                await self._stalls(ctx)
                ctx.set(link.core_idle, 1)

    @property
    def entries(self):
        return sum(isinstance(item, int) for item in self.log)

    async def _serve(self, ctx, space, write, address, words):
        self.log.append((space, write, address, words))
        _, _, bits, signed = space_shape(self.config, space)
        for word in self.memory[space][address:address + words]:
            elements = []
            for element in word:
                if write:
                    value = await self._take(ctx, self.link.wdata) & (1 << bits) - 1
                    elements.append(value - (value >> bits - 1 << bits) if signed else value)
                else:
                    await self._give(ctx, self.link.rdata, int(element))
            if write:
                word[:] = elements
