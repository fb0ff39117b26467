"""What the numbers of a still stand for: its code points (ITU-T H.273), its ICC profile, and the way to light."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import OpenImageIO as oiio

from pipeline.color import BT709, BT2020, P3_D65, Chromaticities, name_primaries, to_bt709_matrix
from pipeline.errors import SourceError
from pipeline.records import Facts, FloatImage, Transfer
from pipeline.transfer import scale_of, to_light

P3_DCI: Chromaticities = (*P3_D65[:6], 0.314, 0.351)  # SMPTE RP 431-2
# ITU-T H.273, Tables 2 and 3
_PRIMARIES: dict[int, Chromaticities] = {1: BT709, 9: BT2020, 11: P3_DCI, 12: P3_D65}
_TRANSFERS: dict[int, Transfer] = {8: "linear", 13: "srgb", 16: "pq", 18: "hlg"}

_ROWS = 256  # converted at once: float64 of a whole picture would take four times its memory


@dataclass(frozen=True, slots=True)
class Coding:
    """How values are to be read; `chromaticities` are None where nothing says them."""

    transfer: Transfer
    chromaticities: Chromaticities | None = None

    def facts(self, width: int, height: int) -> Facts:
        """Return the facts of a still of this coding, of a size as displayed."""
        return Facts(width, height, self.transfer, name_primaries(self.chromaticities), scale_of(self.transfer))


def from_code_points(primaries: int, transfer: int) -> Coding:
    """Return the coding that two code points state, or raise SourceError where they state another one."""
    if transfer not in _TRANSFERS:
        raise SourceError(
            f"its transfer function (code point {transfer}) is not one of linear, sRGB, PQ and HLG; convert it"
        )
    if primaries not in _PRIMARIES:
        raise SourceError(
            f"its colour primaries (code point {primaries}) are not those of BT.709, BT.2020 or P3; convert it"
        )
    return Coding(_TRANSFERS[transfer], _PRIMARIES[primaries])


def stated(transfer: Transfer | None, what: str, chromaticities: Chromaticities | None = None) -> Coding:
    """Return the coding that the user stated for a file that says nothing, or refuse to guess.

    Primaries that nothing names are those of BT.2100 where the transfer function is.
    """
    if transfer is None:
        raise SourceError(f"{what} does not say how light is coded; state it with --transfer (linear, srgb, pq or hlg)")
    default = BT2020 if transfer in {"pq", "hlg"} else None
    return Coding(transfer, chromaticities or default)


def to_linear(values: npt.NDArray[Any], transfer: Transfer) -> FloatImage:
    """Return the light (H, W, 3) float32 of floats, or of whole numbers whose full range is 0 to 1."""
    if np.issubdtype(values.dtype, np.integer):
        codes = np.arange(np.iinfo(values.dtype).max + 1)
        return np.asarray(to_light(codes / codes[-1], transfer).astype(np.float32)[values])
    if transfer == "linear":
        return np.asarray(values, np.float32)
    light = np.empty(values.shape, np.float32)
    for start in range(0, len(values), _ROWS):
        rows = slice(start, start + _ROWS)
        light[rows] = _extended_srgb(values[rows]) if transfer == "srgb" else to_light(values[rows], transfer)
    return light


def _extended_srgb(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the light of sRGB floats, which go on above 1.0, and below 0 mirrored (IEC 61966-2-2, bg-sRGB)."""
    size = np.abs(np.asarray(values, np.float64))
    with np.errstate(over="ignore"):
        light = np.where(size <= 0.04045, size / 12.92, ((size + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.copysign(light, values))


def icc_chromaticities(spec: oiio.ImageSpec) -> Chromaticities | None:
    """Return the primaries of an embedded ICC profile of the matrix kind, None where there is none such.

    Its colorants are adapted to D50 (ICC.1:2022, 9.2), from where they are adapted back; those of a known space are
    returned as its standard writes them.
    """
    profile = spec.getattribute("ICCProfile")
    if profile is None:
        return None
    colorants = [_colorant(bytes(np.asarray(profile, np.uint8)), name) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    columns = [values for values in colorants if values is not None]
    if len(columns) < 3 or not all(sum(values) > 0 for values in [*columns, np.sum(columns, axis=0)]):
        return None
    found = _chromaticities([*columns, np.sum(columns, axis=0)])
    for known in (BT709, P3_D65, BT2020):
        if np.allclose(to_bt709_matrix(found), to_bt709_matrix(known), atol=5e-3):
            return known
    return found


def _colorant(profile: bytes, name: bytes) -> tuple[float, float, float] | None:
    """Return the XYZ of one colorant tag: 128 bytes of header, a count, then (name, offset, size) of each tag."""
    count = min(int.from_bytes(profile[128:132], "big"), 100)
    for at in range(132, 132 + 12 * count, 12):
        if profile[at : at + 4] == name:
            offset = int.from_bytes(profile[at + 4 : at + 8], "big")
            data = profile[offset + 8 : offset + 20]
            if len(data) == 12:
                x, y, z = (value / 65536 for value in struct.unpack(">3i", data))
                return x, y, z
    return None


def _chromaticities(points: Sequence[Sequence[float]]) -> Chromaticities:
    xy = [value for x, y, z in points for value in (x / (x + y + z), y / (x + y + z))]
    rx, ry, gx, gy, bx, by, wx, wy = map(float, xy)
    return rx, ry, gx, gy, bx, by, wx, wy
