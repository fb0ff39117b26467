"""The virtual camera: closed forms, statistics, independent codecs, and a slow twin of the whole after the paper.

Legend: S patch size. A frame is (H, W, 3) float32, scene-linear; hdr (S, S, 3) float32; ldr (S, S, 3) uint8.
"""

from __future__ import annotations

import colorsys
from dataclasses import replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import OpenImageIO as oiio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline import camera as camera_module
from pipeline.camera import (
    CameraSettings,
    Distribution,
    cut,
    decode_jpeg,
    develop,
    draw_camera,
    encode_jpeg,
    expose,
    render,
    render_photograph,
    resolve_exposure,
    response,
)
from pipeline.records import ByteImage, Camera, FloatImage, Recipe, Window, derive_seed

DoubleImage = npt.NDArray[np.float64]

SOURCE = "ef" * 32
# Changes nothing but the response: no noise, no change of colour, no JPEG.
PLAIN = Camera(
    clip_fraction=0.9, exposure=1.0, noise_sigma=0.0, hue_shift=0.0, saturation_shift=0.0,
    curve_n=0.9, curve_sigma=0.6, jpeg_quality=0, seed=0,
)  # fmt: skip
PARAMETERS = [
    "clip_fraction", "noise_sigma", "hue_shift", "saturation_shift", "curve_n", "curve_sigma", "jpeg_quality",
]  # fmt: skip


def square(size: int, *, y: int = 0, x: int = 0, side: int | None = None, flip: bool = False) -> Window:
    side = size if side is None else side
    return Window(y=y, x=x, height=side, width=side, patch_size=size, flip=flip)


def scene(height: int, width: int, seed: int = 0) -> FloatImage:
    """A frame of 2^-8 .. 2^6 with a little structure, no two values alike."""
    rng = np.random.default_rng(seed)
    return np.exp2(rng.uniform(-8, 6, (height, width, 3))).astype(np.float32)


def uniform_patch(rgb: tuple[float, float, float], size: int = 16) -> FloatImage:
    return np.broadcast_to(np.array(rgb, np.float32), (size, size, 3)).copy()


def exposed(rgb: tuple[float, float, float], **changes: Any) -> list[float]:
    """What becomes of one colour, exposure 1."""
    pixels = expose(uniform_patch(rgb), replace(PLAIN, **changes))
    assert (pixels == pixels[0, 0]).all()
    return [float(value) for value in pixels[0, 0]]


# Cut


def test_cut_takes_the_window_as_it_is() -> None:
    frame = scene(40, 50)
    np.testing.assert_array_equal(cut(frame, square(16, y=3, x=20)), frame[3:19, 20:36])


def test_the_camera_mirrors_left_and_right_before_the_noise() -> None:
    patch, noisy = cut(scene(40, 50), square(16, y=3, x=20)), replace(PLAIN, noise_sigma=0.01, seed=3)
    np.testing.assert_array_equal(expose(patch, noisy, flip=True), expose(patch[:, ::-1], noisy))
    mirrored = expose(patch, PLAIN, flip=True)
    np.testing.assert_array_equal(mirrored, np.flip(expose(patch, PLAIN), axis=1))


def test_the_camera_clamps_the_scene() -> None:
    frame = uniform_patch((0.0, 7.0, 1e9))
    grey = replace(PLAIN, saturation_shift=0.0)
    np.testing.assert_array_equal(expose(frame, grey), expose(uniform_patch((1e-5, 7.0, 1e5)), grey))
    assert resolve_exposure(frame, 1.0) == pytest.approx(1e-5)
    assert resolve_exposure(frame, 0.3) == pytest.approx(1e5)


def test_cut_halves_a_larger_window_by_averaging() -> None:
    frame = scene(40, 40)
    blocks = frame[4:36, 6:38].reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(cut(frame, square(16, y=4, x=6, side=32)), blocks, rtol=1e-5)


