"""The PNG reader against files written by hand and by Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import SourceError
from pipeline.frames.png import probe_png, read_png
from pipeline.records import Facts, Transfer
from pipeline.transfer import hlg_to_scene, pq_to_luminance, srgb_to_linear
from tests.pipeline.still_files import codes, png_chunk, write_png

READERS: list[Any] = [probe_png, read_png]
PQ = {b"cICP": bytes([9, 16, 0, 1])}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "picture.png"


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 40), st.integers(2, 40), st.sampled_from([1, 2, 3, 4]))
def test_all_sixteen_bits_are_read(tmp_path: Path, height: int, width: int, channels: int) -> None:
    values = codes(height, width, channels)
    path = write_png(tmp_path / "picture.png", values, {b"cICP": bytes([1, 8, 0, 1])})
    colours = values[..., :3] if channels >= 3 else np.repeat(values[..., :1], 3, axis=2)
    read = read_png(path)
    np.testing.assert_array_equal(read.pixels, (colours / 65535).astype(np.float32))
    assert read.facts == probe_png(path) == Facts(width=width, height=height, primaries="bt709")


@pytest.mark.parametrize(
    ("points", "transfer", "primaries", "scale"),
    [
        ((9, 16), "pq", "bt2020", "cd/m2"),
        ((9, 18), "hlg", "bt2020", "HLG scene"),
        ((12, 16), "pq", "p3", "cd/m2"),
        ((12, 13), "srgb", "p3", "relative"),
        ((1, 8), "linear", "bt709", "relative"),
    ],
)
def test_code_points_say_it_all(
    points: tuple[int, int], transfer: Transfer, primaries: Any, scale: str, path: Path
) -> None:
    values = codes()
    write_png(path, values, {b"cICP": bytes([*points, 0, 1])})
    light: dict[str, Any] = {"pq": pq_to_luminance, "hlg": hlg_to_scene, "srgb": srgb_to_linear, "linear": np.asarray}
    for said in (None, "srgb", "pq"):  # the file's own statement counts more
        read = read_png(path, said)
        assert read.facts == probe_png(path, said) == Facts(53, 37, transfer, primaries, scale)
        np.testing.assert_allclose(read.pixels, light[transfer](values / 65535), rtol=1e-6)


@pytest.mark.parametrize("chunks", [{}, {b"sRGB": b"\0"}, {b"gAMA": (100_000).to_bytes(4, "big")}])
def test_without_code_points_the_user_has_to_say(chunks: dict[bytes, bytes], path: Path) -> None:
    values = codes()
    write_png(path, values, chunks)
    for read in READERS:
        with pytest.raises(SourceError, match=r"16-bit PNG without a cICP chunk does not say .*--transfer"):
            read(path)
    still = read_png(path, "hlg")
    assert still.facts == Facts(53, 37, "hlg", "bt2020", "HLG scene")
    np.testing.assert_allclose(still.pixels, hlg_to_scene(values / 65535), rtol=1e-6)
    assert read_png(path, "srgb").facts.primaries is None


def test_files_of_another_program(path: Path) -> None:
    grey = codes(channels=1)[..., 0]
    Image.fromarray(grey).save(path)
    np.testing.assert_array_equal(read_png(path, "linear").pixels[..., 1], (grey / 65535).astype(np.float32))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_picture_is_turned_as_its_exif_says(orientation: int, path: Path) -> None:
    shown = codes(20, 31)
    stored = {1: shown, 3: shown[::-1, ::-1], 6: np.rot90(shown, 1), 8: np.rot90(shown, -1)}[orientation]
    exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + bytes([0, orientation]) + b"\0\0\0\0\0\0"
    write_png(path, stored, {**PQ, b"eXIf": exif})
    read = read_png(path)
    np.testing.assert_allclose(read.pixels, pq_to_luminance(shown / 65535), rtol=1e-6)
    assert read.facts == probe_png(path) == Facts(31, 20, "pq", "bt2020", "cd/m2")


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_eight_bits_are_not_hdr(channels: int, path: Path) -> None:
    pixels: npt.NDArray[np.uint8] = np.full((9, 9, channels), 77, np.uint8)
    write_png(path, pixels, PQ)
    for read in READERS:
        with pytest.raises(SourceError, match="8-bit: not HDR"):
            read(path, "srgb")


def test_a_palette_is_not_hdr(path: Path) -> None:
    Image.new("P", (9, 9)).save(path)
    with pytest.raises(SourceError, match="bit: not HDR"):
        read_png(path, "srgb")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (bytes([9, 16, 9, 1]), "another matrix"),
        (bytes([9, 16, 0, 0]), "limited range"),
        (bytes([9, 1, 0, 1]), r"transfer function \(code point 1\)"),
        (bytes([22, 16, 0, 1]), r"primaries \(code point 22\)"),
        (b"\x09\x10", "four bytes"),
    ],
)
def test_code_points_that_are_not_read(content: bytes, word: str, path: Path) -> None:
    write_png(path, codes(), {b"cICP": content})
    for read in READERS:
        with pytest.raises(SourceError, match=word):
            read(path, "pq")


def test_a_wrong_checksum_is_noticed(path: Path) -> None:
    write_png(path, codes(), PQ)
    content = path.read_bytes()
    path.write_bytes(content.replace(png_chunk(*next(iter(PQ.items()))), b"\0\0\0\x04cICP\x01\x10\0\1\0\0\0\0"))
    with pytest.raises(SourceError, match="checksum"):
        read_png(path)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0 a JPEG file", b"II*\0"])
def test_what_is_no_png_is_refused(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    for read in READERS:
        with pytest.raises(SourceError):
            read(path)


def test_a_photograph_of_the_authors_is_not_hdr(shared_data: Path) -> None:
    with pytest.raises(SourceError, match="8-bit: not HDR"):
        read_png(shared_data / "photos" / "authors_0001.png")
