"""Planes to light against closed forms: black, peak, grey ramps, chroma siting, padding, and a slow twin.

Legend: H, W height and width; codes are R'G'B' in [0, 1].
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.frames.planes import (
    LAYOUTS,
    LUMA_WEIGHTS,
    TABLE_SIZE,
    Coding,
    Layout,
    Plane,
    layout_of,
    planes_to_light,
    raw_planes,
)
from pipeline.transfer import to_light
from tests.pipeline.video_files import make_frame, random_planes

PQ = Coding("bt2020", False, "pq")
LINEAR = Coding("bt2020", False, "linear")  # what comes back are the codes themselves
STEP = 1.0 / (TABLE_SIZE - 1)


def grey(luma: npt.ArrayLike, layout: Layout) -> list[Plane]:
    """Planes of these luma samples without colour."""
    y = np.atleast_2d(np.asarray(luma, np.uint16))
    size = -(-y.shape[0] >> layout.halve_y), -(-y.shape[1] >> layout.halve_x)
    return [y, *(np.full(size, 1 << layout.bits - 1, np.uint16) for _ in range(2))]


def slow(planes: list[Plane], layout: Layout, coding: Coding) -> npt.NDArray[Any]:
    """The same in float64 and whole arrays, the matrix solved instead of written out."""
    height, width = planes[0].shape
    scale = 2.0 ** (layout.bits - 8)
    y: npt.NDArray[Any]
    if coding.full_range:
        y = planes[0] / (256 * scale - 1)
        colour = [(plane - 128 * scale) / (256 * scale - 1) for plane in planes[1:]]
    else:
        y = (planes[0] - 16 * scale) / (219 * scale)
        colour = [(plane - 128 * scale) / (224 * scale) for plane in planes[1:]]
    rows = np.arange(height) / 2 - 0.25 if layout.halve_y else np.arange(height)
    columns = np.arange(width) / 2 if layout.halve_x else np.arange(width)
    cb, cr = (interpolate(interpolate(plane, rows).T, columns).T for plane in colour)
    kr, kb = LUMA_WEIGHTS[coding.matrix]
    forward = np.array([[kr, 1 - kr - kb, kb]])
    forward = np.vstack([forward, ([0, 0, 1] - forward) / (2 * (1 - kb)), ([1, 0, 0] - forward) / (2 * (1 - kr))])
    return np.asarray(to_light(np.stack([y, cb, cr], -1) @ np.linalg.inv(forward).T, coding.transfer))


def interpolate(plane: npt.NDArray[Any], at: npt.NDArray[Any]) -> npt.NDArray[Any]:
    at = np.clip(at, 0, len(plane) - 1)
    low = np.minimum(np.floor(at).astype(int), max(len(plane) - 2, 0))
    share = (at - low)[:, None]
    return np.asarray(plane[low] * (1 - share) + plane[np.minimum(low + 1, len(plane) - 1)] * share)


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_the_planes_of_a_frame_are_bit_exact_whatever_the_padding(name: str) -> None:
    # 4:2:0 of an odd size: the last chroma sample covers half a pair.
    for height, width in ((38, 102), (37, 101)):
        planes = random_planes(name, height, width)
        read = raw_planes(make_frame(planes, name), LAYOUTS[name])
        for ours, theirs in zip(read, planes, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_black_and_white_of_ten_bits_are_exactly_0_and_the_peak() -> None:
    layout = LAYOUTS["yuv420p10le"]
    light = planes_to_light(grey([[64, 940, 0, 1023]], layout), layout, PQ)
    assert light[0, :, 0].tolist() == [0.0, 10000.0, 0.0, 10000.0]
    assert (light == light[..., :1]).all()


@pytest.mark.parametrize(("bits", "full", "black", "white"), [(10, True, 0, 1023), (12, False, 256, 3760)])
def test_black_and_white_of_other_ranges(bits: int, full: bool, black: int, white: int) -> None:
    layout = LAYOUTS[f"yuv444p{bits}le"]
    light = planes_to_light(grey([[black, white]], layout), layout, Coding("bt709", full, "pq"))
    assert light[0, :, 1].tolist() == [0.0, 10000.0]


def test_a_known_luminance() -> None:
    # 10-bit limited PQ: 100 cd/m2 has code 0.50808 (ITU-R BT.2100), the 509th sample value is 64 + 876 * 0.50808.
    layout = LAYOUTS["yuv420p10le"]
    assert planes_to_light(grey([[509]], layout), layout, PQ)[0, 0, 0] == pytest.approx(100.0, rel=0.005)
    # HLG: half the signal is 1/12 of the peak (BT.2100, Table 5).
    assert planes_to_light(grey([[502]], layout), layout, Coding("bt2020", False, "hlg"))[0, 0] == pytest.approx(
        1 / 12, abs=1e-5
    )


@pytest.mark.parametrize("name", ["yuv420p10le", "yuv422p10le", "yuv444p12le"])
def test_a_grey_ramp_stays_grey_and_is_the_transfer_function(name: str) -> None:
    layout = LAYOUTS[name]
    ramp = np.arange(64 << layout.bits - 10, (940 << layout.bits - 10) + 1)
    light = planes_to_light(grey(ramp[None].repeat(3, axis=0), layout), layout, PQ)
    assert (light == light[..., :1]).all()
    codes = (ramp - ramp[0]) / (ramp[-1] - ramp[0])
    expected = to_light(codes, "pq")
    bright = expected > 0.1
    np.testing.assert_allclose(light[1, bright, 0], expected[bright], rtol=4e-4)
    assert (np.diff(light[1, :, 0]) > 0).all()


@pytest.mark.parametrize(("name", "down"), [("yuv420p10le", 2), ("yuv422p10le", 1)])
def test_linear_chroma_is_exact_where_it_lies(name: str, down: int) -> None:
    # Cb(x, y) = 512 + 2 x + 3 y, sampled left of each pair and between two rows: x = 2 i, y = 2 j + 0.5.
    layout = LAYOUTS[name]
    height, width = 70, 40
    i, j = np.arange(width // 2), np.arange(height // down)
    y_of_j = 2 * j + 0.5 if down == 2 else j
    cb = 512 + 2 * (2 * i)[None] + 2 * y_of_j[:, None]
    planes = [np.full((height, width), 300, np.uint16), cb.astype(np.uint16), np.full_like(cb, 512, np.uint16)]
    assert (planes[1] == cb).all()
    light = planes_to_light(planes, layout, LINEAR)
    y, x = np.mgrid[:height, :width]
    blue = (300 - 64) / 876 + 2 * (1 - 0.0593) * (2 * x + 2 * y) / 896
    inner = np.s_[1:-1, : width - 2]
    np.testing.assert_allclose(light[..., 2][inner], blue[inner], atol=STEP)
    np.testing.assert_array_equal(light[..., 0], light[0, 0, 0])  # Cr holds no colour: red is luma


def test_rgb_planes_are_the_channels() -> None:
    layout = LAYOUTS["gbrp10le"]
    planes = [np.array([[value]], np.uint16) for value in (1023, 0, 512)]
    light = planes_to_light(planes, layout, Coding("identity", True, "linear"))
    np.testing.assert_allclose(light[0, 0], [1.0, 0.0, 512 / 1023], atol=STEP)


def test_pure_red_of_bt2020() -> None:
    # R'G'B' = (1, 0, 0): Y = 0.2627, Cb = -0.2627 / 1.8814, Cr = 0.5 (BT.2020 NCL).
    layout = LAYOUTS["yuv444p12le"]
    samples = (256 + 3504 * 0.2627, 2048 - 3584 * 0.2627 / 1.8814, 2048 + 3584 * 0.5)
    planes = [np.array([[round(value)]], np.uint16) for value in samples]
    assert planes_to_light(planes, layout, LINEAR)[0, 0] == pytest.approx([1.0, 0.0, 0.0], abs=5e-4)


@given(
    st.sampled_from(["yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le", "p010le"]),
    st.sampled_from(sorted(LUMA_WEIGHTS)),
    st.booleans(),
    st.tuples(st.integers(1, 70), st.integers(1, 40)),
    st.integers(0, 99),
)
def test_the_fast_way_is_the_slow_way(name: str, matrix: Any, full: bool, size: tuple[int, int], seed: int) -> None:
    layout, coding = LAYOUTS[name], Coding(matrix, full, "linear")
    planes = random_planes(name, *size, seed=seed)
    light = planes_to_light(planes, layout, coding)
    assert light.dtype == np.float32
    np.testing.assert_allclose(light, np.clip(slow(planes, layout, coding), 0, 1), atol=0.6 * STEP)


@pytest.mark.parametrize("name", ["yuv420p", "yuv420p10be", "gray10le", "rgb48le"])
def test_other_pixel_formats_are_refused(name: str) -> None:
    with pytest.raises(SourceError, match=name):
        layout_of(name)
