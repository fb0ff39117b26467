"""Portable FloatMap pictures (.pfm): Debevec's format, three text lines and raw float32 rows, the bottom row first.

The third line is the scale: negative for little-endian values, positive for big-endian ones. As in most readers, its
magnitude is not applied: programs write 1.0 whatever the unit, and nothing says what it would multiply to.

Legend: H, W height and width in pixels.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import SourceError
from pipeline.frames.limits import check_dimensions
from pipeline.records import FloatImage

MAX_HEADER_BYTES = 1024

# The values begin right after the newline of the scale; their first byte may look like a blank.
_HEADER = re.compile(rb"P([Ff])\s+(\d{1,9})\s+(\d{1,9})\s+([-+.\deE]{1,40})[ \t]*\r?\n")


@dataclass(frozen=True, slots=True)
class PfmHeader:
    """What the text before the pixels says; `channels` is 1 or 3, `scale` is as written, sign included."""

    width: int
    height: int
    channels: int
    scale: float
    data_offset: int

    @property
    def row_bytes(self) -> int:
        """The number of bytes of one row."""
        return 4 * self.channels * self.width


def read_pfm(path: Path) -> FloatImage:
    """Return the values as stored, (H, W, 3) float32, top row first; grey is repeated in three channels.

    Negative and non-finite values are passed on.
    """
    header = read_header(path)
    try:
        values = np.fromfile(
            path,
            np.dtype("<f4" if header.scale < 0 else ">f4"),
            header.height * header.width * header.channels,
            offset=header.data_offset,
        )
    except OSError as error:
        raise _unreadable(error) from None
    _check_size(header, values.nbytes)  # the file may have shrunk since its header was read
    rows = values.reshape(header.height, header.width, header.channels)[::-1]
    return np.ascontiguousarray(np.broadcast_to(rows, (header.height, header.width, 3)), np.float32)


def read_header(path: Path) -> PfmHeader:
    """Return a picture's header, refused where the file is too short for its pixels."""
    try:
        with path.open("rb") as file:
            header = _parse_header(file.read(MAX_HEADER_BYTES))
            _check_size(header, file.seek(0, 2) - header.data_offset)
    except OSError as error:
        raise _unreadable(error) from None
    return header


def _parse_header(head: bytes) -> PfmHeader:
    if not head.startswith((b"PF", b"Pf")):
        raise SourceError("not a PFM picture: it begins neither with PF nor with Pf")
    match = _HEADER.match(head)
    if match is None:
        raise SourceError("damaged or truncated header: width, height and scale do not follow PF or Pf")
    width, height = int(match[2]), int(match[3])
    check_dimensions(width, height)
    return PfmHeader(width, height, 3 if match[1] == b"F" else 1, _parse_scale(match[4]), match.end())


def _parse_scale(text: bytes) -> float:
    try:
        scale = float(text)
    except ValueError:
        scale = math.nan
    if scale == 0 or not math.isfinite(scale):
        raise SourceError("damaged header: the scale, whose sign is the byte order, must be a number other than 0")
    return scale


def _check_size(header: PfmHeader, size: int) -> None:
    """Refuse `size` bytes of pixels where the header claims more, before memory is taken for them."""
    if size < header.height * header.row_bytes:
        rows = max(size, 0) // header.row_bytes
        raise SourceError(f"truncated: the file ends after {rows} of {header.height} rows")


def _unreadable(error: OSError) -> SourceError:
    return SourceError(f"cannot be read: {error.strerror or error}")
