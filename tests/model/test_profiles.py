"""Colour profiles against Little CMS, and against what their standards say."""

from __future__ import annotations

import io
import struct
import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageCms

from model.encoding import srgb_from_linear
from model.profiles import MAX_TAGS, ProfileError, cmyk_to_rgb, read_profile
from pipeline.records import ByteImage, FloatImage
from pipeline.transfer import srgb_to_linear
from tests.model import icc

GAMMA_22 = icc.sampled(563)
GAMMA_18 = icc.parametric(0, 1.8)
PARAMETRIC = icc.parametric(3, *icc.SRGB_CURVE)
TABLE = icc.sampled(*np.rint(srgb_to_linear(np.linspace(0, 1, 1024)) * 65535).astype(int).tolist())


def colours() -> ByteImage:
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def convert(content: bytes, codes: ByteImage) -> FloatImage:
    meant = read_profile(content, 3)
    assert meant is not None
    return meant.convert(codes.astype(np.float32) / np.float32(255))


def by_little_cms(content: bytes, codes: ByteImage) -> FloatImage:
    converted = ImageCms.profileToProfile(
        Image.fromarray(codes),
        ImageCms.ImageCmsProfile(io.BytesIO(content)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    return np.asarray(converted).astype(np.float32) / np.float32(255)


@pytest.mark.parametrize(
    ("columns", "curve"),
    [
        (icc.DISPLAY_P3, PARAMETRIC),
        (icc.DISPLAY_P3, TABLE),
        (icc.ADOBE_RGB, GAMMA_22),
        (icc.PROPHOTO, GAMMA_18),
        (icc.SRGB, icc.sampled()),
        (icc.SRGB, icc.parametric(1, 2.0, 0.9, 0.1)),
        (icc.SRGB, icc.parametric(2, 2.0, 0.9, 0.05, 0.05)),
        (icc.SRGB, icc.parametric(4, 2.0, 0.9, 0.05, 0.3, 0.1, 0.02, 0.0)),
    ],
)
def test_matrices_and_curves_agree_with_little_cms(columns: tuple[tuple[float, ...], ...], curve: bytes) -> None:
    content, codes = icc.matrix_profile(columns, curve), colours()
    # Little CMS works in 8 bits here, with tables of its own; near black the curve of sRGB is steep.
    difference = np.abs(convert(content, codes) - by_little_cms(content, codes))
    assert difference.max() < 3 / 255
    assert difference.mean() < 0.5 / 255


def test_sixteen_bits_are_not_squashed_to_eight() -> None:
    content = icc.matrix_profile(icc.ADOBE_RGB, GAMMA_22)
    meant = read_profile(content, 3)
    assert meant is not None
    ramp = np.repeat(np.linspace(0.25, 0.26, 500, dtype=np.float32)[None, :, None], 3, axis=2)
    expected = srgb_from_linear(ramp.astype(np.float64) ** (563 / 256))
    T = meant.convert(ramp.copy())
    np.testing.assert_allclose(T, expected, atol=2e-5)
    assert len(np.unique(T[..., 0])) > 400


def test_a_profile_of_srgb_changes_nothing() -> None:
    for curve in (PARAMETRIC, TABLE):
        assert read_profile(icc.matrix_profile(icc.SRGB, curve), 3) is None
    assert read_profile(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), 3) is None


def test_a_grey_profile_has_a_curve_alone() -> None:
    meant = read_profile(icc.profile({b"kTRC": GAMMA_18}, space=b"GRAY"), 1)
    assert meant is not None
    T = meant.convert(np.full((1, 1, 3), 0.5, np.float32))
    np.testing.assert_allclose(T, srgb_from_linear(np.array(0.5**1.8)), atol=1e-5)


def test_tables_are_asked_of_little_cms_and_interpolated() -> None:
    meant = read_profile(icc.grey_by_table(), 3)
    assert meant is not None
    T = meant.convert(np.asarray([[[1, 1, 1], [0, 0, 0], [0.5, 0.5, 0.5], [0.51, 0.5, 0.49]]], np.float32))
    np.testing.assert_allclose(T[0, :2], [[1, 1, 1], [0, 0, 0]], atol=1e-6)
    luminance = ((50 + 16) / 116) ** 3  # of L* = 50
    np.testing.assert_allclose(T[0, 2:], srgb_from_linear(np.array(luminance)), atol=2 / 255)
    np.testing.assert_allclose(
        convert(icc.grey_by_table(), colours()), by_little_cms(icc.grey_by_table(), colours()), atol=2.5 / 255
    )


GOOD = icc.matrix_profile(icc.ADOBE_RGB, GAMMA_22)
COLORANTS = {b"rXYZ": icc.xyz(icc.SRGB[0]), b"gXYZ": icc.xyz(icc.SRGB[1]), b"bXYZ": icc.xyz(icc.SRGB[2])}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "does not begin like a profile"),
        (b"x" * 500, "does not begin like a profile"),
        (GOOD[:200], "cut off|lies beyond its end"),
        (GOOD[:128] + b"\xff" * 4 + GOOD[132:], "list of contents"),
        (icc.profile({b"kTRC": GAMMA_22}, space=b"GRAY"), "is for GRAY and the picture is RGB"),
        (icc.profile({}), "has no rTRC"),
        (icc.profile(dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), GAMMA_22)), "has no rXYZ"),
        (icc.matrix_profile([icc.SRGB[0]] * 3, GAMMA_22), "span no colour space"),
        (icc.matrix_profile(icc.SRGB, b"curv\0\0\0\0\xff\xff\xff\xff"), "a curve of it is damaged"),
        (icc.matrix_profile(icc.SRGB, icc.parametric(0, -1.0)), "a curve of it is damaged"),
        (icc.matrix_profile(icc.SRGB, icc.parametric(9, 1.0)), "a curve of it is damaged"),
        (icc.profile({b"A2B0": b"mft1"}, pcs=b"Lab "), "Little CMS cannot use it"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(content: bytes, sentence: str) -> None:
    with pytest.raises(ProfileError, match=sentence) as caught:
        read_profile(content, 3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_profile_gives_a_sentence_or_numbers_in_range(seed: int) -> None:
    rng = np.random.default_rng(seed)
    damaged = bytearray(GOOD if seed % 2 else icc.matrix_profile(icc.DISPLAY_P3, PARAMETRIC))
    for place in rng.integers(0, len(damaged), 4):
        damaged[place] = rng.integers(256)
    try:
        meant = read_profile(bytes(damaged), 3)
    except ProfileError:
        return
    T = colours().astype(np.float32) / np.float32(255)
    T = T if meant is None else meant.convert(T)
    assert np.isfinite(T).all()
    assert 0 <= T.min() <= T.max() <= 1


def test_contents_that_overlap_are_not_copied() -> None:
    start, size = 132 + 12 * MAX_TAGS, 2**20
    table = b"".join(struct.pack(">4sII", b"%04d" % i, start, size) for i in range(MAX_TAGS))
    header = bytes(16) + b"RGB " + bytes(16) + b"acsp" + bytes(88)
    content = header + struct.pack(">I", MAX_TAGS) + table + bytes(size)
    tracemalloc.start()
    with pytest.raises(ProfileError, match="it has no rTRC"):
        read_profile(content, 3)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < size  # less than one of the hundred


def test_ink_without_a_usable_profile_is_told() -> None:
    with pytest.raises(ProfileError, match="Little CMS cannot use it"):
        cmyk_to_rgb(Image.new("CMYK", (2, 2)), GOOD)
