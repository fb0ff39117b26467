"""Headers that ask for too much or make no sense: refused in one sentence, at once, whatever they promise.

The headers are written by hand here: no library would.
"""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pipeline.errors import SourceError
from pipeline.frames.exr import probe_exr, read_exr
from pipeline.frames.exr.header import Channel, read_header
from tests.pipeline.exr_files import picture, save

MULTI_PART = 0x1000


def attribute(name: bytes, kind: bytes, value: bytes) -> bytes:
    return name + b"\0" + kind + b"\0" + struct.pack("<i", len(value)) + value


def channel_list(*names: bytes, kind: int = 1, sampling: tuple[int, int] = (1, 1)) -> bytes:
    return b"".join(name + b"\0" + struct.pack("<iIii", kind, 0, *sampling) for name in names) + b"\0"


def window(left: int, top: int, right: int, bottom: int) -> bytes:
    return attribute(b"dataWindow", b"box2i", struct.pack("<4i", left, top, right, bottom))


COLOURS = attribute(b"channels", b"chlist", channel_list(b"B", b"G", b"R"))
CODEC = attribute(b"compression", b"compression", b"\3")
SMALL = window(0, 0, 9, 9)
LARGEST = 2**31 - 1


def write(path: Path, *parts: bytes, flags: int = 0) -> Path:
    end = b"\0" if flags & MULTI_PART else b""
    content = b"\x76\x2f\x31\x01" + struct.pack("<I", 2 | flags) + b"".join(part + b"\0" for part in parts) + end
    path.write_bytes(content)
    return path


def assert_refused(path: Path, reason: str) -> None:
    for read in (probe_exr, read_exr):
        with pytest.raises(SourceError, match=reason) as refusal:
            read(path)
        assert str(refusal.value).isprintable()


def test_what_a_header_says(tmp_path: Path) -> None:
    path = save(tmp_path / "a.exr", {"RGB": picture(5, 7)}, whiteLuminance=80.0, view="left", multiView=["left", "b"])
    (part,) = read_header(path).parts
    assert part.channels == tuple(Channel(name, False, (1, 1), 4) for name in "BGR")
    assert (part.window, part.width, part.height, part.compression) == ((0, 0, 6, 4), 7, 5, 3)
    assert (part.view, part.views, part.white_luminance, part.chromaticities) == ("left", ("left", "b"), 80.0, None)


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        (window(0, 0, 99_999, 99_999), "100000x100000 pixels, more than"),
        (window(-LARGEST - 1, -LARGEST - 1, LARGEST, LARGEST), "4294967296x4294967296 pixels, more than"),
        (window(LARGEST, LARGEST, -LARGEST, -LARGEST), "impossible size"),
        (window(0, 0, -1, 5), "impossible size of 0x6"),
        (window(LARGEST - 9, LARGEST - 9, LARGEST, LARGEST), "damaged"),
        (window(-LARGEST - 1, -LARGEST - 1, -LARGEST + 8, -LARGEST + 8), "damaged"),
        (window(0, 0, 2**28 - 1, 0), "damaged"),
    ],
)
@pytest.mark.parametrize("names", [(b"B", b"G", b"R"), (b"Y",)])
def test_windows_that_no_picture_has(box: bytes, reason: str, names: tuple[bytes, ...], tmp_path: Path) -> None:
    channels = attribute(b"channels", b"chlist", channel_list(*names))
    assert_refused(write(tmp_path / "a.exr", channels + CODEC + box), reason)


def test_a_subsampled_header_without_pixels(tmp_path: Path) -> None:
    half = channel_list(b"BY", b"RY", sampling=(2, 2))[:-1]
    channels = attribute(b"channels", b"chlist", half + channel_list(b"Y"))
    for box in (window(0, 0, 16_383, 16_383), window(2**31 - 11, 0, LARGEST, 9)):
        assert_refused(write(tmp_path / "a.exr", channels + CODEC + box), "table of chunks is cut short")


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"", "it is empty"),
        (CODEC + SMALL, "no attribute channels"),
        (COLOURS + SMALL, "no attribute compression"),
        (COLOURS + CODEC, "no attribute dataWindow"),
        (attribute(b"channels", b"string", channel_list(b"Y")) + CODEC + SMALL, "no attribute channels"),
        (attribute(b"channels", b"chlist", b"Y\0\1") + CODEC + SMALL, "list of channels is cut short"),
        (attribute(b"channels", b"chlist", channel_list(b"Y", kind=9)) + CODEC + SMALL, "makes no sense"),
        (attribute(b"channels", b"chlist", channel_list(b"Y", sampling=(0, 1))) + CODEC + SMALL, "makes no sense"),
        (COLOURS + attribute(b"compression", b"compression", b"") + SMALL, "compression is not one byte"),
        (COLOURS + CODEC + SMALL + b"n" * 300, "more than 255 letters"),
        (COLOURS + CODEC + SMALL + b"a\0string\0" + struct.pack("<i", -5), "-5 bytes"),
        (b"channels\0chlist\0" + struct.pack("<i", LARGEST), "2147483647 bytes"),
        (COLOURS + CODEC + SMALL + b"preview\0preview\0" + struct.pack("<i", LARGEST), "cut short"),
        (attribute(b"a", b"int", b"") * 1025, "more than 1024 attributes"),
    ],
)
def test_headers_that_make_no_sense(header: bytes, reason: str, tmp_path: Path) -> None:
    assert_refused(write(tmp_path / "a.exr", header), reason)


def test_a_header_of_very_many_channels(tmp_path: Path) -> None:
    names = [f"c{k}".encode() for k in range(100_000)]
    many = attribute(b"channels", b"chlist", channel_list(*names))
    assert_refused(write(tmp_path / "a.exr", many + CODEC + SMALL), "attribute 'channels' has 2288891 bytes")
    many = attribute(b"channels", b"chlist", channel_list(*names[:2000]))
    assert_refused(write(tmp_path / "a.exr", many + CODEC + SMALL), "more channels than the 1024")
    many = attribute(b"channels", b"chlist", channel_list(*names[:1000]))
    parts = [many + CODEC + SMALL] * 66
    assert_refused(write(tmp_path / "a.exr", *parts, flags=MULTI_PART), "more channels than the 65536")


def test_a_header_of_very_many_parts(tmp_path: Path) -> None:
    part = attribute(b"a", b"int", b"") * 1000 + COLOURS + CODEC + SMALL
    assert_refused(write(tmp_path / "a.exr", *[part] * 1025, flags=MULTI_PART), "more parts than the 1024")


def test_another_version_of_the_format(tmp_path: Path) -> None:
    assert_refused(write(tmp_path / "a.exr", COLOURS + CODEC + SMALL, flags=1), "version 3 of the format")
