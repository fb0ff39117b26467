"""From the colours that a file means to those that the network was trained on: display-encoded sRGB.

Legend: H, W height and width in pixels; T (H, W, 3) float32 display-encoded RGB in [0, 1]; light is linear, 1.0 white.

A file may mean other primaries (Display P3, Adobe RGB) or another curve (linear, gamma 1.8). Its values go through its
curve to light, through a matrix to BT.709 primaries with white staying white, are cut off at 0 and 1 (relative
colorimetric), and through the curve of sRGB (IEC 61966-2-1) to T. What a sensor clipped, (1, 1, 1), stays exactly 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from model.errors import PictureError
from pipeline.color import BT709, BT2020, P3_D65, Chromaticities, to_bt709_matrix
from pipeline.records import FloatImage, row_blocks
from pipeline.transfer import srgb_to_linear

Floats = npt.NDArray[np.float64]
Curve = Callable[[Floats], Floats]  # code values in [0, 1] to light in [0, 1]

CODES = 2**16  # of a curve's table: exact for 8 and 16 bits, and finer than the steps of video
SAME = 0.5 / 255  # a change of T below this everywhere is none: profiles of sRGB itself differ by so much

P3_DCI: Chromaticities = (*P3_D65[:6], 0.314, 0.351)  # SMPTE RP 431-2
BT601_625: Chromaticities = (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, 0.3127, 0.3290)  # ITU-R BT.601-7, 625 lines
BT601_525: Chromaticities = (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, 0.3127, 0.3290)  # ITU-R BT.601-7, 525 lines
ADOBE_RGB: Chromaticities = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06, 0.3127, 0.3290)  # Adobe RGB (1998), 4.3.1.1
ADOBE_RGB_GAMMA = 563 / 256  # 4.3.1.2

# ITU-T H.273, Table 2. 2 is `unspecified`, 0 and 3 are reserved: taken for BT.709.
PRIMARIES: dict[int, Chromaticities] = {
    **dict.fromkeys((0, 1, 2, 3), BT709),
    5: BT601_625,
    6: BT601_525,
    7: BT601_525,
    9: BT2020,
    11: P3_DCI,
    12: P3_D65,
}
# ITU-T H.273, Table 3: curves made for the displays that sRGB is made for. Their values are taken as they are.
DISPLAY_TRANSFERS = {0, 1, 2, 3, 4, 6, 7, 13, 14, 15}
UNSAID, GAMMA_28, LINEAR, PQ, HLG = 2, 5, 8, 16, 18


@dataclass(frozen=True, slots=True)
class Encoding:
    """How values stand for light: a curve for red, green, blue each, and the matrix from their light to BT.709."""

    curves: tuple[Curve, Curve, Curve]
    matrix: Floats  # (3, 3); its rows add up to 1

    def convert(self, T: FloatImage) -> FloatImage:
        """Turn values of this encoding into T, in place, and return it."""
        codes = np.arange(CODES) / (CODES - 1)
        tables = [np.clip(curve(codes), 0.0, 1.0) for curve in self.curves]
        rows_of_matrix = self.matrix / self.matrix.sum(axis=1, keepdims=True)
        for rows in row_blocks(T):
            places = np.rint(rows * np.float32(CODES - 1)).astype(np.uint16)
            light = np.stack([table[places[..., i]] for i, table in enumerate(tables)], axis=-1)
            rows[...] = srgb_from_linear(np.clip(light @ rows_of_matrix.T, 0.0, 1.0))
        return T


def srgb_from_linear(light: Floats) -> Floats:
    """Return the sRGB code values of light in [0, 1] (IEC 61966-2-1)."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.power(light, 1 / 2.4) - 0.055)


def power(gamma: float) -> Curve:
    """Return the curve light = code^gamma."""
    return lambda code: np.power(code, gamma)


def encoding(curve: Curve, chromaticities: Chromaticities) -> Encoding:
    """Return the encoding of one curve for all three channels, and of these primaries."""
    return Encoding((curve, curve, curve), to_bt709_matrix(chromaticities))


def adobe_rgb() -> Encoding:
    """Return the encoding of Adobe RGB (1998)."""
    return encoding(power(ADOBE_RGB_GAMMA), ADOBE_RGB)


def from_code_points(primaries: int, transfer: int) -> Encoding | None:
    """Return the encoding of two code points of ITU-T H.273, None for what is T already.

    Raises PictureError for HDR, which is no input, and for what is not read.
    """
    if transfer in (PQ, HLG):
        name = "PQ" if transfer == PQ else "HLG"
        raise PictureError(f"it is HDR already ({name}): a picture for ordinary displays is asked for")
    if transfer not in DISPLAY_TRANSFERS | {LINEAR, GAMMA_28}:
        raise PictureError(f"its transfer function (code point {transfer} of H.273) is not read: convert it to sRGB")
    if primaries not in PRIMARIES:
        raise PictureError(f"its primaries (code point {primaries} of H.273) are not read: convert it to sRGB")
    curve = {LINEAR: power(1.0), GAMMA_28: power(2.8)}.get(transfer, srgb_to_linear)
    return unless_same(encoding(curve, PRIMARIES[primaries]))


class Conversion(Protocol):
    """What turns values of another encoding into T."""

    def convert(self, T: FloatImage) -> FloatImage:
        """Turn values into T (H, W, 3), in place, and return it."""


Found = TypeVar("Found", bound=Conversion)


def unless_same(found: Found) -> Found | None:
    """Return a conversion, None where it changes no colour by half a step of 8 bits."""
    nodes = np.linspace(0, 1, 9, dtype=np.float32)
    T = np.stack(np.meshgrid(nodes, nodes, nodes, indexing="ij"), axis=-1).reshape(1, -1, 3)
    neutral = np.repeat(np.linspace(0, 1, 256, dtype=np.float32)[None, :, None], 3, axis=2)
    T = np.concatenate([T, neutral], axis=1)  # (1, N, 3)
    return None if np.abs(found.convert(T.copy()) - T).max() < SAME else found
