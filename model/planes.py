"""Decoded planes of AVIF stills and of SDR video, as T: range and matrix by the stream's own word (ITU-T H.273).

Legend: H, W height and width in luma samples; T (H, W, 3) float32 display-encoded RGB in [0, 1].

The code values R'G'B' of SDR are T: no curve is applied to them, other primaries than BT.709's are converted. They have
steps of 1 / 65535, finer than 12 bits.
"""

from __future__ import annotations

import av
import numpy as np

from model.encoding import from_code_points
from model.errors import PictureError
from pipeline.frames.planes import LAYOUTS, Coding, Layout, Matrix, Plane, planes_to_light, raw_planes
from pipeline.frames.tags import Tags
from pipeline.records import FloatImage

EIGHT_BITS: dict[str, Layout] = {
    **dict.fromkeys(("yuv420p", "yuvj420p", "yuva420p"), Layout(8, 1, 1)),
    **dict.fromkeys(("yuv422p", "yuvj422p", "yuva422p"), Layout(8, 1, 0)),
    **dict.fromkeys(("yuv444p", "yuvj444p", "yuva444p"), Layout(8)),
    **dict.fromkeys(("gbrp", "gbrap"), Layout(8, rgb=True)),
    "nv12": Layout(8, 1, 1, paired=True),
}
GREY = {"gray": 8, "gray10le": 10, "gray12le": 12}  # bits

_MATRICES: dict[int, Matrix] = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}
_UNSAID, _IDENTITY, _FULL_RANGE, _LIMITED_RANGE = 2, 0, 2, 1
_SD_HEIGHT = 576  # lines of standard definition, which means BT.601 where nothing is said


def to_display(frame: av.VideoFrame, tags: Tags, still: bool = False) -> FloatImage:
    """Return T of a decoded frame as coded: its display rotation is not applied.

    Where the stream does not say its matrix, it is BT.601's for a still and up to 576 lines, BT.709's above.
    Raises PictureError for HDR and for what is not read.
    """
    encoding = from_code_points(tags.primaries, tags.transfer)
    layout = layout_of(frame.format.name)
    matrix: Matrix = "identity" if layout.rgb else _matrix(tags, still or min(frame.width, frame.height) <= _SD_HEIGHT)
    full = tags.color_range == _FULL_RANGE or (layout.rgb and tags.color_range != _LIMITED_RANGE)
    coding = Coding(matrix, full or frame.format.name.startswith("yuvj"), "linear")
    T = planes_to_light(_planes(frame, layout), layout, coding)
    return T if encoding is None else encoding.convert(T)


def layout_of(pixel_format: str) -> Layout:
    """Return how a pixel format stores a picture; grey is one plane, to which two without colour are added."""
    if pixel_format in GREY:
        return Layout(GREY[pixel_format])
    try:
        return (EIGHT_BITS | LAYOUTS)[pixel_format]
    except KeyError:
        raise PictureError(f"its pixel format {pixel_format} is not read: convert it to yuv420p") from None


def _matrix(tags: Tags, standard: bool) -> Matrix:
    if tags.matrix in _MATRICES:
        return _MATRICES[tags.matrix]
    if tags.matrix not in {_UNSAID, _IDENTITY, 3}:
        raise PictureError(f"its matrix (number {tags.matrix} of H.273) is not read: convert it to BT.709")
    return "bt601" if standard else "bt709"


def _planes(frame: av.VideoFrame, layout: Layout) -> list[Plane]:
    """Return Y, Cb, Cr or R, G, B of a frame as uint16."""
    if frame.format.name in GREY:
        luma = _plane(frame, 0, layout.bits)
        return [luma, *[np.full_like(luma, 1 << layout.bits - 1)] * 2]
    if layout.bits > 8:
        return raw_planes(frame, layout)
    if layout.paired:
        pairs = _plane(frame, 1, 8, columns=2 * -(-frame.width >> 1))
        return [_plane(frame, 0, 8), pairs[:, 0::2], pairs[:, 1::2]]
    planes = [_plane(frame, number, 8) for number in range(3)]
    return [planes[2], planes[0], planes[1]] if layout.rgb else planes  # G, B, R in memory


def _plane(frame: av.VideoFrame, number: int, bits: int, columns: int | None = None) -> Plane:
    # Lines are padded in memory; what lies beyond the width is anything.
    plane = frame.planes[number]
    kind = np.dtype("<u2") if bits > 8 else np.dtype(np.uint8)
    samples = plane.line_size // kind.itemsize
    lines = np.frombuffer(memoryview(plane), kind, plane.height * samples).reshape(plane.height, samples)
    return lines[:, : columns or plane.width].astype(np.uint16)
