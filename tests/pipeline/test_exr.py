"""The EXR reader: codecs, layouts and windows, against files written by OpenEXR itself, and public ones.

Legend: H, W height and width of the data window; a picture is (H, W, 3) float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.color import BT2020, XYZ, Chromaticities
from pipeline.errors import SourceError
from pipeline.frames.exr import decode, probe_exr, read_exr
from pipeline.records import FloatImage
from tests.pipeline.exr_files import LOSSLESS, LOSSY, SCANLINES, box, name, picture, save, smooth_picture, tiled


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "picture.exr"


def assert_plain_float32(pixels: FloatImage) -> None:
    assert pixels.dtype == np.float32
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3


# Codecs and layouts


@pytest.mark.parametrize("sample", [np.float16, np.float32])
@pytest.mark.parametrize("compression", LOSSLESS, ids=name)
@pytest.mark.parametrize("layout", [SCANLINES, tiled(16, 8), tiled(64, 64, OpenEXR.MIPMAP_LEVELS)], ids=str)
def test_lossless_files_are_read_to_the_bit(sample: Any, compression: Any, layout: dict[str, Any], path: Path) -> None:
    pixels = picture()
    read = read_exr(save(path, {"RGB": pixels.astype(sample)}, compression=compression, **layout)).pixels
    assert_plain_float32(read)
    np.testing.assert_array_equal(read, pixels)


def test_float_is_not_squeezed_through_half(path: Path) -> None:
    pixels = picture() * np.float32(1.0001) + np.float32(1e6)
    np.testing.assert_array_equal(read_exr(save(path, {"RGB": pixels})).pixels, pixels)


@pytest.mark.parametrize("sample", [np.float16, np.float32])
@pytest.mark.parametrize("compression", LOSSY, ids=name)
def test_lossy_files_are_close(sample: Any, compression: Any, path: Path) -> None:
    pixels = smooth_picture()
    read = read_exr(save(path, {"RGB": pixels.astype(sample)}, compression=compression)).pixels
    np.testing.assert_allclose(read, pixels, rtol=0.05)
    np.testing.assert_allclose(np.mean(read, axis=(0, 1)), np.mean(pixels, axis=(0, 1)), rtol=5e-3)


def test_pxr24_keeps_24_bits(path: Path) -> None:
    pixels = picture() * np.float32(1.0001)
    read = read_exr(save(path, {"RGB": pixels}, compression=OpenEXR.PXR24_COMPRESSION)).pixels
    np.testing.assert_allclose(read, pixels, rtol=2.0**-15)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from(LOSSLESS), st.booleans())
def test_every_size_is_read(tmp_path: Path, height: int, width: int, compression: Any, tiles: bool) -> None:
    pixels = picture(height, width)
    layout = tiled(32, 16) if tiles else SCANLINES
    source = read_exr(save(tmp_path / "size.exr", {"RGB": pixels}, compression=compression, **layout))
    np.testing.assert_array_equal(source.pixels, pixels)
    assert (source.facts.width, source.facts.height) == (width, height)


@pytest.mark.parametrize("order", [OpenEXR.INCREASING_Y, OpenEXR.DECREASING_Y])
def test_the_order_of_lines_is_not_the_order_of_rows(order: Any, path: Path) -> None:
    pixels = picture()
    np.testing.assert_array_equal(read_exr(save(path, {"RGB": pixels}, lineOrder=order)).pixels, pixels)


@pytest.mark.parametrize("display", [box(0, 0, 99, 99), box(-5, 7, 47, 43), box(10, 10, 12, 12)], ids=str)
def test_the_data_window_is_the_picture(display: Any, path: Path) -> None:
    pixels = picture(37, 53)
    source = read_exr(save(path, {"RGB": pixels}, dataWindow=box(-5, 7, 47, 43), displayWindow=display))
    np.testing.assert_array_equal(source.pixels, pixels)
    assert (source.facts.width, source.facts.height) == (53, 37)
    assert probe_exr(path) == source.facts


@pytest.mark.parametrize("corner", [(-(2**29), 2**29), (2**29, -(2**29)), (-70, -3)])
@pytest.mark.parametrize("layout", [SCANLINES, tiled(16, 8), tiled(64, 64, OpenEXR.RIPMAP_LEVELS)], ids=str)
def test_windows_far_from_the_origin_are_read(corner: tuple[int, int], layout: dict[str, Any], path: Path) -> None:
    left, top = corner
    window = box(left, top, left + 52, top + 36)
    source = read_exr(save(path, {"RGB": picture()}, dataWindow=window, **layout))
    np.testing.assert_array_equal(source.pixels, picture())


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    corner=st.tuples(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6)),
    compression=st.sampled_from(LOSSLESS),
    layout=st.sampled_from([SCANLINES, tiled(16, 8), tiled(32, 64, OpenEXR.RIPMAP_LEVELS)]),
    types=st.tuples(*[st.sampled_from([np.float16, np.float32])] * 3),
    extra=st.sets(st.sampled_from(["A", "Z", "Y", "left.R", "zebra", "id"])),
    grey=st.booleans(),
    block_bytes=st.sampled_from([1, 5_000, 2**20]),
)
def test_what_openexr_writes_is_read(
    tmp_path: Path, size: tuple[int, int], corner: tuple[int, int], compression: Any, layout: dict[str, Any],
    types: tuple[Any, ...], extra: set[str], grey: bool, block_bytes: int,
) -> None:  # fmt: skip
    pixels = picture(*size)
    if grey:
        pixels[...] = pixels[..., :1]
        channels: dict[str, Any] = {"Y": pixels[..., 0].astype(types[0])}
    else:
        channels = {letter: pixels[..., c].astype(types[c]) for c, letter in enumerate("RGB")}
    for other in extra - channels.keys():
        channels[other] = np.full(size, 7, np.uint32 if other == "id" else np.float32)
    window = box(*corner, corner[0] + size[1] - 1, corner[1] + size[0] - 1)
    file = save(tmp_path / "any.exr", channels, compression=compression, dataWindow=window, **layout)
    with pytest.MonkeyPatch.context() as patch:  # of a picture this small all would be one block
        patch.setattr(decode, "BLOCK_BYTES", block_bytes)
        np.testing.assert_array_equal(read_exr(file).pixels, pixels)


# Channels


def test_alpha_is_left_out(path: Path) -> None:
    pixels = picture()
    rgba = np.concatenate([pixels, np.zeros((37, 53, 1), np.float32)], axis=2)
    np.testing.assert_array_equal(read_exr(save(path, {"RGBA": rgba})).pixels, pixels)


def test_luminance_alone_is_repeated(path: Path) -> None:
    pixels = picture()
    read = read_exr(save(path, {"Y": pixels[..., 0].copy()})).pixels
    assert_plain_float32(read)
    np.testing.assert_array_equal(read, np.repeat(pixels[..., :1], 3, axis=2))


# Chromaticities and scale


@pytest.mark.parametrize(
    ("chromaticities", "primaries"),
    [(None, None), (BT2020, "bt2020"), (XYZ, "xyz"), ((0.7, 0.3, 0.2, 0.7, 0.1, 0.1, 0.31, 0.33), "other")],
)
def test_chromaticities_are_handed_on(chromaticities: Chromaticities | None, primaries: str | None, path: Path) -> None:
    header = {} if chromaticities is None else {"chromaticities": chromaticities}
    pixels = picture()
    source = read_exr(save(path, {"RGB": pixels}, **header))
    np.testing.assert_array_equal(source.pixels, pixels)  # in the file's own primaries
    assert source.facts.primaries == probe_exr(path).primaries == primaries
    if chromaticities is None:
        assert source.chromaticities is None
    else:
        assert source.chromaticities == pytest.approx(chromaticities, abs=1e-6)


@pytest.mark.parametrize("channels", [{"RGB": picture()}, {"Y": picture()[..., 0].copy()}], ids=["RGB", "Y"])
def test_white_luminance_gives_absolute_luminance(channels: dict[str, Any], path: Path) -> None:
    relative = read_exr(save(path, channels))
    absolute = read_exr(save(path, channels, whiteLuminance=100.0))
    np.testing.assert_array_equal(absolute.pixels, relative.pixels * np.float32(100))
    assert (relative.facts.scale, absolute.facts.scale, probe_exr(path).scale) == ("relative", "cd/m2", "cd/m2")


@pytest.mark.parametrize("luminance", [0.0, -1.0, float("nan"), float("inf")])
def test_a_white_luminance_that_no_light_has_is_left_alone(luminance: float, path: Path) -> None:
    source = read_exr(save(path, {"RGB": picture()}, whiteLuminance=luminance))
    np.testing.assert_array_equal(source.pixels, picture())
    assert source.facts.scale == "relative"


# Public files


def test_a_deep_file_is_refused(shared_data: Path) -> None:
    for read in (probe_exr, read_exr):
        with pytest.raises(SourceError, match="deep EXR"):
            read(shared_data / "hdr" / "edge" / "Trunks.exr")


@pytest.mark.parametrize(
    "file",
    [
        "Adjuster.exr",  # B44A, a second view in other channels
        "CandleGlass.exr",  # PIZ, RGBA
        "Cannon.exr",  # B44
        "GoldenGate.exr",  # PIZ, tiles
        "KernerEnvLatLong.exr",  # ZIP, tiles, mip maps
        "blender_interior.exr",  # DWAB, float
        "composited.exr",  # ZIPS, display window of another size
        "edge/BrightRingsNanInf.exr",
        "edge/XYZ.exr",
        "../video/exr_sequence/hdr10.1001.exr",  # DWAA, whiteLuminance 100
    ],
)
def test_public_files_agree_with_openexr(file: str, shared_data: Path) -> None:
    path = shared_data / "hdr" / file
    channels = OpenEXR.File(str(path), separate_channels=True).channels()
    expected = np.stack([channels[channel].pixels.astype(np.float32) for channel in "RGB"], axis=-1)
    source = read_exr(path)
    assert (source.facts.height, source.facts.width) == expected.shape[:2]
    if file.startswith("../video"):
        expected *= 100
    lossy = {"rtol": 1e-3, "atol": 1e-4} if file.startswith(("blender", "../video")) else {"rtol": 0}
    np.testing.assert_allclose(source.pixels, expected, **lossy)
