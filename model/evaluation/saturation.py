"""Quality against the saturated share of the picture, as in Santos et al. 2020, Fig. 8.

They show pictures of rising share; here each method's mean over pictures of like share is drawn, with its interval.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from model.evaluation.charts import Line, Points, draw_saturation
from model.evaluation.labels import label, lower_is_better
from model.evaluation.notes import notes
from model.evaluation.results import Results
from model.evaluation.scoring import MetricSettings
from model.evaluation.sections import Cell, FigureSection, cell
from model.evaluation.statistics import estimate
from model.evaluation.testset import Picture
from model.metrics import CORRECTED
from pipeline.bank.files import replace_file
from pipeline.errors import UsageError

MOST_BINS, LEAST_IN_BIN = 6, 3


def bins_of(pictures: Sequence[Picture], edges: Sequence[float]) -> list[tuple[float, float, list[Picture]]]:
    """Return (from, to, pictures) of each range of shares that holds any; the last range includes its end.

    Without `edges` the ranges hold like numbers of pictures, three or more, and never part pictures of equal share.
    Raises UsageError where edges hold no picture between them.
    """
    ordered = sorted(pictures, key=lambda p: (p.saturated_pixels, p.name))
    if edges:
        return _between(ordered, edges)
    count = max(1, min(MOST_BINS, len(ordered) // LEAST_IN_BIN))
    parts = [list(part) for part in np.array_split(np.arange(len(ordered)), count)]
    groups: list[list[Picture]] = []
    for part in parts:
        members = [ordered[i] for i in part]
        if groups and members and groups[-1][-1].saturated_pixels == members[0].saturated_pixels:
            groups[-1] += members
        elif members:
            groups.append(members)
    return [(g[0].saturated_pixels, g[-1].saturated_pixels, g) for g in groups]


def _between(ordered: Sequence[Picture], edges: Sequence[float]) -> list[tuple[float, float, list[Picture]]]:
    found = []
    for low, high in pairwise(edges):
        last = high == edges[-1]
        inside = [
            p
            for p in ordered
            if low <= p.saturated_pixels and (p.saturated_pixels < high or (last and p.saturated_pixels <= high))
        ]
        found.append((low, high, inside))
    if not any(inside for _, _, inside in found):
        least, most = (100 * ordered[end].saturated_pixels for end in (0, -1))
        raise UsageError(
            f"--edges: no picture lies between {100 * edges[0]:g} and {100 * edges[-1]:g} %, "
            f"they have {least:.1f} to {most:.1f} % of their pixels saturated"
        )
    return [entry for entry in found if entry[2]]


def make_figure(results: Results, settings: MetricSettings, out: Path, edges: Sequence[float]) -> FigureSection:
    """Draw OUT/fig8-METRIC.svg of each metric, and return what they show."""
    common, metrics = results.common, [m for m in results.metrics if not m.endswith(CORRECTED)]
    bins = bins_of(common, edges)
    outside = len(common) - sum(len(part) for _, _, part in bins)
    values: dict[str, dict[str, list[Cell]]] = {}
    charts = {}
    for metric in metrics:
        values[metric] = {
            m.name: [_cell(results, m.name, metric, part) for _, _, part in bins] for m in results.complete
        }
        middles = [float(np.mean([p.saturated_pixels for p in part])) for _, _, part in bins]
        lines = [Line(name, middles, cells) for name, cells in values[metric].items()]
        points = [
            Points(m.name, [p.saturated_pixels for p in common], results.values(m, metric, common))
            for m in results.complete
        ]
        charts[metric] = f"fig8-{metric}.svg"
        drawn = draw_saturation(lines, points, label(metric), logarithmic=lower_is_better(metric))
        replace_file(out / charts[metric], lambda beside, drawn=drawn: beside.write_text(drawn, encoding="utf-8"))  # type: ignore[misc]
    return FigureSection(
        testset=results.testset.fingerprint(),
        title="Fig. 8: quality against the saturated share",
        charts=charts,
        bins=[(low, high, len(part)) for low, high, part in bins],
        values=values,
        notes=[
            "Saturated are pixels with a channel at or above the clipping level.",
            *([f"{outside} of {len(common)} pictures lie outside of the ranges, and in no mean."] if outside else []),
            *notes(results, settings),
        ],
    )


def _cell(results: Results, method: str, metric: str, part: Sequence[Picture]) -> Cell:
    numbers = [results.scores[method, picture.name].numbers[metric] for picture in part]
    return cell(estimate(numbers, [picture.scene for picture in part]))


def write_bins(out: Path, figure: FigureSection) -> Path:
    """Write OUT/fig8.csv: one line a method, metric and range of shares."""
    stream = io.StringIO()
    head = ["method", "metric", "from_share", "to_share", "pictures", "mean", "low", "high", "median"]
    writer = csv.DictWriter(stream, head, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for metric, by_method in figure.values.items():
        for method, cells in by_method.items():
            for (low, high, count), entry in zip(figure.bins, cells, strict=True):
                told = {"method": method, "metric": metric, "from_share": low, "to_share": high, "pictures": count}
                writer.writerow(told | entry.model_dump())
    file = out / "fig8.csv"
    replace_file(file, lambda beside: beside.write_text(stream.getvalue(), encoding="utf-8"))
    return file
