"""How cycles grow: what the points are, what is drawn beside them, and the command that leaves the pictures."""

from __future__ import annotations

import json
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest

import relif
from counting import CASE, CONFIG, CountingBoard
from relif.bench import Case
from relif.cli import main
from relif.commands import other_benches
from relif.errors import CompileError
from relif.scaling import (
    LANES,
    SERIES,
    Point,
    Series,
    Setting,
    draw_scaling,
    limits,
    measure_point,
    scaling_columns,
    scaling_markdown,
    scaling_rows,
)
from relif_hw.config import PRESETS

BUSY = Setting(20.0, CASE, 0.2)
IDLE = Setting(0.0, CASE, 0.0)


def test_a_point():
    # The board claims 300 cycles a tick, whatever it does.
    point = measure_point(CountingBoard(CONFIG), BUSY, seed=0, ticks=20)
    assert point.cycles == {"learning": 300, "inference": 300}
    assert 0 < point.limit["inference"] < point.limit["learning"] < 300
    assert (point.core, point.input_words) == ("small", 2)
    assert point == measure_point(CountingBoard(CONFIG), BUSY, seed=0, ticks=20)


def test_where_nothing_spikes_no_word_of_weights_is_due():
    assert measure_point(CountingBoard(CONFIG), IDLE, seed=0, ticks=4).limit == {"learning": 0, "inference": 0}


def test_a_network_that_does_not_fit():
    with pytest.raises(CompileError, match="does not fit core 'small'"):
        measure_point(CountingBoard(CONFIG), replace(BUSY, case=Case(700, 256, 20, True)), seed=0, ticks=1)


def point(x, learning, line="", core="lanes4", words=1):
    return Point(setting=Setting(x, CASE, 0.1, line=line), core=core, input_words=words,
                 cycles={"learning": learning, "inference": learning / 2},
                 limit={"learning": learning / 4, "inference": learning / 8})


ONE = Series("one", "One", "neurons", "Nothing else.", [])
TWO = replace(ONE, name="two", logarithmic=True)
SILENT = replace(ONE, name="silent", spikes=True)


def test_what_silent_inputs_are_held_against():
    points = [point(64, 100.0, words=2), point(128, 110.0, words=4), point(192, 120.0, words=6)]
    assert limits(SILENT, points, "learning") == [100, 102, 104]
    assert limits(ONE, points, "learning") == [25, 27.5, 30]


def test_tables():
    points = [point(4, 100.0, "a"), point(8, 80.0, "b"), point(8, 60.0, "a")]
    rows = scaling_rows(ONE, points)                        # line by line
    assert [row[:4] for row in rows] == [("4", CASE.name, "lanes4", "100.0"), ("8", CASE.name, "lanes4", "60.0"),
                                         ("8", CASE.name, "lanes4", "80.0")]
    assert rows[0][4:] == ("25.0", "50.0", "12.5")
    assert len(scaling_columns(ONE)) == len(rows[0])
    text = scaling_markdown([(ONE, points)], CONFIG, "relif bench --scaling")
    assert text.startswith("# Cost grows with the work: tables\n\n    relif bench --scaling\n\n"
                           "Core `small` where no other one is named.")
    assert "## One\n\nNothing else.\n\n| neurons | network | core | learning | words |" in text


@pytest.mark.parametrize(("series", "legend"), [
    (ONE, ["cycles", "limit: words of weights"]),
    (TWO, ["a", "b", "cycles", "limit: words of weights"]),
    (SILENT, ["cycles", "a cycle for each word of their spikes"]),
], ids=lambda value: value.name if isinstance(value, Series) else "")
def test_pictures_have_both_modes_and_the_limit(series, legend, tmp_path):
    names = ("a", "b") if series is TWO else ("",)
    points = [point(x, 100.0 * x, name) for name in names for x in (4, 8, 16)]
    figure = draw_scaling(series, points)
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["learning", "inference"]
    for axis, scale in zip(figure.axes, (1, 2), strict=True):
        solid, dashed = axis.get_lines()[:2]
        assert list(solid.get_ydata()) == [400 / scale, 800 / scale, 1600 / scale]
        assert list(dashed.get_ydata()) == limits(series, points[:3], axis.get_title(loc="left"))
        assert axis.get_xscale() == ("log" if series.logarithmic else "linear")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == legend
    figure.savefig(tmp_path / "picture.png")
    # Nothing is cut: the outermost pixels are white.
    pixels = matplotlib.image.imread(tmp_path / "picture.png")[:, :, :3]
    assert all(np.all(edge == 1.0) for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))


