"""What the page needs to count at any threshold: every score, or exact counts on a grid and a sample by source.

Legend: N patches that a threshold decides on, those that are saturated enough.
"""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.records import derive_seed, generator
from pipeline.report.survey import Floats, Indices, Survey

EXACT = 50_000  # patches up to which all scores stand in the page
BARS = 100  # of the histogram
GRID = 5_000  # steps of the grid at least


def threshold_data(survey: Survey) -> dict[str, Any] | None:
    """Return what the page counts with, or None where nothing was scored.

    `bars` count scores between equal steps of the square root of the score, up to `top`; the last also holds what lies
    above. Up to EXACT patches, `scores` and `sources` hold all. Beyond, they are a sample stratified by source, and
    `above` says how many of all patches reach each multiple of 10^-`digits`.
    """
    if not survey.scored.any():
        return None
    decided = survey.scored & survey.saturated
    score, source = survey.numbers["score"][decided], survey.source[decided]
    order = np.argsort(score, kind="stable")
    score, source = score[order], source[order]
    top = axis_top(score, survey.settings.score.threshold)
    digits = max(0, math.ceil(math.log10(GRID / top)))
    return {
        "threshold": survey.settings.score.threshold,
        "smallest_share": survey.settings.score.min_saturated_fraction,
        "scored": int(survey.scored.sum()),
        "saturated": int(score.size),
        "kept": survey.counts["kept"],
        "top": top,
        "digits": digits,
        "bars": _bars(score, top),
        "sampled": score.size > EXACT,
        **_scores(score, source, top, digits, survey.settings.ingest.seed),
    }


def _bars(score: Floats, top: float) -> list[int]:
    reach = _reaching(score, top * (np.arange(BARS) / BARS) ** 2)
    return [int(count) for count in reach - np.append(reach[1:], 0)]


def _scores(score: Floats, source: Indices, top: float, digits: int, seed: int) -> dict[str, str]:
    """Return the scores (N,), which rise, and the sources they are of: all, or exact counts and a sample."""
    told = {}
    if score.size > EXACT:
        grid = np.arange(math.ceil(top * 10**digits) + 1) / 10**digits
        told["above"] = encode_numbers(_reaching(score, grid).astype("<u4"))
        chosen = stratified(source, EXACT, seed)
        score, source = score[chosen], source[chosen]
    return told | {"scores": encode_numbers(score.astype("<f8")), "sources": encode_numbers(source.astype("<i4"))}


def _reaching(score: Floats, limits: Floats) -> Indices:
    """Return how many of N scores, which rise, reach each limit."""
    return score.size - np.searchsorted(score, limits, "left")


def axis_top(score: Floats, threshold: float) -> float:
    """Return where the axis of the score ends: above nearly all scores, and the threshold well inside."""
    highest = float(np.quantile(score, 0.9995)) if score.size else 0.0
    return max(1.05 * highest, 1.5 * threshold, 1e-6)


def stratified(source: Indices, most: int, seed: int) -> Indices:
    """Return about `most` of N patches, rising: the same share of each source, one at least; seeded."""
    draw = generator(derive_seed(seed, "", 0, 0, "report/sample")).random(source.size)
    order = np.lexsort((draw, source))
    _, starts, counts = np.unique(source[order], return_index=True, return_counts=True)
    rank = np.arange(source.size) - np.repeat(starts, counts)
    quota = np.maximum(1, np.floor(counts * (most / source.size))).astype(np.int64)
    return np.sort(order[rank < np.repeat(quota, counts)])


def encode_numbers(values: npt.NDArray[Any]) -> str:
    """Return an array's bytes in base64; little-endian, as typed arrays of browsers are on any machine of today."""
    return base64.b64encode(values.tobytes()).decode("ascii")
