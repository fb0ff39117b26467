"""Other primaries and curves against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.encoding import adobe_rgb, encoding, from_code_points, power, srgb_from_linear, unless_same
from model.errors import PictureError
from pipeline.color import BT709, P3_D65
from pipeline.records import FloatImage
from pipeline.transfer import srgb_to_linear

CODES = np.linspace(0, 1, 256)


def pixels(*values: float) -> FloatImage:
    return np.asarray(values, np.float32).reshape(1, -1, 3)


def test_the_two_curves_of_srgb_are_inverse() -> None:
    np.testing.assert_allclose(srgb_from_linear(srgb_to_linear(CODES)), CODES, atol=1e-7)


@given(st.sampled_from([adobe_rgb(), encoding(power(1.8), P3_D65)]), st.floats(0, 1))
def test_white_stays_exactly_white_and_grey_stays_grey(meant: object, grey: float) -> None:
    T = meant.convert(pixels(1, 1, 1, grey, grey, grey, 0, 0, 0))  # type: ignore[attr-defined]
    assert (T[0, 0] == 1.0).all()
    assert (T[0, 2] == 0.0).all()
    assert np.ptp(T[0, 1]) < 1e-6


def test_a_linear_picture_is_encoded() -> None:
    meant = from_code_points(1, 8)
    assert meant is not None
    T = np.repeat(CODES.astype(np.float32)[None, :, None], 3, axis=2)
    np.testing.assert_allclose(meant.convert(T)[0, :, 0], srgb_from_linear(CODES), atol=1e-4)


def test_p3_is_converted_as_its_primaries_say() -> None:
    meant = from_code_points(12, 13)
    assert meant is not None
    # Linear P3 red is (1.2249, -0.0420, -0.0197) in linear BT.709; green (-0.2249, 1.0420, -0.0786).
    T = meant.convert(pixels(1, 0, 0, 0.5, 0.5, 0.6))
    np.testing.assert_array_equal(T[0, 0], (1, 0, 0))
    light = srgb_to_linear(np.array([0.5, 0.5, 0.6]))
    matrix = np.array([[1.2249, -0.2249, 0], [-0.0420, 1.0420, 0], [-0.0197, -0.0786, 1.0983]])
    np.testing.assert_allclose(T[0, 1], srgb_from_linear(matrix @ light), atol=2e-4)


def test_what_is_srgb_is_left_alone() -> None:
    for transfer in (1, 2, 6, 13):
        assert from_code_points(1, transfer) is None
    assert unless_same(encoding(power(2.2), BT709)) is not None


@pytest.mark.parametrize(
    ("primaries", "transfer", "sentence"),
    [
        (9, 16, r"HDR already \(PQ\)"),
        (9, 18, r"HDR already \(HLG\)"),
        (1, 9, "code point 9"),
        (77, 13, "code point 77"),
    ],
)
def test_hdr_and_the_unknown_are_refused(primaries: int, transfer: int, sentence: str) -> None:
    with pytest.raises(PictureError, match=sentence):
        from_code_points(primaries, transfer)
