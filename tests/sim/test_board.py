"""The simulated board: the generated Verilog, the gateware's link and the host's driver, together."""

import os

import numpy as np
import pytest

import relif_sim.library
from faults import FaultyTransport
from relif.errors import BoardError, ToolError
from relif.host.board import LinkBoard, ModelBoard
from relif_hw.config import CoreConfig
from relif_hw.isa import Flag, Instruction, Opcode, Register, Space, TickFlag, space_shape, tick_entry
from relif_sim.board import open_transport
from relif_sim.library import library

SMALL = CoreConfig(lanes=4, weight_words=256, state_words=32, neuron_words=8, program_length=16, queue_depth=16,
                   max_outputs=4, eligibility_words=64, name="small")

INPUTS, CELLS = 12, 8
"""A network without learning: three words of inputs, two words of cells that spike, all to all."""


def program(config):
    """The tick program, padded to the program memory: every tick with SEND reports U and S."""
    words = config.words(CELLS)
    cells = config.words(INPUTS)
    threshold = 1 << config.state_fraction
    half_life = (1 << config.decay_fraction) // 2
    one = 1 << config.state_bits
    instructions = [
        Instruction(opcode=Opcode.CLEAR, when=TickFlag.RESET, rows=2 * words, fence=0),
        Instruction(opcode=Opcode.CLEAR, when=TickFlag.RESET, flags=Flag.SPIKES, c=cells, rows=words, fence=0),
        Instruction(opcode=Opcode.INTEGRATE, rows=cells, words=words, c=cells, x=threshold >> 2, stream=1),
        Instruction(opcode=Opcode.STEP, c=cells, rows=words, x=one - half_life, y=one - half_life // 8, z=threshold,
                    stream=2),
        Instruction(opcode=Opcode.CLEAR, flags=Flag.SPIKES, rows=cells, fence=0),
        Instruction(opcode=Opcode.SEND, when=TickFlag.SEND, rows=CELLS, stream=3),
        Instruction(opcode=Opcode.SEND, when=TickFlag.SEND, flags=Flag.SPIKES, c=cells, rows=words, stream=4,
                    fence=0),
        Instruction(opcode=Opcode.END),
    ]
    image = np.zeros(space_shape(config, Space.PROGRAM)[:2], dtype=np.int64)
    image[:len(instructions)] = [instruction.encode() for instruction in instructions]
    return image


def load(board, seed=0):
    rng = np.random.default_rng(seed)
    board.write(Space.PROGRAM, 0, program(board.config))
    board.write(Space.REGISTERS, Register.SEED, [[seed]])
    words = INPUTS * board.config.words(CELLS)
    board.write(Space.WEIGHTS, 0, rng.integers(-40, 100, (words, board.config.lanes)))


def entries(rng, ticks):
    out = []
    for tick in range(ticks):
        out += np.nonzero(rng.random(INPUTS) < 0.3)[0].tolist()
        flags = TickFlag(0)
        flags |= TickFlag.RESET if tick == 0 else flags
        flags |= TickFlag.SEND if rng.random() < 0.5 else flags
        out.append(tick_entry(flags))
    return out


@pytest.fixture
def board():
    """A fresh simulated board (compiled at most once)."""
    with LinkBoard(open_transport(SMALL), config=SMALL) as board:
        yield board


def same(results, expected):
    assert [result[:2] for result in results] == [result[:2] for result in expected]
    assert all((result.values == other.values).all() for result, other in zip(results, expected, strict=True))


@pytest.mark.timeout(900)       # the first one compiles
def test_identity(board):
    assert board.identity.config == SMALL.__class__(**{**SMALL.__dict__, "name": "custom"})
    assert board.results() == []


def test_memories_come_back(board):
    rng = np.random.default_rng(1)
    images = {}
    for space in Space:
        words, elements, bits, signed = space_shape(SMALL, space)
        low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
        images[space] = rng.integers(low, high, (words, elements))
        board.write(space, 0, images[space])
    for space, image in images.items():
        assert (board.read(space) == image).all(), space.name
        assert (board.read(space, len(image) - 1, 1) == image[-1:]).all(), space.name


