"""The bench counts what is useful as the golden model does it, and refuses boards that count no cycles."""

from __future__ import annotations

import numpy as np
import pytest

from counting import CASE, CONFIG, CountingBoard
from relif import bench
from relif.bench import DENSITIES, Case, CountingCore, Work, entries, markdown, measure, network
from relif.compiler import compile
from relif.errors import BoardError, CompileError
from relif.host.board import ModelBoard
from relif.speed_bench import SPEED_COLUMNS, measure_speed, speed_markdown, speed_row
from relif_hw.config import CoreConfig
from relif_hw.isa import Opcode, Space, TickFlag

LEARN = TickFlag.TRAIN | TickFlag.TARGET


def test_entries_have_the_density():
    case = Case(400, 300, 3, True)
    compiled = compile(network(case, 0), CoreConfig(weight_words=16384, neuron_words=64))
    made = entries(case, compiled, 0.1, 50, LEARN, np.random.default_rng(0))
    assert (made >= 1 << 15).sum() == 50
    # 35,000 draws of 0.1, from a seed: three deviations.
    assert (made < 1 << 15).sum() == pytest.approx(50 * 700 * 0.1, rel=0.05)


def test_useful_lane_cycles_of_one_tick():
    compiled = compile(network(CASE, 0), CONFIG)
    core = CountingCore(compiled)
    x, h = compiled.base("x"), compiled.base("h")
    # Two spikes of the input and one of the hidden population: 3 rows of 8 synapses, and one source of 2.
    core.run(np.array([x, x + 5, h + 7, 1 << 15 | int(LEARN) << 11 | 1], dtype=np.uint16))
    assert core.work[Opcode.INTEGRATE] == Work(useful=3 * 8 + 1 * 2, filled=3 * 8, ragged_words=1, words=3 * 2 + 1)
    # A trace of two exponentials is zero in the tick of its first spike, and then decays for many ticks.
    assert core.work[Opcode.LEARN] == Work()
    core.run(np.array([1 << 15 | int(LEARN) << 11 | 1] * 5, dtype=np.uint16))
    assert core.work[Opcode.INTEGRATE].useful == 3 * 8 + 1 * 2
    assert core.work[Opcode.LEARN].useful > core.work[Opcode.LEARN].filled > 0
    silent = CountingCore(compiled)
    silent.run(np.array([1 << 15 | int(LEARN) << 11], dtype=np.uint16))
    assert silent.work[Opcode.INTEGRATE] == Work()


def test_the_network_makes_no_spikes_of_its_own():
    compiled = compile(network(CASE, 0), CONFIG)
    core = CountingCore(compiled)
    random = np.random.default_rng(1)
    for _ in range(50):
        core.run(entries(CASE, compiled, 0.5, 1, LEARN, random))
        assert core.read(Space.SPIKES).sum() == 0


def test_measurements():
    measured = measure(CountingBoard(CONFIG), CASE, seed=0, ticks=20)
    assert [(m.mode, m.density) for m in measured] == [
        (mode, density) for mode in ("inference", "learning") for density in DENSITIES]
    for m in measured:
        assert m.cycles_per_tick == 300
        assert m.instructions == {"INTEGRATE": 100, "LEARN": 200}
        assert 0 < m.filled_use["INTEGRATE"] < m.lane_use["INTEGRATE"] < 1
    assert measured[0].lane_use["LEARN"] is None
    assert measured[2].lane_use["LEARN"] > 0
    assert measured == measure(CountingBoard(CONFIG), CASE, seed=0, ticks=20)
    text = markdown(measured, CONFIG, "relif bench")
    assert text.count("\n| 6/8 recurrent/2 |") == 4
    assert all(len(row) == len(bench.COLUMNS) for row in bench.rows(measured))


def test_a_board_that_differs_from_the_model_is_named():
    class Wrong(CountingBoard):
        def _read(self, space, address, words):
            return super()._read(space, address, words) + (space is Space.WEIGHTS)

    with pytest.raises(BoardError, match=r"model: after 6/8 recurrent/2, inference, its weights are not the model's"):
        measure(Wrong(CONFIG), CASE, seed=0, ticks=2)


def test_a_board_without_a_profile():
    with pytest.raises(BoardError, match="model counts no cycles: only the simulated board does"):
        measure(ModelBoard(CONFIG), CASE, seed=0, ticks=2)


def test_a_network_that_does_not_fit():
    with pytest.raises(CompileError, match="does not fit core 'small'"):
        measure(CountingBoard(CONFIG), Case(700, 256, 20, True), seed=0, ticks=2)


def test_the_speed_of_a_board_without_cycles_is_refused():
    with pytest.raises(BoardError, match="model counts no cycles: only the simulated board does"):
        measure_speed(ModelBoard(CONFIG), 1)


class ModelTransport:
    """What `measure_speed` asks of a transport; 300 cycles a read, a third of them idle."""

    name = "small"

    def __init__(self):
        self.cycles = 0

    def write(self, data): ...

    def close(self): ...

    def read(self, timeout):
        self.cycles += 300
        return b""

    def profile(self):
        return {opcode: (self.cycles // 3 if opcode is Opcode.END else 0, 0) for opcode in Opcode}


class ReadingBoard(ModelBoard):
    """The golden model, which reads from a transport when its results are waited for."""

    def __init__(self, config, weight=0):
        super().__init__(config)
        self.transport, self.weight = ModelTransport(), weight
        self.session = type("Session", (), {"transport": self.transport})()

    def results(self):
        self.session.transport.read(0.0)
        return super().results()

    def read(self, space, address=0, words=None):
        return super().read(space, address, words) + self.weight


LARGE = CoreConfig(weight_words=8192, neuron_words=64, name="large")


def test_the_speed_is_told_for_a_tick():
    board = ReadingBoard(LARGE)
    measured = measure_speed(board, 2)
    assert measured.core == "large"
    assert measured.ticks == 2 * 12
    assert (measured.cycles_per_tick, measured.idle_cycles_per_tick) == (300 / 24, 100 / 24)
    assert board.session.transport is board.transport
    assert "| large | 24 |" in speed_markdown(measured, "relif bench --simulator")
    assert len(speed_row(measured)) == len(SPEED_COLUMNS)


def test_a_fast_board_that_learns_something_else_is_refused():
    with pytest.raises(BoardError, match=r"model: after training, its weights are not the model's"):
        measure_speed(ReadingBoard(LARGE, weight=1), 1)
