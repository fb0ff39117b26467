"""A picture in tiles that give exactly what the whole gives: the network needs memory for a tile only.

Legend: H, W height and width of the picture in pixels, both continued to multiples of 128 by reflection: h, w.

Seven layers of stride 2 make the network see the picture in steps of 128 pixels, so tiles begin at multiples of 128.
An output pixel depends on the 384 pixels above and to the left of it and on the 255 below and to the right; a tile is
read with that halo, short of the borders of the continued picture, where it ends as the whole picture does. Tiles
beginning elsewhere differ at any halo.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.memory import SHARE, needed
from model.unet import SIDE, Architecture
from pipeline.records import FloatImage

BEFORE, AFTER = 3 * SIDE, 2 * SIDE  # the halo: above and left, below and right

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows and columns that a tile fills, and those it reads of the continued picture, [begin, end) each."""

    rows: Span
    columns: Span
    read_rows: Span
    read_columns: Span


def cut(height: int, width: int, side: int | None) -> list[Tile]:
    """Return the tiles of a picture, row by row; one tile, the whole picture, without a `side`, a multiple of 128."""
    return [
        Tile(rows, columns, read_rows, read_columns)
        for rows, read_rows in _spans(height, side)
        for columns, read_columns in _spans(width, side)
    ]


def _spans(size: int, side: int | None) -> Iterator[tuple[Span, Span]]:
    whole = continued(size)
    for begin in range(0, size, side or whole):
        end = min(begin + (side or whole), whole)
        yield (begin, min(end, size)), (max(begin - BEFORE, 0), min(end + AFTER, whole))


def continued(size: int) -> int:
    """Return the next multiple of 128."""
    return -(-size // SIDE) * SIDE


def read(T: FloatImage, tile: Tile) -> FloatImage:
    """Return the pixels (h', w', 3) that a tile reads, of the picture continued by its own reflection."""
    rows, columns = (
        _places(*span, size) for span, size in zip((tile.read_rows, tile.read_columns), T.shape, strict=False)
    )
    return T[rows[:, None], columns]


def _places(begin: int, end: int, size: int) -> npt.NDArray[np.intp]:
    """Return where the rows of the continued picture come from; the same as `convolution.reflect`."""
    places = np.arange(begin, end) % (2 * size)
    return np.minimum(places, 2 * size - 1 - places)


def choose(height: int, width: int, architecture: Architecture, free: int) -> int | None:
    """Return the side of tiles for which a pass takes no more than `SHARE` of so many free bytes; None: the whole.

    The largest such tiles, made equal: halos are work done twice. At the least 128, whatever there is.
    """
    if needed(architecture, continued(height) * continued(width)) <= SHARE * free:
        return None
    longest = max(continued(height), continued(width))
    for count in range(2, longest // SIDE + 1):
        side = continued(math.ceil(longest / count))
        most = _longest_read(height, side) * _longest_read(width, side)
        if needed(architecture, most) <= SHARE * free:
            return side
    return SIDE


def _longest_read(size: int, side: int) -> int:
    return max(end - begin for _, (begin, end) in _spans(size, side))
