"""Radiance pictures (.hdr, .pic): the whole format of Ward's "Radiance File Formats" and `color.c`.

No library reads all of it: new and old run lengths, flat pixels, eight orientations, XYZE, EXPOSURE, COLORCORR.
A pixel is three mantissas m and a shared exponent e, and stands for m * 2^(e - 136); e = 0 is black.

Legend: H, W height and width as displayed, in pixels. A file holds N scanlines of L pixels each; in half of the
orientations they are columns of the picture.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.color import Chromaticities
from pipeline.errors import SourceError
from pipeline.frames.limits import check_dimensions
from pipeline.records import FloatImage

MAX_HEADER_BYTES = 2**16

Format = Literal["rgbe", "xyze"]
Scanlines = npt.NDArray[np.uint8]  # (N, 4, L): the three mantissas and the exponent

_FORMATS: dict[str, Format] = {"32-bit_rle_rgbe": "rgbe", "32-bit_rle_xyze": "xyze"}
_RESOLUTION = re.compile(rb"\s*([+-][XY])\s+(\d{1,9})\s+([+-][XY])\s+(\d{1,9})\s*")
_NEW_RUN_LENGTHS = range(8, 2**15)  # scanlines of other lengths are flat or in old run lengths
_OLD_BLOCK = 2**20  # pixels decoded at once where new run lengths cannot occur


@dataclass(frozen=True, slots=True)
class RadianceHeader:
    """What the text before the pixels says.

    width, height  as displayed, in pixels
    format         `rgbe`, or `xyze`: the three values are CIE X, Y and Z
    exposure       product of all EXPOSURE lines: what the stored values had been multiplied by
    colorcorr      product of all COLORCORR lines, per channel: likewise
    primaries      CIE x, y of red, green, blue and white; None where unset or, as by some writers, all 0
    orientation    slow axis first: `-Y +X` is scanlines from top to bottom, each from left to right
    data_offset    bytes before the first scanline
    """

    width: int
    height: int
    format: Format
    exposure: float
    colorcorr: tuple[float, float, float]
    primaries: Chromaticities | None
    orientation: str
    data_offset: int

    @property
    def scanlines(self) -> int:
        """N, the number of scanlines in the file."""
        return self.height if self.orientation[1] == "Y" else self.width

    @property
    def length(self) -> int:
        """L, the number of pixels of a scanline."""
        return self.width if self.orientation[1] == "Y" else self.height


def read_radiance(path: Path) -> tuple[FloatImage, RadianceHeader]:
    """Return a picture as displayed, (H, W, 3) float32, and its header.

    The values are in the file's own colour space (`primaries`; X, Y, Z where the format is `xyze`), EXPOSURE
    and COLORCORR divided out. None is negative; those are infinite that the division puts out of float32's range.
    """
    header, data = _read(path, pixels=True)
    scanlines = _unpack(data, header.scanlines, header.length)
    return _orient(_to_float(scanlines, header), header.orientation), header


def read_header(path: Path) -> RadianceHeader:
    """Return a picture's header, refused where the file is too short for a picture of the size it claims."""
    return _read(path, pixels=False)[0]


def _read(path: Path, *, pixels: bool) -> tuple[RadianceHeader, bytes]:
    try:
        with path.open("rb") as file:
            header = _parse_header(file.read(MAX_HEADER_BYTES))
            size = file.seek(0, 2) - header.data_offset
            _check_size(header, size)
            file.seek(header.data_offset)
            # No code is longer than two bytes a value and four a scanline: what follows is not the picture's.
            most = header.scanlines * (4 + 8 * header.length)
            return header, file.read(min(size, most)) if pixels else b""
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror or error}") from None


def _parse_header(head: bytes) -> RadianceHeader:
    if not head.startswith(b"#?"):
        raise SourceError("not a Radiance picture: it does not begin with #?")
    blank = re.search(rb"\n\r?\n", head)
    newline = head.find(b"\n", blank.end()) if blank else -1
    if blank is None or newline < 0:
        raise SourceError("damaged or truncated header: no blank line followed by the picture's size")
    orientation, scanlines, length = _parse_resolution(head[blank.end() : newline])
    lines = head[: blank.start()].decode("latin-1").split("\n")
    width, height = (length, scanlines) if orientation[1] == "Y" else (scanlines, length)
    check_dimensions(width, height)
    exposure, colorcorr = _parse_multipliers(lines)
    return RadianceHeader(
        width,
        height,
        _parse_format(lines),
        exposure,
        colorcorr,
        _parse_primaries(lines),
        orientation,
        newline + 1,
    )


