"""The self-test: it passes on a good board, and names what is wrong with a bad one."""

from __future__ import annotations

import json

import pytest

from relif.cli import main
from relif.host.board import ModelBoard
from relif.selftest import selftest
from relif_hw.config import preset
from relif_hw.isa import Space


class StuckBoard(ModelBoard):
    """A board with one bit of one memory stuck at zero."""

    def __init__(self, space: Space):
        super().__init__(preset("lanes8"))
        self.space = space

    def _write(self, space, address, values):
        if space == self.space:
            values = values.copy()
            values[..., 0] &= ~2
        super()._write(space, address, values)


def failed(board) -> list[str]:
    return [check.name for check in selftest(board, kilobytes=40) if not check.passed]


def test_a_good_board_passes(capsys):
    assert main(["selftest", "--board", "model", "--preset", "lanes8", "--kilobytes", "40", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["passed"] and len(result["checks"]) == 10
    assert result["checks"][-1]["detail"] == "40 digits, 2368 weights, 0 differ from the golden model's"


@pytest.mark.parametrize(("space", "names"), [
    (Space.POST, ["memory POST"]), (Space.WEIGHTS, ["memory WEIGHTS", "link", "training"])])
def test_a_stuck_bit_is_found(space, names):
    assert failed(StuckBoard(space)) == names


def test_a_failure_ends_the_command_with_an_error(monkeypatch, capsys):
    monkeypatch.setattr("relif.commands.selftest.opened", lambda *arguments: StuckBoard(Space.POST))
    assert main(["selftest", "--board", "model"]) == 1
    assert "model: failed: memory POST" in capsys.readouterr().err
