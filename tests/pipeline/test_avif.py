"""The AVIF reader against files of FFmpeg's writer (10 bits, lossless) and of Pillow's (8 bits, turned)."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import SourceError
from pipeline.frames import limits, read_frame
from pipeline.frames.avif import as_displayed, probe_avif, read_avif
from pipeline.frames.avifitem import parse_avif
from pipeline.frames.orientation import turn
from pipeline.frames.planes import LAYOUTS, Coding, planes_to_light
from pipeline.records import Facts, Transfer
from pipeline.transfer import pq_to_luminance
from tests.pipeline.still_files import avif_planes, picture, write_avif

READERS: list[Any] = [probe_avif, read_avif]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "picture.avif"


@pytest.mark.parametrize(
    ("tags", "transfer", "primaries", "scale"),
    [
        ((16, 9, 9, 1), "pq", "bt2020", "cd/m2"),
        ((18, 9, 9, 2), "hlg", "bt2020", "HLG scene"),
        ((16, 12, 1, 2), "pq", "p3", "cd/m2"),
    ],
)
def test_lossless_planes_become_light(
    tags: tuple[int, int, int, int], transfer: Transfer, primaries: Any, scale: str, path: Path
) -> None:
    planes = avif_planes(66, 80)
    write_avif(path, planes, tags)
    coding = Coding("bt2020" if tags[2] == 9 else "bt709", tags[3] == 2, transfer)
    read = read_avif(path, "linear")  # the file's own statement counts more
    np.testing.assert_array_equal(read.pixels, planes_to_light(planes, LAYOUTS["yuv420p10le"], coding))
    assert read.facts == probe_avif(path) == Facts(80, 66, transfer, primaries, scale)


def test_white_by_hand(path: Path) -> None:
    # limited range: 940 is 1.0, PQ's 10000 cd/m2; 502 is (502 - 64) / 876 = 0.5, which is 92.2457 cd/m2
    luma = np.full((64, 64), 940, np.uint16)
    luma[:32] = 502
    neutral = np.full((32, 32), 512, np.uint16)
    write_avif(path, [luma, neutral, neutral.copy()])
    frame = read_frame(path)
    np.testing.assert_allclose(frame.pixels[32:], 10_000, rtol=1e-4)
    np.testing.assert_allclose(frame.pixels[:32], float(pq_to_luminance(np.array(0.5))), rtol=1e-3)
    assert float(pq_to_luminance(np.array(0.5))) == pytest.approx(92.2457, rel=1e-5)


def test_without_a_transfer_function_the_user_has_to_say(path: Path) -> None:
    write_avif(path, avif_planes(64, 64), (2, 2, 2, 0))
    for read in READERS:
        with pytest.raises(SourceError, match="--transfer"):
            read(path)
    assert probe_avif(path, "hlg") == Facts(64, 64, "hlg", "bt2020", "HLG scene")


def test_eight_bits_are_not_hdr(path: Path) -> None:
    Image.fromarray(np.full((64, 64, 3), 77, np.uint8)).save(path)
    for read in READERS:
        with pytest.raises(SourceError, match="8-bit SDR, not HDR"):
            read(path, "pq")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_properties_turn_as_the_exif_orientation_does(orientation: int, path: Path) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.full((48, 64, 3), 77, np.uint8)).save(path, exif=exif)
    item = parse_avif(path.read_bytes())
    assert (item.width, item.height) == (64, 48)
    pixels = picture(48, 64)
    np.testing.assert_array_equal(as_displayed(pixels, item), turn(pixels, orientation))


def test_a_property_turns_the_picture(path: Path) -> None:
    planes = avif_planes(66, 80)
    upright = read_avif(write_avif(path, planes)).pixels
    # FFmpeg writes no irot: the box pixi, which says no more than the coded picture does, makes room for one.
    content = path.read_bytes()
    at = content.index(b"pixi") - 4
    size = int.from_bytes(content[at : at + 4], "big")
    quarter_turn = struct.pack(">I4sB", size, b"irot", 1).ljust(size, b"\0")
    path.write_bytes(content[:at] + quarter_turn + content[at + size :])
    read = read_avif(path)
    np.testing.assert_array_equal(read.pixels, np.rot90(upright, 1))
    assert (read.facts.width, read.facts.height) == (66, 80)
    assert probe_avif(path) == read.facts


def test_the_limit_is_asked_before_the_decoder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_avif(path, avif_planes(64, 64))
    monkeypatch.setattr(limits, "MAX_PIXELS", 64 * 64 - 1)
    monkeypatch.setattr("pipeline.frames.avif._coded_bytes", None)
    for read in READERS:
        with pytest.raises(SourceError, match="64x64 pixels, more than"):
            read(path)


def test_a_picture_of_another_size_than_the_header_says_is_refused(path: Path) -> None:
    content = write_avif(path, avif_planes(64, 64)).read_bytes()
    at = content.index(b"ispe") + 8
    path.write_bytes(content[:at] + struct.pack(">II", 64, 62) + content[at + 8 :])
    with pytest.raises(SourceError, match="not the 64x62 pixels"):
        read_avif(path)


def test_a_grid_of_pictures_is_refused(path: Path) -> None:
    content = write_avif(path, avif_planes(64, 64)).read_bytes()
    path.write_bytes(content.replace(b"av01Color", b"gridColor").replace(b"\0\0av01", b"\0\0grid"))
    with pytest.raises(SourceError, match="of kind b'grid'"):
        read_avif(path)


@pytest.mark.parametrize("content", [b"", b"\0\0\0\x14ftypmp42\0\0\0\0mp42", b"\xff\xd8\xff\xe0", b"text\n" * 9])
def test_what_is_no_avif_is_refused(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    for read in READERS:
        with pytest.raises(SourceError, match="not an AVIF file"):
            read(path)