def _parse_resolution(line: bytes) -> tuple[str, int, int]:
    """Return the orientation, and the numbers of scanlines and of pixels in each."""
    match = _RESOLUTION.fullmatch(line)
    if match is None or match[1][1:] == match[3][1:]:
        raise SourceError("damaged header: the line after the blank one does not give the picture's size")
    return f"{match[1].decode()} {match[3].decode()}", int(match[2]), int(match[4])


def _parse_format(lines: list[str]) -> Format:
    names = [line.removeprefix("FORMAT=").strip() for line in lines if line.startswith("FORMAT=")]
    if not names:
        return "rgbe"
    if names[-1] not in _FORMATS:
        raise SourceError(f"unknown Radiance format {names[-1][:40]!r}: {' and '.join(_FORMATS)} are read")
    return _FORMATS[names[-1]]


def _parse_multipliers(lines: list[str]) -> tuple[float, tuple[float, float, float]]:
    """Return the products of all EXPOSURE and all COLORCORR lines: each program appends its own."""
    exposure = math.prod(value for (value,) in _numbers(lines, "EXPOSURE", 1))
    red, green, blue = (
        math.prod(channel) for channel in zip((1.0,) * 3, *_numbers(lines, "COLORCORR", 3), strict=True)
    )
    if exposure <= 0 or not all(1e-30 < exposure * factor < 1e30 for factor in (red, green, blue)):
        raise SourceError("damaged header: EXPOSURE and COLORCORR must be positive and between 1e-30 and 1e30")
    return exposure, (red, green, blue)


def _parse_primaries(lines: list[str]) -> Chromaticities | None:
    found = _numbers(lines, "PRIMARIES", 8)
    if not found or not any(found[-1]):
        return None
    a, b, c, d, e, f, g, h = found[-1]
    return a, b, c, d, e, f, g, h


def _numbers(lines: list[str], name: str, count: int) -> list[tuple[float, ...]]:
    """Return the numbers of every line `name=...`; indented lines are about the pictures this one is made of."""
    found = []
    for line in lines:
        if line.startswith(f"{name}="):
            try:
                numbers = tuple(float(word) for word in line.removeprefix(f"{name}=").split()[:count])
            except ValueError:
                numbers = ()
            if len(numbers) < count or not all(map(math.isfinite, numbers)):
                raise SourceError(f"damaged header: {name} must be followed by {count} number(s)")
            found.append(numbers)
    return found


def _check_size(header: RadianceHeader, size: int) -> None:
    """Refuse a header that claims more pixels than `size` bytes can hold, before memory is taken for them.

    A new run takes 2 bytes and has at most 127 values; an old one takes 4 for each 8 bits of its count.
    """
    old = 4 + 4 * math.ceil((header.length - 1).bit_length() / 8)
    new = 4 + 4 * 2 * math.ceil(header.length / 127)
    least = min(old, new) if header.length in _NEW_RUN_LENGTHS else old
    if size < header.scanlines * least:
        raise SourceError(
            f"truncated: {size} bytes after the header cannot hold {header.width} x {header.height} pixels"
        )


