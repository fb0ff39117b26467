"""EXR pixels by OpenImageIO, block by block into one array.

Legend: H, W height and width of the data window; n the number of channels that are read, 1 or 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio

from pipeline.errors import SourceError
from pipeline.frames.exr.header import Part, damaged_header
from pipeline.records import FloatImage

# A worker is one process among many: it decodes on its own thread only.
oiio.attribute("threads", 1)
oiio.attribute("exr_threads", -1)

BLOCK_BYTES = 8 * 2**20  # of float32 values decoded at a time
_MAX_SPAN = 8  # channels that lie further apart are read one by one

Target = tuple[int, int]  # a channel of the frame, and the position in what is read at once that goes there


@contextmanager
def open_part(path: Path, part: Part) -> Iterator[oiio.ImageInput]:
    """Open a file at one of its parts; raises SourceError where OpenImageIO sees another picture than its header."""
    source = oiio.ImageInput.open(str(path))
    if source is None:
        raise damaged_header(_first_line(_message(oiio)))
    try:
        if part.index and not source.seek_subimage(part.index, 0):
            raise damaged_header(_first_line(_message(source)))
        spec = source.spec()
        if (spec.x, spec.y, spec.width, spec.height) != (*part.window[:2], part.width, part.height) or spec.deep:
            raise damaged_header("its parts contradict each other")
        yield source
    finally:
        source.close()


def read_channels(path: Path, part: Part, names: tuple[str, ...]) -> FloatImage:
    """Return three channels of a part by name, or one of them repeated, as (H, W, 3) float32.

    Raises SourceError where any pixel is missing.
    """
    with open_part(path, part) as source:
        pixels = np.empty((part.height, part.width, 3), np.float32)
        for first, end, targets in _spans(_positions(source, names)):
            for rows, columns in _blocks(source.spec(), part.chunk_rows or 1, end - first):
                values = _read_block(source, rows, columns, first, end)
                for channel, position in targets:
                    pixels[rows, columns, channel] = values[..., position]
    return pixels


def _positions(source: oiio.ImageInput, names: tuple[str, ...]) -> list[int]:
    try:
        known = list(source.spec().channelnames)
        return [known.index(name) for name in names]
    except (UnicodeDecodeError, ValueError):
        raise damaged_header("the names of its channels cannot be read") from None


def _spans(positions: list[int]) -> list[tuple[int, int, list[Target]]]:
    """Return which channels to read at once (first, end), and where they go."""
    if len(positions) == 1:
        return [(positions[0], positions[0] + 1, [(channel, 0) for channel in range(3)])]
    first, end = min(positions), max(positions) + 1
    if end - first <= _MAX_SPAN:
        return [(first, end, [(channel, position - first) for channel, position in enumerate(positions)])]
    return [(position, position + 1, [(channel, 0)]) for channel, position in enumerate(positions)]


def _blocks(spec: oiio.ImageSpec, chunk_rows: int, n: int) -> Iterator[tuple[slice, slice]]:
    """Return rows and columns of blocks of whole chunks or tiles, counted from the corner of the data window."""
    height = _whole(BLOCK_BYTES // (4 * n * spec.width), spec.tile_height or chunk_rows)
    width = _whole(BLOCK_BYTES // (4 * n * height), spec.tile_width) if spec.tile_width else spec.width
    for top in range(0, spec.height, height):
        for left in range(0, spec.width, width):
            yield slice(top, min(top + height, spec.height)), slice(left, min(left + width, spec.width))


def _whole(size: int, unit: int) -> int:
    return max(size // unit, 1) * unit


def _read_block(source: oiio.ImageInput, rows: slice, columns: slice, first: int, end: int) -> FloatImage:
    spec = source.spec()
    top, bottom = spec.y + rows.start, spec.y + rows.stop
    if spec.tile_width:
        left, right = spec.x + columns.start, spec.x + columns.stop
        values = source.read_tiles(left, right, top, bottom, 0, 1, first, end, "float")
    else:
        values = source.read_scanlines(top, bottom, 0, first, end, "float")
    if values is None:
        raise damaged_pixels(_first_line(_message(source)))
    return np.asarray(values, np.float32).reshape(rows.stop - rows.start, columns.stop - columns.start, end - first)


def damaged_pixels(what: str) -> SourceError:
    """Return the error for pixels that are missing or cannot be decoded."""
    return SourceError(f"its pixels cannot be read, the file is truncated or damaged ({what})")


def _message(reporter: Any) -> str:
    try:
        return str(reporter.geterror())
    except UnicodeDecodeError:  # it quotes the damaged bytes
        return ""


def _first_line(message: str) -> str:
    # OpenImageIO repeats the path, which the sources table has in a column of its own.
    line = message.strip().splitlines()[0] if message.strip() else "no further detail"
    return line.split("): ", 1)[-1][:160]
