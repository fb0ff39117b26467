"""What a file tells of the shot, and Adobe RGB by EXIF's word alone."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest
from PIL import Image

from model.errors import PictureError
from model.exif import about_the_shot, decode_with_pillow, exif_of, is_about_the_shot, says_adobe_rgb, shot_by_exif
from model.pictures import read_photograph


def exif(color_space: int | None = None, index: str | None = None) -> Image.Exif:
    """EXIF data of a camera."""
    found = Image.Exif()
    found[0x010F], found[0x0110], found[0x0112] = "Acme", "One", 6
    directory = found.get_ifd(0x8769)
    directory[0x829A], directory[0x829D], directory[0x8827], directory[0xA434] = 1 / 250, 2.8, 400, "Lens X"
    directory[0x9003] = "2020:01:02 03:04:05"
    if color_space is not None:
        directory[0xA001] = color_space
    if index is not None:
        directory[0xA005] = {1: index}
    return found


def jpeg_file(file: Path, data: Image.Exif) -> Path:
    Image.new("RGB", (16, 8), (200, 100, 50)).save(file, exif=data, quality=98)
    return file


@pytest.mark.parametrize(
    ("color_space", "index", "adobe"),
    [
        (None, None, False),
        (1, None, False),
        (65535, None, False),
        (65535, "R98", False),
        (2, None, True),
        (65535, "R03", True),
    ],
)
def test_adobe_rgb_is_a_matter_of_two_tags(tmp_path: Path, color_space: int, index: str, adobe: bool) -> None:
    assert says_adobe_rgb(jpeg_file(tmp_path / "x.jpg", exif(color_space, index))) is adobe


def test_what_is_about_the_shot_is_kept(tmp_path: Path) -> None:
    opened = oiio.ImageInput.open(str(jpeg_file(tmp_path / "x.jpg", exif(1))))
    assert opened is not None
    kept = about_the_shot(opened.spec())
    assert kept["Make"] == "Acme"
    assert kept["Exif:PhotographicSensitivity"] == 400
    assert kept["Exif:LensModel"] == "Lens X"
    assert not {"Orientation", "Exif:ColorSpace", "jpeg:subsampling", "ICCProfile"} & kept.keys()
    assert is_about_the_shot("GPS:Latitude")
    assert not is_about_the_shot("oiio:ColorSpace")


def test_pillows_data_have_the_same_names(tmp_path: Path) -> None:
    found = shot_by_exif(exif_of(jpeg_file(tmp_path / "x.jpg", exif(1))))
    assert found.pop("ExposureTime") == pytest.approx(1 / 250)
    assert found.pop("FNumber") == pytest.approx(2.8)
    assert found == {
        "Make": "Acme",
        "Model": "One",
        "Exif:PhotographicSensitivity": 400,
        "Exif:LensModel": "Lens X",
        "Exif:DateTimeOriginal": "2020:01:02 03:04:05",
    }
    assert dict(exif_of(tmp_path / "none")) == {}


def test_a_damaged_tag_is_left_out_and_not_warned_of(tmp_path: Path) -> None:
    file = jpeg_file(tmp_path / "x.jpg", exif(2))
    content = file.read_bytes()
    entry = struct.pack(">HHI", 0xA434, 2, len("Lens X") + 1)
    assert entry in content
    file.write_bytes(content.replace(entry, struct.pack(">HHI", 0xA434, 2, 10**6)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = shot_by_exif(exif_of(file))
        assert says_adobe_rgb(file)
    assert "Exif:LensModel" not in found
    assert found["Exif:PhotographicSensitivity"] == 400


def test_an_avif_that_pillow_cannot_decode_tells_nothing_of_the_shot(tmp_path: Path) -> None:
    file = tmp_path / "x.avif"
    Image.new("RGB", (16, 8)).save(file, exif=exif())
    assert shot_by_exif(exif_of(file))["Make"] == "Acme"
    file.write_bytes(file.read_bytes().replace(b"pixi\0\0\0\0\3", b"pixi\0\0\0\0\0"))  # of no channels
    with pytest.raises(RuntimeError, match="Failed to decode"):
        Image.open(file)
    assert shot_by_exif(exif_of(file)) == {}
    assert read_photograph(file).T.shape == (16, 8, 3)  # turned by a property, not by EXIF


def test_what_pillow_cannot_decode_is_one_sentence(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "x.jpg")
    content = (tmp_path / "x.jpg").read_bytes()
    assert decode_with_pillow(content).size == (64, 64)
    for damaged in (b"", content[: len(content) // 2]):
        with pytest.raises(PictureError, match="it cannot be read"):
            decode_with_pillow(damaged)
