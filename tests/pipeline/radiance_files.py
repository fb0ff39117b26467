"""Writes Radiance pictures byte by byte, in each code of the format: slow, and independent of the reader.

Pixels are (N, L, 4) uint8 in file order: N scanlines of L pixels, three mantissas and an exponent each.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]


def random_pixels(rng: np.random.Generator, scanlines: int, length: int) -> Bytes:
    """Return normalised pixels (N, L, 4), a tenth of them black, in stretches of equal ones and of different ones."""
    pixels = rng.integers(0, 256, (scanlines, length, 4), dtype=np.uint8)
    pixels[..., 0] |= 128  # the largest mantissa of a normalised pixel is 128 or more
    pixels[..., 3] = rng.integers(100, 150, (scanlines, length))
    pixels[rng.random((scanlines, length)) < 0.1] = 0
    stretch = rng.random((scanlines, length)) < 0.5
    for t in range(1, length):
        pixels[stretch[:, t], t] = pixels[stretch[:, t], t - 1]
    return pixels


def header(
    size: str, lines: Iterable[str] = ("FORMAT=32-bit_rle_rgbe",), magic: str = "#?RADIANCE", newline: str = "\n"
) -> bytes:
    """Return the text before the pixels; `size` is as in the file: `-Y 512 +X 1024`."""
    return newline.join([magic, *lines, "", size, ""]).encode("latin-1")


def flat(pixels: Bytes) -> bytes:
    """Return uncompressed scanlines."""
    return pixels.tobytes()


def new_rle(pixels: Bytes) -> bytes:
    """Return scanlines in new run lengths: runs of three or more equal values, literals between them."""
    return b"".join(_new_scanline(scanline) for scanline in pixels)


def old_rle(pixels: Bytes) -> bytes:
    """Return scanlines in old run lengths: a pixel, then words (1, 1, 1, n) that say how often it is repeated."""
    return b"".join(_old_scanline(scanline) for scanline in pixels)


def _new_scanline(scanline: Bytes) -> bytes:
    coded = bytes([2, 2, len(scanline) >> 8, len(scanline) & 255])
    for component in scanline.T:
        literals = b""
        for value, group in groupby(component.tolist()):
            count = len(list(group))
            if count < 3:
                literals += bytes([value]) * count
                continue
            coded += _literals(literals) + _runs(value, count)
            literals = b""
        coded += _literals(literals)
    return coded


def _literals(values: bytes) -> bytes:
    chunks = [values[i : i + 128] for i in range(0, len(values), 128)]
    return b"".join(bytes([len(chunk)]) + chunk for chunk in chunks)


def _runs(value: int, count: int) -> bytes:
    return b"".join(bytes([128 + min(127, count - done), value]) for done in range(0, count, 127))


def _old_scanline(scanline: Bytes) -> bytes:
    coded = b""
    for pixel, group in groupby(map(bytes, scanline)):
        repeats = len(list(group)) - 1
        coded += pixel
        while repeats:
            coded += bytes([1, 1, 1, repeats & 255])
            repeats >>= 8
    return coded
