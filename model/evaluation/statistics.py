"""Means with intervals over the pictures of a test set, and paired differences between two methods.

The intervals are bootstrap intervals, bias-corrected and accelerated (BCa; Efron 1987, "Better bootstrap confidence
intervals"), of the mean. What is drawn anew are scenes, not pictures: several photographs of one scene, such as the
same frame at several exposures, do not count as independent evidence. They say how far the mean would move with other
scenes of the same kind, and nothing about another kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from pipeline.records import generator

Numbers = npt.NDArray[np.float64]
CONFIDENCE = 0.95
RESAMPLES = 10_000
FEW = 10  # scenes; an interval of fewer is told, with a warning: the bootstrap is too narrow there
_SEED = 0  # the same numbers give the same interval
_AT_ONCE = 2_000_000  # numbers drawn at a time
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over `pictures` of `scenes`, with the interval [low, high]; NaN where it cannot be told."""

    mean: float
    low: float
    high: float
    median: float
    pictures: int
    scenes: int


def estimate(values: Sequence[float], scenes: Sequence[str], confidence: float = CONFIDENCE) -> Estimate:
    """Return the mean of values (N,), one a picture, with its interval. `scenes` names the scene of each picture."""
    if len(values) != len(scenes) or not len(values):
        raise ValueError(f"{len(values)} values of {len(scenes)} pictures have no mean")
    numbers = np.asarray(values, dtype=np.float64)
    sums, counts = _by_scene(numbers, scenes)
    low, high = _interval(sums, counts, confidence) if np.isfinite(numbers).all() else (np.nan, np.nan)
    return Estimate(float(numbers.mean()), low, high, float(np.median(numbers)), len(numbers), len(sums))


def difference(
    values: Sequence[float], others: Sequence[float], scenes: Sequence[str], confidence: float = CONFIDENCE
) -> Estimate:
    """Return the mean of values - others of the same pictures: paired, so that hard pictures are hard for both."""
    with np.errstate(invalid="ignore"):  # infinity minus infinity, of two perfect pictures
        differences = np.asarray(values, dtype=np.float64) - np.asarray(others, dtype=np.float64)
    return estimate(list(differences), scenes, confidence)


def _by_scene(numbers: Numbers, scenes: Sequence[str]) -> tuple[Numbers, Numbers]:
    """Return the sum and the number of each scene's values (S,), in an order that no order of pictures changes."""
    names, place = np.unique(np.asarray(scenes), return_inverse=True)
    order = np.lexsort((numbers, place))  # also the same rounding
    sums, counts = np.zeros(len(names)), np.bincount(place, minlength=len(names)).astype(np.float64)
    np.add.at(sums, place[order], numbers[order])
    rank = np.lexsort((counts, sums))
    return sums[rank], counts[rank]


def _interval(sums: Numbers, counts: Numbers, confidence: float) -> tuple[float, float]:
    """Return the BCa interval of sum(sums) / sum(counts) under resampling of scenes."""
    size = len(sums)
    if size < 2:
        return float("nan"), float("nan")
    mean = sums.sum() / counts.sum()
    left_out = (sums.sum() - sums) / (counts.sum() - counts)  # the jackknife's means
    if np.ptp(sums / counts) == 0:
        return float(mean), float(mean)
    drawn = _resampled_means(sums, counts)
    above = drawn - mean
    above[abs(above) <= 1e-9 * np.ptp(drawn)] = 0.0  # the same scenes in another order are rounded otherwise
    below = (np.count_nonzero(above < 0) + 0.5 * np.count_nonzero(above == 0)) / len(drawn)
    bias = _NORMAL.inv_cdf(min(max(below, 0.5 / len(drawn)), 1.0 - 0.5 / len(drawn)))
    deviations = left_out.mean() - left_out
    spread = float((deviations**2).sum())
    acceleration = float((deviations**3).sum()) / (6.0 * spread**1.5) if spread > 0 else 0.0
    tails = []
    for tail in ((1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0):
        z = bias + _NORMAL.inv_cdf(tail)
        tails.append(_NORMAL.cdf(bias + z / (1.0 - acceleration * z)))
    low, high = np.quantile(drawn, tails)
    return float(low), float(high)


def _resampled_means(sums: Numbers, counts: Numbers) -> Numbers:
    rng, size = generator(_SEED), len(sums)
    step = max(1, _AT_ONCE // size)
    means = []
    for start in range(0, RESAMPLES, step):
        chosen = rng.integers(size, size=(min(step, RESAMPLES - start), size))
        means.append(sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1))
    return np.concatenate(means)
