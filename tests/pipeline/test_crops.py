"""The windows: inside the frame, everywhere alike, each a function of its own number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.crops import CropSettings, check_size, draw_windows
from pipeline.errors import SourceError
from pipeline.records import Window

SOURCE = "ab" * 32

sizes = st.integers(16, 300)
seeds = st.integers(0, 2**63 - 1)


def draw(height: int, width: int, settings: CropSettings, seed: int = 0, frame: int = 0) -> list[Window]:
    return draw_windows(height, width, settings, seed, SOURCE, frame)


@given(sizes, sizes, sizes, seeds)
def test_windows_lie_inside_the_frame(height: int, width: int, size: int, seed: int) -> None:
    height, width = max(height, size), max(width, size)
    windows = draw(height, width, CropSettings(patches=5, patch_size=size), seed)
    assert len(windows) == 5
    for window in windows:
        assert (window.height, window.width, window.patch_size) == (size, size, size)
        assert 0 <= window.y <= height - size
        assert 0 <= window.x <= width - size


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0.01, 1), st.floats(0.01, 1), seeds)
def test_shares_of_the_width_give_squares_inside_the_frame(
    height: int, width: int, one: float, other: float, seed: int
) -> None:
    share = min(one, other), max(one, other)
    for window in draw(height, width, CropSettings(patches=5, patch_size=64, width_fraction=share), seed):
        assert window.height == window.width >= 1
        assert window.patch_size == 64
        assert 0 <= window.y <= height - window.height
        assert 0 <= window.x <= width - window.width
        assert window.width <= max(1, round(share[1] * width))
        assert window.width >= min(height, width, round(share[0] * width))  # a wide frame is no higher than it is


def test_shares_of_the_width_are_uniform() -> None:
    windows = draw(5000, 1000, CropSettings(patches=2000, width_fraction=(0.2, 0.6)))
    sides = np.array([window.width for window in windows])
    assert 200 <= sides.min() <= 203
    assert 597 <= sides.max() <= 600
    assert sides.mean() == pytest.approx(400, abs=5 * 400 / np.sqrt(12 * 2000))


def test_window_k_depends_on_k_and_not_on_how_many_there_are() -> None:
    few = draw(70, 90, CropSettings(patches=4, patch_size=32))
    many = draw(70, 90, CropSettings(patches=40, patch_size=32))
    assert many[:4] == few
    assert len(set(many)) > 35  # and k does change the window


def test_windows_depend_on_seed_source_and_frame() -> None:
    settings = CropSettings(patches=20, patch_size=32)
    drawn = [
        draw_windows(200, 200, settings, *args)
        for args in [(0, SOURCE, 0), (1, SOURCE, 0), (0, "cd" * 32, 0), (0, SOURCE, 10)]
    ]
    assert len({tuple(windows) for windows in drawn}) == 4
    assert drawn[0] == draw_windows(200, 200, settings, 0, SOURCE, 0)


def test_every_position_is_as_likely_as_another() -> None:
    # 5 x 4 positions, the extreme ones included: 200 windows each, give or take five standard deviations
    windows = draw(20, 19, CropSettings(patches=4000, patch_size=16))
    counts = np.zeros((5, 4), int)
    for window in windows:
        counts[window.y, window.x] += 1
    assert (abs(counts - 200) < 5 * np.sqrt(200)).all(), counts


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0.0), (0.25, 0.25), (0.5, 0.5), (1.0, 1.0)])
def test_the_share_of_mirrored_windows(probability: float, share: float) -> None:
    windows = draw(64, 64, CropSettings(patches=2000, patch_size=16, flip_probability=probability))
    mirrored = sum(window.flip for window in windows) / len(windows)
    assert mirrored == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / len(windows)))


def test_mirroring_moves_no_window() -> None:
    never, always = (draw(64, 64, CropSettings(patches=9, patch_size=16, flip_probability=p)) for p in (0, 1))
    assert [(window.y, window.x) for window in never] == [(window.y, window.x) for window in always]


def test_a_frame_of_exactly_the_patch_size_has_one_position() -> None:
    assert {(window.y, window.x) for window in draw(32, 32, CropSettings(patches=9, patch_size=32))} == {(0, 0)}


@pytest.mark.parametrize(("height", "width"), [(511, 512), (512, 511), (1, 1), (500, 1000)])
def test_a_frame_that_is_too_small_is_refused_in_one_sentence(height: int, width: int) -> None:
    with pytest.raises(SourceError) as refusal:
        draw(height, width, CropSettings())
    message = str(refusal.value)
    assert f"{width}x{height}" in message
    assert "512x512" in message
    assert "--patch-size" in message
    assert "\n" not in message


def test_a_share_of_the_width_fits_every_frame() -> None:
    settings = CropSettings(patches=1, width_fraction=(0.2, 0.6))
    check_size(1, 1, settings)
    assert len(draw(1, 1, settings)) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"patches": 0},
        {"patch_size": 8},
        {"flip_probability": 1.1},
        {"flip_probability": float("nan")},
        {"width_fraction": (0.6, 0.2)},
        {"width_fraction": (0.0, 0.2)},
        {"width_fraction": (0.5, 1.5)},
        {"width_fraction": (0.5, float("nan"))},
        {"stride": 1},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CropSettings.model_validate(wrong)