def test_a_run_equals_the_model(board):
    model = ModelBoard(SMALL)
    rng = np.random.default_rng(2)
    for other in (board, model):
        load(other)
    spikes = 0
    for _ in range(6):
        sample = entries(rng, 20)
        board.submit(sample)
        model.submit(sample)
        expected = model.results()
        same(board.results(), expected)
        spikes += sum(int(result.values.sum()) for result in expected if result.kind == 1)
    assert spikes > 20
    for space in Space:
        assert (board.read(space) == model.read(space)).all(), space.name


def test_many_samples_are_in_flight(board):
    # A thousand ticks are submitted before the first result is asked for.
    model = ModelBoard(SMALL)
    rng = np.random.default_rng(3)
    for other in (board, model):
        load(other)
    sample = entries(rng, 1000)
    for part in np.array_split(sample, 40):
        board.submit(part)
    model.submit(sample)
    same(board.results(), model.results())


def test_the_profile_counts_every_cycle(board):
    load(board)
    board.results()
    before = board.transport.profile()
    board.submit([0, 1, 2, tick_entry(TickFlag(0))])
    board.results()
    after = board.transport.profile()
    assert sum(cycles for cycles, _ in after.values()) == board.transport.cycles
    # Three spikes, two words a row.
    assert after[Opcode.INTEGRATE][1] - before[Opcode.INTEGRATE][1] == 6
    assert after[Opcode.LEARN] == before[Opcode.LEARN]
    # While nothing is to be done, no time passes.
    cycles = board.transport.cycles
    assert board.transport.read(0.0) == b""
    assert board.transport.cycles == cycles


@pytest.mark.parametrize("seed", range(3))
def test_thousands_of_operations_over_a_faulty_line(seed):
    """Frames lost, repeated, cut, flipped, joined, and noise, both ways: nothing is lost or done twice."""
    rng = np.random.default_rng(seed)
    line = FaultyTransport(open_transport(SMALL), rate=0.1, seed=seed)
    model = ModelBoard(SMALL)
    with LinkBoard(line, config=SMALL) as board:
        for other in (board, model):
            load(other, seed)
        for _ in range(1000):
            action = rng.integers(4)
            space = (Space.WEIGHTS, Space.STATE, Space.POST)[rng.integers(3)]
            depth, elements, bits, _ = space_shape(SMALL, space)
            words = int(rng.integers(1, depth + 1))
            address = int(rng.integers(0, depth - words + 1))
            if action == 0:
                image = rng.integers(-(1 << bits - 1) >> 3, 1 << bits - 4, (words, elements))
                for other in (board, model):
                    other.write(space, address, image)
            elif action == 1:
                assert (board.read(space, address, words) == model.read(space, address, words)).all()
            elif action == 2:
                sample = entries(rng, int(rng.integers(1, 12)))
                for other in (board, model):
                    other.submit(sample)
            else:
                same(board.results(), model.results())
        same(board.results(), model.results())
        for space in Space:
            assert (board.read(space) == model.read(space)).all(), space.name
    assert all(line.counts[fault] > 20 for fault in ("lost", "repeated", "cut", "flipped", "joined", "noise"))
    assert board.session.repeated > 0


def test_a_new_host_takes_over_from_one_that_died():
    transport = open_transport(SMALL)
    model = ModelBoard(SMALL)
    first = LinkBoard(transport)
    load(first)
    load(model)
    rng = np.random.default_rng(4)
    sample = entries(rng, 200)
    first.submit(sample)                                    # and nobody waits for its results
    transport.write(b"\x20 half a frame")
    with LinkBoard(transport) as second:
        assert second.results() == []
        assert (second.read(Space.WEIGHTS) == model.read(Space.WEIGHTS)).all()
        second.submit([tick_entry(TickFlag.RESET)])
        model.submit([tick_entry(TickFlag.RESET), *entries(rng, 30)])
        second.results()


