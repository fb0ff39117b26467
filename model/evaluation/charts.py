"""Figures drawn by Matplotlib: Fig. 8 as an SVG that takes the page's text colour, crops as one PNG.

Matplotlib is imported where it draws: it takes a second, and most commands draw nothing.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.evaluation.sections import Cell
from pipeline.bank.files import replace_file
from pipeline.records import ByteImage

# Okabe and Ito 2008, "Color Universal Design": told apart also by colour-blind eyes, on light and dark ground.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C6D31", "#7F7F7F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_INK = "#010203"  # becomes the page's own text colour: no line of a chart has it otherwise
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud and scaled
    "svg.hashsalt": "hdrprep",  # or its ids would differ from run to run
    "font.family": "sans-serif",
    "font.size": 11,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True, slots=True)
class Line:
    """A method's means over ranges of shares (in [0, 1])."""

    name: str
    shares: Sequence[float]
    cells: Sequence[Cell]


@dataclass(frozen=True, slots=True)
class Points:
    """A method's single pictures."""

    name: str
    shares: Sequence[float]
    values: Sequence[float]


def draw_saturation(lines: Sequence[Line], points: Sequence[Points], quantity: str, logarithmic: bool = False) -> str:
    """Return an SVG: means with their intervals over the saturated share in percent, single pictures behind them."""
    figure, axes = _figure(7.2, 4.2)
    for i, cloud in enumerate(points):
        seen = [(100 * x, y) for x, y in zip(cloud.shares, cloud.values, strict=True) if math.isfinite(y)]
        colour = COLOURS[i % len(COLOURS)]
        axes.scatter([x for x, _ in seen], [y for _, y in seen], s=9, color=colour, alpha=0.45, linewidths=0)
    span = max((100 * x for line in lines for x in line.shares), default=0.0)
    for i, line in enumerate(lines):
        _draw_line(axes, i, line, 0.006 * span * (i - (len(lines) - 1) / 2))
    axes.set(xlabel="saturated pixels of the input, %", ylabel=quantity)
    if logarithmic and all((cell.mean or 0) > 0 for line in lines for cell in line.cells):
        axes.set_yscale("log")
    axes.grid(alpha=0.15, color=_INK)
    above = (0.5, 1.0 + 0.09 * -(-len(lines) // 3))
    axes.legend(frameon=False, labelcolor=_INK, loc="upper center", bbox_to_anchor=above, ncols=3)
    return _svg(figure)


def _draw_line(axes: Any, number: int, line: Line, beside: float) -> None:
    """Draw one method, its marks moved `beside` so that no interval hides another."""
    told = [(100 * x + beside, c) for x, c in zip(line.shares, line.cells, strict=True) if c.mean is not None]
    means = [c.mean or 0.0 for _, c in told]
    # A BCa interval need not hold the mean of a skewed sample, and an error bar cannot be negative.
    below = [max(0.0, m - (m if c.low is None else c.low)) for m, (_, c) in zip(means, told, strict=True)]
    above = [max(0.0, (m if c.high is None else c.high) - m) for m, (_, c) in zip(means, told, strict=True)]
    style = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
    bars = {"yerr": [below, above], "capsize": 3, "linewidth": 1.5, "markersize": 5}
    axes.errorbar([x for x, _ in told], means, label=_plain(line.name), **bars, **style)


def draw_crops(file: Path, rows: Sequence[tuple[str, Sequence[ByteImage]]], columns: Sequence[str]) -> None:
    """Write a PNG of crops: a row for each title, a column for each method."""
    figure, grid = _figure(1.9 * len(columns) + 0.4, 2.05 * len(rows) + 0.5, (len(rows), len(columns)))
    for (title, crops), line in zip(rows, grid, strict=True):
        for crop, axes in zip(crops, line, strict=True):
            axes.imshow(crop, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set_visible(False)
        line[0].set_ylabel(_plain(title), fontsize=8)
    for name, axes in zip(columns, grid[0], strict=True):
        axes.set_title(_plain(name), fontsize=9)
    stream = io.BytesIO()
    with _missing_glyphs():
        figure.savefig(stream, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    replace_file(file, lambda beside: beside.write_bytes(stream.getvalue()))


def _figure(width: float, height: float, grid: tuple[int, int] | None = None) -> tuple[Any, Any]:
    """Return a figure of so many inches without the state that pyplot keeps, and its axes: one, or a grid of them."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure((width, height), layout="constrained")
        axes = figure.subplots() if grid is None else figure.subplots(*grid, squeeze=False)
    return figure, axes


def _svg(figure: Any) -> str:
    import matplotlib as mpl

    stream = io.StringIO()
    with mpl.rc_context(_STYLE), _missing_glyphs():
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": "hdrprep"})
    text = stream.getvalue()
    return text[text.index("<svg") :].replace(_INK, "currentColor")


@contextmanager
def _missing_glyphs() -> Iterator[None]:
    """Let a name of characters that the font lacks stand as boxes: a browser has fonts of its own for the SVG."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _plain(text: str) -> str:
    """Return a name as it is to be read: Matplotlib takes what stands between dollar signs for a formula."""
    return re.sub(r"\$", r"\\$", text)
