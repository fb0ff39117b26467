"""The inner loops of the virtual camera, compiled: rows of a patch go through all operations while they are in cache.

What each operation is and where it comes from stands in `camera`. `tests/pipeline/literal.py` has the plain forms in
numpy and OpenCV that these are tied to.

Legend: S patch size. A row is (3 S,) float32, the interleaved channels of a line; r, g, b (S,) float32 are
its channels.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled
from pipeline.noise import fill_normal
from pipeline.records import FloatImage

Row = npt.NDArray[np.float32]
Bits = npt.NDArray[np.int32]

_f = np.float32
_ZERO, _ONE, _TWO, _FOUR, _SIX = _f(0), _f(1), _f(2), _f(4), _f(6)
_TINY = _f(np.finfo(np.float32).eps)  # guards the divisions, as in OpenCV's HSV

CELLS = 4096  # of the square root of radiance in [0, 1], each of which knows a code to begin with
_FIRST, _LAST = np.int32(0), np.int32(CELLS)
_FLAT = 2  # codes that a search is done for without a branch
_BLOCK = 2048  # radiances whose cells are found together
_BIN = 20  # bits of a float32 below those that choose its bin: exponent and three bits of the mantissa
_BINS = 1 << (31 - _BIN)


@compiled
def expose_rows(
    rows: npt.NDArray[np.float32],
    flip: bool,
    numbers: Row,
    limits: Row,
    state: npt.NDArray[np.uint64],
    out: npt.NDArray[np.float32],
) -> None:
    """Do what `camera.expose` does: (S, 3 S) -> `out`.

    numbers: exposure, sigma of the noise, turn of the hue in sixths of a circle, what is added to the saturation.
    limits: floor and ceiling of the scene, floor and ceiling of what is written. state: of the noise.
    """
    exposure, noise_sigma, sextants, saturation = numbers[0], numbers[1], numbers[2], numbers[3]
    height, width = rows.shape
    noise = np.zeros(width, np.float32)
    r, g, b = np.empty(width // 3, np.float32), np.empty(width // 3, np.float32), np.empty(width // 3, np.float32)
    for y in range(height):
        if noise_sigma > _ZERO:
            fill_normal(state, noise)
        row = _mirrored(rows[y]) if flip else rows[y]
        _root_of_light(row, noise, exposure, noise_sigma, limits[0], limits[1], out[y])
        _split(out[y], r, g, b)
        _shift_colour(r, g, b, sextants, saturation)
        _join_squares(r, g, b, limits[2], limits[3], out[y])


@compiled
def _mirrored(row: Row) -> Row:
    turned, pixels = np.empty_like(row), row.size // 3
    for x in range(pixels):
        here, there = 3 * x, 3 * (pixels - 1 - x)
        turned[here], turned[here + 1], turned[here + 2] = row[there], row[there + 1], row[there + 2]
    return turned


@compiled
def _root_of_light(
    row: Row, noise: Row, exposure: np.float32, noise_sigma: np.float32, low: np.float32, high: np.float32, out: Row
) -> None:
    for i in range(row.size):
        out[i] = math.sqrt(max(_ZERO, min(max(row[i], low), high) * exposure + noise[i] * noise_sigma))


@compiled
def _split(row: Row, r: Row, g: Row, b: Row) -> None:
    for x in range(r.size):
        r[x], g[x], b[x] = row[3 * x], row[3 * x + 1], row[3 * x + 2]


@compiled
def _join_squares(r: Row, g: Row, b: Row, low: np.float32, high: np.float32, row: Row) -> None:
    for x in range(r.size):
        row[3 * x], row[3 * x + 1], row[3 * x + 2] = r[x], g[x], b[x]
    for i in range(row.size):
        row[i] = min(max(row[i] * row[i], low), high)


@compiled
def _shift_colour(r: Row, g: Row, b: Row, sextants: np.float32, saturation: np.float32) -> None:
    """Go to HSV and back without a branch; hue in sixths of a circle, so that each channel is a clipped triangle."""
    for x in range(r.size):
        red, green, blue = r[x], g[x], b[x]
        value = max(max(red, green), blue)
        chroma = value - min(min(red, green), blue)
        scale = _ONE / (chroma + _TINY)
        if value == red:
            hue = (green - blue) * scale
        elif value == green:
            hue = (blue - red) * scale + _TWO
        else:
            hue = (red - green) * scale + _FOUR
        hue += sextants
        hue -= _SIX * _f(math.floor(hue * _f(1 / 6)))
        depth = value * min(max(chroma / (value + _TINY) + saturation, _ZERO), _ONE)
        r[x] = value - depth * _triangle(hue + _f(5))
        g[x] = value - depth * _triangle(hue + _f(3))
        b[x] = value - depth * _triangle(hue + _ONE)


@compiled
def _triangle(hue: np.float32) -> np.float32:
    """Return how far a channel is from the brightest, of the depth: 0 at its own hue, 1 in the half circle opposite."""
    hue = hue - _SIX if hue >= _SIX else hue
    return max(_ZERO, min(min(hue, _FOUR - hue), _ONE))


@lru_cache(maxsize=256)
def code_table(n: float, sigma: float) -> tuple[npt.NDArray[np.uint8], Row, bool]:
    """Return the table of a camera curve f: a code to begin with in each cell, the least radiance of each code, `flat`.

    A code c is reached where 255 f(H) + 0.5 >= c. The two radiances after the last code's, which H held to 1 never
    reaches, end any search. f and its inverse are those of `camera.response`. Cells are of the square root of radiance,
    which may be rounded up into the next one: each begins with the first code of the one before. `flat` says that the
    true code is two further at most.
    """
    levels = (np.arange(1, 256) - 0.5) / 255
    power = levels * sigma / ((1 + sigma) - levels)
    least = np.concatenate([[0.0], power ** (1 / n), [2.0, 2.0]]).astype(np.float32)
    edges = np.square(np.arange(CELLS + 2, dtype=np.float32) / np.float32(CELLS))
    codes = np.searchsorted(least[:-2], edges, side="right") - 1
    begin = np.concatenate([codes[:1], codes[:CELLS]])
    return begin.astype(np.uint8), least, bool((codes[1:] - begin).max() <= _FLAT)


@compiled
def quantise(hdr: Row, begin: npt.NDArray[np.uint8], least: Row, flat: bool, out: npt.NDArray[np.uint8]) -> None:
    """Write the code of each radiance (n,), 0 to 255, by the table of `code_table`."""
    cells, held = np.empty(_BLOCK, np.int32), np.empty(_BLOCK, np.float32)
    for start in range(0, hdr.size, _BLOCK):
        some, codes = hdr[start : start + _BLOCK], out[start : start + _BLOCK]
        _find_cells(some, held, cells)
        if flat:
            _count_twice(held, cells, begin, least, codes)
        else:
            _count_up(held, cells, begin, least, codes)


@compiled
def _find_cells(some: Row, held: Row, cells: Bits) -> None:
    for i in range(some.size):
        held[i] = min(max(some[i], _ZERO), _ONE)
    for i in range(some.size):
        cells[i] = np.int32(math.sqrt(held[i]) * _f(CELLS))
    for i in range(some.size):  # whatever became of a number that is none
        cells[i] = min(max(cells[i], _FIRST), _LAST)


@compiled
def _count_twice(
    held: Row, cells: Bits, begin: npt.NDArray[np.uint8], least: Row, codes: npt.NDArray[np.uint8]
) -> None:
    for i in range(codes.size):  # without a branch, which would be mispredicted
        code = np.int32(begin[cells[i]])
        code += np.int32(held[i] >= least[code + 1])
        codes[i] = code + np.int32(held[i] >= least[code + 1])


@compiled
def _count_up(held: Row, cells: Bits, begin: npt.NDArray[np.uint8], least: Row, codes: npt.NDArray[np.uint8]) -> None:
    for i in range(codes.size):
        code = np.int32(begin[cells[i]])
        while code < 255 and held[i] >= least[code + 1]:
            code += np.int32(1)
        codes[i] = code


def order_statistic(values: FloatImage, index: int) -> float:
    """Return the value of (H, W, 3) with this index in their order, 0 the least: exactly, without sorting.

    Positive floats are in the order of their bits, so a histogram of the upper ones tells where to look. Values below
    0, and -0, count as 0.
    """
    bits = values.reshape(-1).view(np.int32)
    counts = np.cumsum(_histogram(bits))
    chosen = int(np.searchsorted(counts, index, side="right"))
    before = int(counts[chosen - 1]) if chosen else 0
    inside = _collect(bits, chosen, int(counts[chosen]) - before)
    return float(np.partition(inside, index - before)[index - before : index - before + 1].view(np.float32)[0])


@compiled
def _histogram(bits: Bits) -> npt.NDArray[np.int64]:
    counts = np.zeros((3, _BINS), np.int32)  # three, because equal neighbours would wait for each other
    for i in range(bits.size // 3):
        counts[0, max(bits[3 * i], 0) >> _BIN] += 1
        counts[1, max(bits[3 * i + 1], 0) >> _BIN] += 1
        counts[2, max(bits[3 * i + 2], 0) >> _BIN] += 1
    total = np.empty(_BINS, np.int64)
    for k in range(_BINS):
        total[k] = counts[0, k] + counts[1, k] + counts[2, k]
    return total


@compiled
def _collect(bits: Bits, chosen: int, count: int) -> Bits:
    found = np.empty(count + 1, np.int32)  # one more, where what is not wanted is written
    n = 0
    for i in range(bits.size):
        value = max(bits[i], 0)
        found[n] = value
        n += 1 if value >> _BIN == chosen else 0
    return found[:count]
