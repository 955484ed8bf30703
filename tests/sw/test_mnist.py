"""The task mnist on small files of its own making, and the files that it refuses."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from relif.cli import main
from relif.compiler import compile
from relif.errors import DataError
from relif.tasks import Mnist
from relif.tasks.mnist import FILES, SILENT
from relif_hw.config import preset


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Thirty training and ten test images; the labels are gzipped."""
    monkeypatch.delenv("RELIF_DATA", raising=False)
    random = np.random.default_rng(0)
    data = tmp_path / "data"
    data.mkdir()
    for images, labels, count in ((*FILES[:2], 30), (*FILES[2:], 10)):
        classes = (np.arange(count) % 10).astype(np.uint8)
        pixels = np.zeros((count, 28, 28), dtype=np.uint8)
        for sample, digit in enumerate(classes):        # a bar whose place tells the class
            pixels[sample, 2 * digit:2 * digit + 4] = random.integers(150, 256, (4, 28))
        (data / images).write_bytes(idx(pixels))
        (data / f"{labels}.gz").write_bytes(gzip.compress(idx(classes)))
    return data


def test_files_are_read_gzipped_or_not(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Mnist(0, data=folder)
    assert task.train.values.shape == (30, 784)
    assert task.test.classes.tolist() == list(range(10))
    assert task.train.values.dtype == np.float32 and 0.58 < task.train.values[:, :112].max() <= 1.0
    # The folder may also be one above, and come from the environment.
    folder.rename(folder.with_name("mnist"))
    monkeypatch.setenv("RELIF_DATA", str(folder.parent))
    assert np.array_equal(Mnist(1).train.values, task.train.values)


def test_no_spike_comes_too_late_to_be_seen(folder: Path) -> None:
    task = Mnist(0, data=folder)
    spikes = task.encode(np.ones((1, 784)))[0]
    assert spikes.shape == (task.ticks, 784) and not spikes[-SILENT:].any()
    assert set(spikes.sum(0)) == {3, 4}         # white: at every other tick


def test_the_default_core_holds_its_network(folder: Path) -> None:
    for hidden in ((200,), (128, 128)):
        compile(Mnist(0, data=folder, hidden=hidden).network(), preset("lanes32"))


def test_trains_from_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "mnist", "--data", str(folder), "--board", "model", "--hidden", "24", "--epochs", "1",
                 "--json"]) == 0
    out = capsys.readouterr().out
    assert '"ticks": 300' in out and str(folder) not in out


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (lambda f: (f / FILES[0]).unlink(),
               r"there is neither train-images-idx3-ubyte nor .*\.gz\. MNIST is published"),
    "cut": (lambda f: (f / FILES[0]).write_bytes((f / FILES[0]).read_bytes()[:-1]),
            r"train-images-idx3-ubyte: 23519 bytes of numbers, not the 23520 of the shape \(30, 28, 28\)"),
    "gzip cut": (lambda f: (f / f"{FILES[1]}.gz").write_bytes((f / f"{FILES[1]}.gz").read_bytes()[:-9]),
                 r"train-labels-idx1-ubyte\.gz: cannot be read"),
    "other": (lambda f: (f / FILES[2]).write_bytes(b"<html>"),
              r"no idx file .* with 3 axes: it begins with 3c 68 74 6d"),
    "size": (lambda f: (f / FILES[2]).write_bytes(idx(np.zeros((10, 8, 8), dtype=np.uint8))),
             r"images of 8 x 8 pixels, not 28 x 28"),
    "class": (lambda f: (f / f"{FILES[3]}.gz").write_bytes(gzip.compress(idx(np.full(10, 10, dtype=np.uint8)))),
              r"class 10 does not exist: mnist has classes 0 to 9"),
    "count": (lambda f: (f / f"{FILES[3]}.gz").write_bytes(gzip.compress(idx(np.zeros(9, dtype=np.uint8)))),
              r"values of shape \(10, 784\) do not match 9 classes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str, folder: Path) -> None:
    spoil, message = REFUSED[case]
    spoil(folder)
    with pytest.raises(DataError, match=message):
        Mnist(0, data=folder)


def test_without_data_it_says_where_to_get_it(monkeypatch: pytest.MonkeyPatch,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("RELIF_DATA", raising=False)
    assert main(["train", "mnist", "--board", "model"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("relif: mnist has no data. MNIST is published as the files train-images-idx3-ubyte")
    assert "--data or in RELIF_DATA" in message
    assert main(["train", "digits", "--data", "somewhere", "--board", "model"]) == 1
    assert "digits brings its own samples: it takes no data, but somewhere was given" in capsys.readouterr().err
