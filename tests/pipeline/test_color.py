"""Colour matrices against published ones, and the properties that a change of primaries has."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import records
from pipeline.color import (
    BT709,
    BT2020,
    D65,
    P3_D65,
    XYZ,
    Chromaticities,
    name_primaries,
    rgb_to_xyz,
    to_bt709,
    to_bt709_matrix,
)
from pipeline.errors import SourceError

ACES_AP0: Chromaticities = (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.077, 0.32168, 0.33767)  # SMPTE ST 2065-1

# Around the primaries that cameras, displays and renderers use: red, green, blue, white.
spaces = st.tuples(
    st.floats(0.55, 0.75), st.floats(0.24, 0.35), st.floats(0.0, 0.35), st.floats(0.55, 1.0),
    st.floats(0.0, 0.2), st.floats(-0.08, 0.1), st.floats(0.28, 0.36), st.floats(0.28, 0.37),
)  # fmt: skip


@pytest.mark.parametrize(
    ("space", "published"),
    [
        # IEC 61966-2-1 (sRGB), as printed by Lindbloom from a white point of five decimals
        (BT709, [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.950304]]),
        # BT.2020: luminance weights of ITU-R BT.2020-2, Table 4, in the middle row
        (BT2020, [[0.6369580, 0.1446169, 0.1688810], [0.2627002, 0.6779981, 0.0593017], [0.0, 0.0280727, 1.0609851]]),
    ],
)  # fmt: skip
def test_to_xyz(space: Chromaticities, published: list[list[float]]) -> None:
    np.testing.assert_allclose(rgb_to_xyz(space), published, atol=3e-4)
    assert rgb_to_xyz(space)[1].sum() == pytest.approx(1)  # white has Y = 1


def test_xyz_is_its_own_space() -> None:
    np.testing.assert_allclose(rgb_to_xyz(XYZ), np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    ("space", "published"),
    [
        # Report ITU-R BT.2407, the linear matrix transformation
        (BT2020, [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]),
        # DCI-P3 with a D65 white, widely printed with four decimals
        (P3_D65, [[1.2249, -0.2249, 0.0], [-0.0421, 1.0421, 0.0], [-0.0196, -0.0786, 1.0983]]),
        # OpenColorIO's ACES configuration: ACES2065-1 to linear Rec.709, D60 to D65 by Bradford
        (ACES_AP0, [[2.52169, -1.13413, -0.38756], [-0.27648, 1.37272, -0.09624], [-0.01538, -0.15298, 1.16835]]),
    ],
)
def test_to_bt709_against_published_matrices(space: Chromaticities, published: list[list[float]]) -> None:
    np.testing.assert_allclose(to_bt709_matrix(space), published, atol=1e-4)


def test_the_way_back_is_the_matrix_of_bt2087() -> None:
    # Recommendation ITU-R BT.2087, linear BT.709 to linear BT.2020
    bt2087 = [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
    np.testing.assert_allclose(np.linalg.inv(to_bt709_matrix(BT2020)), bt2087, atol=1e-4)


def test_the_white_point_is_adapted_by_bradford() -> None:
    # Lindbloom's printed Bradford matrix from equal-energy white to D65, between the spaces of one set of primaries
    e_to_d65 = [
        [0.9531874, -0.0265906, 0.0238731],
        [-0.0382467, 1.0288406, 0.0094060],
        [0.0026068, -0.0030332, 1.0892565],
    ]
    equal_energy: Chromaticities = (*BT709[:6], 1 / 3, 1 / 3)
    expected = np.linalg.inv(rgb_to_xyz(BT709)) @ e_to_d65 @ rgb_to_xyz(equal_energy)
    np.testing.assert_allclose(to_bt709_matrix(equal_energy), expected, atol=5e-4)


def test_colours_as_measured_go_through_the_matrix_of_srgb() -> None:
    # IEC 61966-2-1, XYZ to linear RGB
    published = [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
    np.testing.assert_allclose(to_bt709_matrix(XYZ, adapt_white=False), published, atol=5e-4)
    measured = to_bt709(np.ones((1, 1, 3), np.float32), XYZ, adapt_white=False)
    np.testing.assert_allclose(measured[0, 0], np.sum(published, axis=1), atol=1e-3)


@given(spaces)
def test_neutral_stays_neutral(space: Chromaticities) -> None:
    np.testing.assert_allclose(to_bt709_matrix(space).sum(axis=1), 1, atol=1e-6)


@given(spaces)
def test_a_primary_keeps_its_chromaticity_on_the_way_to_xyz(space: Chromaticities) -> None:
    matrix = rgb_to_xyz(space)
    columns = np.column_stack([matrix, matrix.sum(axis=1)])  # red, green, blue, white
    np.testing.assert_allclose((columns[:2] / columns.sum(axis=0)).T.ravel(), space, atol=1e-6)


def test_xyz_files_give_finite_numbers() -> None:
    pixels = np.random.default_rng(0).random((4, 5, 3), dtype=np.float32)
    converted = to_bt709(pixels, XYZ)
    assert np.isfinite(converted).all()
    assert converted.dtype == np.float32
    # XYZ's X alone lies outside of BT.709: red, and less than no green
    red = to_bt709(np.array([[[1, 0, 0]]], np.float32), XYZ)[0, 0]
    assert red[0] > 1 > 0 > red[1]


@pytest.mark.parametrize("space", [XYZ, BT2020, ACES_AP0])
@pytest.mark.parametrize("adapt_white", [False, True])
def test_the_largest_numbers_stay_numbers(space: Chromaticities, adapt_white: bool) -> None:
    largest = float(np.finfo(np.float32).max)
    pixels = np.array([[[largest] * 3, [largest, 0, largest], [0, -largest, largest]]], np.float32)
    assert np.isfinite(to_bt709(pixels, space, adapt_white)).all()


def test_pixels_go_through_the_matrix_one_by_one() -> None:
    pixels = np.random.default_rng(1).normal(size=(3, 4, 3)).astype(np.float32)  # negative values among them
    matrix = to_bt709_matrix(BT2020)
    expected = [[matrix @ pixels[y, x].astype(np.float64) for x in range(4)] for y in range(3)]
    np.testing.assert_allclose(to_bt709(pixels, BT2020), expected, rtol=1e-5, atol=1e-6)


def test_pixels_are_converted_in_place_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(4).normal(size=(50, 4, 3)).astype(np.float32)
    whole = to_bt709(pixels.copy(), BT2020)
    monkeypatch.setattr(records, "BLOCK_BYTES", 7 * pixels[0].nbytes)
    assert to_bt709(pixels, BT2020) is pixels
    np.testing.assert_array_equal(pixels, whole)


@pytest.mark.parametrize("space", [None, BT709, (0.6400, 0.3300, 0.3001, 0.6000, 0.1500, 0.0600, 0.3127, 0.3290)])
def test_bt709_and_unknown_primaries_are_left_as_they_are(space: Chromaticities | None) -> None:
    pixels = np.random.default_rng(2).random((2, 2, 3), dtype=np.float32)
    np.testing.assert_array_equal(to_bt709(pixels, space), pixels)


@pytest.mark.parametrize(
    "space",
    [
        (0.0,) * 8,
        (0.1, 0.1, 0.2, 0.2, 0.3, 0.3, *D65),  # on one line
        (0.64, 0.33, 0.64, 0.33, 0.15, 0.06, *D65),  # red is green
        (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3, 0.0),  # white without luminance
        (np.nan, 0.33, 0.30, 0.60, 0.15, 0.06, *D65),
        (np.inf, 0.33, 0.30, 0.60, 0.15, 0.06, *D65),
    ],
)
def test_chromaticities_that_span_no_space_are_refused(space: Chromaticities) -> None:
    with pytest.raises(SourceError, match="do not span a colour space") as refusal:
        to_bt709(np.ones((1, 1, 3), np.float32), space)
    assert "np.float" not in str(refusal.value)


@pytest.mark.parametrize(
    ("space", "name"),
    [
        (None, None),
        (BT709, "bt709"),
        (BT2020, "bt2020"),
        (P3_D65, "p3"),
        (XYZ, "xyz"),
        (ACES_AP0, "other"),
        ((0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *D65), "other"),  # SMPTE C, a hundredth from BT.709
        ((*P3_D65[:6], 0.314, 0.351), "other"),  # P3 with the white of a cinema
    ],
)
def test_names(space: Chromaticities | None, name: str | None) -> None:
    assert name_primaries(space) == name


@given(
    st.sampled_from([(BT709, "bt709"), (BT2020, "bt2020"), (P3_D65, "p3"), (XYZ, "xyz")]),
    st.lists(st.floats(-1e-3, 1e-3), min_size=8, max_size=8),
)
def test_names_survive_the_rounding_of_files(known: tuple[Chromaticities, str], rounding: list[float]) -> None:
    space: npt.NDArray[np.float64] = np.add(known[0], rounding)
    assert name_primaries(tuple(space.tolist())) == known[1]
