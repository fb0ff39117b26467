"""The TIFF reader against files written by hand, by Pillow and by OpenImageIO."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import OpenImageIO as oiio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import SourceError
from pipeline.frames.tiff import probe_tiff, read_tiff
from pipeline.records import Facts, Transfer
from pipeline.transfer import pq_to_luminance, srgb_to_linear
from tests.pipeline.still_files import codes, picture, write_tiff

Reader = Callable[..., Any]
READERS: list[Reader] = [probe_tiff, read_tiff]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "picture.tif"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from([1, 2, 3, 4]),
    st.sampled_from(["f2", "f4", "f8"]),
    st.sampled_from(["<", ">"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 3]),
)
def test_float_files_are_read_to_the_bit(
    tmp_path: Path,
    size: tuple[int, int],
    channels: int,
    sample: str,
    order: Literal["<", ">"],
    planar: bool,
    deflate: bool,
    predictor: Literal[1, 3],
) -> None:
    pixels = picture(*size, channels)
    path = tmp_path / "picture.tif"
    if not deflate:
        predictor = 1  # a predictor belongs to a compression
    write_tiff(path, pixels.astype(sample), order=order, planar=planar, deflate=deflate, predictor=predictor)
    expected = pixels[..., :3] if channels >= 3 else np.repeat(pixels[..., :1], 3, axis=2)
    read = read_tiff(path)
    assert read.pixels.dtype == np.float32
    np.testing.assert_array_equal(read.pixels, expected)
    assert read.facts == probe_tiff(path) == Facts(width=size[1], height=size[0])


@pytest.mark.parametrize("compression", ["none", "lzw", "zip", "packbits"])
@pytest.mark.parametrize("tile", [0, 16])
def test_tiles_and_other_codecs(compression: str, tile: int, path: Path) -> None:
    pixels = picture()
    spec = oiio.ImageSpec(53, 37, 3, "float")
    spec.tile_width = spec.tile_height = tile
    spec.attribute("compression", compression)
    output = oiio.ImageOutput.create(str(path))
    assert output is not None
    assert output.open(str(path), spec)
    assert output.write_image(pixels)
    output.close()
    np.testing.assert_array_equal(read_tiff(path).pixels, pixels)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_files_of_another_program(compression: str | None, path: Path) -> None:
    grey = picture(channels=1)[..., 0]
    Image.fromarray(grey).save(path, compression=compression)
    np.testing.assert_array_equal(read_tiff(path).pixels, np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_picture_is_turned_as_its_tag_says(orientation: int, path: Path) -> None:
    shown = picture(20, 31)
    # What a camera stores so that the tag's turn shows `shown`: TIFF 6.0, tag 274, row 0 and column 0 by its words
    stored = {
        1: shown, 2: shown[:, ::-1], 3: shown[::-1, ::-1], 4: shown[::-1], 5: shown.swapaxes(0, 1),
        6: np.rot90(shown, 1), 7: np.rot90(shown, 2).swapaxes(0, 1), 8: np.rot90(shown, -1),
    }[orientation]  # fmt: skip
    write_tiff(path, np.ascontiguousarray(stored), tags={274: orientation})
    read = read_tiff(path)
    np.testing.assert_array_equal(read.pixels, shown)
    assert read.facts == probe_tiff(path) == Facts(width=31, height=20)


@pytest.mark.parametrize("transfer", ["linear", "srgb", "pq", "hlg"])
def test_whole_numbers_need_a_word(transfer: Transfer, path: Path) -> None:
    values = codes()
    write_tiff(path, values)
    for read in READERS:
        with pytest.raises(SourceError, match=r"16-bit TIFF does not say .*--transfer \(linear, srgb, pq or hlg\)"):
            read(path)
    still = read_tiff(path, transfer)
    assert still.facts == probe_tiff(path, transfer)
    assert still.facts.transfer == transfer
    assert still.facts.scale == {"pq": "cd/m2", "hlg": "HLG scene"}.get(transfer, "relative")
    peak = 10_000 if transfer == "pq" else 1
    assert still.pixels.reshape(-1)[:2].tolist() == [0, pytest.approx(peak)]


def test_stated_transfer_functions_are_applied(path: Path) -> None:
    values = codes()
    write_tiff(path, values)
    np.testing.assert_allclose(read_tiff(path, "pq").pixels, pq_to_luminance(values / 65535), rtol=1e-6)
    np.testing.assert_allclose(read_tiff(path, "srgb").pixels, srgb_to_linear(values / 65535), rtol=1e-6)
    write_tiff(path, values.astype(np.float32) / np.float32(65535))
    np.testing.assert_allclose(read_tiff(path, "srgb").pixels, srgb_to_linear(values / 65535), rtol=1e-5)


def test_srgb_floats_go_on_above_white(path: Path) -> None:
    write_tiff(path, np.array([[[0.5, 1.0, 2.0], [-0.5, 0.0, 0.02]]], np.float32))
    light = read_tiff(path, "srgb").pixels
    np.testing.assert_allclose(light, [[[0.214041, 1, 4.953833], [-0.214041, 0, 0.02 / 12.92]]], rtol=1e-5)


@pytest.mark.parametrize("sample", ["u1", "i1"])
def test_eight_bits_are_not_hdr(sample: str, path: Path) -> None:
    write_tiff(path, np.full((8, 8, 3), 77, sample))
    for read in READERS:
        with pytest.raises(SourceError, match="8-bit: not HDR"):
            read(path, "srgb")


@pytest.mark.parametrize("sample", ["u4", "i2", "i4"])
def test_other_whole_numbers_are_refused(sample: str, path: Path) -> None:
    write_tiff(path, np.full((8, 8, 3), 77, sample))
    with pytest.raises(SourceError, match=r"whole numbers of .* bits"):
        read_tiff(path, "linear")


@pytest.mark.parametrize("photometric", [0, 5, 6, 8])
def test_what_is_neither_rgb_nor_grey_is_refused(photometric: int, path: Path) -> None:
    write_tiff(path, picture(8, 8, 3 if photometric else 1), tags={262: photometric})
    with pytest.raises(SourceError):
        read_tiff(path)


def test_a_public_file(shared_data: Path) -> None:
    read = read_tiff(shared_data / "hdr" / "circus_arena_1k.tif")
    assert (read.facts.width, read.facts.height) == (1024, 512)
    np.testing.assert_array_equal(read.pixels, strips_by_hand(shared_data / "hdr" / "circus_arena_1k.tif"))
    luminance = read.pixels @ np.array([0.2126, 0.7152, 0.0722])
    assert np.median(luminance) == pytest.approx(0.0441, abs=5e-5)
    assert luminance.max() == pytest.approx(603.2, abs=0.05)


def strips_by_hand(path: Path) -> Any:
    """Read a little-endian float32 RGB TIFF of deflated strips with nothing but the standard library and numpy."""
    content = path.read_bytes()
    assert content[:4] == b"II*\0"
    (start,) = struct.unpack_from("<I", content, 4)
    tags: dict[int, tuple[int, ...]] = {}
    for at in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", content, start)[0], 12):
        tag, kind, count = struct.unpack_from("<HHI", content, at)
        letter = {3: "H", 4: "I"}.get(kind)
        if letter:
            size = struct.calcsize(letter) * count
            where = at + 8 if size <= 4 else struct.unpack_from("<I", content, at + 8)[0]
            tags[tag] = struct.unpack_from(f"<{count}{letter}", content, where)
    assert tags.get(317, (1,)) == (1,)
    pieces = [zlib.decompress(content[a : a + n]) for a, n in zip(tags[273], tags[279], strict=True)]
    return np.frombuffer(b"".join(pieces), "<f4").reshape(tags[257][0], tags[256][0], 3)
