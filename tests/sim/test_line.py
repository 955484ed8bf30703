"""The simulated board behind a serial line: bytes come at their rate, and nothing else changes."""

import numpy as np
import pytest

import relif
from networks import training_run
from relif.host.protocol import Frame, encode_frame
from relif.host.transport import Line
from relif.link_bench import link_markdown, measure_link
from relif_hw.config import CoreConfig
from relif_hw.frames import FrameType
from relif_hw.isa import Opcode, Space
from relif_sim.board import open_transport

SMALL = CoreConfig(name="uart", lanes=4, state_bits=16, weight_words=256, state_words=64, neuron_words=16,
                   program_length=56, queue_depth=16, max_outputs=16)
LINES = [Line(clock_hz=50e6, baudrate=3e6), Line(clock_hz=12e6, baudrate=12e6), Line(clock_hz=48e6, baudrate=7e5)]


def train(board):
    scenario, _ = training_run(SMALL)
    for space, address, values in scenario.loads:
        board.write(Space(space), address, np.array(values))
    for step in scenario.steps:
        board.submit(np.array(step.entries))
    return [result.values.tolist() for result in board.results()], board.read(Space.WEIGHTS)


@pytest.mark.parametrize("line", LINES, ids=str)
def test_training_is_the_same_and_the_work_too(line):
    with relif.open("sim", config=SMALL) as free, \
            relif.open("sim", config=SMALL, line=line, retry=60.0) as limited:
        (results, weights), (want, wanted) = train(limited), train(free)
        assert results == want and (weights == wanted).all()
        assert limited.session.repeated == 0
        one, other = free.transport.profile(), limited.transport.profile()
        for opcode in Opcode:
            if opcode not in (Opcode.END, Opcode.SEND):
                assert one[opcode] == other[opcode], opcode
        assert limited.transport.cycles > free.transport.cycles


@pytest.mark.parametrize("line", LINES, ids=str)
def test_a_byte_takes_its_time_in_both_directions(line):
    hello, cycles = encode_frame(Frame(FrameType.HELLO, 1, 2, 2, b"")), line.byte_cycles
    board = open_transport(SMALL, line=line)
    run(board, 100_000)
    start = board.cycles
    board.write(hello)
    times, got = [], b""
    while not board.at_rest:
        now, byte = board.cycles, board.step(1)
        got += byte
        times += [now] * len(byte)
    # After power-up a board greets with a STATUS. The answer begins after all of HELLO has come, and its bytes
    # follow each other without a pause.
    begin = got.index(0) + 1
    answer = times[begin:got.index(0, begin) + 1]
    first = start + (len(hello) + 1) * cycles
    assert first - 1 < answer[0] <= first + 200
    for number, time in enumerate(answer):
        assert -1 < time - answer[0] - number * cycles < 1
    # It does not depend on how far the board is stepped at a time.
    again = open_transport(SMALL, line=line)
    run(again, 7)
    again.write(hello)
    assert run(again, 100_000) == got and again.cycles == board.cycles
    board.close()
    again.close()


def run(board, cycles):
    sent = b""
    while not board.at_rest:
        sent += board.step(cycles)
    return sent


def test_a_line_is_checked():
    assert Line(clock_hz=50e6, baudrate=3e6).fraction() == (500, 3)
    for wrong in (0, 0.5, 2e9, float("nan")):
        with pytest.raises(ValueError, match=f"baudrate must be a whole number from 1 to 1000000000, not {wrong}"):
            Line(clock_hz=12e6, baudrate=wrong)


@pytest.mark.timeout(600)
def test_the_bench_of_the_link():
    cases = [("lanes4", Line(clock_hz=12e6, baudrate=3e6)), ("lanes4", Line(clock_hz=12e6, baudrate=12e6))]
    slow, fast = measure_link(8, cases=cases)
    for m in (slow, fast):
        assert 0 < m.to_board < m.limit and m.events > 0
        assert m.learning + m.sending + m.waiting == pytest.approx(1, abs=1e-9)   # sums of three quotients
    assert fast.learning > slow.learning and fast.seconds < slow.seconds
    assert fast.cycles_per_tick == slow.cycles_per_tick
    assert "| lanes4 | 12 MHz | 3 Mbaud |" in link_markdown([slow], 8, "relif bench --link")
