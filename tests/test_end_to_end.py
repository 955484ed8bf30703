"""The main job, as a stranger does it: the generated Verilog learns digits, and the golden model the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

EPOCHS = 1


def relif(*arguments: str) -> dict:
    """Run the command line in a process of its own; its one JSON object."""
    done = subprocess.run([sys.executable, "-m", "relif", *arguments, "--json"], capture_output=True, text=True,
                          timeout=1100, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.timeout(1200)      # compiles the simulated board where it is not in the cache
def test_digits_end_with_the_same_weights_on_the_simulated_board_and_on_the_model(tmp_path: Path) -> None:
    runs = {}
    for board in ("sim", "model"):
        checkpoint = tmp_path / f"{board}.relif"
        runs[board] = relif("train", "digits", "--board", board, "--seed", "0", "--epochs", str(EPOCHS),
                            "--checkpoint", str(checkpoint))
        # The checkpoint holds that network, and the other board runs it to the same result.
        other = "model" if board == "sim" else "sim"
        evaluated = relif("eval", "digits", "--board", other, "--checkpoint", str(checkpoint))
        assert evaluated["test_accuracy"] == runs[board]["test_accuracy"]
    sim, model = runs["sim"], runs["model"]
    for key in ("weights_sha256", "train_accuracy", "test_accuracy", "ticks"):
        assert sim[key] == model[key], key
    assert sim["cycles_per_tick"] > 0
    assert model["cycles_per_tick"] is None
    # One pass is enough to be far above chance (10 %): it has learned.
    assert sim["test_accuracy"] > 0.85


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("feedback", ["random", "symmetric"])
def test_superspike_ends_with_the_same_weights_on_the_simulated_board_and_on_the_model(feedback: str) -> None:
    sim, model = (relif("train", "temporal-xor", "--rule", "superspike", "--feedback", feedback, "--epochs", "4",
                        "--board", board) for board in ("sim", "model"))
    for key in ("weights_sha256", "distance", "untrained_distance", "test_accuracy", "ticks"):
        assert sim[key] == model[key], key