BAD = {
    "shape": (lambda board: board.write(Space.WEIGHTS, 0, np.zeros((2, 3), int)), r"WEIGHTS: words of 4 elements"),
    "range": (lambda board: board.write(Space.WEIGHTS, 0, np.full((1, 4), 128)),
              r"WEIGHTS: values must be -128 to 127, not 128 to 128"),
    "floats": (lambda board: board.write(Space.WEIGHTS, 0, np.full((1, 4), np.nan)), r"must be integers, not float64"),
    "address": (lambda board: board.read(Space.STATE, 30, 4), r"STATE: words 30 to 33 are not within 0 to 31"),
    "event": (lambda board: board.submit([1, 32]), r"event address 32 is out of range: the core has 32 neurons"),
    "entry": (lambda board: board.submit([70000]), r"entries must be 0 to 65535, not 70000"),
}


@pytest.mark.parametrize(("action", "message"), BAD.values(), ids=BAD)
def test_bad_requests_are_refused_before_anything_is_sent(board, action, message):
    sent = board.transport.cycles
    with pytest.raises(BoardError, match=message):
        action(board)
    with pytest.raises(BoardError, match=message):
        action(ModelBoard(SMALL))
    assert board.transport.cycles == sent


def test_a_board_of_another_configuration_is_refused():
    import dataclasses
    other = dataclasses.replace(SMALL, state_words=64, name="other")
    with pytest.raises(BoardError, match=r"sim: the board's core \(custom\) is not the expected one \(other\): "
                                         r"it has state_words 32, not 64"):
        LinkBoard(open_transport(SMALL), config=other)


def test_a_failed_compilation_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("RELIF_CACHE", str(tmp_path / "cache"))
    lines = []
    killed, running = tmp_path / "cache" / "build-old", tmp_path / "cache" / "build-new"
    killed.mkdir(parents=True)
    running.mkdir()
    os.utime(killed, (0, 0))

    def interrupted(name, command, folder):
        (folder / "half").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(relif_sim.library, "_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        library(SMALL, progress=lines.append)
    assert list((tmp_path / "cache").iterdir()) == [running]        # of another process
    assert "generating Verilog" in lines[0]


def test_a_failed_tool_shows_its_last_words(tmp_path, monkeypatch):
    monkeypatch.setenv("RELIF_CACHE", str(tmp_path))
    monkeypatch.setattr(relif_sim.library, "device_rtlil", lambda config: "no such language")
    with pytest.raises(ToolError, match=r"(?s)Yosys failed with exit code \d+:.*ERROR"):
        library(SMALL, progress=lambda line: None)
    assert list(tmp_path.iterdir()) == []


def test_no_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("RELIF_CACHE", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    relif_sim.library._sources.cache_clear()
    with pytest.raises(ToolError, match=r"no C\+\+ compiler: no-such-compiler is not on PATH"):
        open_transport(SMALL)
    relif_sim.library._sources.cache_clear()


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RELIF_CACHE", str(tmp_path / "file"))
    with pytest.raises(ToolError, match=r"cannot be written: .*; set RELIF_CACHE"):
        library(SMALL, progress=lambda line: None)


def test_the_compiler_is_told_that_no_condition_holds(tmp_path):
    written = tmp_path / "Vrelif___024root__0.cpp"
    written.write_text("    if (a.x) {\n        y = (1U & z);\n    } else if ((a.b\n         & a.c)) {\n    }\n"
                       "    while (a.d) {\n")
    relif_sim.library._expect_nothing(tmp_path)
    assert written.read_text() == (
        "    if (VL_UNLIKELY(a.x)) {\n        y = (1U & z);\n    } else if (VL_UNLIKELY((a.b\n         & a.c))) {\n"
        "    }\n    while (a.d) {\n")
