"""The PFM reader against files made by hand, the shared one, and damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.frames.pfm import read_header, read_pfm
from pipeline.records import FloatImage


def content(rows: FloatImage, scale: str = "-1.0", newline: str = "\n") -> bytes:
    """Return a file of `rows`, top row first: (H, W, 3) or (H, W)."""
    kind = "PF" if rows.ndim == 3 else "Pf"
    text = newline.join([kind, f"{rows.shape[1]} {rows.shape[0]}", scale, ""])
    order = "<f4" if scale.startswith("-") else ">f4"
    return text.encode() + rows[::-1].astype(order).tobytes()


def random_rows(*shape: int) -> FloatImage:
    return np.random.default_rng(0).lognormal(0, 3, shape).astype(np.float32)


@pytest.mark.parametrize("scale", ["-1.0", "1.0", "-1", "+1e0", "-0.003", "100"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_rows_byte_order_and_scale(scale: str, newline: str, tmp_path: Path) -> None:
    rows = random_rows(5, 7, 3)
    path = tmp_path / "picture.pfm"
    path.write_bytes(content(rows, scale, newline))
    values = read_pfm(path)
    np.testing.assert_array_equal(values, rows)  # the scale's magnitude is not applied
    assert values.dtype == np.dtype("=f4")
    assert values.flags.c_contiguous
    assert values.flags.writeable
    facts = read_header(path)
    assert (facts.width, facts.height, facts.channels, facts.scale) == (7, 5, 3, float(scale))


def test_grey_is_repeated_in_three_channels(tmp_path: Path) -> None:
    rows = random_rows(4, 3)
    path = tmp_path / "grey.pfm"
    path.write_bytes(content(rows))
    values = read_pfm(path)
    np.testing.assert_array_equal(values, np.stack([rows] * 3, axis=-1))
    assert values.flags.writeable


def test_values_that_look_like_text_and_non_finite_ones_are_kept(tmp_path: Path) -> None:
    values = np.frombuffer(b"\n\n\n\n    \r\n\r\n", "<f4").reshape(1, 1, 3)
    path = tmp_path / "text.pfm"
    for rows in (values, np.array([[[np.nan, np.inf, -1.0]]], np.float32)):
        path.write_bytes(content(rows))
        np.testing.assert_array_equal(read_pfm(path), rows)


def test_trailing_bytes_are_ignored(tmp_path: Path) -> None:
    rows = random_rows(2, 2, 3)
    path = tmp_path / "long.pfm"
    path.write_bytes(content(rows) + b"trailing")
    np.testing.assert_array_equal(read_pfm(path), rows)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "begins neither with PF nor with Pf"),
        (b"P6\n1 1\n255\n", "begins neither with PF nor with Pf"),
        (b"PF4\n1 1\n-1\n" + bytes(16), "do not follow"),
        (b"PF\n1 1\n-1", "do not follow"),
        (b"PF\n1\n-1\n" + bytes(12), "do not follow"),
        (b"PF\n-1 1\n-1\n" + bytes(12), "do not follow"),
        (b"PF\n1 9999999999\n-1\n" + bytes(12), "do not follow"),
        (b"PF\n0 1\n-1\n", "size of 0x1"),
        (b"PF\n99999 99999\n-1\n", "99999x99999"),
        (b"PF\n1 1\n0.0\n" + bytes(12), "scale"),
        (b"PF\n1 1\n1e999\n" + bytes(12), "scale"),
        (b"PF\n1 1\n1e\n" + bytes(12), "scale"),
        (b"PF\n2 3\n-1\n" + bytes(71), "truncated: the file ends after 2 of 3 rows"),
        (b"Pf\n16384 16384\n-1\n", "truncated: the file ends after 0 of 16384 rows"),
    ],
)
def test_refusals_name_the_reason(data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.pfm"
    path.write_bytes(data)
    with pytest.raises(SourceError) as caught:
        read_pfm(path)
    assert reason in str(caught.value)


def test_missing_file_and_folder_are_source_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pfm", tmp_path):
        with pytest.raises(SourceError, match="cannot be read"):
            read_pfm(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_gives_anything_but_a_picture_or_a_reason(data: st.DataObject, tmp_path: Path) -> None:
    good = content(random_rows(3, 4, 3) if data.draw(st.booleans()) else random_rows(3, 4))
    at = data.draw(st.integers(0, 20))
    damaged = good[:at] + data.draw(st.binary(max_size=4)) + good[at + data.draw(st.integers(0, 4)) :]
    path = tmp_path / "damaged.pfm"
    path.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))] if data.draw(st.booleans()) else damaged)
    try:
        values = read_pfm(path)
    except SourceError:
        return
    facts = read_header(path)
    assert values.shape == (facts.height, facts.width, 3)
    assert values.dtype == np.float32


def test_a_real_file(shared_data: Path) -> None:
    """Its statistics, of BT.709 luminance, stand in the list of sources; the sky is above the ground."""
    values = read_pfm(shared_data / "hdr" / "immenstadter_horn_1k.pfm")
    luminance = values @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    assert values.shape == (512, 1024, 3)
    found = [luminance.min(), np.median(luminance), np.percentile(luminance, 99.9), luminance.max()]
    np.testing.assert_allclose(found, [0.00339, 0.124, 11.4, 6704], rtol=6e-3)
    assert np.median(luminance[:128]) > 2 * np.median(luminance[-128:])