def test_the_window_is_resized_before_the_scene_is_clamped() -> None:
    frame = np.zeros((32, 32, 3), np.float32)
    frame[::2, ::2] = 1e6  # one pixel of four: 2.5e5 on average, 2.5e4 if it were clamped before
    hdr, _ = render(frame, Recipe(square(16, side=32), replace(PLAIN, exposure=1e-5)))
    np.testing.assert_allclose(hdr, uniform_patch((1.0, 1.0, 1.0)), rtol=1e-5)


# Exposure


def clipped(patch: FloatImage, exposure: float) -> int:
    """How many values exceed the clipping level, rounding of the exposure apart."""
    return int(np.count_nonzero(patch.astype(np.float64) * exposure > 1 + 1e-7))


@given(st.integers(0, 2**32), st.floats(0, 1))
def test_exactly_the_asked_share_of_distinct_values_clips(seed: int, clip_fraction: float) -> None:
    levels = np.geomspace(1e-4, 1e4, 12 * 11 * 3)
    patch = np.random.default_rng(seed).permutation(levels).reshape(12, 11, 3).astype(np.float32)
    kept = max(1, ceil(Fraction(clip_fraction) * patch.size - Fraction(1, 10**9)))
    assert clipped(patch, resolve_exposure(patch, clip_fraction)) == patch.size - kept


@given(st.lists(st.sampled_from([1e-5, 0.25, 0.5, 3.0, 1e5]), min_size=27, max_size=27), st.floats(0.01, 1))
def test_at_least_the_asked_share_of_any_values_does_not_clip(values: list[float], clip_fraction: float) -> None:
    patch = np.array(values, np.float32).reshape(3, 3, 3)
    assert patch.size - clipped(patch, resolve_exposure(patch, clip_fraction)) >= clip_fraction * patch.size - 1e-9


def test_an_exposure_worked_out_by_hand() -> None:
    # of 1, 2 .. 12 the quantile 0.75 is the ninth value, 9; three values clip
    patch = np.arange(12, 0, -1, dtype=np.float32).reshape(2, 2, 3)
    assert resolve_exposure(patch, 0.75) == 1 / 9
    assert resolve_exposure(patch, 0.0) == 1.0
    assert resolve_exposure(patch, 1.0) == 1 / 12


def quantile_of_histogram(patch: FloatImage, clip_fraction: float) -> float:
    """The public tool's way: the upper edge of the histogram bin, of 256, where the share is reached."""
    counts, edges = np.histogram(patch, bins=256, range=(0, float(patch.max())))
    return float(edges[1 + np.searchsorted(np.cumsum(counts), clip_fraction * patch.size)])


def test_a_sun_in_the_picture_does_not_spoil_the_exposure() -> None:
    rng = np.random.default_rng(5)
    patch = rng.lognormal(-1, 1, (64, 64, 3)).astype(np.float32)
    patch[30:32, 30:32] = 6e4
    wanted = 0.1
    share = clipped(patch, resolve_exposure(patch, 1 - wanted)) / patch.size
    assert share == pytest.approx(wanted, abs=1 / patch.size)
    # the histogram finds one bin for all but the sun, and clips nothing but the sun
    assert clipped(patch, 1 / quantile_of_histogram(patch, 1 - wanted)) == 2 * 2 * 3


def test_exposure_scales_the_scene() -> None:
    patch = cut(scene(16, 16), square(16))
    hdr = expose(patch, replace(PLAIN, exposure=0.25))
    np.testing.assert_allclose(hdr, patch / 4, rtol=2e-4)
    assert hdr.max() > 1  # the truth is not clipped


def test_the_truth_is_clamped() -> None:
    assert max(exposed((1.0, 1.0, 1.0), exposure=1e12)) == np.float32(1e10)
    assert min(exposed((1.0, 1.0, 1.0), exposure=1e-12)) == np.float32(1e-5)


# Noise


@pytest.mark.parametrize("sigma", [0.001, 0.01, 0.05])
def test_noise_has_mean_zero_and_the_asked_deviation(sigma: float) -> None:
    patch = uniform_patch((0.5, 0.5, 0.5), 100)
    noise = expose(patch, replace(PLAIN, noise_sigma=sigma, seed=4)).astype(np.float64) - 0.5
    count = noise.size
    assert noise.mean() == pytest.approx(0, abs=5 * sigma / np.sqrt(count))
    assert noise.std() == pytest.approx(sigma, rel=5 / np.sqrt(2 * count))
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.05  # each channel has its own


