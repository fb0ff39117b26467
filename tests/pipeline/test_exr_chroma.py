"""Luminance-chroma EXR: Y, RY, BY, at full size or for every second pixel.

Legend: H, W height and width of the data window; h, w those of a chroma plane; a picture is (H, W, 3) float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import OpenEXR
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import records
from pipeline.color import BT2020, XYZ, Chromaticities, rgb_to_xyz
from pipeline.errors import SourceError
from pipeline.frames import read_frame
from pipeline.frames.exr import chroma, decode, probe_exr, read_exr
from pipeline.frames.exr.header import CHUNK_ROWS
from pipeline.records import FloatImage
from tests.pipeline.exr_files import (
    LOSSLESS,
    SCANLINES,
    box,
    luminance_chroma,
    name,
    picture,
    save,
    smooth_picture,
    subsampled,
)

Plane = npt.NDArray[np.float64]

EVERY = [*LOSSLESS, OpenEXR.PXR24_COMPRESSION, OpenEXR.B44_COMPRESSION, OpenEXR.B44A_COMPRESSION]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "picture.exr"


def constant(colour: tuple[float, float, float], height: int = 8, width: int = 12) -> FloatImage:
    return np.broadcast_to(np.array(colour, np.float32), (height, width, 3)).copy()


# The formula


def test_a_pixel_worked_out_by_hand() -> None:
    # Y 2, R - Y is a quarter of Y, B - Y minus half of it: R 2.5, B 1, and G = (2 - 0.2 * 2.5 - 0.1 * 1) / 0.7 = 2
    pixels = np.array([[[2, 0.25, -0.5]]], np.float32)
    chroma.to_rgb(pixels, (0.2, 0.7, 0.1))
    np.testing.assert_allclose(pixels, [[[2.5, 2, 1]]], rtol=1e-6)


def test_samples_lie_on_even_pixels_and_the_rest_in_the_middle() -> None:
    plane = np.array([[0, 4], [8, 16]], np.float32)
    expected = [[0, 2, 4, 4], [4, 7, 10, 10], [8, 12, 16, 16], [8, 12, 16, 16]]
    np.testing.assert_array_equal(chroma.upsample(plane, (2, 2), 0, 4, 4), expected)
    np.testing.assert_array_equal(chroma.upsample(plane, (2, 2), 1, 3, 4), expected[1:3])


def test_weights_are_those_of_the_file() -> None:
    np.testing.assert_allclose(chroma.luminance_weights(None), (0.2126, 0.7152, 0.0722), atol=5e-5)  # BT.709-6
    np.testing.assert_allclose(chroma.luminance_weights(BT2020), (0.2627, 0.6780, 0.0593), atol=5e-5)  # BT.2020-2
    np.testing.assert_allclose(chroma.luminance_weights(XYZ), (0, 1, 0), atol=1e-12)


def test_green_without_luminance_is_refused() -> None:
    with pytest.raises(SourceError, match="no luminance"):
        chroma.luminance_weights((0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1 / 3, 1 / 3))


# Files


@pytest.mark.parametrize("compression", EVERY, ids=name)
@pytest.mark.parametrize("chromaticities", [None, BT2020])
def test_a_flat_colour_is_exact(compression: Any, chromaticities: Chromaticities | None, path: Path) -> None:
    pixels = constant((3.0, 0.5, 1.25), 66, 70)
    weights = rgb_to_xyz(chromaticities)[1] if chromaticities else (0.2126, 0.7152, 0.0722)
    header = {"chromaticities": chromaticities} if chromaticities else {}
    save(path, luminance_chroma(pixels, tuple(weights)), compression=compression, **header)
    source = read_exr(path)
    np.testing.assert_allclose(source.pixels, pixels, rtol=2e-3)
    assert source.facts == probe_exr(path)


def test_absolute_luminance_is_applied(path: Path) -> None:
    save(path, luminance_chroma(constant((2, 1, 0.5))), whiteLuminance=80.0)
    np.testing.assert_allclose(read_exr(path).pixels, constant((160, 80, 40)), rtol=1e-3)
    assert read_frame(path).facts.scale == "cd/m2"


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.tuples(st.integers(1, 35), st.integers(1, 35)),
    corner=st.tuples(st.integers(-50, 50), st.integers(-50, 50)),
    compression=st.sampled_from(LOSSLESS),
    block_bytes=st.sampled_from([1, 2_000, 2**20]),
)
def test_rows_by_blocks_equal_pixels_one_by_one(
    tmp_path: Path, size: tuple[int, int], corner: tuple[int, int], compression: Any, block_bytes: int
) -> None:
    height, width, left, top = 2 * size[0], 2 * size[1], 2 * corner[0], 2 * corner[1]
    channels = luminance_chroma(picture(height, width))
    window = box(left, top, left + width - 1, top + height - 1)
    path = save(tmp_path / "chroma.exr", channels, compression=compression, dataWindow=window)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "BLOCK_BYTES", block_bytes)
        read = read_exr(path).pixels
    np.testing.assert_allclose(read, pixel_by_pixel(path), rtol=1e-4, atol=1e-4)


def pixel_by_pixel(path: Path) -> Plane:
    """The same by the definition: each pixel is the mean of the chroma samples that are nearest to it."""
    luminance, red, blue = stored(path)
    wr, wg, wb = chroma.luminance_weights(None)
    pixels = np.empty((*luminance.shape, 3))
    for y, x in np.ndindex(luminance.shape):
        rows, columns = {y // 2, min((y + 1) // 2, len(red) - 1)}, {x // 2, min((x + 1) // 2, red.shape[1] - 1)}
        ry, by = (np.mean([plane[i, j] for i in rows for j in columns]) for plane in (red, blue))
        r, b = (ry + 1) * luminance[y, x], (by + 1) * luminance[y, x]
        pixels[y, x] = r, (luminance[y, x] - wr * r - wb * b) / wg, b
    return pixels


def stored(path: Path) -> tuple[Plane, Plane, Plane]:
    channels = OpenEXR.File(str(path), separate_channels=True).channels()
    luminance, red, blue = (channels[letters].pixels.astype(np.float64) for letters in ("Y", "RY", "BY"))
    return luminance, red, blue


@pytest.mark.parametrize("others", [0, 20])
@pytest.mark.parametrize("sample", [np.float16, np.float32])
def test_chroma_of_every_pixel_is_read(others: int, sample: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # with other channels between them they lie too far apart to be read at once
    pixels = smooth_picture()
    luminance = pixels @ np.array((0.2126, 0.7152, 0.0722), np.float32)
    channels = {"Y": luminance, "RY": pixels[..., 0] / luminance - 1, "BY": pixels[..., 2] / luminance - 1}
    channels |= {f"C{k}": np.full_like(luminance, k) for k in range(others)}
    monkeypatch.setattr(decode, "BLOCK_BYTES", 5_000)
    save(path, {key: plane.astype(sample) for key, plane in channels.items()})
    np.testing.assert_allclose(read_exr(path).pixels, pixels, rtol=5e-3)
    assert probe_exr(path).width == 53


def parts_with_chroma() -> list[Any]:
    pixels = constant((3.0, 0.5, 1.25), 34, 36)
    header = {**SCANLINES, "compression": OpenEXR.ZIP_COMPRESSION}
    depth = {"Z": np.ones((34, 36), np.float32)}
    return [OpenEXR.Part(dict(header), depth, "depth"), OpenEXR.Part(dict(header), dict(luminance_chroma(pixels)), "c")]


@pytest.mark.parametrize("order", [1, -1])
def test_subsampled_chroma_in_one_part_of_many_is_read(order: int, path: Path) -> None:
    OpenEXR.File(parts_with_chroma()[::order]).write(str(path))
    np.testing.assert_allclose(read_exr(path).pixels, constant((3.0, 0.5, 1.25), 34, 36), rtol=1e-3)
    whole = path.read_bytes()
    for cut in (len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(SourceError, match="damaged"):
            read_exr(path)


# Bounds and damage


def test_luminance_itself_is_never_subsampled(path: Path) -> None:
    half = np.ones((4, 4), np.float32)
    with pytest.raises(SourceError, match="subsampled"):
        read_exr(save(path, {letters: subsampled(letters, half, 8, 8) for letters in ("Y", "RY", "BY")}))


def test_what_openexr_would_read_at_once_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(path, luminance_chroma(constant((1, 1, 1))))
    monkeypatch.setattr(chroma, "MAX_WHOLE_BYTES", 8 * 12 * 4 * 3 // 2 - 1)
    with pytest.raises(SourceError, match="576 bytes"):
        read_exr(path)


def test_pixels_that_openexr_drops_are_noticed(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save(path, luminance_chroma(smooth_picture(64, 64)))
    content = bytearray(path.read_bytes())
    content[-400:-300] = b"\xff" * 100
    path.write_bytes(content)
    with pytest.raises(SourceError, match="truncated or damaged") as refusal:
        read_exr(path)
    assert "\n" not in str(refusal.value)
    assert capfd.readouterr().out == ""  # standard output is for results


def test_truncation_makes_no_noise(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = save(path, luminance_chroma(picture(64, 64))).read_bytes()
    for cut in range(400, len(whole), 997):
        path.write_bytes(whole[:cut])
        for read in (probe_exr, read_exr):
            with pytest.raises(SourceError, match="damaged"):
                read(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("compression", range(len(CHUNK_ROWS)))
def test_the_rows_of_a_chunk_are_those_that_openexr_writes(compression: int, path: Path) -> None:
    kinds = {int(value): value for key, value in vars(OpenEXR).items() if key.endswith("_COMPRESSION")}
    if compression not in kinds:
        pytest.skip("this OpenEXR does not know it")
    height = 600
    channels = {"Z": np.ones((height, 4), np.float32)}
    header = {**SCANLINES, "compression": kinds[compression]}
    OpenEXR.File([OpenEXR.Part(dict(header), dict(channels), part) for part in "ab"]).write(str(path))
    count = OpenEXR.File(str(path), header_only=True).parts[0].header["chunkCount"]
    assert count == -(-height // CHUNK_ROWS[compression])


# Public files


def test_flowers(shared_data: Path) -> None:
    # OpenEXR's own RgbaInputFile interpolates chroma by 27 samples; its filter, written out here, is what to be near to
    path = shared_data / "hdr" / "Flowers.exr"
    pixels = read_exr(path).pixels
    luminance, red, blue = stored(path)
    r, b = ((openexr_upsampled(plane) + 1) * luminance for plane in (red, blue))
    expected = np.stack([r, (luminance - 0.2126 * r - 0.0722 * b) / 0.7152, b], axis=-1)
    brightest = expected.max(axis=2, keepdims=True)
    error = abs(pixels - expected) / brightest
    assert pixels.shape == (734, 784, 3)
    np.testing.assert_allclose(pixels @ (0.2126, 0.7152, 0.0722), luminance, rtol=1e-3)
    assert np.median(error) < 0.0015
    assert np.percentile(error, 99) < 0.03


def openexr_upsampled(plane: Plane) -> Plane:
    """Double a plane as OpenEXR does (ImfRgbaYca.cpp, reconstructChroma), its edges repeated."""
    half = (0.002128, -0.007540, 0.019597, -0.043159, 0.087929, -0.186077, 0.627123)
    taps = np.array([*half, *half[::-1]])
    for _ in range(2):
        rows = np.repeat(plane, 2, axis=0)
        padded = np.pad(plane, ((6, 7), (0, 0)), mode="edge")
        rows[1::2] = sum(tap * padded[k : k + len(plane)] for k, tap in enumerate(taps))
        plane = rows.T
    return plane


def test_garden_is_grey(shared_data: Path) -> None:
    path = shared_data / "hdr" / "edge" / "Garden.exr"
    grey = OpenEXR.File(str(path), separate_channels=True).channels()["Y"].pixels.astype(np.float32)
    np.testing.assert_array_equal(read_frame(path).pixels, np.repeat(grey[..., None], 3, axis=2))
