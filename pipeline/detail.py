"""The detail layer of Algorithm 1 (Santos et al. 2020): log radiance minus its bilateral base, where it counts.

B = sum K R L / sum K R, over the disc that OpenCV filters: K the spatial Gaussian, R = exp(-t) the range weight,
t = d^2 / (2 sigma_color^2), d the difference to the middle pixel. Log radiance spans about 12, sigma_color is 100, so t
is below 0.01 and R is 1 - t to within t^2 / 2. With R = 1 - t both sums are convolutions of L, L^2 and L^3 with the one
kernel K: the moments m1, m2, m3, and

    L - B = L - m1 + (m3 - m1 m2 - 2 L (m2 - m1^2)) / (2 sigma_color^2 - m2 + 2 L m1 - L^2)

K is a Gaussian cut to a disc: a sum over lines of a horizontal Gaussian of the disc's width there. Each
wider horizontal sum continues the narrower one, so that for a radius of 15 it takes 15 steps across and 31 down.

Error: |B - that| <= reach^2 / 2 e^reach range, with range that of L in the patch, and reach = range^2 /
(2 sigma_color^2) the largest t. Where its first two factors exceed 1e-4, OpenCV's filter is taken: with sigma_color 100
from a range of 17 on (real patches span about 12, the camera's own clamp allows 23). Within the bound the score is off
by 1e-4 of itself at most, typically by 1e-6.

Legend: S patch size, R radius. plane (S, S) float32; wide (S + 2 R, S + 2 R) float32, mirrored at the borders.
"""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled
from pipeline.records import FloatImage

Plane = npt.NDArray[np.float32]
Row = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

EXPANSION_BOUND = 1e-4  # of |B - B by the expansion|, as a share of the range of L

_TWO = np.float32(2)


def detail_layer(
    hdr: FloatImage, sigma_color: float = 100.0, sigma_space: float = 10.0, wanted: Flags | None = None
) -> Plane:
    """Return D = L - bilateral(L), (S, S), of L = log(gray(H) + 1) (Durand and Dorsey 2002; Algorithm 1).

    `wanted` (S,) names the lines that are needed; the others may hold anything.
    """
    gray = cv2.cvtColor(hdr, cv2.COLOR_RGB2GRAY)
    log_gray = np.asarray(cv2.log(np.asarray(gray, np.float32) + np.float32(1)), np.float32)
    low, high, _, _ = cv2.minMaxLoc(log_gray)
    if expansion_error(high - low, sigma_color) > EXPANSION_BOUND:
        return np.asarray(log_gray - cv2.bilateralFilter(log_gray, -1, sigma_color, sigma_space), np.float32)
    radius, weights, widths, total = _disc(sigma_space)
    # The filter is the same for any level of L, and small numbers have smaller errors.
    level = log_gray - np.float32((low + high) / 2)
    wide = np.asarray(cv2.copyMakeBorder(level, radius, radius, radius, radius, cv2.BORDER_REFLECT_101), np.float32)
    lines = np.ones(len(hdr), np.bool_) if wanted is None else wanted
    moments = np.empty((3, *log_gray.shape), np.float32)
    _sum_discs(wide, weights, widths, lines, moments[0], moments[1], moments[2])
    _subtract_base(wide, np.float32(1 / total), np.float32(2 * sigma_color**2), lines, *moments)
    return np.asarray(moments[0], np.float32)


def expansion_error(spread: float, sigma_color: float) -> float:
    """Return the bound on the expansion's error in B, as a share of the range of L, `spread`."""
    reach = spread**2 / (2 * sigma_color**2)
    return reach**2 / 2 * math.exp(reach)


@lru_cache(maxsize=16)
def _disc(sigma_space: float) -> tuple[int, Row, npt.NDArray[np.int64], float]:
    """Return radius, Gaussian by distance, half width by distance of the line, and the sum of all weights."""
    radius = max(1, round(sigma_space * 1.5))  # OpenCV's own, a half to the even number
    distance = np.arange(radius + 1)
    weights = np.exp(-(distance**2) / (2 * sigma_space**2))
    widths = np.array([math.isqrt(radius**2 - d * d) for d in distance])
    sums = np.array([weights[0] + 2 * weights[1 : width + 1].sum() for width in widths])
    total = weights[0] * sums[0] + 2 * float(weights[1:] @ sums[1:])
    return radius, weights.astype(np.float32), widths, total


