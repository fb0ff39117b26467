"""The EXR reader against files written by OpenEXR itself, public ones, and damage.

Legend: H, W height and width of the data window; a picture is (H, W, 3) float32.
"""

from __future__ import annotations

import resource
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import OpenEXR
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.color import BT2020, XYZ, Chromaticities
from pipeline.errors import SourceError
from pipeline.frames import limits
from pipeline.frames.exr import probe_exr, read_exr
from pipeline.records import FloatImage

Channels = Mapping[str, npt.NDArray[Any]]

LOSSLESS = [
    OpenEXR.NO_COMPRESSION,
    OpenEXR.RLE_COMPRESSION,
    OpenEXR.ZIPS_COMPRESSION,
    OpenEXR.ZIP_COMPRESSION,
    OpenEXR.PIZ_COMPRESSION,
]
LOSSY = [OpenEXR.B44_COMPRESSION, OpenEXR.B44A_COMPRESSION, OpenEXR.DWAA_COMPRESSION, OpenEXR.DWAB_COMPRESSION]
SCANLINES = {"type": OpenEXR.scanlineimage}


def name(compression: Any) -> str:
    return str(compression).rsplit(".", 1)[-1].split("_")[0]


def tiled(width: int, height: int, mode: Any = OpenEXR.ONE_LEVEL) -> dict[str, Any]:
    tiles = OpenEXR.TileDescription()
    tiles.xSize, tiles.ySize, tiles.mode = width, height, mode
    return {"type": OpenEXR.tiledimage, "tiles": tiles}


def picture(height: int = 37, width: int = 53, seed: int = 0) -> FloatImage:
    """Values over many stops, exact as half and as float."""
    values = np.random.default_rng(seed).lognormal(0, 2, (height, width, 3))
    return values.astype(np.float16).astype(np.float32)


def smooth_picture(height: int = 37, width: int = 53) -> FloatImage:
    """What lossy codecs are made for."""
    y, x = np.mgrid[:height, :width] / 20
    return np.stack([np.exp2(np.sin(x + c) + np.cos(y)) for c in range(3)], axis=-1).astype(np.float32)


def save(path: Path, channels: Channels, **header: Any) -> Path:
    OpenEXR.File({**SCANLINES, "compression": OpenEXR.ZIP_COMPRESSION, **header}, dict(channels)).write(str(path))
    return path


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


