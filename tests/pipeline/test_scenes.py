"""The generated scenes have what the pipeline looks for, and their files hold what was drawn."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import OpenImageIO as oiio
import pytest

from pipeline.records import FloatImage
from pipeline.scenes import SCENES, render_scene, write_demo_set, write_exr, write_hdr

KINDS = list(SCENES)
SIZE = (768, 1024)  # of the demonstration's frames: textures, and so scores, depend on it
SMALL = (96, 128)
BT709_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)


@pytest.fixture(scope="module")
def frames() -> dict[str, list[FloatImage]]:
    """Two scenes of each kind at full size."""
    return {kind: [render_scene(kind, seed, *SIZE) for seed in (1, 2)] for kind in KINDS}


def read(path: Path) -> FloatImage:
    file = oiio.ImageInput.open(str(path))
    assert file is not None
    return np.asarray(file.read_image("float"), np.float32)


def score(window: FloatImage, clip_fraction: float) -> float:
    """The texture score of Algorithm 1, written out with OpenCV's own filters and an idealised virtual camera."""
    H = np.clip(window / np.quantile(window, clip_fraction), 1e-5, 1e10).astype(np.float32)
    T = np.round(np.clip(1.6 * H**0.9 / (H**0.9 + 0.6), 0, 1) * 255) / 255
    saturated = 1 - np.clip((1 - T) / (1 - 0.96), 0, 1)
    L = np.log(cv2.cvtColor(H, cv2.COLOR_RGB2GRAY) + 1)
    D = L - cv2.bilateralFilter(L, -1, 100, 10)
    G = np.abs(cv2.Sobel(D, cv2.CV_32F, 1, 0)) + np.abs(cv2.Sobel(D, cv2.CV_32F, 0, 1))
    return float((G[..., None] * saturated).sum() / saturated.sum())


def scores(frame: FloatImage, size: int, count: int) -> list[float]:
    rng = np.random.default_rng(size)
    found = []
    for _ in range(count):
        y, x = (int(rng.integers(0, extent - size + 1)) for extent in frame.shape[:2])
        found.append(score(frame[y : y + size, x : x + size], rng.uniform(0.85, 0.95)))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_scene_is_a_function_of_its_arguments(kind: str) -> None:
    first = render_scene(kind, 3, *SMALL)
    np.testing.assert_array_equal(render_scene(kind, 3, *SMALL), first)
    other = render_scene(kind, 4, *SMALL)
    assert np.median(np.abs(np.log((other + 1e-4) / (first + 1e-4)))) > 0.1


def test_kinds_differ() -> None:
    pictures = [render_scene(kind, 0, *SMALL) for kind in KINDS]
    assert {picture.shape for picture in pictures} == {(*SMALL, 3)}
    assert len({picture.tobytes() for picture in pictures}) == len(KINDS) >= 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(16, 16), (31, 17), (64, 200), (160, 48)])
def test_any_size_is_finite_and_not_negative(kind: str, size: tuple[int, int]) -> None:
    for seed in range(3):
        picture = render_scene(kind, seed, *size)
        assert picture.shape == (*size, 3)
        assert picture.dtype == np.float32
        assert np.isfinite(picture).all()
        assert (picture >= 0).all()
        assert picture.max() < np.finfo(np.float16).max


@pytest.mark.parametrize("kind", KINDS)
def test_dynamic_range_is_four_decades(kind: str, frames: dict[str, list[FloatImage]]) -> None:
    for frame in [*frames[kind], *(render_scene(kind, seed, 192, 256) for seed in range(4))]:
        dark, bright = np.percentile(frame @ BT709_LUMINANCE, [0.1, 99.99])
        assert bright >= 1e4 * dark > 0


@pytest.mark.parametrize("kind", KINDS)
def test_colours_vary(kind: str, frames: dict[str, list[FloatImage]]) -> None:
    pixels = frames[kind][0].reshape(-1, 3)
    shares = pixels / (pixels.sum(axis=1, keepdims=True) + 1e-9)
    assert (shares.std(axis=0) > 0.02).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_share_of_windows_is_textured_and_some_are_smooth(
    kind: str, frames: dict[str, list[FloatImage]]
) -> None:
    found = [value for frame in frames[kind] for value in (*scores(frame, 256, 8), *scores(frame, 512, 2))]
    assert 0.25 <= np.mean(np.array(found) >= 0.85) <= 0.75


def test_unknown_scene_is_refused() -> None:
    with pytest.raises(ValueError, match="no scene is called 'sea': there are textured_highlights, sky"):
        render_scene("sea", 0, *SMALL)


@pytest.mark.parametrize("compression", ["zip", "piz", "none"])
def test_exr_holds_the_scene(compression: str, tmp_path: Path) -> None:
    picture = render_scene("window", 3, *SMALL)
    write_exr(tmp_path / "half.exr", picture, compression=compression)
    np.testing.assert_array_equal(read(tmp_path / "half.exr"), picture.astype(np.float16).astype(np.float32))
    write_exr(tmp_path / "float.exr", picture, half=False, compression=compression)
    np.testing.assert_array_equal(read(tmp_path / "float.exr"), picture)
    file = oiio.ImageInput.open(str(tmp_path / "half.exr"))
    assert file is not None
    assert str(file.spec().format) == "half"
    assert file.spec().getattribute("compression") == compression


def test_half_exr_never_holds_infinity(tmp_path: Path) -> None:
    write_exr(tmp_path / "bright.exr", np.full((4, 4, 3), 1e6, np.float32))
    assert (read(tmp_path / "bright.exr") == 65504).all()


def test_hdr_holds_the_scene(tmp_path: Path) -> None:
    """The shared exponent leaves each channel 8 bits of the largest: a step is at most 1 / 128 of it."""
    picture = render_scene("sky", 3, *SMALL)
    write_hdr(tmp_path / "scene.hdr", picture)
    error = np.abs(read(tmp_path / "scene.hdr") - picture)
    assert (error <= picture.max(axis=2, keepdims=True) / 128 + 1e-30).all()


def test_unwritable_path_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot be written"):
        write_exr(tmp_path / "none" / "scene.exr", np.zeros((4, 4, 3), np.float32))


def test_demo_set_has_all_kinds_in_both_formats(tmp_path: Path) -> None:
    paths = write_demo_set(tmp_path / "new" / "set", 2 * len(KINDS), 5, 32, 48)
    assert sorted(paths) == sorted((tmp_path / "new" / "set").iterdir())
    assert {(path.stem[4:], path.suffix) for path in paths} == {(k, s) for k in KINDS for s in (".exr", ".hdr")}
    for i, path in enumerate(paths):
        picture = render_scene(KINDS[i % len(KINDS)], 5 + i // len(KINDS), 32, 48)
        np.testing.assert_allclose(read(path), picture, rtol=1e-3, atol=float(picture.max()) / 128)


def test_a_larger_demo_set_begins_like_a_smaller_one(tmp_path: Path) -> None:
    few, many = (write_demo_set(tmp_path / str(n), n, 0, 24, 24) for n in (3, 6))
    for a, b in zip(few, many, strict=False):
        assert (a.name, a.read_bytes()[-500:]) == (b.name, b.read_bytes()[-500:])


def test_files_are_the_same_bytes_whenever_they_are_written(tmp_path: Path) -> None:
    first = {path.name: path.read_bytes() for path in write_demo_set(tmp_path / "one", 4, 0, 32, 48)}
    time.sleep(1.1)  # a second: what file formats tell the time by
    assert {path.name: path.read_bytes() for path in write_demo_set(tmp_path / "two", 4, 0, 32, 48)} == first