def test_noise_comes_from_the_seed_of_the_camera_alone() -> None:
    def noise(level: float, **changes: Any) -> FloatImage:
        return expose(uniform_patch((level,) * 3), replace(PLAIN, noise_sigma=0.01, **changes)) - np.float32(level)

    np.testing.assert_allclose(noise(0.5, seed=7), noise(0.25, seed=7, clip_fraction=0.8, curve_n=2.0), atol=1e-5)
    assert abs(noise(0.5, seed=7) - noise(0.5, seed=8)).max() > 0.01
    np.testing.assert_array_equal(
        expose(scene(16, 16), replace(PLAIN, seed=7)), expose(scene(16, 16), replace(PLAIN, seed=8))
    )


def test_noise_below_zero_becomes_the_floor() -> None:
    hdr = expose(uniform_patch((1e-5, 1e-5, 1e-5), 64), replace(PLAIN, noise_sigma=0.5, seed=1))
    assert np.mean(hdr <= np.float32(1e-5)) == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(hdr.size))


# Hue and saturation


def test_pure_red_turned_by_120_degrees_is_green() -> None:
    assert exposed((1.0, 1e-5, 1e-5), hue_shift=120.0) == pytest.approx([1e-5, 1.0, 1e-5], abs=1e-6)


@pytest.mark.parametrize("shift", [-345.0, 15.0, 375.0])
def test_hue_is_turned_in_the_square_root_domain(shift: float) -> None:
    # the roots (1, 1/4, 0) have a hue of 15 degrees; at 30 they are (1, 1/2, 0). Turned as they are, the values
    # themselves, 3.75 degrees, would give a green of 0.3125. The floor of the scene makes it 0.003 instead of 0.
    assert exposed((1.0, 0.0625, 0.0), hue_shift=shift) == pytest.approx([1.0, 0.25, 1e-5], abs=1e-3)


@pytest.mark.parametrize(
    ("shift", "expected"),
    [(0.0, 0.25), (-0.25, 0.5625), (-0.5, 1.0), (-0.9, 1.0), (0.25, 0.0625), (0.5, 1e-5), (0.9, 1e-5)],
)
def test_saturation_is_moved_in_the_square_root_domain_and_kept_in_its_range(shift: float, expected: float) -> None:
    # the roots (1, 1/2, 1/2) have a saturation of 1/2; with s they are (1, 1 - s, 1 - s)
    assert exposed((1.0, 0.25, 0.25), saturation_shift=shift) == pytest.approx([1.0, expected, expected], abs=1e-5)


@given(
    st.tuples(*[st.floats(0, 1e5, width=32)] * 3),
    st.floats(-720, 720),
    st.floats(-2, 2),
    st.sampled_from([0.0, 0.01]),
)
def test_no_colour_change_gives_values_below_the_floor(
    rgb: tuple[float, float, float], hue: float, saturation: float, sigma: float
) -> None:
    camera = replace(PLAIN, hue_shift=hue, saturation_shift=saturation, noise_sigma=sigma)
    hdr = expose(cut(uniform_patch(rgb), square(16)), camera)
    assert np.isfinite(hdr).all()
    assert hdr.min() >= np.float32(1e-5)
    brightest = max(*rgb, 1e-5)
    assert hdr.max() == pytest.approx(brightest, rel=1e-4, abs=6 * sigma)  # HSV's value is kept


# Response


def test_response_worked_out_by_hand() -> None:
    # n 1, s 1: f(1/3) = 2 * (1/3) / (4/3) = 1/2;  n 2, s 0.6: f(1/2) = 1.6 * 0.25 / 0.85
    assert response(np.array([1 / 3], np.float32), 1.0, 1.0)[0] == pytest.approx(0.5, rel=1e-6)
    assert response(np.array([0.5], np.float32), 2.0, 0.6)[0] == pytest.approx(0.470588235, rel=1e-6)


