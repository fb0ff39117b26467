"""What the numbers of a still stand for: code points, ICC profiles, and the way to light."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np
import OpenImageIO as oiio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from PIL import ImageCms

from pipeline.color import BT709, BT2020, P3_D65, Chromaticities, rgb_to_xyz, to_bt709_matrix
from pipeline.errors import SourceError
from pipeline.frames.coding import from_code_points, icc_chromaticities, stated, to_linear
from pipeline.records import FloatImage, Transfer
from pipeline.transfer import to_light
from tests.pipeline.still_files import codes

ADOBE_RGB: Chromaticities = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06, 0.3127, 0.3290)  # Adobe RGB (1998), 4.3.1.1
D50: Chromaticities = (*BT709[:6], 0.3457, 0.3585)  # ICC.1:2022, 7.2.16


def spec_with(profile: bytes | None) -> oiio.ImageSpec:
    spec = oiio.ImageSpec(1, 1, 3, "float")
    if profile is not None:
        spec.attribute("ICCProfile", f"uint8[{len(profile)}]", np.frombuffer(profile, np.uint8))
    return spec


def matrix_profile(chromaticities: Chromaticities) -> bytes:
    """A profile of nothing but its colorants, which are adapted to D50 by way of BT.709's own."""
    # to_bt709_matrix is inverse(BT.709) adapt RGB: with BT.709 as sRGB's profile has it, adapted to D50, in front
    srgb = np.array([[0.4360, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])  # IEC 61966-2-1
    columns = (srgb @ to_bt709_matrix(chromaticities)).T
    return profile({name: tuple(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)})


def profile(colorants: Mapping[bytes, tuple[float, ...]]) -> bytes:
    start = 132 + 12 * len(colorants)
    table = b"".join(name + struct.pack(">II", start + 20 * k, 20) for k, name in enumerate(colorants))
    data = b"".join(
        b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in xyz)) for xyz in colorants.values()
    )
    return bytes(128) + struct.pack(">I", len(colorants)) + table + data


@pytest.mark.parametrize("known", [BT709, P3_D65, BT2020])
def test_a_profile_of_a_known_space_gives_the_standards_numbers(known: Chromaticities) -> None:
    assert icc_chromaticities(spec_with(matrix_profile(known))) == known


def test_the_profile_of_little_cms_is_srgb() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert icc_chromaticities(spec_with(srgb)) == BT709


def test_any_other_profile_gives_the_same_matrix() -> None:
    found = icc_chromaticities(spec_with(matrix_profile(ADOBE_RGB)))
    assert found is not None
    assert found[6:] == pytest.approx(D50[6:], abs=5e-4)
    np.testing.assert_allclose(to_bt709_matrix(found), to_bt709_matrix(ADOBE_RGB), atol=2e-3)
    assert rgb_to_xyz(found).sum(axis=1)[1] == pytest.approx(1)


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        bytes(128),
        bytes(128) + b"\xff\xff\xff\xff" * 50,
        profile({b"rXYZ": (0.4, 0.2, 0.0), b"gXYZ": (0.4, 0.7, 0.1)}),
        profile({b"rXYZ": (0.0, 0.0, 0.0), b"gXYZ": (0.4, 0.7, 0.1), b"bXYZ": (0.1, 0.1, 0.7)}),
        matrix_profile(BT709)[:-5],
    ],
)
def test_what_is_no_matrix_profile_says_nothing(content: bytes | None) -> None:
    assert icc_chromaticities(spec_with(content)) is None


def test_code_points() -> None:
    assert from_code_points(9, 16).facts(4, 3).scale == "cd/m2"
    assert from_code_points(12, 18).facts(4, 3).primaries == "p3"
    assert from_code_points(11, 8).facts(4, 3).primaries == "other"  # the white of cinemas
    for points in ((9, 14), (2, 16), (9, 0)):
        with pytest.raises(SourceError, match="code point"):
            from_code_points(*points)


def test_the_users_word() -> None:
    assert stated("pq", "it").chromaticities == BT2020
    assert stated("pq", "it", P3_D65).chromaticities == P3_D65
    assert stated("linear", "it").chromaticities is None
    with pytest.raises(SourceError, match="it does not say"):
        stated(None, "it")


@pytest.mark.parametrize("transfer", ["linear", "srgb", "pq", "hlg"])
def test_the_table_of_whole_numbers_is_the_formula(transfer: Transfer) -> None:
    values = codes()
    expected = to_light(values / 65535, transfer).astype(np.float32)
    np.testing.assert_array_equal(to_linear(values, transfer), expected)


@given(
    st_numpy.arrays(np.float32, (300, 2, 3), elements=st.floats(0, 1, width=32), fill=st.just(np.float32(0.3))),
    st.sampled_from(["linear", "srgb", "pq", "hlg"]),
)
def test_floats_follow_the_formula_strip_by_strip(values: FloatImage, transfer: Transfer) -> None:
    light = to_linear(values, transfer)
    assert light.dtype == np.float32
    np.testing.assert_allclose(light, to_light(values, transfer), rtol=1e-6, atol=1e-30)
