"""Replicas of a core: each does what it does alone, bit for bit; and a sweep trains what `fit` trains."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from networks import network_scenario
from random_programs import random_scenario
from relif.errors import BoardError, CompileError, DataError
from relif.host.board import ModelBoard
from relif.model.fixed import FixedCore
from relif.sweep import Together
from relif.tasks.digits import Digits
from relif.training import evaluate, fit
from relif_hw.config import CoreConfig
from relif_hw.isa import TICK_ENTRY, VALUE_ENTRY, Instruction, Opcode, Register, Space, TickFlag, tick_entry
from scenarios import Load, Scenario, program_image

FACTORED = CoreConfig(lanes=8, weight_words=1024, state_words=192, neuron_words=48, surrogates=2, max_outputs=24)
NARROW = dataclasses.replace(FACTORED, lanes=2, state_bits=16, weight_words=2048, neuron_words=96)
SYNAPTIC = dataclasses.replace(FACTORED, lanes=4, state_words=256, eligibility_words=512)


def other(entries: list[int], random: np.random.Generator) -> list[int]:
    """The same ticks with other classes, other target values, and half of the events."""
    changed = []
    for entry in entries:
        if entry & TICK_ENTRY:
            changed.append(entry & ~2047 | int(random.integers(4)))
        elif entry & VALUE_ENTRY:
            changed.append(VALUE_ENTRY | int(random.integers(1 << 14)))
        elif random.random() < 0.5:
            changed.append(entry)
    return changed


def own_loads(scenario: Scenario, random: np.random.Generator) -> list[Load]:
    """The memories' contents with other seeds, other signs of the weights, and another learning rate."""
    loads = []
    for space, address, values in scenario.loads:
        if space is Space.REGISTERS:
            values = random.integers(1 << 32, size=values.shape)
        elif space is Space.WEIGHTS:
            low = -(1 << scenario.config.weight_bits - 1)
            values = np.where(random.random(values.shape) < 0.5, values, np.maximum(low + 1, values) * -1)
        elif space is Space.PROGRAM:
            program = [Instruction.decode(words) for words in values.tolist()]
            values = program_image([
                dataclasses.replace(i, shift=min(63, i.shift + int(random.integers(3))),
                                    x=int(random.integers(1 << 15)))
                if i.opcode is Opcode.LEARN else i for i in program])
        loads.append((space, address, values))
    return loads


@pytest.mark.parametrize("config", [FACTORED, NARROW, SYNAPTIC], ids=["factored", "narrow", "synaptic"])
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("make", [random_scenario, network_scenario])
def test_replicas_do_what_they_do_alone(make, config, seed):
    scenario = make(config, seed)
    random = np.random.default_rng([seed, 2])
    together = FixedCore(config, replicas=3)
    alone = [FixedCore(config) for _ in range(3)]
    for number, core in enumerate(alone):
        for load in own_loads(scenario, random):
            core.write(*load)
            together.replica(number).write(*load)
    for step in scenario.steps:
        queues = [np.array(other(step.entries, random)) for _ in alone]
        every = together.run_each(queues)
        for number, core in enumerate(alone):
            sent = core.run(queues[number])
            assert [(stream, kind, values.tolist()) for stream, kind, values in every[number]] == [
                (stream, kind, values.tolist()) for stream, kind, values in sent]
            for space in Space:
                assert (together.replica(number).read(space) == core.read(space)).all(), (number, space.name)
    if make is network_scenario:            # random programs may have one weight, or none
        assert len({core.read(Space.WEIGHTS).tobytes() for core in alone}) == 3


def test_what_is_written_to_all_is_written_to_each():
    core = FixedCore(FACTORED, replicas=2)
    core.write(Space.WEIGHTS, 3, np.full((1, 8), 5))
    core.replica(1).write(Space.WEIGHTS, 3, np.full((1, 8), -7))
    assert core.read(Space.WEIGHTS, 3, 1).tolist() == [[5] * 8]
    assert core.replica(1).read(Space.WEIGHTS, 3, 1).tolist() == [[-7] * 8]
    assert core.memory[Space.WEIGHTS].shape == (2, 1024, 8)
    assert core.memory[Space.WEIGHTS].sum() == 8 * (5 - 7)


