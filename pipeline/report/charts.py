"""Distributions of a bank's numbers as SVG that takes the page's colours, drawn by Matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.camera import response
from pipeline.figures import new_figure, svg_of
from pipeline.report.survey import VERDICTS, Floats, Survey

BINS = 40
CURVES = 200  # drawn together
_ALL, _KEPT = "#010204", "#010205"
_PAGE = {_ALL: "var(--rest)", _KEPT: "var(--kept)"}  # what they stand for


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: its name, what it says without eyes, and the SVG."""

    title: str
    told: str
    svg: str


def draw_charts(survey: Survey, stops: Sequence[float]) -> list[Chart]:
    """Return the distributions of what has numbers. `stops` are dynamic ranges of patches that were rendered."""
    kept = survey.verdict == VERDICTS.index("kept")
    shown = survey.shown_numbers()
    wanted = [
        ("Saturated share", 100 * shown["saturated_fraction"], kept, "% of the patch"),
        ("Exposure", shown["exposure_stops"], kept, "stops, log2 of the factor"),
        ("JPEG quality", shown["jpeg_quality"], kept, "quality"),
        ("Dynamic range", np.asarray(stops, np.float64), None, f"stops, of {len(stops)} patches drawn at random"),
    ]
    charts = [_histogram(*entry) for entry in wanted if np.isfinite(entry[1]).any()]
    if np.isfinite(survey.numbers["curve_n"]).any():
        charts.insert(2, _curves(survey))
    return charts


def _histogram(title: str, values: Floats, kept: Any, unit: str) -> Chart:
    known = values[np.isfinite(values)]
    low, high = np.quantile(known, (0.001, 0.999))  # a few far ones would squeeze all others
    edges = np.linspace(low, high if high > low else low + 1.0, min(BINS, 4 + 2 * round(known.size**0.5)) + 1)
    figure, axes = _axes(unit)
    sets = [(known, _ALL)]
    if kept is not None and kept.any():
        sets.append((values[kept & np.isfinite(values)], _KEPT))
    for some, colour in sets:
        weights = np.full(some.size, 100.0 / some.size)
        kind = "bar" if colour == _ALL else "step"
        axes.hist(
            np.clip(some, edges[0], edges[-1]), edges, weights=weights, color=colour, histtype=kind, linewidth=1.6
        )
    axes.set_yticks([])
    middle = [f"{name} {np.median(some):.3g}" for (some, _), name in zip(sets, ("all", "kept"), strict=False)]
    return Chart(title, f"{title}, {unit}. Median: {', '.join(middle)}.", svg_of(figure, _PAGE))


def _curves(survey: Survey) -> Chart:
    """Draw the response curves of some patches, evenly spread over the table, the median one on top."""
    n, sigma = survey.numbers["curve_n"], survey.numbers["curve_sigma"]
    known = np.flatnonzero(np.isfinite(n))
    some = known[np.unique(np.linspace(0, known.size - 1, CURVES).astype(int))]
    light = np.linspace(0.0, 1.0, 49).astype(np.float32)
    figure, axes = _axes("scene light, 1 = clipping")
    for position in some:
        axes.plot(light, response(light, n[position], sigma[position]), color=_ALL, linewidth=0.5, alpha=0.35)
    middle = float(np.median(n[known])), float(np.median(sigma[known]))
    axes.plot(light, response(light, *middle), color=_KEPT, linewidth=2)
    axes.set_yticks([0, 1])
    told = f"Camera curves of {some.size} patches. The median has n {middle[0]:.2f} and sigma {middle[1]:.2f}."
    return Chart("Camera curves", told, svg_of(figure, _PAGE))


def _axes(unit: str) -> tuple[Any, Any]:
    figure, axes = new_figure(4.6, 2.5)
    axes.set_xlabel(unit)
    axes.tick_params(length=3)
    axes.spines["left"].set_visible(False)
    return figure, axes
