"""Which channels of which part are the picture, and luminance-chroma pictures.

Legend: H, W height and width of the data window; a picture is (H, W, 3) float32.
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

from pipeline.color import BT2020, XYZ, rgb_to_xyz
from pipeline.errors import SourceError
from pipeline.frames import read_frame
from pipeline.frames.exr import probe_exr, read_exr
from pipeline.records import FloatImage
from tests.pipeline.exr_files import (
    SCANLINES, box, luminance_chroma, picture, save, smooth_picture, subsampled, tiled,
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "picture.exr"


def planes(pixels: FloatImage, *names: str) -> dict[str, FloatImage]:
    return {name: pixels[..., c].copy() for c, name in enumerate(names)}


def part(name: str, channels: Any, **header: Any) -> Any:
    return OpenEXR.Part({**SCANLINES, "compression": OpenEXR.ZIP_COMPRESSION, **header}, dict(channels), name)


def assert_picture(path: Path, pixels: FloatImage) -> None:
    np.testing.assert_array_equal(read_exr(path).pixels, pixels)
    assert probe_exr(path) == read_exr(path).facts


# One part


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


def test_a_subsampled_file_is_refused(shared_data: Path) -> None:
    with pytest.raises(SourceError, match="luminance-chroma"):
        read_exr(shared_data / "hdr" / "Flowers.exr")