@compiled
def _sum_discs(
    wide: Plane, weights: Row, widths: npt.NDArray[np.int64], lines: Flags, m1: Plane, m2: Plane, m3: Plane
) -> None:
    """Sum L, L^2 and L^3 over the disc around each pixel of the wanted lines."""
    radius, (height, width) = widths.size - 1, m1.shape
    h1, h2, h3 = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    for y in range(height):
        m1[y], m2[y], m3[y] = 0, 0, 0
    for line in range(height + 2 * radius):
        if not _any(lines, line - 2 * radius, line + 1):
            continue
        row = wide[line]
        _start(row[radius : radius + width], h1, h2, h3)
        for reach in range(radius + 1):
            if reach > 0:
                left, right = row[radius - reach : radius - reach + width], row[radius + reach : radius + reach + width]
                _widen(left, right, weights[reach], h1, h2, h3)
            for distance in range(radius + 1):
                if widths[distance] == reach:
                    for y in {line - radius - distance, line - radius + distance}:
                        if 0 <= y < height and lines[y]:
                            _add(h1, h2, h3, weights[distance], m1[y], m2[y], m3[y])


@compiled
def _any(lines: Flags, first: int, end: int) -> bool:
    found = False
    for y in range(max(0, first), min(lines.size, end)):
        found |= bool(lines[y])
    return found


@compiled
def _start(row: Row, h1: Row, h2: Row, h3: Row) -> None:
    for x in range(row.size):
        value = row[x]
        h1[x], h2[x], h3[x] = value, value * value, value * value * value


@compiled
def _widen(left: Row, right: Row, weight: np.float32, h1: Row, h2: Row, h3: Row) -> None:
    for x in range(h1.size):
        a, b = left[x], right[x]
        a2, b2 = a * a, b * b
        h1[x] += weight * (a + b)
        h2[x] += weight * (a2 + b2)
        h3[x] += weight * (a2 * a + b2 * b)


@compiled
def _add(h1: Row, h2: Row, h3: Row, weight: np.float32, m1: Row, m2: Row, m3: Row) -> None:
    for x in range(h1.size):
        m1[x] += weight * h1[x]
        m2[x] += weight * h2[x]
        m3[x] += weight * h3[x]


@compiled
def _subtract_base(
    wide: Plane, scale: np.float32, twice_variance: np.float32, lines: Flags, m1: Plane, m2: Plane, m3: Plane
) -> None:
    """Replace m1 by L - B; the moments come as sums, `scale` makes them means."""
    height, width = m1.shape
    radius = (wide.shape[0] - height) // 2
    for y in range(height):
        if lines[y]:
            _subtract_row(wide[y + radius, radius : radius + width], scale, twice_variance, m1[y], m2[y], m3[y])


@compiled
def _subtract_row(row: Row, scale: np.float32, twice_variance: np.float32, m1: Row, m2: Row, m3: Row) -> None:
    for x in range(row.size):
        value, first, second, third = row[x], m1[x] * scale, m2[x] * scale, m3[x] * scale
        skew = third - first * second - _TWO * value * (second - first * first)
        m1[x] = value - first + skew / (twice_variance - second + _TWO * value * first - value * value)


@compiled
def weighted_gradient(detail: Plane, weight: Plane) -> float:
    """Return the sum of weight * (|Sobel_x D| + |Sobel_y D|), 3x3, unnormalised; D mirrored at the borders.

    Only pixels of weight above 0 are looked at, and their neighbours.
    """
    height, total = detail.shape[0], 0.0
    for y in range(height):
        above = detail[y - 1] if y > 0 else detail[min(1, height - 1)]
        below = detail[y + 1] if y < height - 1 else detail[max(height - 2, 0)]
        total += _weighted_row(above, detail[y], below, weight[y])
    return total


@compiled
def _weighted_row(above: Row, row: Row, below: Row, weight: Row) -> float:
    total, last = np.float32(0), row.size - 1
    for x in range(row.size):
        if weight[x] > 0:
            left, right = (x - 1 if x > 0 else min(1, last)), (x + 1 if x < last else max(last - 1, 0))
            across = (above[right] - above[left]) + _TWO * (row[right] - row[left]) + (below[right] - below[left])
            down = (below[left] - above[left]) + _TWO * (below[x] - above[x]) + (below[right] - above[right])
            total += weight[x] * (abs(across) + abs(down))
    return float(total)