@given(st.floats(0.2, 5), st.floats(0.01, 5))
def test_response_rises_from_0_to_1_and_stays_there(n: float, sigma: float) -> None:
    hdr = np.concatenate([[0.0], np.geomspace(1e-5, 1, 300), [1.5, 100, 1e10]]).astype(np.float32)
    values = response(hdr, n, sigma)
    assert values[0] == 0
    assert values[300] == 1  # where hdr is 1
    assert (values[301:] == 1).all()
    assert (np.diff(values[:301]) > -1e-6).all()
    assert values.dtype == np.float32


@given(st.floats(0.2, 2.5), st.floats(0, 5))
def test_response_is_the_published_curve(n: float, sigma: float) -> None:
    hdr = np.geomspace(1e-5, 1, 50)
    expected = (1 + sigma) * hdr**n / (hdr**n + sigma)
    np.testing.assert_allclose(response(hdr.astype(np.float32), n, sigma), expected, rtol=2e-5)


# Eight bits


@pytest.mark.parametrize(("n", "sigma"), [(0.9, 0.6), (0.2, 0.05), (2.5, 5.0)])
def test_eight_bits_are_rounded_half_up(n: float, sigma: float) -> None:
    # the radiance where 255 f(H) is c - 1/2, by f solved for H
    half = (np.arange(1, 256) - 0.5) / 255
    radiance = (half * sigma / (1 + sigma - half)) ** (1 / n)
    seen = radiance > 1e-10  # float32 has them
    camera = replace(PLAIN, curve_n=n, curve_sigma=sigma)
    codes = np.arange(1, 256)[seen]
    np.testing.assert_array_equal(develop((radiance[seen] * (1 + 1e-6)).astype(np.float32), camera), codes)
    np.testing.assert_array_equal(develop((radiance[seen] * (1 - 1e-6)).astype(np.float32), camera), codes - 1)


@given(st.floats(0.2, 2.5), st.floats(0.05, 5))
def test_eight_bits_are_the_nearest(n: float, sigma: float) -> None:
    hdr = scene(16, 16)
    encoded = response(hdr, n, sigma).astype(np.float64)
    ldr = develop(hdr, replace(PLAIN, curve_n=n, curve_sigma=sigma))
    assert ldr.dtype == np.uint8
    assert abs(ldr / 255 - encoded).max() <= 0.5 / 255 + 1e-6
    assert (ldr[hdr >= 1] == 255).all()


# JPEG


