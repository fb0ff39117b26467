"""Colour profiles written byte by byte (ICC.1:2022): matrices and curves of known spaces, and one of tables."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np

# XYZ of red, green and blue, adapted to D50, as the profiles of these spaces store them.
DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
PROPHOTO = ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491))
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def profile(tags: Mapping[bytes, bytes], space: bytes = b"RGB ", pcs: bytes = b"XYZ ") -> bytes:
    """Return a profile of these tags."""
    tags = {**tags, b"wtpt": xyz((0.9642, 1.0, 0.8249)), b"desc": b"text\0\0\0\0made for a test\0"}
    at, table, data = 132 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        content += b"\0" * (-len(content) % 4)
        table += struct.pack(">4sII", name, at + len(data), len(content))
        data += content
    body = struct.pack(">I", len(tags)) + table + data
    header = struct.pack(">I4sI4s4s4s", 128 + len(body), b"\0\0\0\0", 0x02400000, b"mntr", space, pcs) + b"\0" * 12
    header += b"acsp" + b"\0" * 28 + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + body


def matrix_profile(columns: Sequence[Sequence[float]], curve: bytes) -> bytes:
    """Return a profile of a matrix and one curve for all channels."""
    colorants = {name: xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)}
    return profile({**colorants, b"rTRC": curve, b"gTRC": curve, b"bTRC": curve})


def xyz(values: Sequence[float]) -> bytes:
    """Return three numbers of XYZ."""
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def sampled(*values: int) -> bytes:
    """Return a curve of samples, of one gamma in 1/256, or the straight line."""
    return b"curv\0\0\0\0" + struct.pack(f">I{len(values)}H", len(values), *values)


def parametric(number: int, *values: float) -> bytes:
    """Return a parametric curve."""
    packed = struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))
    return b"para\0\0\0\0" + struct.pack(">HH", number, 0) + packed


def grey_by_table() -> bytes:
    """Return a profile that works by tables: the lightness L* is the mean of red, green and blue, without colour."""
    return _by_table([sum(corner) / 3 for corner in np.ndindex(2, 2, 2)], b"RGB ")


def inks_by_table() -> bytes:
    """Return a profile of CMYK: the lightness L* is 100 without black ink and 0 with it, whatever the others do."""
    return _by_table([1.0 - black for *_, black in np.ndindex(2, 2, 2, 2)], b"CMYK")


def _by_table(lightness: Sequence[float], space: bytes) -> bytes:
    """Return a profile (ICC.1:2022, 10.11) of the lightness, from 0 to 1, at the corners of a space."""
    inputs, identity = len(lightness).bit_length() - 1, bytes(range(256))
    corners = b"".join(bytes([round(255 * light), 128, 128]) for light in lightness)
    matrix = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    table = b"mft1\0\0\0\0" + bytes([inputs, 3, 2, 0]) + matrix + identity * inputs + corners + identity * 3
    return profile({b"A2B0": table}, space, pcs=b"Lab ")
