"""Figures drawn by Matplotlib: Fig. 8 as an SVG that takes the page's text colour, crops as one PNG."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.evaluation.sections import Cell
from pipeline.bank.files import replace_file
from pipeline.figures import INK, missing_glyphs, new_figure, svg_of
from pipeline.records import ByteImage

# Okabe and Ito 2008, "Color Universal Design": told apart also by colour-blind eyes, on light and dark ground.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C6D31", "#7F7F7F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


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
    figure, axes = new_figure(7.2, 4.2)
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
    axes.grid(alpha=0.15, color=INK)
    above = (0.5, 1.0 + 0.09 * -(-len(lines) // 3))
    axes.legend(frameon=False, labelcolor=INK, loc="upper center", bbox_to_anchor=above, ncols=3)
    return svg_of(figure)


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
    figure, grid = new_figure(1.9 * len(columns) + 0.4, 2.05 * len(rows) + 0.5, (len(rows), len(columns)))
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
    with missing_glyphs():
        figure.savefig(stream, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    replace_file(file, lambda beside: beside.write_bytes(stream.getvalue()))


def _plain(text: str) -> str:
    """Return a name as it is to be read: Matplotlib takes what stands between dollar signs for a formula."""
    return re.sub(r"\$", r"\\$", text)