def photograph(size: int = 48) -> ByteImage:
    """Smooth colours with an edge: a picture that JPEG changes, and recognisably so."""
    rng = np.random.default_rng(2)
    small = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def jpeg_by_opencv(ldr: ByteImage, quality: int) -> ByteImage:
    written, stream = cv2.imencode(".jpg", ldr[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert written
    return np.asarray(cv2.imdecode(stream, cv2.IMREAD_COLOR_RGB), dtype=np.uint8)


def jpeg_by_openimageio(ldr: ByteImage, quality: int, path: Path) -> ByteImage:
    spec = oiio.ImageSpec(ldr.shape[1], ldr.shape[0], 3, "uint8")
    spec.attribute("Compression", f"jpeg:{quality}")
    spec.attribute("jpeg:subsampling", "4:2:0")
    output = oiio.ImageOutput.create(str(path))
    assert output is not None
    assert output.open(str(path), spec)
    assert output.write_image(ldr)
    output.close()
    source = oiio.ImageInput.open(str(path))
    assert source is not None
    decoded = np.asarray(source.read_image("uint8"), np.uint8)
    source.close()
    return decoded


@pytest.mark.parametrize("quality", [1, 30, 57, 90, 100])
def test_jpeg_is_what_independent_codecs_make_of_it(quality: int, tmp_path: Path) -> None:
    ldr = photograph()
    ours = decode_jpeg(encode_jpeg(ldr, quality))
    np.testing.assert_array_equal(ours, jpeg_by_opencv(ldr, quality))
    # another library with a libjpeg of its own: both follow the standard's integer transform
    assert abs(ours.astype(int) - jpeg_by_openimageio(ldr, quality, tmp_path / "p.jpg")).max() <= 2


def test_quality_is_quality() -> None:
    ldr = photograph()
    errors = [abs(decode_jpeg(encode_jpeg(ldr, quality)).astype(int) - ldr).mean() for quality in (5, 30, 60, 90, 100)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 2 * errors[-1]


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_channels_keep_their_places_through_jpeg(channel: int) -> None:
    hdr = np.full((32, 32, 3), 1e-5, np.float32)
    hdr[..., channel] = 1.0
    ldr = develop(hdr, replace(PLAIN, jpeg_quality=95))
    others = [c for c in range(3) if c != channel]
    assert ldr[..., channel].min() > 240
    assert ldr[..., others].max() < 15


def test_no_jpeg_at_quality_0() -> None:
    hdr = scene(16, 16)
    plain = develop(hdr, PLAIN)
    compressed = develop(hdr, replace(PLAIN, jpeg_quality=40))
    assert (compressed != plain).any()
    np.testing.assert_array_equal(compressed, jpeg_by_opencv(plain, 40))  # it is the last thing that happens


def test_the_jpeg_that_comes_along_is_the_one_the_pixels_were_read_from(monkeypatch: pytest.MonkeyPatch) -> None:
    frame, recipe = scene(40, 40), Recipe(square(32), busy())
    encoded: list[bytes] = []

    def count(ldr: ByteImage, quality: int) -> bytes:
        encoded.append(encode_jpeg(ldr, quality))
        return encoded[-1]

    monkeypatch.setattr(camera_module, "encode_jpeg", count)
    hdr, taken = render_photograph(frame, recipe)
    assert encoded == [taken.jpeg]  # once, and these bytes
    np.testing.assert_array_equal(decode_jpeg(encoded[0]), taken.ldr)
    for ours, plain in zip((hdr, taken.ldr), render(frame, recipe), strict=True):
        np.testing.assert_array_equal(ours, plain)
    assert render_photograph(frame, Recipe(square(32), busy(jpeg_quality=0)))[1].jpeg is None


# The whole


def busy(seed: int = 3, **changes: Any) -> Camera:
    """A camera that does everything."""
    camera = replace(
        PLAIN, exposure=0.05, noise_sigma=0.01, hue_shift=-9.0, saturation_shift=0.12, jpeg_quality=70, seed=seed
    )
    return replace(camera, **changes)


def test_the_photograph_is_taken_of_the_truth() -> None:
    frame, window, camera = scene(40, 40), square(32, y=2, x=5), busy()
    hdr, ldr = render(frame, Recipe(window, camera))
    np.testing.assert_array_equal(hdr, expose(cut(frame, window), camera, window.flip))
    np.testing.assert_array_equal(ldr, develop(hdr, camera))
    clean = render(frame, Recipe(window, replace(camera, noise_sigma=0.0)))[0]
    neutral = render(frame, Recipe(window, replace(camera, hue_shift=0.0)))[0]
    assert abs(hdr - clean).max() > 0.01  # the truth holds the noise
    assert abs(hdr - neutral).max() > 0.01  # and the change of colour


def test_render_is_pure() -> None:
    frame = scene(40, 40)
    frame.setflags(write=False)
    before = frame.copy()
    for window in (square(32), square(32, flip=True), square(32, side=40)):
        recipe = Recipe(window, busy())
        one, other = render(frame, recipe), render(frame, recipe)
        assert one[0].tobytes() == other[0].tobytes()
        assert one[1].tobytes() == other[1].tobytes()
        assert not np.shares_memory(one[0], frame)
        assert one[0].dtype == np.float32
        assert one[1].dtype == np.uint8
        assert one[0].shape == one[1].shape == (32, 32, 3)
    np.testing.assert_array_equal(frame, before)


def test_a_mirrored_patch_is_the_mirror_of_the_patch() -> None:
    camera = busy(noise_sigma=0.0, jpeg_quality=0)
    plain, mirrored = (render(scene(40, 40), Recipe(square(32, flip=flip), camera)) for flip in (False, True))
    np.testing.assert_array_equal(mirrored[0], plain[0][:, ::-1])
    np.testing.assert_array_equal(mirrored[1], plain[1][:, ::-1])
    noisy = render(scene(40, 40), Recipe(square(32, flip=True), busy(jpeg_quality=0)))[0]
    still = render(scene(40, 40), Recipe(square(32), busy(jpeg_quality=0)))[0]
    assert (noisy != still[:, ::-1]).any()  # the sensor is behind the mirror: its noise stays where it is


def slow_cut(frame: FloatImage, window: Window) -> DoubleImage:
    """Crop, bilinear resize with pixel centres at one half, mirror, clamp: pixel by pixel, in double precision."""
    size = window.patch_size
    patch = np.empty((size, size, 3))
    for i in range(size):
        for j in range(size):
            y = min(max((i + 0.5) * window.height / size - 0.5, 0.0), window.height - 1.0)
            x = min(max((j + 0.5) * window.width / size - 0.5, 0.0), window.width - 1.0)
            corners = [
                (yy, xx, (1 - abs(y - yy)) * (1 - abs(x - xx)))
                for yy in {int(y), min(int(y) + 1, window.height - 1)}
                for xx in {int(x), min(int(x) + 1, window.width - 1)}
            ]
            value = sum(weight * frame[window.y + yy, window.x + xx].astype(float) for yy, xx, weight in corners)
            patch[i, size - 1 - j if window.flip else j] = value
    return np.clip(patch, 1e-5, 1e5)


def slow_colour(root: npt.NDArray[np.float64], camera: Camera) -> list[float]:
    hue, saturation, value = colorsys.rgb_to_hsv(*root)
    hue = (hue + camera.hue_shift / 360) % 1
    return [root**2 for root in colorsys.hsv_to_rgb(hue, min(max(saturation + camera.saturation_shift, 0), 1), value)]


def slow_render(frame: FloatImage, window: Window, camera: Camera) -> tuple[DoubleImage, DoubleImage]:
    """Eilertsen et al. 2017 step by step, in double precision; the photograph before its rounding, times 255."""
    hdr = slow_cut(frame, window) * camera.exposure
    stream = np.random.Generator(np.random.PCG64(camera.seed))
    hdr = hdr + camera.noise_sigma * stream.standard_normal(hdr.shape, dtype=np.float32)
    hdr[hdr < 0] = 0
    for y in range(len(hdr)):
        for x in range(len(hdr)):
            hdr[y, x] = slow_colour(np.sqrt(hdr[y, x]), camera)
    hdr = np.clip(hdr, 1e-5, 1e10)
    power = hdr**camera.curve_n
    return hdr, 255 * np.clip((1 + camera.curve_sigma) * power / (power + camera.curve_sigma), 0, 1)


@settings(max_examples=25)
@given(
    st.integers(0, 2**32),
    st.sampled_from([16, 24, 31]),
    st.booleans(),
    st.floats(0.85, 0.95),
    st.floats(1e-4, 0.01),
    st.floats(-30, 30),
    st.floats(-0.4, 0.4),
    st.floats(0.2, 2.5),
    st.floats(0, 5),
)
def test_render_agrees_with_its_slow_twin(
    seed: int, side: int, flip: bool, clip: float, sigma: float, hue: float, saturation: float, n: float, s: float
) -> None:
    frame = scene(37, 41, seed)
    window = square(16, y=seed % 6, x=seed % 7, side=side, flip=flip)
    exposure = resolve_exposure(cut(frame, window), clip)
    camera = Camera(clip, exposure, sigma, hue, saturation, n, s, 0, seed)
    hdr, ldr = render(frame, Recipe(window, camera))
    slow_hdr, slow_ldr = slow_render(frame, window, camera)
    # OpenCV adds 1.2e-7 to the divisors of its HSV, which the darkest values feel
    np.testing.assert_allclose(hdr, slow_hdr, rtol=1e-3, atol=1e-5)
    assert np.median(abs(hdr / slow_hdr - 1)) < 1e-5
    steep = 255 * abs(response(hdr * np.float32(1.001), n, s) - response(hdr, n, s))
    assert (abs(ldr - slow_ldr) <= 0.5 + 1e-3 + 2 * steep).all()


def test_a_recipe_is_drawn_resolved_and_rendered() -> None:
    frame, window = scene(80, 80), square(64, y=7, x=9)
    camera = draw_camera(CameraSettings(), 0, SOURCE, 0, 0)
    assert np.isnan(camera.exposure)
    patch = cut(frame, window)
    camera = replace(camera, exposure=resolve_exposure(patch, camera.clip_fraction))
    _, ldr = render(frame, Recipe(window, replace(camera, jpeg_quality=0)))
    assert np.mean(ldr == 255) == pytest.approx(1 - camera.clip_fraction, abs=0.02)


# Distributions


def draws(distribution: Distribution, count: int = 4000) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(11)
    return np.array([distribution.draw(rng) for _ in range(count)])


def test_a_constant_is_drawn() -> None:
    assert set(draws(Distribution(constant=0.25), 10)) == {0.25}
    assert Distribution(constant=0.25).bounds() == (0.25, 0.25)
    assert Distribution.model_validate(3) == Distribution(constant=3.0)
    assert set(draws(Distribution(constant=0), 10)) == {0.0}


def test_a_uniform_number_is_drawn() -> None:
    values = draws(Distribution(uniform=(2.0, 5.0)))
    assert 2 <= values.min() < 2.01
    assert 4.99 < values.max() <= 5
    assert values.mean() == pytest.approx(3.5, abs=5 * 3 / np.sqrt(12 * values.size))
    assert Distribution(uniform=(2.0, 5.0)).bounds() == (2.0, 5.0)


def test_a_normal_number_is_drawn() -> None:
    values = draws(Distribution(normal=(3.0, 2.0)))
    assert values.mean() == pytest.approx(3, abs=5 * 2 / np.sqrt(values.size))
    assert values.std() == pytest.approx(2, rel=5 / np.sqrt(2 * values.size))
    assert Distribution(normal=(3.0, 2.0)).bounds() == (-np.inf, np.inf)
    assert Distribution(normal=(3.0, 0.0)).bounds() == (3.0, 3.0)


def test_a_clipped_number_is_clamped_and_not_drawn_again() -> None:
    distribution = Distribution(normal=(0.0, 1.0), clip=(-1.0, 2.0))
    values = draws(distribution)
    assert (values.min(), values.max()) == (-1.0, 2.0)
    # the mass of a standard normal number below -1 and above 2
    assert np.mean(values == -1) == pytest.approx(0.158655, abs=5 * 0.366 / np.sqrt(values.size))
    assert np.mean(values == 2) == pytest.approx(0.022750, abs=5 * 0.150 / np.sqrt(values.size))
    assert distribution.bounds() == (-1.0, 2.0)


def test_integers_are_drawn_both_ends_included() -> None:
    values = draws(Distribution(integers=(3, 7)))
    assert sorted(set(values)) == [3, 4, 5, 6, 7]
    assert (abs(np.unique(values, return_counts=True)[1] - 800) < 5 * np.sqrt(800)).all()
    assert Distribution(integers=(3, 7)).bounds() == (3.0, 7.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"uniform": (0, 1), "constant": 1},
        {"uniform": (1, 0)},
        {"integers": (7, 3)},
        {"normal": (0, 1), "clip": (1, 0)},
        {"normal": (0, -1)},
        {"clip": (0, 1)},
        {"constant": float("nan")},
        {"uniform": (float("nan"), 1)},
        {"uniform": (0, float("inf"))},
        {"gamma": 1},
        "wide",
        None,
    ],
)
def test_what_is_no_distribution_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError):
        Distribution.model_validate(wrong)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("clip_fraction", {"uniform": (0.9, 1.1)}),
        ("clip_fraction", -0.1),
        ("noise_sigma", {"normal": (0, 1)}),
        ("noise_sigma", -0.01),
        ("curve_n", 0.0),
        ("curve_sigma", {"uniform": (-1, 1)}),
        ("jpeg_quality", {"integers": (30, 101)}),
        ("jpeg_quality", {"normal": (60, 10)}),
    ],
)
def test_a_camera_that_cannot_be_is_refused(name: str, wrong: object) -> None:
    with pytest.raises(ValidationError, match=name):
        CameraSettings.model_validate({name: wrong})


