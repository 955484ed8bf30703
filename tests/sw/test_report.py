"""The report's pictures are made of what they are given, and its page stands alone."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from relif import plots
from relif.errors import RelifError
from relif.plots import Probe
from relif.report import write_report


@pytest.fixture
def probe():
    random = np.random.default_rng(1)
    x, h = random.random((32, 64)) < 0.2, random.random((32, 256)) < 0.05
    u = np.cumsum(random.normal(0, 0.2, (32, 256)), axis=0)
    y = np.cumsum(random.normal(0, 0.1, (32, 10)) + 0.2 * (np.arange(10) == 3), axis=0)
    decay = 0.8 ** np.arange(32)
    traces = np.stack([np.convolve(x[:, i], decay)[:32] for i in range(64)], axis=1)
    return Probe(spikes={"x": x, "h": h}, membranes={"h": u, "y": y}, traces={"x to h": traces},
                 thresholds={"h": 1.0}, label=3, prediction=3)


@pytest.fixture
def run(probe):
    random = np.random.default_rng(2)
    return {
        "history": [{"epoch": n, "train_accuracy": 1 - 0.4 / n, "test_accuracy": 1 - 0.5 / n}
                    for n in range(1, 9)],
        "weights": {"x to h": np.clip(random.normal(0, 40, (64, 256)).round(), -128, 127).astype(int),
                    "h to y": np.clip(random.normal(0, 60, (256, 10)).round(), -128, 127).astype(int)},
        "weight_limit": 128, "probe": probe, "baselines": {"linear": 0.96, "BPTT": 0.97},
    }


RESULT = {"task": "digits", "board": "sim", "seed": 0, "epochs": 8, "train_accuracy": 0.95,
          "test_accuracy": 0.9375, "cycles_per_tick": 210.25, "ticks": 368640, "weights_sha256": "ab" * 32}


def test_page_stands_alone(run, tmp_path):
    page = write_report(tmp_path / "report", RESULT, **run)
    text = page.read_text()
    # Nothing is loaded from elsewhere: every picture is in the page.
    assert re.findall(r'(?:src|href)="(?!data:image/png;base64,)', text) == []
    assert text.count("data:image/png;base64,") == 5
    assert "93.8 %" in text
    assert "368 640" in text
    names = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert names == ["index.html", "learning_curve.png", "membranes.png", "raster.png", "result.json",
                     "traces.png", "weights.png"]
    assert json.loads((tmp_path / "report" / "result.json").read_text()) == RESULT
    for name in names:
        if name.endswith(".png"):
            assert (tmp_path / "report" / name).read_bytes().startswith(b"\x89PNG")


def test_names_are_escaped(run, tmp_path):
    text = write_report(tmp_path, {**RESULT, "task": "<script>"}, **run).read_text()
    assert "<script>" not in text


def test_without_a_probe(run, tmp_path):
    write_report(tmp_path, RESULT, **{**run, "probe": None, "baselines": None})
    assert sorted(path.stem for path in tmp_path.glob("*.png")) == ["learning_curve", "weights"]


def test_curve_shows_what_was_measured(run):
    axis = plots.learning_curve(run["history"], {"linear": 0.96}).axes[0]
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in axis.get_lines()}
    assert list(lines) == ["training, online: 95.0 %", "test: 93.8 %", "linear: 96.0 %"]
    assert lines["test: 93.8 %"] == pytest.approx([100 * entry["test_accuracy"] for entry in run["history"]])


def test_curve_with_gaps():
    history = [{"epoch": 1, "train_accuracy": 0.5}, {"epoch": 2, "train_accuracy": 0.6, "test_accuracy": 0.7}]
    labels = [line.get_label() for line in plots.learning_curve(history).axes[0].get_lines()]
    assert labels == ["training, online: 60.0 %", "test: 70.0 %"]


def test_raster_has_every_spike(probe):
    axes = plots.raster(probe).axes
    for axis, spikes in zip(axes, probe.spikes.values(), strict=True):
        offsets = np.asarray(axis.collections[0].get_offsets()).astype(int)
        assert {(t, n) for t, n in offsets} == set(zip(*np.nonzero(spikes), strict=True))


def test_silent_population(probe):
    silent = Probe(spikes={"x": np.zeros((4, 3), bool)}, membranes={"h": np.zeros((4, 3))}, traces={},
                   thresholds={"h": 1.0})
    assert "0 spikes" in plots.raster(silent).axes[0].get_title(loc="left")
    plots.membranes(silent)


def test_a_file_in_the_place_of_the_folder(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RelifError, match="file: the report cannot be written: File exists"):
        write_report(tmp_path / "file", RESULT, **run)
