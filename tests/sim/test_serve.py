"""`relif serve`: the simulated board behind devices and ports of the operating system."""

import os
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest

from relif.errors import BoardError, LinkError, TransportError
from relif.host import board as boards
from relif_hw.config import CoreConfig
from relif_hw.isa import Space, TickFlag, tick_entry
from relif_sim.board import open_transport
from relif_sim.serve import PtyEndpoint, TcpEndpoint, serve

SMALL = CoreConfig(lanes=4, weight_words=256, state_words=32, neuron_words=8, program_length=16, queue_depth=16,
                   max_outputs=4, name="small")
"""The configuration of `test_board`, so that one library serves both."""

ENDPOINTS = {"pseudo-terminal": PtyEndpoint, "TCP": TcpEndpoint}


class Server:
    """A served board, in a thread of this process."""

    def __init__(self, endpoint):
        self.address = endpoint.address
        self._stop = threading.Event()
        self._thread = threading.Thread(target=serve, args=(open_transport(SMALL), endpoint),
                                        kwargs={"stop": self._stop.is_set, "poll": 0.02})
        self._thread.start()

    def stop(self):
        self._stop.set()
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()


@pytest.fixture(params=ENDPOINTS.values(), ids=ENDPOINTS)
def server(request):
    server = Server(request.param())
    yield server
    server.stop()


def exercise(board, seed=0):
    """Memories and ticks over the line."""
    image = np.random.default_rng(seed).integers(-128, 128, (256, 4))
    board.write(Space.WEIGHTS, 0, image)
    board.submit([0, 5, tick_entry(TickFlag.RESET)] * 200)
    assert board.results() == []
    assert (board.read(Space.WEIGHTS) == image).all()
    return image


@pytest.mark.timeout(900)       # the first one compiles
def test_a_board_behind_the_operating_system(server):
    with boards.open(server.address, config=SMALL) as board:
        image = exercise(board)
    # The next host finds the memories as the first one left them.
    with boards.open(server.address) as board:
        assert (board.read(Space.WEIGHTS) == image).all()


def test_a_second_host_is_told_that_the_board_is_busy(server):
    with boards.open(server.address) as board:
        with pytest.raises(BoardError, match=r"busy: another program has it open|in use by another host"):
            boards.open(server.address)
        exercise(board)                     # which harmed nobody
    boards.open(server.address).close()


def test_a_host_that_dies_leaves_the_board_to_the_next(server):
    first = boards.open(server.address)
    first.submit([1, 2, tick_entry(TickFlag.SEND)] * 60)
    first.transport.write(b"\x40 half a frame")
    first.transport.close()
    with boards.open(server.address) as board:
        exercise(board)


def test_a_board_of_another_configuration(server):
    with pytest.raises(BoardError, match=r"it has .*lanes 4, not 32"):
        boards.open(server.address, config=boards.preset("lanes32"))
    boards.open(server.address).close()


SCRIPT = """
import sys
from relif_hw.config import CoreConfig
from relif_sim.board import open_transport
from relif_sim.serve import PtyEndpoint, TcpEndpoint, serve
endpoint = {"pseudo-terminal": PtyEndpoint, "TCP": TcpEndpoint}[sys.argv[1]]()
board = open_transport(CoreConfig(**eval(sys.argv[2])))
print(endpoint.address, flush=True)
serve(board, endpoint)
print("ended", flush=True)
"""


@pytest.fixture(params=ENDPOINTS)
def process(request):
    """A served board in a process of its own, and its address."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen([sys.executable, "-c", SCRIPT, request.param, repr(SMALL.__dict__)],
                             stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield child, child.stdout.readline().strip()
    finally:
        child.kill()
        child.wait(timeout=30)
        child.stdout.close()


@pytest.mark.timeout(900)
def test_a_board_that_is_unplugged(process):
    child, address = process
    board = boards.open(address)
    exercise(board)
    child.kill()
    child.wait(timeout=30)
    with pytest.raises(TransportError, match=r"unplugged|connection is lost"):
        exercise(board)
    board._abandon()


@pytest.mark.timeout(900)
def test_ctrl_c_ends_the_server(process):
    child, address = process
    boards.open(address).close()
    child.send_signal(signal.SIGINT)
    assert child.stdout.read() == "ended\n"
    assert child.wait(timeout=30) == 0


def test_a_link_names_the_pseudo_terminal(tmp_path):
    link = tmp_path / "board"
    endpoint = PtyEndpoint(str(link))
    assert os.readlink(link) == endpoint.device
    assert endpoint.address == f"serial://{link}"
    endpoint.close()
    assert not link.is_symlink()
    with pytest.raises(TransportError, match=r"no/board: the link to .* cannot be made"):
        PtyEndpoint(str(tmp_path / "no" / "board"))


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(TransportError, match=rf"tcp://127\.0\.0\.1:{port}: cannot listen there: .*in use"):
            TcpEndpoint(port=port)


def test_nothing_listens():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(TransportError, match=rf"tcp://127\.0\.0\.1:{port}: cannot connect"):
        boards.open(f"tcp://127.0.0.1:{port}")


def test_a_line_without_a_board():
    # A pseudo-terminal at whose other end nobody answers.
    endpoint = PtyEndpoint()
    with pytest.raises(LinkError, match=r"no answer from a board after 3 attempts"):
        boards.open(endpoint.address, retry=0.05, polls=3)
    endpoint.close()