@pytest.mark.parametrize(
    ("name", "given_as"),
    [
        ("noise_sigma", {"normal": (0, 1), "clip": (0, 0.1)}),
        ("jpeg_quality", 0),
        ("clip_fraction", 1),
        ("curve_sigma", 0.0),
    ],
)
def test_a_camera_that_can_be_is_accepted(name: str, given_as: object) -> None:
    CameraSettings.model_validate({name: given_as})


# Cameras


@pytest.fixture(scope="module")
def cameras() -> list[Camera]:
    return [draw_camera(CameraSettings(), 0, SOURCE, frame, k) for frame in (0, 10) for k in range(1000)]


@pytest.mark.parametrize(
    ("name", "mean", "deviation", "low", "high"),
    [
        # of Eilertsen et al. 2017; a uniform number deviates by its range / sqrt(12)
        ("clip_fraction", 0.9, 0.1 / np.sqrt(12), 0.85, 0.95),
        ("noise_sigma", 0.005, 0.01 / np.sqrt(12), 0.0, 0.01),
        ("hue_shift", 0.0, 7.0, -40.0, 40.0),
        ("saturation_shift", 0.0, 0.1, -0.6, 0.6),
        ("curve_n", 0.9, 0.1, 0.2, 2.5),
        ("curve_sigma", 0.6, 0.1, 0.0, 5.0),
        ("jpeg_quality", 65.0, np.sqrt((71**2 - 1) / 12), 30, 100),
    ],
)
def test_the_published_distributions(
    name: str, mean: float, deviation: float, low: float, high: float, cameras: list[Camera]
) -> None:
    values = np.array([getattr(camera, name) for camera in cameras])
    assert values.mean() == pytest.approx(mean, abs=5 * deviation / np.sqrt(values.size))
    assert values.std() == pytest.approx(deviation, rel=0.1)
    assert low <= values.min()
    assert values.max() <= high