def _unpack(data: bytes, count: int, length: int) -> Scanlines:
    """Decode `count` scanlines of `length` pixels to (N, 4, L); each may be in another of the three codes."""
    scanlines = np.empty((count, 4, length), np.uint8)
    new_allowed = length in _NEW_RUN_LENGTHS
    block = 1 if new_allowed else max(1, _OLD_BLOCK // length)
    line = at = 0
    while line < count:
        wanted = min(block, count - line)
        if new_allowed and data[at : at + 2] == b"\2\2" and data[at + 2 : at + 3] < b"\x80":
            decoded, at = _new_scanline(data, at, length, line)
        else:
            decoded, at = _old_scanlines(data, at, wanted, length, line)
        if len(decoded) < wanted:
            raise SourceError(f"truncated: the file ends after {line + len(decoded)} of {count} scanlines")
        scanlines[line : line + wanted] = decoded
        line += wanted
    return scanlines


def _new_scanline(data: bytes, at: int, length: int, line: int) -> tuple[Scanlines, int]:
    """Decode one scanline of new run lengths to (1, 4, L), or (0, 4, L) where the data end; return the offset.

    Each component is coded by itself: a byte over 128 repeats the next one, any other is a number of literal ones.
    """
    if at + 4 <= len(data) and int.from_bytes(data[at + 2 : at + 4], "big") != length:
        raise _damaged(line, f"has another length than {length} pixels")
    at += 4
    pieces = []
    for _ in range(4):
        left = length
        while left > 0 and at < len(data):
            code = data[at]
            if code > 128:
                code -= 128
                pieces.append(data[at + 1 : at + 2] * code)
                at += 2
            else:
                pieces.append(data[at + 1 : at + 1 + code])
                at += 1 + code
            if not 0 < code <= left:
                raise _damaged(line, "holds a run of impossible length")
            left -= code
    if left > 0 or at > len(data):
        return np.empty((0, 4, length), np.uint8), at
    return np.frombuffer(b"".join(pieces), np.uint8).reshape(1, 4, length), at


def _old_scanlines(data: bytes, at: int, count: int, length: int, line: int) -> tuple[Scanlines, int]:
    """Decode flat pixels and old run lengths to (N, 4, L), N < count where the data end; return the offset.

    The mantissas 1, 1, 1 are no colour but repeat the pixel before. The exponent says how often; of several such
    words in a row, each adds 8 higher bits to the number. A run ends with its scanline.
    """
    # A run takes no more words than pixels, so count * L words are enough.
    words = np.frombuffer(data[at : at + 4 * count * length], np.uint8)
    words = words[: len(words) // 4 * 4].reshape(-1, 4)
    marks = (words[:, :3] == 1).all(axis=1)
    if marks.any():
        pixels, used = _repeat_old(words, marks, count, length, line)
    else:
        pixels, used = words[: len(words) // length * length], len(words)
    return pixels.reshape(-1, length, 4).transpose(0, 2, 1), at + 4 * used


def _repeat_old(
    words: npt.NDArray[np.uint8], marks: npt.NDArray[np.bool_], count: int, length: int, line: int
) -> tuple[npt.NDArray[np.uint8], int]:
    """Return the pixels (N * L, 4) of the scanlines that are complete in `words`, and how many words they took."""
    index = np.arange(len(words))
    origin = np.maximum.accumulate(np.where(marks, 0, index))  # of each word, the last that is a colour
    shift = 8 * np.clip(index - origin - 1, 0, 4)
    repeats = np.where(marks, np.minimum(words[:, 3].astype(np.int64) << shift, count * length + 1), 1)
    ends = np.cumsum(repeats)
    boundaries = np.arange(1, count + 1) * length
    last = np.searchsorted(ends, boundaries)
    last = last[last < len(words)]
    # Behind the last word a scanline begins only if a run went past its end, which is wrong in any case.
    starts = np.minimum(np.concatenate([[0], last[:-1] + 1])[: len(last)], len(words) - 1)
    wrong = np.flatnonzero((ends[last] != boundaries[: len(last)]) | marks[starts])
    if len(wrong):
        raise _damaged(line + int(wrong[0]), "holds a run of impossible length")
    used = int(last[-1]) + 1 if len(last) else 0
    return np.repeat(words[origin[:used]], repeats[:used], axis=0), used


def _damaged(line: int, what: str) -> SourceError:
    return SourceError(f"damaged: scanline {line + 1} {what}")


def _to_float(scanlines: Scanlines, header: RadianceHeader) -> FloatImage:
    """Return the values (N, L, 3) float32 in file order."""
    scale = np.ldexp(np.ones(256, np.float32), np.arange(256) - 136)
    scale[0] = 0.0
    factors = scale[scanlines[:, 3]]
    values = np.empty((*factors.shape, 3), np.float32)
    for channel in range(3):
        np.multiply(scanlines[:, channel], factors, out=values[..., channel])
    divisor = (header.exposure * np.array(header.colorcorr)).astype(np.float32)
    if (divisor != 1.0).any():
        with np.errstate(over="ignore", under="ignore"):
            values /= divisor
    return values


def _orient(values: FloatImage, orientation: str) -> FloatImage:
    """Turn (N, L, 3) in file order to (H, W, 3) as displayed, top row first."""
    if orientation[1] == "X":
        values = values.transpose(1, 0, 2)
    if "+Y" in orientation:
        values = values[::-1]
    if "-X" in orientation:
        values = values[:, ::-1]
    return np.ascontiguousarray(values)
