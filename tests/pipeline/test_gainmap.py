"""Ultra HDR photographs: made by Pillow and by hand, and one of a phone.

Legend: H, W of the picture, h, w of its gain map; light 1.0 is the white of the 8-bit picture.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import OpenEXR
import pytest
from PIL import Image, ImageCms

from pipeline.color import BT709, P3_D65, to_bt709_matrix
from pipeline.errors import SourceError
from pipeline.frames import limits, read_frame
from pipeline.frames.gainmap import apply_gain, probe_gainmap, read_gainmap
from pipeline.frames.gainmetadata import GainMetadata
from pipeline.records import Facts, FloatImage
from pipeline.transfer import srgb_to_linear
from tests.pipeline.still_files import Fraction, iso, jpeg, segment, smooth, write_ultra_hdr, xmp

READERS: list[Any] = [probe_gainmap, read_gainmap]
# 3 stops at 255, none at 0: gain = 8^(code / 255)
THREE_STOPS = xmp('hdrgm:GainMapMin="0" hdrgm:GainMapMax="3" hdrgm:OffsetSDR="0" hdrgm:OffsetHDR="0"/>')
ISO_ROW: list[Fraction] = [(0, 1), (3, 1), (1, 1), (0, 1), (0, 1)]

Bytes = npt.NDArray[np.uint8]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "photo.jpg"


def photograph(height: int = 64, width: int = 96) -> Bytes:
    return np.asarray(np.rint(smooth(height, width) ** (1 / 2.2) * 255), np.uint8)


def flat(value: int, height: int = 16, width: int = 24) -> Bytes:
    return np.full((height, width), value, np.uint8)


def decoded(picture: Bytes) -> FloatImage:
    """The light of a picture after JPEG, by Pillow."""
    with Image.open(io.BytesIO(jpeg(picture))) as image:
        return srgb_to_linear(np.asarray(image) / 255).astype(np.float32)


def plain_metadata(**changes: Any) -> GainMetadata:
    numbers = {"minimum": 0.0, "maximum": 3.0, "gamma": 1.0, "offset_sdr": 0.0, "offset_hdr": 0.0, **changes}
    triples: dict[str, Any] = {name: (value,) * 3 for name, value in numbers.items()}
    return GainMetadata(**triples)


# The formula


def test_gain_by_hand() -> None:
    # (0.5 + 1/4) * 2^(-1 + (3 - -1) * (51 / 255)^(1 / 0.5)) - 1/8: 0.04 * 4 - 1 = -0.84
    metadata = plain_metadata(minimum=-1.0, gamma=0.5, offset_sdr=1 / 4, offset_hdr=1 / 8)
    light = apply_gain(np.full((1, 1, 3), 0.5, np.float32), np.full((1, 1, 3), 51, np.uint8), metadata)
    np.testing.assert_allclose(light, 0.75 * 2**-0.84 - 0.125, rtol=1e-6)


def test_light_is_never_below_zero() -> None:
    light = apply_gain(np.zeros((1, 1, 3), np.float32), np.zeros((1, 1, 3), np.uint8), plain_metadata(offset_hdr=0.5))
    assert light.tolist() == [[[0, 0, 0]]]


def test_the_map_is_enlarged_linearly() -> None:
    gains = np.array([0, 255], np.uint8)[None, :, None].repeat(3, axis=2)
    light = apply_gain(np.ones((1, 8, 3), np.float32), gains, plain_metadata())
    weights = np.clip((np.arange(8) + 0.5) / 4 - 0.5, 0, 1)  # sample centres
    np.testing.assert_allclose(light[0, :, 1], 8**weights, rtol=1e-5)


# Files


@pytest.mark.parametrize("metadata", [THREE_STOPS, iso(0x40, [ISO_ROW])], ids=["XMP", "ISO"])
@pytest.mark.parametrize(("code", "gain"), [(0, 1.0), (85, 2.0), (170, 4.0), (255, 8.0)])
def test_a_flat_map_multiplies(metadata: bytes, code: int, gain: float, path: Path) -> None:
    base = photograph()
    write_ultra_hdr(path, base, flat(code), metadata)
    read = read_gainmap(path)
    np.testing.assert_allclose(read.pixels, decoded(base) * gain, rtol=1e-5)
    assert read.facts == probe_gainmap(path, "pq") == Facts(width=96, height=64, primaries="bt709")
    assert read.chromaticities == BT709


def test_each_channel_has_its_own_numbers(path: Path) -> None:
    base, gain = photograph(), np.full((16, 24, 3), 255, np.uint8)
    rows: list[list[Fraction]] = [[(0, 1), (stops, 2), (1, 1), (0, 1), (0, 1)] for stops in (2, 4, -1)]
    rows[2][0] = (-2, 1)
    expected = decoded(base) * np.array([2, 4, 2**-0.5], np.float32)
    write_ultra_hdr(path, base, gain, iso(0xC0, rows))
    np.testing.assert_allclose(read_gainmap(path).pixels, expected, rtol=1e-5)
    lists = "".join(
        f"<hdrgm:{name}><rdf:Seq>{''.join(f'<rdf:li>{value}</rdf:li>' for value in values)}</rdf:Seq></hdrgm:{name}>"
        for name, values in {"GainMapMin": (0, 0, -2), "GainMapMax": (1, 2, -0.5), "OffsetSDR": (0, 0, 0)}.items()
    )
    write_ultra_hdr(path, base, gain, xmp(f'hdrgm:OffsetHDR="0">{lists}'))
    np.testing.assert_allclose(read_gainmap(path).pixels, expected, rtol=1e-5)


def test_offsets_that_are_not_given_are_one_64th(path: Path) -> None:
    base = photograph()
    write_ultra_hdr(path, base, flat(255), xmp('hdrgm:GainMapMax="1"/>'))
    np.testing.assert_allclose(read_gainmap(path).pixels, (decoded(base) + 1 / 64) * 2 - 1 / 64, rtol=1e-5)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_picture_is_turned_as_its_exif_says(orientation: int, path: Path) -> None:
    shown, exif = photograph(), Image.Exif()
    stored = {
        1: shown, 2: shown[:, ::-1], 3: shown[::-1, ::-1], 4: shown[::-1], 5: shown.swapaxes(0, 1),
        6: np.rot90(shown, 1), 7: np.rot90(shown, 2).swapaxes(0, 1), 8: np.rot90(shown, -1),
    }[orientation]  # fmt: skip
    exif[274] = orientation
    gain = np.linspace(0, 255, 64 * 96).reshape(64, 96).astype(np.uint8)
    turned = gain if orientation < 5 else gain.reshape(96, 64)
    write_ultra_hdr(path, np.ascontiguousarray(stored), flat(85), THREE_STOPS, exif=exif)
    read = read_gainmap(path)
    assert turned.shape == stored.shape[:2]
    np.testing.assert_allclose(read.pixels, decoded(shown) * 2, atol=0.06)  # JPEG blocks lie elsewhere
    assert np.median(abs(read.pixels - decoded(shown) * 2)) < 0.01
    assert read.facts == probe_gainmap(path) == Facts(width=96, height=64, primaries="bt709")


# Primaries


def display_p3() -> bytes:
    """An ICC profile of Display P3, from the photograph's own numbers: little CMS has none built in."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(profile[128:132], "big")
    # Display P3 colorants relative to D50, in units of 2^-16
    colorants = {b"rXYZ": (33759, 15807, -68), b"gXYZ": (19135, 45367, 2745), b"bXYZ": (10296, 4363, 51385)}
    for at in range(132, 132 + 12 * count, 12):
        name, offset = bytes(profile[at : at + 4]), int.from_bytes(profile[at + 4 : at + 8], "big")
        if name in colorants:
            data = b"".join(value.to_bytes(4, "big", signed=True) for value in colorants[name])
            profile[offset + 8 : offset + 20] = data
    return bytes(profile)


