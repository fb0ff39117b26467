"""Planes of 8, 10 and 12 bits against the formulas of BT.709 and BT.601, written out."""

from __future__ import annotations

import av
import numpy as np
import pytest

from model.errors import PictureError
from model.planes import EIGHT_BITS, GREY, layout_of, to_display
from pipeline.frames.tags import Tags

SDR = Tags(1, 1, 1, 1)  # BT.709, limited range
WEIGHTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114)}


def frame_of(planes: list[np.ndarray], pixel_format: str) -> av.VideoFrame:
    """Lay planes out as a frame, the padding of its lines filled with noise."""
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, pixel_format)
    for target, plane in zip(frame.planes, planes, strict=True):
        kind = "<u2" if "le" in pixel_format else "u1"
        memory = np.full((plane.shape[0], target.line_size // np.dtype(kind).itemsize), 77, kind)
        memory[:, : plane.shape[1]] = plane
        target.update(memory.tobytes())
    return frame


def flat(value: int, height: int = 6, width: int = 10) -> np.ndarray:
    return np.full((height, width), value)


def expected(y: float, cb: float, cr: float, matrix: int = 1) -> list[float]:
    """R'G'B' of Y' in [0, 1] and Cb, Cr in [-0.5, 0.5] (H.273, Eq. 38 to 43)."""
    red, blue = WEIGHTS[matrix]
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    return [r, (y - red * r - blue * b) / (1 - red - blue), b]


@pytest.mark.parametrize("matrix", [1, 6])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", ["yuv420p", "yuv422p", "yuv444p", "nv12"])
def test_eight_bits(name: str, full: bool, matrix: int) -> None:
    y, cb, cr = 120, 110, 150
    small = {"yuv422p": (6, 5), "yuv444p": (6, 10)}.get(name, (3, 5))
    planes = [flat(y), flat(cb, *small), flat(cr, *small)]
    if name == "nv12":
        planes = [flat(y), np.stack(planes[1:], axis=-1).reshape(3, 10)]
    T = to_display(frame_of(planes, name), Tags(1, 1, matrix, 2 if full else 1))
    assert T.shape == (6, 10, 3)
    assert T.dtype == np.float32
    scaled = (y / 255, (cb - 128) / 255, (cr - 128) / 255)
    scaled = scaled if full else ((y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224)
    np.testing.assert_allclose(T, np.broadcast_to(expected(*scaled, matrix=matrix), T.shape), atol=2e-5)


def test_white_is_exactly_one_and_black_zero() -> None:
    for name, tags in (("yuv420p", SDR), ("yuvj420p", SDR), ("gray", Tags(1, 1, 1, 2))):
        full = name != "yuv420p"
        for level, value in ((255 if full else 235, 1.0), (0 if full else 16, 0.0)):
            planes = [flat(level)] + ([] if name == "gray" else [flat(128, 3, 5)] * 2)
            assert (to_display(frame_of(planes, name), tags) == value).all()


def test_ten_bits_are_kept() -> None:
    ramp = np.arange(400, 460).reshape(6, 10)
    T = to_display(frame_of([ramp, flat(512), flat(512)], "yuv444p10le"), SDR)
    np.testing.assert_allclose(T[..., 0], (ramp - 64) / 876, atol=2e-5)
    assert len(np.unique(T[..., 0])) == 60


def test_grey_has_no_colour() -> None:
    for name, bits in GREY.items():
        T = to_display(frame_of([flat(40 << bits - 8)], name), Tags(1, 1, 2, 2))
        np.testing.assert_allclose(T, (40 << bits - 8) / (2**bits - 1), atol=2e-5)


def test_rgb_is_not_mixed() -> None:
    T = to_display(frame_of([flat(51), flat(102), flat(204)], "gbrp"), Tags(13, 1, 0, 0))
    np.testing.assert_allclose(T[0, 0], (0.8, 0.2, 0.4), atol=2e-5)


def test_the_matrix_that_nobody_states_is_that_of_the_size() -> None:
    untagged = Tags(2, 2, 2, 0)

    def read(height: int, still: bool = False) -> float:
        planes = [flat(120, height, 1280), flat(110, height, 1280), flat(150, height, 1280)]
        return float(to_display(frame_of(planes, "yuv444p"), untagged, still)[0, 0, 0])

    standard, high = (expected(104 / 219, -18 / 224, 22 / 224, matrix)[0] for matrix in (6, 1))
    assert read(480) == pytest.approx(standard, abs=2e-5)
    assert read(720) == pytest.approx(high, abs=2e-5)
    assert read(720, still=True) == pytest.approx(standard, abs=2e-5)


def test_what_is_not_read_is_told() -> None:
    assert {"yuv420p", "yuvj420p", "nv12"} <= EIGHT_BITS.keys()
    with pytest.raises(PictureError, match="pixel format rgb48le is not read"):
        layout_of("rgb48le")
    with pytest.raises(PictureError, match="matrix \\(number 8"):
        to_display(frame_of([flat(1)] * 3, "yuv444p"), Tags(1, 1, 8, 1))
