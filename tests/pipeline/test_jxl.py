"""The JPEG XL reader against files of OpenImageIO's writer, the only one at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.frames import limits
from pipeline.frames.jxl import probe_jxl, read_jxl, read_size
from pipeline.records import Facts
from pipeline.transfer import hlg_to_scene, pq_to_luminance, srgb_to_linear
from tests.pipeline.still_files import codes, picture, smooth, write_jxl

READERS: list[Any] = [probe_jxl, read_jxl]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "picture.jxl"


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(8, 70), st.integers(8, 70), st.sampled_from([1, 3, 4]), st.sampled_from(["f2", "f4"]))
def test_lossless_floats_are_read_to_the_bit(tmp_path: Path, height: int, width: int, channels: int, kind: str) -> None:
    pixels = picture(height, width, channels)
    path = write_jxl(tmp_path / "picture.jxl", pixels.astype(kind))  # linear BT.709
    expected = pixels[..., :3] if channels >= 3 else np.repeat(pixels, 3, axis=2)
    read = read_jxl(path)
    np.testing.assert_array_equal(read.pixels, expected)
    assert read.facts == probe_jxl(path) == Facts(width=width, height=height, primaries="bt709")
    assert read_size(path) == (width, height)


@pytest.mark.parametrize(("points", "transfer"), [((9, 16), "pq"), ((9, 18), "hlg"), ((12, 13), "srgb")])
def test_the_codestream_says_its_colour_space(points: tuple[int, int], transfer: str, path: Path) -> None:
    values = codes()
    write_jxl(path, values, points)
    light: dict[str, Any] = {"pq": pq_to_luminance, "hlg": hlg_to_scene, "srgb": srgb_to_linear}
    read = read_jxl(path, "linear")  # the file's own statement counts more
    np.testing.assert_allclose(read.pixels, light[transfer](values / 65535), rtol=1e-6)
    assert read.facts == probe_jxl(path)
    assert (read.facts.transfer, read.facts.primaries) == (transfer, "p3" if points[0] == 12 else "bt2020")


def test_srgb_floats_go_on_above_white(path: Path) -> None:
    write_jxl(path, np.repeat([[[2.0], [-2.0]]], 400, axis=0).repeat(3, axis=2).astype(np.float32), (1, 13))
    np.testing.assert_allclose(read_jxl(path).pixels[7, :, 1], [4.953833, -4.953833], rtol=1e-5)


def test_lossy_files_are_close_and_in_their_own_space(path: Path) -> None:
    pixels = smooth(64, 96) * 8
    write_jxl(path, pixels, (1, 8), quality=95)
    read = read_jxl(path)
    assert np.median(abs(read.pixels - pixels) / pixels) < 0.01
    values = np.rint(smooth(64, 96) * 40000).astype(np.uint16)
    write_jxl(path, values, (9, 16), quality=95)
    expected = pq_to_luminance(values / 65535)
    assert np.median(abs(read_jxl(path).pixels - expected) / expected) < 0.05


def test_eight_bits_are_not_hdr(path: Path) -> None:
    write_jxl(path, codes().astype(np.uint8))
    for read in READERS:
        with pytest.raises(SourceError, match="8-bit: not HDR"):
            read(path)


@pytest.mark.parametrize("points", [(1, 1), (11, 17)])
def test_transfer_functions_that_are_not_read(points: tuple[int, int], path: Path) -> None:
    write_jxl(path, codes(), points)
    with pytest.raises(SourceError, match=rf"transfer function \(code point {points[1]}\)"):
        read_jxl(path)


def test_the_limit_is_asked_before_the_decoder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_jxl(path, picture(10, 10), (1, 8))
    monkeypatch.setattr(limits, "MAX_PIXELS", 99)
    monkeypatch.setattr("pipeline.frames.jxl.opened", None)
    for read in READERS:
        with pytest.raises(SourceError, match="10x10 pixels, more than the 99"):
            read(path)


@pytest.mark.parametrize(
    ("bits", "size"),
    [
        # ISO/IEC 18181-1, D.2, lowest bit first: small, height, ratio, width
        (f"{1:01b}{'00000'}{'100'}", (8, 8)),  # small, 8 high, ratio 1
        (f"{1:01b}{'10000'}{'111'}", (32, 16)),  # small, 16 high, ratio 7
        ("0" + "00" + "111111111" + "000" + "00" + "000000000", (1, 512)),  # nine bits each
        ("0" + "11" + "1" * 30 + "000" + "11" + "1" * 30, (2**30, 2**30)),
    ],
)
def test_sizes_by_hand(bits: str, size: tuple[int, int], path: Path) -> None:
    value = sum(1 << place for place, bit in enumerate(bits) if bit == "1")
    stream = b"\xff\x0a" + value.to_bytes(16, "little")
    path.write_bytes(stream)
    assert read_size(path) == size
    box = (b"\0\0\0\x0cJXL \r\n\x87\n", b"\0\0\0\x14ftypjxl \0\0\0\0jxl ")
    path.write_bytes(b"".join(box) + b"\0\0\0\0jxlc" + stream)
    assert read_size(path) == size
    parts = b"\0\0\0\x0fjxlp\0\0\0\0" + stream[:3] + b"\0\0\0\0jxlp\x80\0\0\1" + stream[3:]
    path.write_bytes(b"".join(box) + parts)
    assert read_size(path) == size


@pytest.mark.parametrize("content", [b"", b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n", b"a text\n" * 9, b"\0\0\0\0" * 9])
def test_what_is_no_jxl_is_refused(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    for read in READERS:
        with pytest.raises(SourceError):
            read(path)
