"""Algorithm 1 against a literal twin in double precision, patches whose score is known, and the authors' own crops.

Legend: S patch size. hdr (S, S, 3) float32, the sensor clips at 1.0; ldr (S, S, 3) uint8; planes are (S, S).
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import OpenImageIO as oiio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.detail import detail_layer, weighted_gradient
from pipeline.records import ByteImage, FloatImage
from pipeline.score import (
    Score,
    ScoreSettings,
    chosen_average,
    judge,
    score_patch,
    well_exposed_mask,
)
from tests.pipeline import literal

Plane = npt.NDArray[np.float64]


def from_log(log_gray: Plane) -> FloatImage:
    """The grey picture (S, S, 3) whose L = log(I + 1) this is."""
    return np.repeat(np.expm1(log_gray)[..., None], 3, axis=2).astype(np.float32)


def saturated_inside(size: int, margin: int) -> ByteImage:
    """A photograph that is fully saturated but for a black margin."""
    ldr = np.zeros((size, size, 3), np.uint8)
    ldr[margin:-margin, margin:-margin] = 255
    return ldr


def random_patch(seed: int, size: int = 40) -> tuple[FloatImage, ByteImage]:
    """Blurred lights of a few stops beyond the clipping level, grain, and a photograph that clips."""
    rng = np.random.default_rng(seed)
    lights = cv2.GaussianBlur(rng.lognormal(0, 2, (size, size, 3)).astype(np.float32), (0, 0), 1.5)
    hdr = np.asarray(lights * rng.uniform(0.3, 1), np.float32)
    return hdr, np.rint(255 * np.clip(hdr**0.45, 0, 1)).astype(np.uint8)


# The literal twin


def twin_bilateral(log_gray: Plane, sigma_color: float = 100.0, sigma_space: float = 10.0, radius: int = 15) -> Plane:
    """The bilateral filter over a disc, pixels mirrored about the outermost ones, neighbour by neighbour."""
    padded = np.pad(log_gray, radius, mode="reflect")
    height, width = log_gray.shape
    total, weights = np.zeros_like(log_gray), np.zeros_like(log_gray)
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            if dy * dy + dx * dx > radius * radius:
                continue
            shifted = padded[radius + dy : radius + dy + height, radius + dx : radius + dx + width]
            weight = np.exp(-(dy * dy + dx * dx) / (2 * sigma_space**2))
            weight = weight * np.exp(-((shifted - log_gray) ** 2) / (2 * sigma_color**2))
            total += weight * shifted
            weights += weight
    return total / weights


def twin_gradient(detail: Plane) -> Plane:
    """The 3x3 Sobel operators, written out."""
    p = np.pad(detail, 1, mode="reflect")
    columns = p[:-2] + 2 * p[1:-1] + p[2:]
    rows = p[:, :-2] + 2 * p[:, 1:-1] + p[:, 2:]
    return abs(columns[:, 2:] - columns[:, :-2]) + abs(rows[2:] - rows[:-2])


def twin_score(hdr: FloatImage, ldr: ByteImage) -> Score:
    """Section 4 of the contract, line by line."""
    gray = hdr.astype(np.float64) @ [0.299, 0.587, 0.114]  # ITU-R BT.601
    log_gray = np.log(gray + 1)
    gradient = twin_gradient(log_gray - twin_bilateral(log_gray))[..., None] * np.ones(3)
    missing = 1 - np.clip((1 - ldr / 255) / (1 - 0.96), 0, 1)
    return Score(
        saturated_fraction=float(missing.mean()),
        over_saturated=float((gradient * missing).sum() / missing.sum()),
        over_patch=float((gradient * missing).mean()),
    )


@pytest.mark.parametrize("seed", range(6))
def test_the_score_is_that_of_the_literal_twin(seed: int) -> None:
    hdr, ldr = random_patch(seed)
    ours, twin = score_patch(hdr, ldr), twin_score(hdr, ldr)
    assert twin.saturated_fraction > 0.02
    assert asdict(ours) == pytest.approx(asdict(twin), rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_detail_layer_is_that_of_the_literal_twin(seed: int) -> None:
    hdr, _ = random_patch(seed)
    log_gray = np.log(hdr.astype(np.float64) @ [0.299, 0.587, 0.114] + 1)
    np.testing.assert_allclose(detail_layer(hdr), log_gray - twin_bilateral(log_gray), atol=2e-5)


@pytest.mark.parametrize(("sigma_color", "sigma_space", "radius"), [(100.0, 10.0, 15), (0.5, 4.0, 6), (2.0, 2.0, 3)])
def test_the_base_layer_is_opencvs_bilateral_filter(sigma_color: float, sigma_space: float, radius: int) -> None:
    hdr, _ = random_patch(9)
    log_gray = np.log(hdr.astype(np.float64) @ [0.299, 0.587, 0.114] + 1)
    by_opencv = cv2.bilateralFilter(log_gray.astype(np.float32), -1, sigma_color, sigma_space)
    ours = detail_layer(hdr, sigma_color, sigma_space)
    np.testing.assert_allclose(ours, log_gray - by_opencv, atol=2e-5)
    # OpenCV's own approximations: its radius is 1.5 sigma_space, its exponential a table
    np.testing.assert_allclose(ours, log_gray - twin_bilateral(log_gray, sigma_color, sigma_space, radius), atol=1e-3)


@pytest.mark.parametrize("size", [(20, 30), (1, 5), (5, 1), (2, 2), (1, 1)])
def test_the_gradient_is_the_sum_of_both_sobel_operators(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    detail = rng.normal(size=size).astype(np.float32)
    weight = np.maximum(rng.normal(size=size), 0).astype(np.float32)
    if min(size) > 1:
        by_hand = float((twin_gradient(detail.astype(np.float64)) * weight).sum())
        assert weighted_gradient(detail, weight) == pytest.approx(by_hand, rel=1e-5)
    by_opencv = float((literal.gradient_magnitude(detail) * weight).sum())
    assert weighted_gradient(detail, weight) == pytest.approx(by_opencv, rel=1e-5, abs=1e-6)


# The mask


@pytest.mark.parametrize(
    ("alpha", "level", "mask"),
    [
        # T / 255 meets alpha itself for alpha = 0.6 = 153 / 255: T = 0.6, 0.8, 1
        (0.6, 153, 1.0),
        (0.6, 204, 0.5),
        (0.6, 255, 0.0),
        # the paper's alpha 0.96 begins at 244.8; (1 - 250 / 255) / 0.04 = 0.490196
        (0.96, 0, 1.0),
        (0.96, 244, 1.0),
        (0.96, 245, 0.980392),
        (0.96, 250, 0.490196),
        (0.96, 255, 0.0),
    ],
)
def test_the_mask_worked_out_by_hand(alpha: float, level: int, mask: float) -> None:
    values = well_exposed_mask(np.full((2, 3, 3), level, np.uint8), alpha)
    assert values.shape == (2, 3, 3)
    assert values.dtype == np.float32
    assert np.unique(values).tolist() == pytest.approx([mask], abs=1e-6)


def test_each_channel_has_its_own_mask() -> None:
    mask = well_exposed_mask(np.array([[[255, 250, 10]]], np.uint8))
    assert mask[0, 0].tolist() == pytest.approx([0, 0.490196, 1], abs=1e-6)


# Patches whose score is known


def test_nothing_saturated_scores_zero() -> None:
    hdr, _ = random_patch(0)
    assert score_patch(hdr, np.full(hdr.shape, 244, np.uint8)) == Score(0.0, 0.0, 0.0)


def test_a_constant_patch_scores_zero() -> None:
    score = score_patch(np.full((48, 48, 3), 7.0, np.float32), np.full((48, 48, 3), 255, np.uint8))
    assert score.saturated_fraction == 1
    assert score.over_saturated == pytest.approx(0, abs=1e-5)
    assert score.over_patch == pytest.approx(0, abs=1e-5)


def test_a_smooth_slope_of_bright_light_is_no_texture() -> None:
    # L rises by 0.1 a pixel: from 2 to e^8. The base layer of a slope is the slope, the detail is nothing.
    slope = np.broadcast_to(0.7 + 0.1 * np.arange(80), (80, 80)).copy()
    score = score_patch(from_log(slope), saturated_inside(80, 20))
    assert twin_gradient(slope).mean() > 0.7  # the gradient of the picture itself is not small
    assert score.over_saturated == pytest.approx(0, abs=2e-3)


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("amplitude", [0.05, 0.2])
def test_stripes_worked_out_by_hand(amplitude: float, across: bool) -> None:
    # Stripes of two pixels, L = 2 + a (+ + - - ...): the base layer is their mean, the detail +-a. Two pixels apart
    # stands the other sign, so that the Sobel operator finds 4 * 2a at each pixel, and nothing along the stripes.
    signs = np.where(np.arange(80) % 4 < 2, 1.0, -1.0)
    stripes = np.broadcast_to(2 + amplitude * signs, (80, 80)).copy()
    hdr, ldr = from_log(stripes.T if across else stripes), saturated_inside(80, 20)
    score = score_patch(hdr, ldr)
    assert score.over_saturated == pytest.approx(8 * amplitude, rel=0.02)
    assert score.saturated_fraction == pytest.approx(1 / 4)  # 40 x 40 pixels of 80 x 80
    assert score.over_patch == pytest.approx(2 * amplitude, rel=0.02)


def test_one_saturated_channel_counts_a_third() -> None:
    hdr, ldr = random_patch(2)
    ldr[...] = 0
    ldr[10:30, 10:30, 1] = 255
    one = score_patch(hdr, ldr)
    ldr[10:30, 10:30] = 255
    three = score_patch(hdr, ldr)
    assert one.saturated_fraction == pytest.approx(400 / 1600 / 3)
    assert three.saturated_fraction == pytest.approx(3 * one.saturated_fraction)
    assert three.over_saturated == pytest.approx(one.over_saturated)


def test_only_the_saturated_area_counts() -> None:
    hdr, _ = random_patch(3, 80)
    ldr = saturated_inside(80, 30)
    changed = hdr.copy()
    changed[:8] *= 3  # further away than the filter and the operator reach
    assert asdict(score_patch(changed, ldr)) == pytest.approx(asdict(score_patch(hdr, ldr)), rel=1e-4)
    changed[35] *= 3
    assert score_patch(changed, ldr).over_saturated > 1.1 * score_patch(hdr, ldr).over_saturated


@given(st.integers(0, 10**6), st.integers(0, 255))
def test_the_two_averages_differ_by_the_saturated_fraction(seed: int, level: int) -> None:
    hdr, ldr = random_patch(seed, 24)
    score = score_patch(hdr, np.maximum(ldr, np.uint8(level)))
    assert score.over_patch == pytest.approx(score.over_saturated * score.saturated_fraction, rel=1e-9)
    assert 0 <= score.saturated_fraction <= 1
    assert score.over_saturated >= 0


def test_scoring_changes_nothing() -> None:
    hdr, ldr = random_patch(1)
    before = hdr.copy(), ldr.copy()
    hdr.setflags(write=False)
    ldr.setflags(write=False)
    assert score_patch(hdr, ldr) == score_patch(hdr, ldr)
    np.testing.assert_array_equal(hdr, before[0])
    np.testing.assert_array_equal(ldr, before[1])


def test_settings_reach_the_score() -> None:
    hdr, ldr = random_patch(4)
    usual = score_patch(hdr, ldr)
    assert score_patch(hdr, ldr, ScoreSettings()) == usual
    wider = score_patch(hdr, ldr, ScoreSettings(alpha=0.5))
    assert wider.saturated_fraction > usual.saturated_fraction
    for changed in (ScoreSettings(sigma_space=2.0), ScoreSettings(sigma_color=0.3)):
        assert score_patch(hdr, ldr, changed).over_saturated != pytest.approx(usual.over_saturated, rel=1e-3)


# The verdict


def test_the_chosen_average() -> None:
    score = Score(saturated_fraction=0.25, over_saturated=2.0, over_patch=0.5)
    assert chosen_average(score, "saturated") == 2.0
    assert chosen_average(score, "patch") == 0.5
    assert ScoreSettings().average == "saturated"


@pytest.mark.parametrize(
    ("score", "saturated_fraction", "verdict"),
    [
        (0.85, 0.01, "kept"),  # both exactly at their bounds
        (np.nextafter(0.85, 0), 0.01, "smooth"),
        (0.85, np.nextafter(0.01, 0), "unsaturated"),
        (4.0, 0.0, "unsaturated"),
        (0.0, 1.0, "smooth"),
        (0.0, 0.0, "unsaturated"),  # what has nothing to learn is not blamed for being smooth
        (4.0, 1.0, "kept"),
    ],
)
def test_verdicts(score: float, saturated_fraction: float, verdict: str) -> None:
    given_verdict, reason = judge(score, saturated_fraction, ScoreSettings())
    assert given_verdict == verdict
    assert (reason is None) == (verdict == "kept")


def test_the_reason_names_the_bound() -> None:
    settings = ScoreSettings(threshold=1.25, min_saturated_fraction=0.05)
    assert judge(1.2, 0.1, settings) == ("smooth", "score below 1.25")
    assert judge(1.2, 0.04, settings) == ("unsaturated", "saturated_fraction below 0.05")


@given(st.floats(0, 10), st.floats(0, 1), st.floats(0, 5), st.floats(0, 5))
def test_a_lower_threshold_never_loses_a_patch(score: float, fraction: float, one: float, other: float) -> None:
    strict, lenient = (ScoreSettings(threshold=t) for t in (max(one, other), min(one, other)))
    if judge(score, fraction, strict)[0] == "kept":
        assert judge(score, fraction, lenient)[0] == "kept"


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": float("nan")},
        {"threshold": float("inf")},
        {"average": "whole"},
        {"alpha": 1.0},
        {"sigma_color": 0.0},
        {"sigma_space": -1.0},
        {"min_saturated_fraction": 1.5},
        {"tresholds": 1},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ScoreSettings.model_validate(wrong)


# The authors' demonstration crops: values measured once with an independent implementation, see their SOURCES.md


def read_exr(path: Path) -> FloatImage:
    source = oiio.ImageInput.open(str(path))
    assert source is not None
    pixels = np.asarray(source.read_image("float"), np.float32)[..., :3]
    source.close()
    return np.ascontiguousarray(pixels)


@pytest.mark.parametrize(
    ("crop", "over_saturated", "over_patch", "saturated_fraction", "verdict"),
    [
        ("0001", 1.6011, 0.1451, 0.091, "kept"),
        ("0002", 0.7334, 0.1193, 0.163, "smooth"),
        ("0003", 3.0803, 0.4078, 0.132, "kept"),
        ("0004", 0.8829, 0.0899, 0.102, "kept"),
    ],
)
def test_the_authors_crops(
    crop: str, over_saturated: float, over_patch: float, saturated_fraction: float, verdict: str, shared_data: Path
) -> None:
    hdr = read_exr(shared_data / "authors" / f"{crop}.exr")
    photograph = cv2.imread(str(shared_data / "authors" / f"{crop}.png"), cv2.IMREAD_COLOR)
    assert photograph is not None
    score = score_patch(hdr, np.ascontiguousarray(photograph[..., ::-1]).astype(np.uint8))
    assert score.over_saturated == pytest.approx(over_saturated, abs=1e-3)
    assert score.over_patch == pytest.approx(over_patch, abs=1e-3)
    assert score.saturated_fraction == pytest.approx(saturated_fraction, abs=1e-3)
    assert judge(score.over_saturated, score.saturated_fraction, ScoreSettings())[0] == verdict
    assert judge(score.over_patch, score.saturated_fraction, ScoreSettings())[0] == "smooth"
