"""The error unit against the formulas of `docs/numerics.md`, and the softmax against a softmax."""

import math
import random

import pytest
from streams import simulate, source

from relif_hw.config import CoreConfig
from relif_hw.error import ErrorUnit
from relif_hw.isa import VALUE_BITS, VALUE_FRACTION, Flag
from relif_hw.numerics import EXP_TABLE, RECIPROCAL_TABLE


def errors_of(config, outputs, instruction, target, wanted):
    """e_k of the outputs U_k, with a class or the target values `wanted`."""
    bits, fraction = config.state_bits, config.state_fraction
    top = (1 << bits - 1) - 1
    one = instruction["y"]
    values = outputs
    if instruction["flags"] & Flag.SOFTMAX:
        exponents = [min(max(outputs) - u, top) * instruction["x"] >> fraction + 2 for u in outputs]
        powers = [EXP_TABLE[t & 255] >> min(t >> 8, 31) for t in exponents]
        lead = sum(powers).bit_length() - 1
        reciprocal = RECIPROCAL_TABLE[sum(powers) >> lead - 9 & 511]
        shift = 15 + lead - fraction
        values, one = [q * reciprocal + (1 << shift - 1) >> shift for q in powers], 1 << fraction
    if instruction["flags"] & Flag.ANALOG:
        errors = [(wanted[k] << fraction - VALUE_FRACTION) - value for k, value in enumerate(values)]
    else:
        errors = [(one if k == target else 0) - value for k, value in enumerate(values)]
    return [0 if abs(e) < instruction["z"] else e for e in (max(-top - 1, min(top, e)) for e in errors)]


def run(config, jobs, stall=0.0, wanted=()):
    """The words written for each job (outputs, instruction, target): {address: elements}, and `live`; `wanted` are
    the target values, which are written first."""
    dut = ErrorUnit(config)
    written, over = [], []
    items = [[*({"end": 0, "context": 0, "row": k, "value": u} for k, u in enumerate(outputs)),
              {"end": 1, "context": 0, "row": 0, "value": 0}] for outputs, *_ in jobs]

    async def feed(ctx):
        for output, value in enumerate(wanted):
            ctx.set(dut.value_address, output)
            ctx.set(dut.target_value, value)
            ctx.set(dut.value_write, 1)
            await ctx.tick()
        ctx.set(dut.value_write, 0)
        # They can be read again, a cycle after the address.
        for output, value in enumerate(wanted):
            ctx.set(dut.value_address, output)
            await ctx.tick()
            assert ctx.get(dut.value_data) == value
        for (_, instruction, target), job in zip(jobs, items, strict=True):
            ctx.set(dut.instruction, {name: value % (1 << 18) if name in "xyz" else value
                                      for name, value in instruction.items()})
            ctx.set(dut.target, target)
            written.append([{}, 0])
            await source(dut.i, job, stall=stall)(ctx)
            await ctx.tick().until(~dut.busy)
        over.append(True)

    async def watch(ctx):
        """What is written to each word of the post factors, and what is streamed."""
        while not over:
            *_, lanes, value, write, address, live = await ctx.tick().sample(
                dut.lane, dut.value, dut.write, dut.address, dut.live)
            if write:
                word = written[-1][0].setdefault(address, [None] * config.lanes)
                for lane in range(config.lanes):
                    if write >> lane & 1:
                        word[lane] = value if lanes >> lane & 1 else 0
            if written:
                written[-1][1] |= live

    simulate(dut, feed, watch)
    return written


def image(config, base, errors):
    """Words of the errors: lanes past the last one are zero."""
    padded = errors + [0] * (-len(errors) % config.lanes)
    return {base + n: padded[n * config.lanes:(n + 1) * config.lanes] for n in range(len(padded) // config.lanes)}


def patterns(config, rng):
    """Outputs of every shape."""
    low, high, one = -(1 << config.state_bits - 1), (1 << config.state_bits - 1) - 1, 1 << config.state_fraction
    most = config.max_outputs
    yield from ([0] * most, [low] * most, [high] * (most - 1), [high, low], [low], [high])
    yield [low] * 3 + [high] + [low] * 2
    for count in (1, 2, 3, most // 2, most - 1, most):
        yield [rng.randint(low, high) for _ in range(count)]
        yield [rng.randint(-one, one) for _ in range(count)]
        yield [rng.randint(-9, 9) for _ in range(count)]


@pytest.mark.parametrize("stall", [0.0, 0.6])
@pytest.mark.parametrize(("lanes", "bits", "most"), [(4, 16, 10), (8, 18, 16), (32, 18, 33)])
def test_errors(lanes, bits, most, stall):
    config = CoreConfig(lanes=lanes, state_bits=bits, max_outputs=most)
    rng = random.Random(lanes)
    top, one = (1 << bits - 1) - 1, 1 << config.state_fraction
    jobs = []
    for outputs in patterns(config, rng):
        for flags in (Flag.SOFTMAX, 0, Flag.ANALOG):
            softmax = flags == Flag.SOFTMAX
            instruction = {"flags": flags, "c": rng.randrange(50), "rows": len(outputs),
                           "x": rng.choice([0, 1477, 1477, top]) if softmax else 0,
                           "y": 0 if softmax else rng.choice([one, -one, top, -top - 1]),
                           "z": rng.choice([0, 0, 1, one // 16, one, top])}
            jobs.append((outputs, instruction, rng.choice([0, len(outputs) - 1, len(outputs), 2047])))
    limit = 1 << VALUE_BITS - 1
    wanted = [-limit, limit - 1, *(rng.randrange(-limit, limit) for _ in range(most - 2))]
    for (outputs, instruction, target), (words, live) in zip(jobs, run(config, jobs, stall, wanted), strict=True):
        errors = errors_of(config, outputs, instruction, target, wanted)
        assert words == image(config, instruction["c"], errors)
        assert live == any(errors)


@pytest.mark.parametrize("gain", [0.5, 1.0, 4.0])
def test_softmax_is_close_to_a_softmax(gain):
    config = CoreConfig(lanes=8, max_outputs=16)
    one = 1 << config.state_fraction
    rng = random.Random(5)
    jobs = [([rng.randint(-3 * one, 3 * one) for _ in range(10)],
             {"flags": Flag.SOFTMAX, "c": 0, "rows": 10, "x": round(gain * math.log2(math.e) * 1024), "y": 0, "z": 0},
             k % 10) for k in range(10)]
    for (outputs, _, target), (words, _) in zip(jobs, run(config, jobs), strict=True):
        powers = [math.exp(gain * u / one) for u in outputs]
        for k, power in enumerate(powers):
            error = words[k // 8][k % 8] / one
            # The exponent is cut to 1/256, 0.27 % of p, and the reciprocal to ten bits, 0.1 %.
            assert error == pytest.approx((k == target) - power / sum(powers), abs=0.004)