def test_the_extreme_qualities_occur(cameras: list[Camera]) -> None:
    qualities = [camera.jpeg_quality for camera in cameras]
    assert (min(qualities), max(qualities)) == (30, 100)
    assert all(isinstance(quality, int) for quality in qualities)


def test_the_numbers_of_a_camera_are_independent(cameras: list[Camera]) -> None:
    table = np.array([[getattr(camera, name) for name in PARAMETERS] for camera in cameras])
    correlations = np.corrcoef(table.T) - np.eye(len(PARAMETERS))
    assert abs(correlations).max() < 5 / np.sqrt(len(cameras))


def test_each_camera_has_a_noise_of_its_own(cameras: list[Camera]) -> None:
    assert len({camera.seed for camera in cameras}) == len(cameras)
    assert cameras[3].seed == derive_seed(0, SOURCE, 0, 3, "camera/noise")


@pytest.mark.parametrize("changed", PARAMETERS)
def test_another_distribution_of_one_number_leaves_the_others_alone(changed: str) -> None:
    usual = draw_camera(CameraSettings(), 5, SOURCE, 2, 9)
    constant = draw_camera(CameraSettings.model_validate({changed: 0.77}), 5, SOURCE, 2, 9)
    assert getattr(constant, changed) in {0.77, 1}
    put_back: dict[str, Any] = {"exposure": 0.0, changed: getattr(usual, changed)}  # NaN is not equal to itself
    assert replace(constant, **put_back) == replace(usual, exposure=0.0)


def test_a_camera_depends_on_seed_source_frame_and_k() -> None:
    keys = [(0, SOURCE, 0, 0), (1, SOURCE, 0, 0), (0, "01" * 32, 0, 0), (0, SOURCE, 10, 0), (0, SOURCE, 0, 1)]
    drawn = [draw_camera(CameraSettings(), *key) for key in keys]
    for name in ("clip_fraction", "hue_shift", "curve_n", "seed"):
        assert len({getattr(camera, name) for camera in drawn}) == len(keys)
