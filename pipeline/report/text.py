"""A survey as text and as JSON: what `hdrprep status` prints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from pipeline.report.provenance import Provenance
from pipeline.report.survey import Source, Survey
from pipeline.report.threshold import axis_top
from pipeline.status import summarize

ROWS, WIDTH = 12, 40  # of the histogram, lines and characters
LISTED = 20  # sources above which only the best and the worst are listed


def status_lines(survey: Survey, found: Provenance) -> Iterator[str]:
    """Yield what there is to say of a bank, a line each."""
    yield from summarize(survey.counts, survey.size)
    yield from _section("yield", _flow(survey))
    yield from _section("scores of saturated patches", _histogram(survey))
    yield from _section("numbers       min      5 %   median     95 %      max", _numbers(survey))
    yield from _section("   kept  of  candidates  source", _yields(survey))
    yield from _section("same content", _same(survey))
    yield from _section("provenance", _provenance(found))


def status_json(survey: Survey, found: Provenance) -> dict[str, Any]:
    """Return the same as JSON values, with every source."""
    edges, counts = _bins(survey)
    return {
        **survey.counts,
        "bytes": survey.size,
        "flow": [asdict(step) for step in survey.flow],
        "threshold": survey.settings.score.threshold,
        "min_saturated_fraction": survey.settings.score.min_saturated_fraction,
        "histogram": {"edges": edges, "counts": counts},
        "distributions": survey.spread(),
        "by_source": [asdict(source) | {"share": source.share} for source in _ranked(survey)],
        "provenance": asdict(found),
    }


def _section(heading: str, lines: Iterator[str]) -> Iterator[str]:
    first = next(lines, None)
    if first is not None:
        yield from ("", heading, first)
        yield from lines


def _flow(survey: Survey) -> Iterator[str]:
    for step in survey.flow:
        yield f"  {step.name:<12}{step.count:>10,}"
        for reason, count in step.lost.items():
            yield f"  {'':<12}{-count:>10,}  {reason}"


def _bins(survey: Survey) -> tuple[list[float], list[int]]:
    """Return the edges and counts of the scores that a threshold decides on; the last bin holds all above it, too."""
    score = survey.numbers["score"][survey.scored & survey.saturated]
    if not score.size:
        return [], []
    edges = axis_top(score, survey.settings.score.threshold) * (np.arange(ROWS + 1) / ROWS) ** 2
    places = np.clip(np.searchsorted(edges, score, "right") - 1, 0, ROWS - 1)
    return edges.tolist(), np.bincount(places, minlength=ROWS).tolist()


def _histogram(survey: Survey) -> Iterator[str]:
    edges, counts = _bins(survey)
    threshold = survey.settings.score.threshold
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        mark = " < threshold" if low <= threshold < high else ""
        bar = "█" * round(WIDTH * count / max(counts))
        yield f"  {low:>7.3f} {count:>9,}  {bar}{mark}"


def _numbers(survey: Survey) -> Iterator[str]:
    for name, quantiles in survey.spread().items():
        label = name.replace("saturated_fraction", "saturated").replace("_", " ").removesuffix(" stops")
        yield f"  {label:<12}" + " ".join(f"{value:>8.4g}" for value in quantiles.values())


def _ranked(survey: Survey) -> list[Source]:
    return sorted(survey.sources, key=lambda source: (-source.kept, -source.share, source.path))


def _yields(survey: Survey) -> Iterator[str]:
    used = [source for source in _ranked(survey) if source.reason is None]
    half = LISTED // 2
    for i, source in enumerate(used):
        if len(used) <= LISTED or i < half or i >= len(used) - half:
            yield f"{source.kept:>7}  of  {source.candidates:>10}  {source.path}"
        elif i == half:
            yield f"         {len(used) - LISTED} more, all in --json"


def _same(survey: Survey) -> Iterator[str]:
    for source in survey.sources:
        if source.also_at:
            yield f"  {source.path} also lies at {', '.join(source.also_at)}"


def _provenance(found: Provenance) -> Iterator[str]:
    yield f"  format {found.format_version}, seed {found.seed}, hdrprep {found.versions.get('hdrprep', 'unknown')}"
    yield from (f"  {digest}  {name}" for name, digest in found.fingerprints.items())