@pytest.mark.parametrize("series", SERIES, ids=lambda series: series.name)
def test_series_change_one_thing(series):
    assert len(set(series.settings)) == len(series.settings) >= 5
    xs = [setting.x for setting in series.settings if setting.line == series.settings[0].line]
    assert xs == sorted(set(xs))
    densities, networks = ({getattr(s, field) for s in series.settings} for field in ("density", "case"))
    assert (len(densities) == 1) != (len(networks) == 1)
    assert all(setting.preset is None or setting.preset in PRESETS for setting in series.settings)


def test_presets_of_the_lanes():
    assert [PRESETS[name].lanes for name in LANES] == [4, 8, 16, 32, 64, 128]


def test_titles_fit_into_the_pictures():
    for series in SERIES:
        figure = draw_scaling(series, [Point(
            setting=setting, core="lanes128", input_words=1, cycles={"learning": 9e3, "inference": 9e3},
            limit={"learning": 1.0, "inference": 1.0}) for setting in series.settings])
        figure.draw_without_rendering()
        width = figure.get_window_extent().width
        for artist in (figure._suptitle, figure.legends[0]):
            extent = artist.get_window_extent()
            assert 0 <= extent.x0 and extent.x1 <= width, series.name


# The command.

@pytest.fixture
def quick(monkeypatch):
    """Two series, of which one has a network that does not fit, on boards that count as they are told."""
    monkeypatch.setattr(other_benches, "SERIES", (
        replace(ONE, settings=[IDLE, BUSY, Setting(1.0, Case(700, 256, 20, True), 0.1)]),
        replace(TWO, settings=[Setting(4.0, CASE, 0.1, "lanes4"), Setting(128.0, CASE, 0.1, "lanes128")])))
    monkeypatch.setattr(other_benches, "opened", lambda spec, config, console: CountingBoard(config))


def test_the_command_leaves_pictures_and_tables(quick, capsys, tmp_path):
    table, folder = tmp_path / "scaling.md", tmp_path / "pictures"
    arguments = ["bench", "--scaling", "--preset", "lanes4", "--ticks", "4", "--pictures", str(folder)]
    assert main([*arguments, "--json", "-o", str(table)]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert [[p["cycles"]["learning"] for p in series["points"]] for series in result["series"]] == [[300] * 2] * 2
    assert [p["core"] for p in result["series"][1]["points"]] == ["lanes4", "lanes128"]
    assert list(result["too_large"]) == ["700/256 recurrent/20 on lanes4"]
    assert "700/256 recurrent/20 on lanes4: the network does not fit core 'lanes4'" in captured.err
    assert result["pictures"] == [str(folder / "one.svg"), str(folder / "two.svg")]
    text = table.read_text()
    assert text.startswith(
        "# Cost grows with the work: tables\n\n"
        f"    relif bench --scaling --preset lanes4 --ticks 4 --seed 0 --pictures {folder}")
    # The same numbers make the same files.
    first = [(folder / name).read_bytes() for name in ("one.svg", "two.svg")]
    assert first[0].startswith(b"<?xml")
    assert main(arguments) == 0
    assert [(folder / name).read_bytes() for name in ("one.svg", "two.svg")] == first
    assert "One: Nothing else." in capsys.readouterr().out


def test_where_nothing_fits(quick, capsys, monkeypatch):
    large = replace(ONE, settings=[Setting(1.0, Case(700, 256, 20, True), 0.1)])
    monkeypatch.setattr(other_benches, "SERIES", (large,))
    assert main(["bench", "--scaling", "--preset", "lanes4"]) == 1
    assert "none of the networks fits" in capsys.readouterr().err


@pytest.mark.timeout(600)
def test_nothing_scans_what_is_silent():
    """On the generated Verilog: inputs without spikes cost their words of spikes and of traces, not their synapses."""
    few, many = (Case(n, 16, 2, False) for n in (16, 48))
    small, large = (simulated_point(case) for case in (few, many))
    words = large.input_words - small.input_words
    assert words == 8
    # INTEGRATE looks at each word, and CLEAR writes it. The 32 inputs more have 32 rows of 4 words.
    assert large.cycles["inference"] - small.cycles["inference"] <= 2 * words
    # While learning there are two words of traces for each, which TRACE writes and LEARN looks at.
    assert large.cycles["learning"] - small.cycles["learning"] <= 5 * words
    assert large.limit == small.limit == {"learning": 0, "inference": 0}


def simulated_point(case):
    with relif.open("sim", config=PRESETS["lanes4"]) as board:
        return measure_point(board, Setting(case.inputs, case, 0.0), seed=0, ticks=4)
