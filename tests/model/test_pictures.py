"""Photographs of all kinds against what was written into them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import OpenImageIO as oiio
import pytest

from model.errors import PictureError
from model.pictures import read_ldr, turn
from model.results import write_picture
from pipeline.records import FloatImage


def photograph(height: int, width: int) -> FloatImage:
    """A random picture whose left third is saturated."""
    T = np.random.default_rng(0).uniform(0, 0.95, (height, width, 3)).astype(np.float32)
    T[:, : width // 3] = 1.0
    return T


def write(file: Path, pixels: npt.NDArray[np.generic], **attributes: object) -> Path:
    """Write samples in their own type."""
    kind = {"float16": "half"}.get(str(pixels.dtype), str(pixels.dtype))
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], kind)
    for name, value in attributes.items():
        spec[name.replace("__", ":")] = value
    output = oiio.ImageOutput.create(str(file))
    assert output is not None
    assert output.open(str(file), spec), output.geterror()
    assert output.write_image(pixels), output.geterror()
    output.close()
    return file


def samples(channels: int, dtype: type[np.unsignedinteger[npt.NBitBase]]) -> npt.NDArray[np.generic]:
    return np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (5, 7, channels), dtype=dtype, endpoint=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_every_depth_and_kind(
    tmp_path: Path, channels: int, dtype: type[np.unsignedinteger[npt.NBitBase]]
) -> None:
    pixels = samples(channels, dtype)
    # Samples are given as they are to be stored, colour not multiplied by alpha.
    file = write(tmp_path / "x.png", pixels, oiio__UnassociatedAlpha=1)
    expected = pixels[..., :3] if channels >= 3 else np.repeat(pixels[..., :1], 3, axis=2)
    T = read_ldr(file)
    assert T.dtype == np.float32
    assert T.shape == (5, 7, 3)
    np.testing.assert_array_equal(T, expected.astype(np.float32) / np.float32(np.iinfo(dtype).max))


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg(tmp_path: Path, channels: int) -> None:
    pixels = np.full((16, 16, channels), 200, np.uint8)
    np.testing.assert_allclose(read_ldr(write(tmp_path / "x.jpg", pixels)), 200 / 255, atol=2 / 255)


def test_saturated_samples_are_exactly_one(tmp_path: Path) -> None:
    for dtype in (np.uint8, np.uint16):
        file = write(tmp_path / "x.png", np.full((2, 2, 3), np.iinfo(dtype).max, dtype))
        assert read_ldr(file).min() == 1.0


def test_orientation_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 255  # left as stored; 6: turned a quarter clockwise, so it comes on top
    T = read_ldr(write(tmp_path / "x.jpg", pixels, Orientation=6))
    assert T.shape == (16, 8, 3)
    assert T[:6].min() > 0.9
    assert T[10:].max() < 0.1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_agrees_with_openimageio(orientation: int) -> None:
    T = photograph(3, 5)
    buffer = oiio.ImageBuf(T)
    buffer.orientation = orientation
    np.testing.assert_array_equal(turn(T, orientation), oiio.ImageBufAlgo.reorient(buffer).get_pixels())


def test_an_unknown_orientation_is_no_orientation() -> None:
    T = photograph(3, 5)
    np.testing.assert_array_equal(turn(T, 0), T)


def test_a_picture_that_was_cut_off_is_refused_and_nothing_else_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("x.jpg", "x.png"):
        file = write(tmp_path / name, noise)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(PictureError, match="it cannot be read") as caught:
            read_ldr(file)
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("x.png", "x.jpg"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PictureError, match="it cannot be read"):
            read_ldr(tmp_path / name)


def test_an_hdr_picture_is_no_input(tmp_path: Path) -> None:
    file = tmp_path / "x.exr"
    write_picture(file, "openexr", photograph(4, 4), "half")
    with pytest.raises(PictureError, match="half samples, and an 8- or 16-bit picture is asked for"):
        read_ldr(file)


def test_an_ultra_hdr_photograph_is_taken_without_its_gain_map(tmp_path: Path) -> None:
    linear = np.full((64, 64, 4), 1.0, np.float16)
    linear[:32] = [0.5, 0.1, 4.0, 1.0]
    attributes: dict[str, object] = {"jpeg__ultrahdr": 1, "oiio__ColorSpace": "lin_rec709"}
    file = write(tmp_path / "x.jpg", linear, **attributes)
    opened = oiio.ImageInput.open(str(file))
    assert opened is not None
    assert str(opened.spec().format) == "half"  # with the gain map, or this test says nothing
    T = read_ldr(file)
    assert T.shape == (64, 64, 3)
    assert 0.0 <= T.min() <= T.max() <= 1.0
    red, green, blue = T[8, 8]
    assert green < red < blue


def test_pictures_are_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "x.exr"
    for _ in range(2):
        write_picture(file, "openexr", photograph(4, 4), "half")
    assert [p.name for p in tmp_path.iterdir()] == ["x.exr"]
    with pytest.raises(PictureError, match="could not find a format writer for"):
        write_picture(file, "nonsense", photograph(4, 4), "half")
    assert [p.name for p in tmp_path.iterdir()] == ["x.exr"]
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        write_picture(tmp_path / "file" / "x.exr", "openexr", photograph(4, 4), "half")
