"""From the primaries of a file to BT.709, the primaries of every frame.

Chromaticities are (red x, red y, green x, green y, blue x, blue y, white x, white y), CIE 1931.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.errors import SourceError
from pipeline.records import FloatImage, Primaries, row_blocks

Chromaticities = tuple[float, float, float, float, float, float, float, float]

D65 = (0.3127, 0.3290)  # white point of BT.709 and BT.2020 (ITU-R BT.709-6, Table 1)
BT709: Chromaticities = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, *D65)  # ITU-R BT.709-6
BT2020: Chromaticities = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *D65)  # ITU-R BT.2020-2
P3_D65: Chromaticities = (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *D65)  # SMPTE EG 432-1
XYZ: Chromaticities = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1 / 3, 1 / 3)  # CIE XYZ, equal-energy white

_KNOWN: tuple[tuple[Primaries, Chromaticities], ...] = (
    ("bt709", BT709),
    ("bt2020", BT2020),
    ("p3", P3_D65),
    ("xyz", XYZ),
)
_NAME_TOLERANCE = 2e-3  # files carry chromaticities rounded to three decimals

# Linear Bradford cone responses (Lindbloom, "Chromatic Adaptation"; ICC.1:2022, Annex E).
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def name_primaries(chromaticities: Chromaticities | None) -> Primaries | None:
    """Return the standard's name of the primaries, `other` for unlisted ones, None for unknown ones."""
    if chromaticities is None:
        return None
    for name, known in _KNOWN:
        if np.allclose(chromaticities, known, atol=_NAME_TOLERANCE):
            return name
    return "other"


def rgb_to_xyz(chromaticities: Chromaticities) -> npt.NDArray[np.float64]:
    """Return the (3, 3) matrix from linear RGB of these primaries to CIE XYZ, white having Y = 1.

    Works from (x, y, z) = (x, y, 1 - x - y) and never divides by y, which is 0 for two of the primaries of XYZ.
    Raises SourceError where the primaries lie on one line or the white point has no luminance.
    """
    points = np.asarray(chromaticities, dtype=np.float64).reshape(4, 2)
    xyz = np.column_stack([points, 1.0 - points.sum(axis=1)])
    primaries, white = xyz[:3].T, xyz[3]
    if not np.isfinite(xyz).all() or abs(np.linalg.det(primaries)) < 1e-6 or abs(white[1]) < 1e-6:
        raise SourceError(f"its chromaticities {tuple(map(float, chromaticities))} do not span a colour space")
    scale = np.linalg.solve(primaries, white / white[1])
    return np.asarray(primaries * scale, dtype=np.float64)


def to_bt709_matrix(chromaticities: Chromaticities, adapt_white: bool = True) -> npt.NDArray[np.float64]:
    """Return the (3, 3) matrix from linear RGB of these primaries to linear BT.709 RGB.

    White is adapted to D65 by the linear Bradford transform, so that neutral stays neutral; without `adapt_white` the
    values are taken for colours as measured.
    """
    to_xyz, target = rgb_to_xyz(chromaticities), rgb_to_xyz(BT709)
    if adapt_white:
        to_xyz = _adapt_white(to_xyz.sum(axis=1), target.sum(axis=1)) @ to_xyz
    return np.asarray(np.linalg.solve(target, to_xyz), dtype=np.float64)


def _adapt_white(source: npt.NDArray[np.float64], target: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the (3, 3) Bradford adaptation from one white point to another, both XYZ with Y = 1."""
    gain = np.diag((_BRADFORD @ target) / (_BRADFORD @ source))
    return np.asarray(np.linalg.solve(_BRADFORD, gain @ _BRADFORD), dtype=np.float64)


def to_bt709(pixels: FloatImage, chromaticities: Chromaticities | None, adapt_white: bool = True) -> FloatImage:
    """Convert (H, W, 3) linear RGB to BT.709 in place, and return it; a block of rows is all the memory it takes.

    Unknown chromaticities are taken for BT.709 (OpenEXR's default).
    """
    if chromaticities is None or name_primaries(chromaticities) == "bt709":
        return pixels
    matrix = to_bt709_matrix(chromaticities, adapt_white).astype(np.float32)
    for rows in row_blocks(pixels):
        # Of float32's largest values the products overflow, and infinity minus infinity is no number.
        rows[...] = np.clip(rows, -1e30, 1e30) @ matrix.T
    return pixels
