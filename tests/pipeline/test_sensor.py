"""The compiled loops of the camera against their literal forms in numpy and OpenCV.

Legend: S patch size; hdr (S, S, 3) float32, scene-linear, the sensor clips at 1.0.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.camera import CameraSettings, draw_camera, expose, photograph, resolve_exposure
from pipeline.frames import read_frame
from pipeline.records import Camera, FloatImage
from pipeline.sensor import code_table, order_statistic, quantise
from tests.pipeline import literal

cameras = st.builds(
    Camera,
    clip_fraction=st.floats(0, 1),
    exposure=st.floats(1e-6, 1e6),
    noise_sigma=st.sampled_from([0.0, 0.003, 0.01]),
    hue_shift=st.floats(-400, 400),
    saturation_shift=st.floats(-1, 1),
    curve_n=st.floats(0.2, 2.5),
    curve_sigma=st.floats(0.0, 5.0),
    jpeg_quality=st.just(0),
    seed=st.integers(0, 2**63 - 1),
)


def some_patch(seed: int, size: int = 24) -> FloatImage:
    """Colours over ten decades, grey and black ones among them."""
    rng = np.random.default_rng(seed)
    patch = np.power(10.0, rng.uniform(-5, 5, (size, size, 3)))
    patch[0] = patch[0, :, :1]
    patch[1] = 1e-5
    return patch.astype(np.float32)


@settings(deadline=None)
@given(st.integers(0, 10**6), cameras)
def test_the_truth_is_that_of_the_literal_camera(seed: int, camera: Camera) -> None:
    patch = some_patch(seed)
    ours, twin = expose(patch, camera), literal.expose(patch, camera)
    brightest = twin.max(axis=2, keepdims=True)
    np.testing.assert_allclose(ours.max(axis=2, keepdims=True), brightest, rtol=2e-5, atol=1e-6)
    coloured = np.ptp(patch, axis=2) > 1e-3 * patch.max(axis=2)  # the hue of a grey pixel is the rounding of its values
    assert (abs(ours - twin) <= 5e-4 * brightest + 1e-6)[coloured].all()


@settings(deadline=None)
@given(st.integers(0, 10**6), cameras)
def test_the_codes_are_those_of_the_literal_camera(seed: int, camera: Camera) -> None:
    hdr = np.random.default_rng(seed).uniform(0, 1.2, (16, 16, 3)).astype(np.float32) ** 3
    ours, twin = photograph(hdr, camera).ldr.astype(int), literal.quantise(hdr, camera).astype(int)
    assert abs(ours - twin).max() <= 1
    exact = (1 + camera.curve_sigma) * hdr.astype(float) ** camera.curve_n
    exact /= hdr.astype(float) ** camera.curve_n + camera.curve_sigma + 1e-300
    level = 255 * np.minimum(exact, 1) + 0.5
    near = abs(level - np.rint(level)) < 2e-3  # where rounding of float32 decides
    np.testing.assert_array_equal(ours[~near], np.floor(level[~near]).astype(int))


@given(st.floats(0.05, 5), st.floats(0, 5))
def test_codes_rise_with_radiance(n: float, sigma: float) -> None:
    begin, least, _ = code_table(n, sigma)
    assert (np.diff(least) >= 0).all()
    assert (np.diff(begin.astype(int)) >= 0).all()
    assert least.size == 258
    assert least[0] == 0


@settings(deadline=None)
@given(st.floats(0.05, 5), st.floats(0, 5), st.integers(0, 10**6), st.sampled_from([1.0, 3.0, 8.0]))
def test_a_code_is_the_number_of_levels_reached(n: float, sigma: float, seed: int, power: float) -> None:
    begin, least, flat = code_table(n, sigma)
    radiance = np.random.default_rng(seed).uniform(0, 1.1, 5000).astype(np.float32) ** np.float32(power)
    radiance = np.concatenate([radiance, least[:-2], np.nextafter(least[1:-2], np.float32(0))])
    expected = np.searchsorted(least[1:-2], radiance, side="right")
    ways = (True, False) if flat else (False,)
    for way in ways:
        codes = np.empty(radiance.size, np.uint8)
        quantise(radiance, begin, least, way, codes)
        np.testing.assert_array_equal(codes, expected)


@pytest.mark.parametrize(("n", "sigma", "flat"), [(0.9, 0.6, True), (0.2, 0.05, False)])
def test_steep_curves_are_searched(n: float, sigma: float, flat: bool) -> None:
    assert code_table(n, sigma)[2] == flat


@given(st.integers(0, 10**6), st.integers(1, 40), st.floats(0, 1))
def test_an_order_statistic_is_that_of_the_sorted_values(seed: int, side: int, share: float) -> None:
    values = some_patch(seed, side + 1)
    index = min(int(share * values.size), values.size - 1)
    assert order_statistic(values, index) == np.sort(values.ravel())[index]


@given(st.lists(st.sampled_from([-0.0, 0.0, 1e-5, 0.5, 0.5000001, 1e5]), min_size=12, max_size=12), st.integers(0, 11))
def test_an_order_statistic_of_equal_values(values: list[float], index: int) -> None:
    array = np.array(values, np.float32).reshape(2, 2, 3)
    assert order_statistic(array, index) == np.sort(array.ravel())[index]


def test_a_patch_may_be_a_view_that_cannot_be_written_to() -> None:
    whole = some_patch(1, 40)
    view = whole[3:20, 5:22]
    camera = replace(draw_camera(CameraSettings(), 0, "ab", 0, 0), exposure=0.1)
    expected = expose(view.copy(), camera)
    whole.setflags(write=False)
    np.testing.assert_array_equal(expose(whole[3:20, 5:22], camera), expected)
    assert resolve_exposure(whole[3:20, 5:22], 0.9) == resolve_exposure(view.copy(), 0.9)


@pytest.mark.parametrize("name", ["Desk.exr", "rooitou_park_1k.hdr"])
def test_real_pictures(name: str, shared_data: Path) -> None:
    frame = read_frame(shared_data / "hdr" / name).pixels
    patch = np.clip(frame[:512, :512], np.float32(1e-5), np.float32(1e5))
    for k in range(3):
        camera = draw_camera(CameraSettings(), 0, name, 0, k)
        exposure = resolve_exposure(patch, camera.clip_fraction)
        assert exposure == literal.resolve_exposure(patch, camera.clip_fraction)
        camera = replace(camera, exposure=exposure, jpeg_quality=0)
        hdr, twin = expose(patch, camera), literal.expose(patch, camera)
        np.testing.assert_allclose(hdr, twin, rtol=2e-3, atol=2e-6)
        assert np.quantile(abs(hdr / twin - 1), 0.999) < 2e-5
        codes, slow = photograph(hdr, camera).ldr.astype(int), literal.photograph(twin, camera).astype(int)
        assert abs(codes - slow).max() <= 1
        assert np.mean(codes != slow) < 1e-4


def test_a_camera_without_exposure_takes_no_picture() -> None:
    with pytest.raises(ValueError, match="exposure is not known"):
        expose(some_patch(0), draw_camera(CameraSettings(), 0, "ab", 0, 0))


def test_numbers_that_are_no_radiance_have_a_code_too() -> None:
    for n, sigma in ((0.9, 0.6), (0.2, 0.05)):
        camera = replace(draw_camera(CameraSettings(), 0, "ab", 0, 0), curve_n=n, curve_sigma=sigma, jpeg_quality=0)
        hdr = np.array([-1.0, -0.0, np.inf, 1e10], np.float32).reshape(1, 4, 1).repeat(3, axis=2)
        assert photograph(hdr, camera).ldr[0, :, 0].tolist() == [0, 0, 255, 255]
        photograph(np.full((4, 4, 3), np.nan, np.float32), camera)  # some code, and no memory of others