def test_primaries_are_those_of_the_profile(path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile, primaries, chromaticities in [(srgb, "bt709", BT709), (display_p3(), "p3", P3_D65)]:
        write_ultra_hdr(path, photograph(), flat(255), THREE_STOPS, icc_profile=profile)
        read = read_gainmap(path)
        assert read.facts.primaries == probe_gainmap(path).primaries == primaries
        assert read.chromaticities == chromaticities


def test_a_map_may_be_meant_in_its_own_primaries(path: Path) -> None:
    base, signal = photograph(), segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0")
    picture = jpeg(base, signal)
    path.write_bytes(picture + jpeg(np.full((16, 24, 3), 255, np.uint8), iso(0, [ISO_ROW]), icc_profile=display_p3()))
    read = read_gainmap(path)
    assert read.chromaticities == P3_D65
    expected = 8 * decoded(base) @ np.linalg.inv(to_bt709_matrix(P3_D65)).T
    np.testing.assert_allclose(read.pixels, np.maximum(expected, 0), rtol=1e-4, atol=1e-4)


# Refusals


def test_an_ordinary_jpeg_is_not_hdr(path: Path) -> None:
    path.write_bytes(jpeg(photograph()))
    for read in READERS:
        with pytest.raises(SourceError, match="an ordinary 8-bit JPEG, not HDR"):
            read(path)


def test_a_lost_map_is_noticed(path: Path) -> None:
    write_ultra_hdr(path, photograph(), flat(255), THREE_STOPS)
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"\xff\xd8\xff")])
    with pytest.raises(SourceError, match="gain map is missing"):
        read_gainmap(path)


