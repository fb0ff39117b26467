"""Photographs of all kinds against what was written into them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import OpenImageIO as oiio
import pytest
from PIL import Image

from model.encoding import Encoding, adobe_rgb, encoding, from_code_points, power, srgb_from_linear
from model.errors import PictureError
from model.pictures import read_ldr, read_photograph, turn
from model.profiles import read_profile
from model.results import write_picture
from pipeline.color import BT709
from pipeline.records import FloatImage
from tests.model import icc
from tests.model.test_exif import exif
from tests.pipeline.still_files import avif_planes, write_avif, write_png


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


def samples(channels: int, dtype: type[np.unsignedinteger[Any]]) -> npt.NDArray[np.generic]:
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


def save(file: Path, mode: str = "RGB", **options: Any) -> Path:
    """A smooth picture by Pillow, as wide as 48 pixels and 32 high, white in a corner."""
    y, x = np.mgrid[:32, :48]
    pixels = np.stack([x * 5, y * 7, 255 - x * 4], axis=-1).astype(np.uint8)
    pixels[:8, :8] = 255
    Image.fromarray(pixels).convert(mode).save(file, **options)
    return file


def codes(file: Path) -> npt.NDArray[np.uint8]:
    with Image.open(file) as opened:
        return np.asarray(opened.convert("RGB"))


@pytest.mark.parametrize(
    ("name", "options", "steps"),
    [
        ("x.webp", {"lossless": True}, 0),
        ("x.webp", {"quality": 90}, 3),
        ("x.tif", {"compression": "tiff_lzw"}, 0),
        ("x.bmp", {}, 0),
        ("x.avif", {"quality": 95, "subsampling": "4:4:4"}, 2),
        ("x.avif", {"quality": 95, "subsampling": "4:4:4", "range": "limited"}, 2),
        ("x.avif", {"quality": 95, "subsampling": "4:2:2"}, 64),  # colour is interpolated at the corner's edge
        ("x.png", {}, 0),
    ],
)
def test_every_format_shows_what_other_programs_show(
    tmp_path: Path, name: str, options: dict[str, Any], steps: int
) -> None:
    file = save(tmp_path / name, **options)
    difference = np.abs(read_ldr(file) * 255 - codes(file))
    assert difference.max() < steps + 0.01
    assert difference.mean() < 2


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "I;16"])
def test_every_kind_of_png_and_tiff(tmp_path: Path, mode: str) -> None:
    for suffix in ("png",) if mode == "P" else ("png", "tif"):  # Pillow writes palettes of TIFF a step too dark
        if mode == "I;16":
            pixels = (np.arange(32 * 48, dtype=np.uint16) * 40).reshape(32, 48)
            Image.fromarray(pixels).save(tmp_path / f"x.{suffix}")
            expected = pixels[..., None] / 65535
        else:
            expected = codes(save(tmp_path / f"x.{suffix}", mode)) / 255
        T = read_ldr(tmp_path / f"x.{suffix}")
        np.testing.assert_allclose(T, np.broadcast_to(expected, T.shape), atol=1e-6)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_every_format_is_turned_by_exif(tmp_path: Path, suffix: str) -> None:
    data = exif()
    T = read_ldr(save(tmp_path / f"x.{suffix}", exif=data))
    assert T.shape == (48, 32, 3)
    assert T[:6, -6:].min() > 0.95  # the white corner, a quarter clockwise
    assert T[:6, :6].min() < 0.5


def test_an_avif_is_turned_by_its_own_properties_alone(tmp_path: Path) -> None:
    T = read_ldr(save(tmp_path / "x.avif", exif=exif()))  # Pillow writes the orientation as such a property
    assert T.shape == (48, 32, 3)
    assert T[:6, -6:].min() > 0.95


def test_premultiplied_colours_are_divided(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2] = (50, 100, 25, 128)
    file = write(tmp_path / "x.tif", pixels)
    opened = oiio.ImageInput.open(str(file))
    assert opened is not None
    assert opened.spec().getattribute("oiio:UnassociatedAlpha") is None  # or this test says nothing
    np.testing.assert_allclose(read_ldr(file)[0, 0] * 128, (50, 100, 25), atol=0.01)
    assert read_ldr(file)[3, 3].max() == 0


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "avif"])
def test_an_embedded_profile_is_applied(tmp_path: Path, suffix: str) -> None:
    content = icc.matrix_profile(icc.DISPLAY_P3, icc.parametric(3, *icc.SRGB_CURVE))
    options: dict[str, dict[str, Any]] = {
        "webp": {"lossless": True},
        "avif": {"quality": 100, "subsampling": "4:4:4"},
    }
    lossless = options.get(suffix, {})
    plain, profiled = save(tmp_path / f"plain.{suffix}", **lossless), tmp_path / f"p3.{suffix}"
    save(profiled, icc_profile=content, **lossless)
    meant = read_profile(content, 3)
    assert meant is not None
    expected = meant.convert(read_ldr(plain))
    np.testing.assert_allclose(read_ldr(profiled), expected, atol=1e-3)
    assert np.abs(expected - read_ldr(plain)).max() > 0.05
    assert (read_ldr(profiled)[1, 1] == 1.0).all() or suffix in {"jpg", "avif"}


def test_sixteen_bits_with_a_profile_keep_their_steps(tmp_path: Path) -> None:
    ramp = np.repeat(np.linspace(20_000, 21_000, 400).astype(np.uint16)[None, :, None], 3, axis=2)
    content = np.frombuffer(icc.matrix_profile(icc.PROPHOTO, icc.parametric(0, 1.8)), np.uint8)
    spec = oiio.ImageSpec(400, 1, 3, "uint16")
    spec.attribute("ICCProfile", oiio.TypeDesc(f"uint8[{len(content)}]"), content)
    output = oiio.ImageOutput.create("tiff")
    assert output is not None
    assert output.open(str(tmp_path / "x.tif"), spec)
    assert output.write_image(ramp)
    output.close()
    T = read_ldr(tmp_path / "x.tif")
    np.testing.assert_allclose(T[0, :, 0], srgb_from_linear((ramp[0, :, 0] / 65535) ** 1.8), atol=2e-5)
    assert len(np.unique(T[..., 0])) == len(np.unique(ramp))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_a_profile_that_cannot_be_used_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    file = save(tmp_path / f"x.{suffix}", icc_profile=b"x" * 200)
    photograph = read_photograph(file)
    (sentence,) = photograph.notices
    assert sentence.startswith("its colour profile cannot be used (it is damaged")
    assert sentence.endswith("sRGB is assumed")
    np.testing.assert_array_equal(photograph.T, read_ldr(save(tmp_path / f"plain.{suffix}")))
    for _ in range(2):
        read_ldr(file)
    assert capsys.readouterr().err == f"{file}: {sentence}\n"


def test_adobe_rgb_by_exif_alone(tmp_path: Path) -> None:
    plain, adobe = save(tmp_path / "plain.jpg"), save(tmp_path / "adobe.jpg", exif=exif(65535, "R03"))
    expected = adobe_rgb().convert(turn(read_ldr(plain), 6))
    np.testing.assert_array_equal(read_ldr(adobe), expected)


CHRM_P3 = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)


@pytest.mark.parametrize(
    ("chunks", "meant"),
    [
        ({b"cICP": bytes([12, 13, 0, 1]), b"gAMA": struct.pack(">I", 100_000)}, from_code_points(12, 13)),
        ({b"gAMA": struct.pack(">I", 100_000)}, encoding(power(1.0), BT709)),
        ({b"gAMA": struct.pack(">I", 55_556)}, encoding(power(1.8), BT709)),
        ({b"gAMA": struct.pack(">I", 45_455), b"cHRM": CHRM_P3}, from_code_points(12, 13)),
        ({b"gAMA": struct.pack(">I", 45_455)}, None),
        ({b"gAMA": struct.pack(">I", 100_000), b"sRGB": b"\0"}, None),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_chunks_of_png_tell_of_light(
    tmp_path: Path, chunks: dict[bytes, bytes], meant: Encoding | None, dtype: type[np.uint8]
) -> None:
    pixels = samples(3, dtype)
    plain = pixels.astype(np.float32) / np.float32(np.iinfo(dtype).max)
    expected = plain if meant is None else meant.convert(plain.copy())
    np.testing.assert_allclose(read_ldr(write_png(tmp_path / "x.png", pixels, chunks)), expected, atol=1e-4)


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_in_a_png_or_avif_is_refused(tmp_path: Path, transfer: int) -> None:
    png = write_png(tmp_path / "x.png", samples(3, np.uint16), {b"cICP": bytes([9, transfer, 0, 1])})
    avif = write_avif(tmp_path / "x.avif", avif_planes(64, 64), (transfer, 9, 9, 1))
    for file in (png, avif):
        with pytest.raises(PictureError, match="it is HDR already"):
            read_ldr(file)


def test_ten_bits_of_avif_are_read(tmp_path: Path) -> None:
    planes = avif_planes(64, 64)
    T = read_ldr(write_avif(tmp_path / "x.avif", planes, (13, 1, 1, 1)))
    luma = T @ np.array([0.2126, 0.7152, 0.0722])
    inside = (T.min(axis=2) > 0) & (T.max(axis=2) < 1)
    np.testing.assert_allclose(luma[inside], ((planes[0] - 64.0) / 876)[inside], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "mode", "sentence"), [("x.jpg", "CMYK", "CMYK without"), ("x.tif", "LAB", "convert it")]
)
def test_inks_and_lab_are_refused(tmp_path: Path, name: str, mode: str, sentence: str) -> None:
    with pytest.raises(PictureError, match=sentence):
        read_ldr(save(tmp_path / name, mode))


@pytest.mark.parametrize("orientation", [1, 2, 6, 7])
@pytest.mark.parametrize("name", ["x.jpg", "x.tif"])
def test_inks_with_a_profile_are_turned_once(tmp_path: Path, name: str, orientation: int) -> None:
    inks = np.zeros((16, 48, 4), np.uint8)
    inks[:, 16:, 3] = 128
    inks[8:, 16:, 3] = 255
    data, options = Image.Exif(), {"quality": 100} if name == "x.jpg" else {"compression": "tiff_lzw"}
    data[0x0112] = orientation
    Image.fromarray(inks, "CMYK").save(tmp_path / name, exif=data, icc_profile=icc.inks_by_table(), **options)
    dark = 1.055 * ((100 * 127 / 255 + 16) / 116) ** (3 / 2.4) - 0.055  # of L* 49.8, by CIE 1976 and sRGB
    expected = np.choose(inks[..., 3:] // 127, [1.0, dark, 0.0]).astype(np.float32).repeat(3, axis=2)
    np.testing.assert_allclose(read_ldr(tmp_path / name), turn(expected, orientation), atol=0.03)


def test_a_header_cannot_ask_for_any_memory(tmp_path: Path) -> None:
    file = write_png(tmp_path / "x.png", samples(3, np.uint8))
    content = bytearray(file.read_bytes())
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    file.write_bytes(content)
    with pytest.raises(PictureError, match=r"60000x60000 pixels|cannot be read"):
        read_ldr(file)


def test_masks_beside_colours_are_left_and_a_cube_of_channels_is_refused(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 200), dtype=np.uint8)
    T = read_ldr(write(tmp_path / "x.tif", pixels[..., :8], oiio__UnassociatedAlpha=1))
    np.testing.assert_allclose(T, pixels[..., :3] / 255, atol=1e-6)
    with pytest.raises(PictureError, match="it has 200 channels: convert it to RGB"):
        read_ldr(write(tmp_path / "y.tif", pixels))


def test_a_heic_or_a_cut_avif_is_one_sentence(tmp_path: Path) -> None:
    whole = save(tmp_path / "x.avif").read_bytes()
    (tmp_path / "cut.avif").write_bytes(whole[:-20])
    (tmp_path / "x.heic").write_bytes(whole[:8] + b"heic" + whole[12:200])
    for name in ("cut.avif", "x.heic"):
        with pytest.raises(PictureError) as caught:
            read_ldr(tmp_path / name)
        assert "\n" not in str(caught.value)
