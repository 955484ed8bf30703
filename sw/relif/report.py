"""The report of a run: pictures as PNG files and one HTML page that holds everything itself."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from . import plots
from .errors import RelifError
from .plots import Array, Probe
from .version import __version__

__all__ = ["write_report"]

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2733; background: #f5f7f9; margin: 0; }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
p.lead { color: #6b7785; margin: 0 0 1.5rem; }
.figures { display: flex; gap: .8rem; flex-wrap: wrap; }
.figure { background: #fff; border: 1px solid #dfe5ea; border-radius: 8px; padding: .7rem 1.1rem; flex: 1; }
.figure b { display: block; font-size: 1.5rem; } .figure span { color: #6b7785; font-size: .85rem; }
table { border-collapse: collapse; background: #fff; width: 100%; border: 1px solid #dfe5ea; }
th, td { text-align: left; padding: .35rem .8rem; border-bottom: 1px solid #eceff2; vertical-align: top; }
th { color: #6b7785; font-weight: 500; width: 14rem; } td { font-variant-numeric: tabular-nums; }
td.hash { word-break: break-all; }
img { max-width: 100%; background: #fff; border: 1px solid #dfe5ea; border-radius: 8px; }
"""


def _shown(value: Any) -> str:
    if value is None:
        return "not measured"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}".replace(",", " ")
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items())
    return str(value)


def _table(rows: Mapping[str, Any]) -> str:
    cells = (f"<tr><th>{html.escape(key.replace('_', ' '))}</th>"
             f"<td{' class=hash' if 'sha256' in key else ''}>{html.escape(_shown(value))}</td></tr>"
             for key, value in rows.items())
    return f"<table>{''.join(cells)}</table>"


def _highlights(result: Mapping[str, Any], baselines: Mapping[str, float]) -> str:
    items = [(f"{100 * result[key]:.1f} %", label) for key, label in (
        ("test_accuracy", "test accuracy"), ("train_accuracy", "training accuracy"))
        if result.get(key) is not None]
    items += [(f"{100 * value:.1f} %", name) for name, value in baselines.items()]
    if result.get("cycles_per_tick") is not None:
        items.append((f"{result['cycles_per_tick']:.1f}", "clock cycles per tick"))
    return "".join(f'<div class="figure"><b>{html.escape(value)}</b><span>{html.escape(label)}</span></div>'
                   for value, label in items)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def write_report(
    folder: str | Path, result: Mapping[str, Any], *, history: Sequence[Mapping[str, Any]],
    weights: Mapping[str, Array], weight_limit: float, probe: Probe | None = None,
    baselines: Mapping[str, float] | None = None,
) -> Path:
    """Write `index.html`, `result.json` and the PNG files into a folder; returns the page's path.

    Parameters
    ----------
    folder : path
        Made if it is not there; files of an earlier report are replaced.
    result : mapping
        What `relif train --json` prints.
    history : sequence of mapping
        An entry an epoch, see `plots.learning_curve`.
    weights : mapping of str to array
        Weights of each projection, (sources, targets).
    weight_limit : float
        Largest magnitude of a weight.
    probe : Probe, optional
        One sample, tick by tick; without it there are no rasters and traces.
    baselines : mapping of str to float
        Test accuracies of other methods, 0 to 1.

    Raises `RelifError` where the folder cannot be written.
    """
    folder = Path(folder)
    baselines = baselines or {}
    figures = {"learning_curve": ("Learning", plots.learning_curve(history, baselines))} if history else {}
    if probe is not None:
        figures["raster"] = ("Spikes", plots.raster(probe))
        figures["membranes"] = ("Membranes", plots.membranes(probe))
        if probe.traces:
            figures["traces"] = ("Traces", plots.traces(probe))
    figures["weights"] = ("Weights", plots.weight_pictures(weights, weight_limit))
    title = f"{result.get('task', 'run')} on {result.get('board', 'a board')}"
    parts = [
        f"<h1>{html.escape(title)}</h1><p class=lead>Relif {__version__}, seed {result.get('seed')}, "
        f"{result.get('epochs')} epochs</p>",
        f'<div class="figures">{_highlights(result, baselines)}</div>',
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, (heading, figure) in figures.items():
            content = _png(figure)
            (folder / f"{name}.png").write_bytes(content)
            parts.append(f'<h2>{heading}</h2><img alt="{heading}" '
                         f'src="data:image/png;base64,{base64.b64encode(content).decode()}">')
        parts.append(f"<h2>Everything</h2>{_table(result)}")
        page = folder / "index.html"
        page.write_text(
            f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
            f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
            f'<body><main>{"".join(parts)}</main></body></html>\n', encoding="utf-8")
        (folder / "result.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise RelifError(f"{folder}: the report cannot be written: {error.strerror}") from None
    return page