def box(left: int, top: int, right: int, bottom: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    return np.array([left, top], np.int32), np.array([right, bottom], np.int32)


@pytest.mark.parametrize("display", [box(0, 0, 99, 99), box(-5, 7, 47, 43), box(10, 10, 12, 12)], ids=str)
def test_the_data_window_is_the_picture(display: Any, path: Path) -> None:
    pixels = picture(37, 53)
    source = read_exr(save(path, {"RGB": pixels}, dataWindow=box(-5, 7, 47, 43), displayWindow=display))
    np.testing.assert_array_equal(source.pixels, pixels)
    assert (source.facts.width, source.facts.height) == (53, 37)
    assert probe_exr(path) == source.facts


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


def test_colour_is_found_among_other_channels_of_other_types(path: Path) -> None:
    pixels = picture()
    red, green, blue = (pixels[..., c].copy() for c in range(3))
    other = np.full((37, 53), 1234.0, np.float32)
    channels: dict[str, npt.NDArray[Any]] = {
        "A": other, "B": blue.astype(np.float16), "G": green, "H": other, "R": red.astype(np.float16), "Y": other,
        "Z": other, "id": other.astype(np.uint32), "left.B": other, "left.G": other, "left.R": other,
    }  # fmt: skip
    np.testing.assert_array_equal(read_exr(save(path, channels)).pixels, pixels)


def test_the_first_part_is_the_picture(path: Path) -> None:
    pixels = picture()
    parts = [
        OpenEXR.Part(dict(SCANLINES), {"RGB": pixels}, "beauty"),
        OpenEXR.Part(dict(SCANLINES), {"Z": pixels[..., 0].copy()}, "depth"),
    ]
    OpenEXR.File(parts).write(str(path))
    np.testing.assert_array_equal(read_exr(path).pixels, pixels)


@pytest.mark.parametrize(
    "names", [["Z"], ["R", "G"], ["diffuse.R", "diffuse.G", "diffuse.B"], ["u", "v"], ["r", "g", "b"]]
)
def test_channels_that_hold_no_picture_are_refused(names: list[str], path: Path) -> None:
    save(path, {name: picture()[..., 0].copy() for name in names})
    for read in (probe_exr, read_exr):
        with pytest.raises(SourceError, match="no channels R, G, B or Y, only") as refusal:
            read(path)
        assert all(name in str(refusal.value) for name in names)


def test_the_name_of_a_channel_cannot_write_to_the_terminal(path: Path) -> None:
    with pytest.raises(SourceError) as refusal:
        read_exr(save(path, {"a\n\x1b[31m": picture()[..., 0].copy()}))
    assert str(refusal.value).isprintable()


def test_luminance_chroma_is_refused_and_never_read_as_grey(path: Path) -> None:
    pixels = picture(32, 32)
    save(path, {channel: pixels[..., c].copy() for c, channel in enumerate(["Y", "RY", "BY"])})
    for read in (probe_exr, read_exr):
        with pytest.raises(SourceError, match="luminance-chroma"):
            read(path)


def test_whole_numbers_are_refused(path: Path) -> None:
    plane = np.full((8, 8), 100, np.uint32)
    with pytest.raises(SourceError, match="whole numbers"):
        read_exr(save(path, {"R": plane, "G": plane, "B": plane}))


def test_more_channels_than_accepted_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(path, {"RGBA": picture().repeat(2, axis=2)[..., :4].copy()})
    monkeypatch.setattr("pipeline.frames.exr.MAX_CHANNELS", 3)
    with pytest.raises(SourceError, match="4 channels, more than the 3"):
        read_exr(path)


# Chromaticities


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


# Damage


@pytest.mark.parametrize("compression", [*LOSSLESS, OpenEXR.DWAA_COMPRESSION], ids=name)
@pytest.mark.parametrize("layout", [SCANLINES, tiled(16, 16)], ids=["scanlines", "tiles"])
def test_truncation_is_noticed_wherever_it_falls(compression: Any, layout: dict[str, Any], path: Path) -> None:
    whole = save(path, {"RGB": picture()}, compression=compression, **layout).read_bytes()
    read_exr(path)
    cuts = [4, 8, 9, 60, 200, 300, 330, 400, 600, len(whole) // 2, len(whole) * 9 // 10, len(whole) - 8, len(whole) - 1]
    for cut in cuts:
        path.write_bytes(whole[:cut])
        with pytest.raises(SourceError, match=r"damaged") as refusal:
            read_exr(path)
        assert "\n" not in str(refusal.value)
        assert path.name not in str(refusal.value)  # the table has a column for it


@pytest.mark.parametrize("compression", [OpenEXR.ZIPS_COMPRESSION, OpenEXR.ZIP_COMPRESSION], ids=name)
def test_garbage_in_a_chunk_is_noticed(compression: Any, path: Path) -> None:
    # by the checksum that deflate carries; the other codecs have none
    whole = bytearray(save(path, {"RGB": picture()}, compression=compression).read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 200] = b"\xff" * 200
    path.write_bytes(whole)
    with pytest.raises(SourceError, match="damaged"):
        read_exr(path)


@pytest.mark.parametrize("content", [b"", b"v", b"\x76\x2f\x31", b"#?RADIANCE\n", b"just a text\n" * 99, b"\0" * 4096])
def test_what_is_no_exr_is_refused_whatever_its_name(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    for read in (probe_exr, read_exr):
        with pytest.raises(SourceError, match="not an OpenEXR file"):
            read(path)


def test_a_file_that_is_gone_is_a_reason_and_no_crash(path: Path) -> None:
    for read in (probe_exr, read_exr):
        with pytest.raises(SourceError, match="cannot be opened: No such file"):
            read(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_flipped_bytes_give_a_picture_or_a_reason(tmp_path: Path, data: st.DataObject) -> None:
    path = save(tmp_path / "flipped.exr", {"RGB": picture(9, 11)})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        source = read_exr(path)
    except SourceError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert source.pixels.shape == (source.facts.height, source.facts.width, 3)


def lie_about_size(path: Path, width: int, height: int) -> None:
    content = bytearray(path.read_bytes())
    mark = b"dataWindow\0box2i\0"
    start = content.index(mark) + len(mark) + 4
    content[start : start + 16] = struct.pack("<4i", 0, 0, width - 1, height - 1)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("width", "height"),
    [
        (2**31 - 1, 2**31 - 1),
        (2**30, 2**30),
        (100_000, 100_000),
        (16_384, 16_384),
        (53, 2**24),
        (20_000, 13_000),
        (0, 5),
    ],
)
def test_a_header_that_lies_takes_no_memory(width: int, height: int, path: Path) -> None:
    save(path, {"RGB": picture()})
    lie_about_size(path, width, height)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for read in (probe_exr, read_exr):
        with pytest.raises(SourceError):
            read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


def test_the_limit_on_pixels_is_asked_before_decoding(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(path, {"RGB": picture(10, 10)})
    monkeypatch.setattr(limits, "MAX_PIXELS", 100)
    assert probe_exr(path).width == 10
    monkeypatch.setattr(limits, "MAX_PIXELS", 99)
    for read in (probe_exr, read_exr):
        with pytest.raises(SourceError, match="10x10 pixels, more than the 99"):
            read(path)


# Public files


def test_a_deep_file_is_refused(shared_data: Path) -> None:
    for read in (probe_exr, read_exr):
        with pytest.raises(SourceError, match="deep EXR"):
            read(shared_data / "hdr" / "edge" / "Trunks.exr")


def test_a_subsampled_file_is_refused(shared_data: Path) -> None:
    with pytest.raises(SourceError, match="luminance-chroma"):
        read_exr(shared_data / "hdr" / "Flowers.exr")


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
    ],
)
def test_public_files_agree_with_openexr(file: str, shared_data: Path) -> None:
    path = shared_data / "hdr" / file
    channels = OpenEXR.File(str(path), separate_channels=True).channels()
    expected = np.stack([channels[channel].pixels.astype(np.float32) for channel in "RGB"], axis=-1)
    source = read_exr(path)
    assert (source.facts.height, source.facts.width) == expected.shape[:2]
    lossy = {"rtol": 1e-3, "atol": 1e-4} if file.startswith("blender") else {"rtol": 0}
    np.testing.assert_allclose(source.pixels, expected, **lossy)