@pytest.mark.parametrize(
    ("metadata", "word"),
    [
        (b"", "no gain map's metadata"),
        (xmp("/>"), "no gain map's metadata"),
        (xmp('hdrgm:GainMapMax="much"/>'), "metadata of its gain map are damaged"),
        (xmp('hdrgm:GainMapMax="nan"/>'), "metadata of its gain map are damaged"),
        (xmp('hdrgm:GainMapMax="900"/>'), "metadata of its gain map are damaged"),
        (xmp('hdrgm:GainMapMax="1" hdrgm:Gamma="0"/>'), "metadata of its gain map are damaged"),
        (xmp('hdrgm:GainMapMax="1" hdrgm:GainMapMin="2"/>'), "metadata of its gain map are damaged"),
        (xmp('hdrgm:GainMapMax="1" hdrgm:BaseRenditionIsHDR="True"/>'), "is the HDR one"),
        (iso(0x44, [ISO_ROW]), "is the HDR one"),
        (iso(0x40, [[(0, 1), (3, 0), (1, 1), (0, 1), (0, 1)]]), "metadata of its gain map are damaged"),
        (iso(0xC0, [ISO_ROW]), "metadata of its gain map are damaged"),  # three channels, and one is there
        (segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\1\0\0\0" + bytes(200)), "reader of version 1"),
    ],
)
def test_metadata_without_sense_are_refused(metadata: bytes, word: str, path: Path) -> None:
    write_ultra_hdr(path, photograph(), flat(255), metadata)
    for read in READERS:
        with pytest.raises(SourceError, match=word):
            read(path)


def test_a_common_denominator(path: Path) -> None:
    body = b"\0\0\0\0" + bytes([0x48])
    body += b"".join(value.to_bytes(4, "big", signed=True) for value in (100, 0, 300, 0, 300, 100, 0, 0))
    write_ultra_hdr(path, photograph(), flat(255), segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0" + body))
    np.testing.assert_allclose(read_gainmap(path).pixels, decoded(photograph()) * 8, rtol=1e-5)


def test_the_limit_is_asked_before_the_decoder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ultra_hdr(path, photograph(), flat(255), THREE_STOPS)
    monkeypatch.setattr(limits, "MAX_PIXELS", 64 * 96 - 1)
    monkeypatch.setattr("pipeline.frames.gainmap.opened", None)
    for read in READERS:
        with pytest.raises(SourceError, match="96x64 pixels, more than"):
            read(path)


# A phone's photograph


def test_a_phone_photograph_agrees_with_another_decoder(shared_data: Path) -> None:
    frame = read_frame(shared_data / "photos" / "ultra_hdr_parking_clouds.jpg")
    assert frame.facts == Facts(width=4080, height=3072, primaries="p3")
    channels = OpenEXR.File(str(shared_data / "hdr" / "phone_parking_clouds.exr"), separate_channels=True).channels()
    other = np.stack([channels[name].pixels.astype(np.float32) for name in "RGB"], axis=2)
    halved = frame.pixels.reshape(1536, 2, 2040, 2, 3).mean(axis=(1, 3))
    error = abs(halved - other) / np.maximum(other, 0.01)
    assert np.median(error) < 0.005  # the other one is lossy EXR
    assert np.percentile(error, 95) < 0.05
    assert halved.mean() == pytest.approx(other.mean(), rel=0.002)
