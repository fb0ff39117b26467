"""EXR and pictures against what other programs read in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenEXR
import OpenImageIO as oiio
import pytest
from PIL import Image

from model.results import LINE, PANEL, exposure_strip, is_result, write_exr, write_png
from pipeline.color import BT709
from pipeline.frames import read_frame
from tests.model.test_pictures import photograph


def test_an_exr_keeps_numbers_colours_and_the_shot(tmp_path: Path) -> None:
    file = tmp_path / "x.exr"
    radiance = photograph(30, 20) * 100
    shot = {
        "Make": "Acme",
        "ExposureTime": (1, 250),
        "Exif:PhotographicSensitivity": 400,
        "GPS:Latitude": (1.0, 2.0, 3.0),
    }
    write_exr(file, radiance, {**shot, "Exif:DateTimeOriginal": "2020:01:02 03:04:05", "hdrprep:stage": "hdr"})
    with OpenEXR.File(str(file)) as opened:
        header = dict(opened.header())
        assert header["compression"] == OpenEXR.ZIP_COMPRESSION
        np.testing.assert_allclose(header["chromaticities"], BT709, atol=1e-6)
        np.testing.assert_array_equal(opened.channels()["RGB"].pixels, radiance.astype(np.float16))
        assert header["Make"] == "Acme"
        assert header["expTime"] == pytest.approx(1 / 250)
        assert header["capDate"] == "2020:01:02 03:04:05"
        assert header["hdrprep:stage"] == "hdr"
    assert read_frame(file).facts.primaries == "bt709"  # the pipeline takes it as a source


def test_words_and_numbers_of_old_cameras_are_written(tmp_path: Path) -> None:
    numbers = {
        "Exif:A": 2**32 - 1,
        "Exif:B": -(2**31),
        "Exif:C": 2**31 - 1,
        "Exif:D": 2**64 - 1,
        "GPS:E": (1, 2**40, 3),
    }
    words = {"Artist": "Jos\udce9", "Copyright": "Jos\u00e9"}  # Latin-1 as OpenImageIO gives it, and UTF-8
    write_exr(tmp_path / "x.exr", photograph(3, 3), numbers | words)
    opened = oiio.ImageInput.open(str(tmp_path / "x.exr"))
    assert opened is not None
    found = {name: opened.spec().getattribute(name) for name in numbers | words}
    assert {name: found[name] for name in words} == {"Artist": "Jos\ufffd", "Copyright": "Jos\u00e9"}
    for name, value in numbers.items():
        assert found[name] == pytest.approx(value, rel=1e-6)


def test_an_unknown_date_is_not_made_up(tmp_path: Path) -> None:
    write_exr(tmp_path / "x.exr", photograph(3, 3), {})
    with OpenEXR.File(str(tmp_path / "x.exr")) as opened:
        assert not opened.header().get("capDate")


def test_results_are_known_by_name_and_by_who_wrote_them(tmp_path: Path) -> None:
    for name, known in (("a_preview.png", True), ("a_exposures.png", True), ("a.png", False)):
        write_png(tmp_path / name, np.zeros((2, 2, 3), np.uint8))
        assert is_result(tmp_path / name) is known
    Image.new("RGB", (2, 2)).save(tmp_path / "b_preview.png")
    assert not is_result(tmp_path / "b_preview.png")


def test_a_file_that_cannot_be_read_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "c_preview.png").mkdir()  # whoever tests as root may read any file
    assert not is_result(tmp_path / "c_preview.png")


def test_the_strip_shows_the_input_and_four_exposures() -> None:
    T = np.full((30, 200, 3), 0.5, np.float32)
    radiance = T**2
    radiance[:, :100] = 4.0
    strip = exposure_strip(T, radiance)
    panels = np.split(strip, 5, axis=1)
    shown = [panel[LINE + 15, [50, 150], 0] for panel in panels]
    expected = [(128, 128), (255, 128), (255, 64), (128, 32), (64, 16)]  # the square root of 2^s times the radiance
    np.testing.assert_allclose(np.array(shown, int), expected, atol=1)


@pytest.mark.parametrize("size", [(1, 1), (3000, 2), (2, 3000), (700, 1000)])
def test_the_strip_of_any_size_is_small(size: tuple[int, int]) -> None:
    strip = exposure_strip(photograph(*size), photograph(*size))
    assert max(strip.shape[0], strip.shape[1] / 5) <= PANEL + 40


def test_png_is_what_was_given(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    write_png(tmp_path / "x.png", pixels)
    opened = oiio.ImageInput.open(str(tmp_path / "x.png"))
    assert opened is not None
    np.testing.assert_array_equal(opened.read_image("uint8"), pixels)