def test_events_and_values_before_a_tick_wait_for_it():
    core = FixedCore(FACTORED)
    core.run([3, VALUE_ENTRY | 1, 5])
    core.run([VALUE_ENTRY | 0x3FFF])
    assert np.flatnonzero(core.read(Space.SPIKES)).tolist() == [3, 5]
    assert core.read(Space.TARGETS, 0, 3).tolist() == [[1], [-1], [0]]
    # With the tick the values begin anew; an event beyond the neurons is dropped.
    core.run([tick_entry(TickFlag(0)), VALUE_ENTRY | 7, 8 * 48])
    assert core.read(Space.TARGETS, 0, 2).tolist() == [[7], [-1]]
    assert core.read(Space.REGISTERS, Register.TICK, 1).tolist() == [[1]]


def test_refuses():
    with pytest.raises(BoardError, match="a core has at least 1 replica, not 0"):
        FixedCore(FACTORED, replicas=0)
    core = FixedCore(FACTORED, replicas=2)
    with pytest.raises(BoardError, match="there are replicas 0 to 1, not 2"):
        core.replica(2)
    with pytest.raises(BoardError, match="2 replicas need a queue each, of as many ticks: not 1 of 1"):
        core.run([tick_entry(TickFlag(0))])
    with pytest.raises(BoardError, match="2 replicas need a queue each, of as many ticks: not 2 of 1, 2"):
        core.run_each([[TICK_ENTRY], [TICK_ENTRY, TICK_ENTRY]])
    with pytest.raises(BoardError, match="replicas tick together, but tick 1 of the queues has different flags"):
        core.run_each([[TICK_ENTRY, tick_entry(TickFlag.TRAIN)], [TICK_ENTRY, TICK_ENTRY]])
    for number in range(2):
        program = [Instruction(opcode=Opcode.CLEAR, a=0, rows=number + 1), Instruction(opcode=Opcode.END)]
        core.replica(number).write(Space.PROGRAM, 0, program_image(program))
    message = r"replicas must run one program, but the rows of a CLEAR is 1 and 2: only shift, x, y and z may differ"
    for _ in range(2):
        with pytest.raises(BoardError, match=message):
            core.run_each([[TICK_ENTRY]] * 2)
    core.write(Space.PROGRAM, 0, program_image([Instruction(opcode=Opcode.END)]))
    assert core.run_each([[TICK_ENTRY]] * 2) == [[], []]


# Training.

class FewDigits(Digits):
    epochs = 2

    def __init__(self, seed: int = 0, keep: int = 60) -> None:
        super().__init__(seed, hidden=(24,))
        self.train = dataclasses.replace(self.train, values=self.train.values[:keep], classes=self.train.classes[:keep])
        self.test = dataclasses.replace(self.test, values=self.test.values[:50], classes=self.test.classes[:50])


def test_a_sweep_trains_what_fit_trains():
    config = CoreConfig(lanes=16, state_words=64, neuron_words=16)
    members = []
    for seed, factor in ((0, 1.0), (1, 1.0), (1, 3.0)):
        task = FewDigits(seed)
        network = task.network()
        network.learn(dataclasses.replace(network.rule, rate=factor * network.rule.rate), network.output)
        members.append((task, network))
    calls = []
    together = Together(members, config, epochs=2)
    runs = together.fit(lambda done, total: calls.append((done, total)))
    assert calls == [(48, 120), (60, 120), (108, 120), (120, 120)]
    accuracies = together.evaluate()
    for (task, network), run, accuracy in zip(members, runs, accuracies, strict=True):
        board = ModelBoard(config)
        alone = fit(network, board, task)
        assert run.weights.keys() == alone.weights.keys()
        assert all((run.weights[name] == weights).all() for name, weights in alone.weights.items())
        assert [epoch.train_accuracy for epoch in run.history] == [epoch.train_accuracy for epoch in alone.history]
        assert (run.tick, run.epoch) == (alone.tick, 2)
        assert accuracy == evaluate(board, alone.compiled, task, task.test)


def test_a_sweep_refuses():
    few = FewDigits()
    config = CoreConfig(lanes=16)
    with pytest.raises(DataError, match="at least 1 network and 1 epoch are needed, not 0 and 1"):
        Together([], config, epochs=1)
    with pytest.raises(DataError, match="need as many samples, of as many ticks, with the same targets"):
        Together([(few, few.network()), (FewDigits(keep=61), few.network())], config, epochs=1)
    with pytest.raises(CompileError, match="does not fit"):
        Together([(few, few.network())], CoreConfig(lanes=4, weight_words=16), epochs=1)
    other_task = FewDigits()
    other_task.hidden = (16,)
    with pytest.raises(BoardError, match="replicas must run one program"):
        Together([(few, few.network()), (other_task, other_task.network())], config, epochs=1).fit()
