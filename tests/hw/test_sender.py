"""The sender: headers and elements of SEND, and bare elements of reads."""

import random

import pytest
from streams import simulate, sink, source

from relif_hw.config import CoreConfig
from relif_hw.isa import Flag, Opcode
from relif_hw.scanner import READ
from relif_hw.sender import Sender


def jobs(config, rng):
    """Instructions with their values, and the elements that must come of each."""
    low, high = -(1 << config.state_bits - 1), (1 << config.state_bits - 1) - 1
    for n in range(24):
        kind = n % 3
        words = rng.randint(1, 3)
        if kind == 1:
            values = [-rng.randint(0, 1) for _ in range(words * config.lanes)]       # a spike is all ones or one
            values = [v if rng.random() < 0.5 else -v for v in values]
            chunk = min(32, config.lanes)
            body = [sum((v & 1) << k for k, v in enumerate(values[first:first + chunk]))
                    for first in range(0, len(values), chunk)]
            yield {"opcode": Opcode.SEND, "flags": Flag.SPIKES, "stream": 7 * n, "rows": words}, values, [
                len(body) | 1 << 16 | 7 * n << 24, *body]
        else:
            values = [rng.choice([low, high, -1, 0, rng.randint(low, high)]) for _ in range(rng.randint(1, 9))]
            body = [v & 0xFFFF_FFFF for v in values]
            if kind == 0:
                instruction = {"opcode": Opcode.SEND, "flags": 0, "stream": 255 - n, "rows": len(values)}
                yield instruction, values, [len(body) | 255 - n << 24, *body]
            else:
                # A read of the space with the number of the flag SPIKES is no SEND of spikes.
                yield {"opcode": READ, "flags": rng.choice([2, 4, 5]), "stream": 0, "rows": 1}, values, body


@pytest.mark.parametrize("stalls", [(0.0, 0.0), (0.0, 0.6), (0.5, 0.0), (0.4, 0.4)])
@pytest.mark.parametrize("lanes", [4, 32, 64])
def test_elements(lanes, stalls):
    config = CoreConfig(lanes=lanes)
    listed = list(jobs(config, random.Random(lanes)))
    wanted = {True: [], False: []}
    for instruction, _, elements in listed:
        wanted[instruction["opcode"] == READ] += elements
    dut, results, rdata = Sender(config), [], []

    async def feed(ctx):
        for n, (instruction, values, _) in enumerate(listed):
            ctx.set(dut.instruction.opcode, 0)
            for name, value in instruction.items():
                ctx.set(dut.instruction[name], value)
            items = [{"end": 0, "context": 0, "row": k, "value": v} for k, v in enumerate(values)]
            await source(dut.i, [*items, {"end": 1, "context": 0}], stall=stalls[0], seed=n)(ctx)

    simulate(dut, feed, sink(dut.results, results, len(wanted[False]), stall=stalls[1]),
             sink(dut.rdata, rdata, len(wanted[True]), stall=stalls[1]))
    assert results == wanted[False]
    assert rdata == wanted[True]
