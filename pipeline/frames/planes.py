"""From the raw planes of a decoded video frame to linear light, in the primaries of the file.

swscale's own RGB is wrong for HDR (its white is 65283 of 65535, and it takes untagged input for BT.601), so that range,
chroma siting, matrix and transfer function are applied here (ITU-R BT.2100-2; names and numbers of ITU-T H.273).

Legend: H, W height and width in luma samples; h, w those of a chroma plane; b bits of a sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import av
import cv2
import numpy as np
import numpy.typing as npt

from pipeline.errors import SourceError
from pipeline.records import FloatImage, Transfer
from pipeline.transfer import to_light

Plane = npt.NDArray[np.uint16]
Matrix = Literal["bt2020", "bt709", "bt601", "fcc", "smpte240m", "identity"]

# (Kr, Kb): H.273, Table 4, non-constant luminance
LUMA_WEIGHTS: dict[Matrix, tuple[float, float]] = {
    "bt2020": (0.2627, 0.0593),
    "bt709": (0.2126, 0.0722),
    "bt601": (0.299, 0.114),
    "fcc": (0.30, 0.11),
    "smpte240m": (0.212, 0.087),
}
# R'G'B' are looked up in a table of this many codes, the nearest one. Half its step is 1/150 of one step of 10-bit
# video, and changes PQ light by less than 0.04 % above 0.1 cd/m2.
TABLE_SIZE = 2**16
STRIP_ROWS = 32  # what is worked on at a time stays in the processor's cache


@dataclass(frozen=True, slots=True)
class Layout:
    """How a pixel format stores a picture: chroma subsampled by 2**`halve_x` and 2**`halve_y`, samples of `bits` bits.

    `shift` is by how many bits they are stored too high; `paired` that Cb and Cr alternate in one plane.
    """

    bits: int
    halve_x: int = 0
    halve_y: int = 0
    rgb: bool = False
    shift: int = 0
    paired: bool = False


LAYOUTS: dict[str, Layout] = {
    **{f"yuv420p{bits}le": Layout(bits, 1, 1) for bits in (10, 12)},
    **{f"{name}422p{bits}le": Layout(bits, 1, 0) for bits in (10, 12) for name in ("yuv", "yuva")},
    **{f"{name}444p{bits}le": Layout(bits) for bits in (10, 12) for name in ("yuv", "yuva")},
    **{f"{name}{bits}le": Layout(bits, rgb=True) for bits in (10, 12) for name in ("gbrp", "gbrap")},
    "yuva420p10le": Layout(10, 1, 1),
    "p010le": Layout(10, 1, 1, shift=6, paired=True),
    "p012le": Layout(12, 1, 1, shift=4, paired=True),
    "p210le": Layout(10, 1, 0, shift=6, paired=True),
}


@dataclass(frozen=True, slots=True)
class Coding:
    """How sample values stand for light: `matrix` (`identity` for R'G'B'), `full_range`, `transfer`."""

    matrix: Matrix
    full_range: bool
    transfer: Transfer


def frame_to_light(frame: av.VideoFrame, coding: Coding) -> FloatImage:
    """Return the light of a decoded frame, (H, W, 3) float32, as coded: its display rotation is not applied."""
    layout = layout_of(frame.format.name)
    return planes_to_light(raw_planes(frame, layout), layout, coding)


def layout_of(pixel_format: str) -> Layout:
    """Return a pixel format's layout; raises SourceError for one that is not read."""
    try:
        return LAYOUTS[pixel_format]
    except KeyError:
        raise SourceError(f"its pixel format {pixel_format} is not read; convert it to yuv420p10le") from None


def raw_planes(frame: av.VideoFrame, layout: Layout) -> list[Plane]:
    """Return Y, Cb, Cr or R, G, B of a frame, (H, W) and (h, w) uint16, as stored but for `shift`.

    They may be views of the frame's own memory.
    """
    height, width = frame.height, frame.width
    chroma = -(-height >> layout.halve_y), -(-width >> layout.halve_x)
    if layout.paired:
        pairs = _plane(frame, 1, chroma[0], 2 * chroma[1])
        planes = [_plane(frame, 0, height, width), pairs[:, 0::2], pairs[:, 1::2]]
        return [plane >> np.uint16(layout.shift) for plane in planes]
    planes = [_plane(frame, 0, height, width), _plane(frame, 1, *chroma), _plane(frame, 2, *chroma)]
    return [planes[2], planes[0], planes[1]] if layout.rgb else planes  # G, B, R in memory


def _plane(frame: av.VideoFrame, number: int, height: int, width: int) -> Plane:
    # Lines are padded in memory; what lies beyond the width is anything.
    plane = frame.planes[number]
    samples = plane.line_size // 2
    lines: Plane = np.frombuffer(memoryview(plane), np.dtype("<u2"), height * samples).reshape(height, samples)
    return lines[:, :width]


def planes_to_light(planes: Sequence[Plane], layout: Layout, coding: Coding) -> FloatImage:
    """Return the light of Y, Cb, Cr or R, G, B planes: (H, W, 3) float32, unit by `coding.transfer`.

    Light below black or above the peak of the transfer function is cut off.
    """
    height, width = planes[0].shape
    black, centre = _zero_levels(layout, coding)
    matrix = table_matrix(layout, coding).astype(np.float32)
    table = light_table(coding.transfer)
    chroma = [np.subtract(plane, centre, dtype=np.float32) for plane in planes[1:]]
    light = np.empty((height, width, 3), np.float32)
    for top in range(0, height, STRIP_ROWS):
        rows = min(STRIP_ROWS, height - top)
        luma = np.subtract(planes[0][top : top + rows], black, dtype=np.float32)
        samples = cv2.merge([luma, *(_enlarge(plane, layout, top, rows, width) for plane in chroma)])
        codes = cv2.transform(samples, matrix)
        np.clip(codes, 0.0, TABLE_SIZE - 1, out=codes)
        np.add(codes, np.float32(0.5), out=codes)
        np.take(table, codes.astype(np.uint16), out=light[top : top + rows], mode="clip")
    return light


def _enlarge(plane: FloatImage, layout: Layout, top: int, rows: int, width: int) -> FloatImage:
    """Return rows `top` to `top + rows` of a chroma plane at the resolution of luma, linearly interpolated.

    Samples lie on every second luma column and between two luma rows (H.273, chroma sample location 0, `left`, what
    HEVC, AV1 and VP9 mean where they say nothing); at the borders the last one is repeated.
    """
    if not layout.halve_x:
        return plane[top : top + rows]
    y_scale, y_shift = (0.5, -0.25) if layout.halve_y else (1.0, 0.0)
    to_chroma = np.array([[0.5, 0.0, 0.0], [0.0, y_scale, y_scale * top + y_shift]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    enlarged = cv2.warpAffine(plane, to_chroma, (width, rows), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(enlarged, np.float32)


def _zero_levels(layout: Layout, coding: Coding) -> tuple[np.float32, np.float32]:
    """Return the sample values of black and of no colour; R'G'B' has no colour planes, and black in all three."""
    black = 0 if coding.full_range else 16 << layout.bits - 8
    centre = black if layout.rgb else 1 << layout.bits - 1
    return np.float32(black), np.float32(centre)


def table_matrix(layout: Layout, coding: Coding) -> npt.NDArray[np.float64]:
    """Return the (3, 3) matrix from samples, their zero levels taken off, to R'G'B' in [0, TABLE_SIZE - 1].

    Range by H.273, Eq. 20 to 31; matrix by Eq. 38 to 40, solved for R'G'B'.
    """
    last = (1 << layout.bits) - 1
    luma, colour = (last, last) if coding.full_range else (219 << layout.bits - 8, 224 << layout.bits - 8)
    if layout.rgb or coding.matrix == "identity":
        return np.eye(3) * (TABLE_SIZE - 1) / luma
    red, blue = LUMA_WEIGHTS[coding.matrix]
    green = 1.0 - red - blue
    to_rgb = np.array(
        [
            [1.0, 0.0, 2 * (1 - red)],
            [1.0, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
            [1.0, 2 * (1 - blue), 0.0],
        ]
    )
    return np.asarray(to_rgb * (TABLE_SIZE - 1) / [luma, colour, colour], np.float64)


@lru_cache(maxsize=4)
def light_table(transfer: Transfer) -> npt.NDArray[np.float32]:
    """Return the light of TABLE_SIZE code values evenly spread from 0.0 to 1.0, float32."""
    table = to_light(np.linspace(0.0, 1.0, TABLE_SIZE), transfer).astype(np.float32)
    table.flags.writeable = False
    return table
