"""From any readable file to a frame: which reader, the conversion to BT.709, the repair, and the bounds.

A frame is (H, W, 3) float32, scene-linear BT.709, finite, never negative.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from pipeline import records
from pipeline.color import BT2020, XYZ, Chromaticities, to_bt709_matrix
from pipeline.errors import SourceError
from pipeline.frames import NAMED_ONLY, READABLE, probe, read_frame
from pipeline.frames.limits import MAX_PIXELS, check_dimensions
from pipeline.frames.picture import Picture
from pipeline.frames.repair import MAX_NONFINITE_SHARE, repair
from pipeline.records import Facts, FloatImage, Frame
from tests.pipeline.still_files import write_jxl, write_png, write_tiff

FACTS = Facts(width=10, height=20)
NAN, INF = float("nan"), float("inf")


def grey(height: int = 20, width: int = 10, value: float = 0.5) -> FloatImage:
    return np.full((height, width, 3), value, np.float32)


def write_exr(path: Path, pixels: FloatImage, chromaticities: Chromaticities | None = None) -> Path:
    header = {} if chromaticities is None else {"chromaticities": chromaticities}
    OpenEXR.File({"type": OpenEXR.scanlineimage, **header}, {"RGB": pixels}).write(str(path))
    return path


def write_pfm(path: Path, pixels: FloatImage) -> Path:
    height, width, _ = pixels.shape
    path.write_bytes(f"PF\n{width} {height}\n-1.0\n".encode() + pixels[::-1].astype("<f4").tobytes())
    return path


def write_radiance(path: Path, rgbe: Sequence[int], lines: str = "FORMAT=32-bit_rle_rgbe\n") -> Path:
    """A picture of two equal pixels, uncompressed."""
    path.write_bytes(f"#?RADIANCE\n{lines}\n-Y 1 +X 2\n".encode() + bytes(rgbe) * 2)
    return path


# Repair


def test_impossible_values_follow_the_stated_rule_and_are_counted() -> None:
    pixels = grey()
    pixels[0, 0] = 9  # the largest finite value
    pixels[0, 1] = [NAN, 1, -2]
    pixels[0, 2] = [INF, -INF, 3]
    pixels[1, 0] = [-0.25, 4, 5]
    pixels[1, 1] = [-1, -1, -1]
    frame = repair(Picture(pixels, FACTS))
    assert frame.pixels[0, 0].tolist() == [9, 9, 9]
    assert frame.pixels[0, 1].tolist() == [0, 1, 0]
    assert frame.pixels[0, 2].tolist() == [9, 0, 3]
    assert frame.pixels[1, 0].tolist() == [0, 4, 5]
    assert frame.pixels[1, 1].tolist() == [0, 0, 0]
    assert (frame.nonfinite, frame.negative) == (2, 3)  # pixels, not values; the NaN pixel has a negative value too
    assert frame.facts is FACTS
    np.testing.assert_array_equal(frame.pixels[2:], pixels[2:])


def test_what_is_fine_is_left_as_it_is() -> None:
    pixels = np.random.default_rng(0).random((20, 10, 3), dtype=np.float32)
    frame = repair(Picture(pixels, FACTS))
    np.testing.assert_array_equal(frame.pixels, pixels)
    assert (frame.nonfinite, frame.negative) == (0, 0)


def test_negative_values_alone_are_repaired_however_many() -> None:
    pixels = grey(value=-1.0)
    pixels[3, 3, 1] = 0.5
    frame = repair(Picture(pixels, FACTS))
    assert frame.negative == 200
    assert frame.pixels.sum() == 0.5


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_more_than_one_per_cent_of_broken_pixels_is_refused(value: float) -> None:
    pixels = grey(100, 100)
    broken = int(MAX_NONFINITE_SHARE * 10_000)
    pixels.reshape(-1, 3)[:broken, 1] = value
    assert repair(Picture(pixels.copy(), FACTS)).nonfinite == broken == 100
    pixels[50, 50, 2] = value
    with pytest.raises(SourceError, match="101 of its 10000 pixels are NaN or infinite"):
        repair(Picture(pixels, FACTS))


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_picture_without_light_is_refused(value: float) -> None:
    with pytest.raises(SourceError, match="no light"):
        repair(Picture(grey(value=value), FACTS))


def test_infinity_alone_is_no_light() -> None:
    pixels = grey(20, 20, 0.0)
    pixels[0, 0] = INF
    with pytest.raises(SourceError, match="no light"):
        repair(Picture(pixels, FACTS))


@given(
    st_numpy.arrays(
        np.float32, (5, 7, 3), elements=st.floats(width=32) | st.sampled_from([0.5, 1.0]), fill=st.just(np.float32(0.5))
    )
)
def test_a_frame_is_finite_and_never_negative(pixels: FloatImage) -> None:
    before = pixels.copy()
    pixels.setflags(write=False)
    broken = int((~np.isfinite(before)).any(axis=2).sum())
    try:
        frame = repair(Picture(pixels[:, ::-1], FACTS))
    except SourceError:
        assert broken > 0 or not (before > 0).any()
    else:
        assert frame.pixels.dtype == np.float32
        assert frame.pixels.flags.c_contiguous
        assert np.isfinite(frame.pixels).all()
        assert (frame.pixels >= 0).all()
        assert frame.nonfinite == broken
    np.testing.assert_array_equal(pixels, before)


@given(
    st_numpy.arrays(
        np.float32, (9, 4, 3), elements=st.sampled_from([0.5, 2, -1, NAN, INF, -INF]), fill=st.just(np.float32(0.5))
    ),
    st.sampled_from([None, BT2020, XYZ]),
)
def test_a_frame_does_not_depend_on_the_blocks(pixels: FloatImage, chromaticities: Chromaticities | None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[repair.__module__], "MAX_NONFINITE_SHARE", 1.0)
        pixels[4, 2] = 0.5  # some light
        whole = repair(Picture(pixels.copy(), FACTS, chromaticities))
        patch.setattr(records, "BLOCK_BYTES", 2 * pixels[0].nbytes)
        blocks = repair(Picture(pixels.copy(), FACTS, chromaticities))
    np.testing.assert_array_equal(blocks.pixels, whole.pixels)
    assert (blocks.nonfinite, blocks.negative) == (whole.nonfinite, whole.negative)


def test_a_frame_is_repaired_where_it_lies() -> None:
    pixels = grey(value=-1.0)
    pixels[3, 3, 1] = 0.5
    assert repair(Picture(pixels, FACTS)).pixels is pixels
    assert pixels.min() == 0


# Limits


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2**14, 2**14), (2**28, 1), (1, 2**28)])
def test_sizes_that_can_be_held(width: int, height: int) -> None:
    assert MAX_PIXELS == 2**28
    check_dimensions(width, height)


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (-3, -5), (-(2**14), -(2**14))])
def test_impossible_sizes_are_refused(width: int, height: int) -> None:
    with pytest.raises(SourceError, match=f"impossible size of {width}x{height}"):
        check_dimensions(width, height)


@pytest.mark.parametrize(("width", "height"), [(2**14 + 1, 2**14), (2**28 + 1, 1), (2**31, 2**31), (2**40, 2**40)])
def test_sizes_that_cannot_be_held_are_refused(width: int, height: int) -> None:
    with pytest.raises(SourceError, match="more than the 268435456 that are accepted"):
        check_dimensions(width, height)


# Dispatch


def test_each_linear_type_gives_the_same_frame(tmp_path: Path) -> None:
    # (1, 2, 0.5) in each format: Radiance's mantissas over 2^7 are 64 / 128 * 2, 128 / 128 * 2, 32 / 128 * 2
    pixels = np.broadcast_to(np.array([1, 2, 0.5], np.float32), (1, 2, 3)).copy()
    paths = [
        write_exr(tmp_path / "a.exr", pixels),
        write_exr(tmp_path / "a.EXR", pixels),
        write_pfm(tmp_path / "a.pfm", pixels),
        write_radiance(tmp_path / "a.hdr", (64, 128, 32, 130)),
        write_radiance(tmp_path / "a.pic", (64, 128, 32, 130)),
    ]
    for path in paths:
        frame = read_frame(path)
        assert isinstance(frame, Frame)
        np.testing.assert_array_equal(frame.pixels, pixels)
        assert frame.pixels.dtype == np.float32
        assert frame.pixels.flags.c_contiguous
        assert frame.facts == probe(path) == Facts(width=2, height=1)


def test_each_type_that_states_its_primaries_gives_the_same_frame(tmp_path: Path) -> None:
    pixels = np.broadcast_to(np.array([1, 0.25, 0.5], np.float32), (16, 24, 3)).copy()
    half = np.rint(pixels * 65535).astype(np.uint16)
    paths = [
        write_jxl(tmp_path / "a.jxl", pixels + np.eye(16, 24, dtype=np.float32)[..., None], (1, 8)),
        write_tiff(tmp_path / "a.tif", pixels),
        write_tiff(tmp_path / "a.TIFF", pixels),
        write_png(tmp_path / "a.png", half, {b"cICP": bytes([1, 8, 0, 1])}),
    ]
    for path in paths:
        frame = read_frame(path)
        np.testing.assert_allclose(frame.pixels[0, 1:], pixels[0, 1:], atol=1e-5)
        assert frame.facts == probe(path)
        assert (frame.facts.width, frame.facts.height, frame.facts.transfer) == (24, 16, "linear")


def test_what_the_user_states_reaches_the_reader(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a.png", np.full((4, 4, 3), 65535, np.uint16))
    with pytest.raises(SourceError, match="--transfer"):
        read_frame(path)
    assert probe(path, "pq").transfer == "pq"
    np.testing.assert_allclose(read_frame(path, transfer="pq").pixels, 10_000, rtol=1e-4)
    np.testing.assert_allclose(read_frame(path, 0, "srgb").pixels, 1)
    exr = write_exr(tmp_path / "a.exr", grey())
    assert probe(exr, "pq").transfer == "linear"  # the format says it
    np.testing.assert_array_equal(read_frame(exr, transfer="pq").pixels, grey())


@pytest.mark.parametrize("suffix", [".bmp", ".ARW", ".txt", ""])
def test_other_types_are_refused_with_a_remedy(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"anything")
    for read in (probe, read_frame):
        with pytest.raises(SourceError, match=r"files are not read; convert it to one of \.avif|\.exr"):
            read(path)


def test_suffixes_are_written_as_they_are_looked_up() -> None:
    assert not READABLE & NAMED_ONLY
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in READABLE)


@pytest.mark.parametrize("suffix", sorted(READABLE | NAMED_ONLY))
def test_an_empty_or_missing_file_gives_a_reason(suffix: str, tmp_path: Path) -> None:
    empty = tmp_path / f"empty{suffix}"
    empty.touch()
    for path in (empty, tmp_path / f"missing{suffix}"):
        for read in (probe, read_frame):
            with pytest.raises(SourceError) as refusal:
                read(path)
            assert "\n" not in str(refusal.value)


def test_a_still_has_one_frame(tmp_path: Path) -> None:
    path = write_exr(tmp_path / "a.exr", grey())
    assert read_frame(path, 0).pixels.shape == (20, 10, 3)
    with pytest.raises(SourceError, match="no frame 1"):
        read_frame(path, 1)


# Primaries


def test_frames_are_in_bt709(tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).uniform(1, 2, (6, 7, 3)).astype(np.float32)
    path = write_exr(tmp_path / "a.exr", pixels, BT2020)
    frame = read_frame(path)
    expected = np.maximum(pixels.astype(np.float64) @ to_bt709_matrix(BT2020).T, 0)
    np.testing.assert_allclose(frame.pixels, expected, rtol=1e-5, atol=1e-6)
    assert frame.facts.primaries == probe(path).primaries == "bt2020"


def test_colours_outside_of_bt709_are_clipped_and_counted(tmp_path: Path) -> None:
    pixels = grey(4, 4)
    pixels[1, 2] = [0, 1, 0]  # BT.2020's green has a negative red in BT.709
    frame = read_frame(write_exr(tmp_path / "a.exr", pixels, BT2020))
    assert frame.negative == 1
    assert frame.pixels[1, 2, 0] == 0
    assert frame.pixels[1, 2, 1] == pytest.approx(1.1329, abs=1e-4)


def test_chromaticities_without_sense_are_a_reason(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="do not span a colour space"):
        read_frame(write_exr(tmp_path / "a.exr", grey(), (0.0,) * 8))


def test_primaries_of_a_radiance_header(tmp_path: Path) -> None:
    lines = "FORMAT=32-bit_rle_rgbe\nPRIMARIES=0.708 0.292 0.170 0.797 0.131 0.046 0.3127 0.3290\n"
    path = write_radiance(tmp_path / "a.hdr", (128, 128, 128, 129), lines)
    assert probe(path).primaries == "bt2020"
    np.testing.assert_allclose(read_frame(path).pixels, grey(1, 2, 1.0), rtol=1e-5)
    green = read_frame(write_radiance(tmp_path / "b.hdr", (0, 128, 0, 129), lines))
    assert green.pixels[0, 0, 1] == pytest.approx(1.1329, abs=1e-4)


def test_neutral_of_a_radiance_xyze_file_stays_neutral(tmp_path: Path) -> None:
    # Radiance's white is equal-energy: its own converter balances (1, 1, 1) of XYZE to the white of any RGB
    path = write_radiance(tmp_path / "a.hdr", (128, 128, 128, 129), "FORMAT=32-bit_rle_xyze\n")
    assert probe(path).primaries == "xyz"
    np.testing.assert_allclose(read_frame(path).pixels, grey(1, 2, 1.0), rtol=1e-4)


def test_the_white_of_an_xyz_exr_is_not_adapted(tmp_path: Path) -> None:
    # D65 in XYZ is (0.95046, 1, 1.08906), BT.709's white
    white = np.broadcast_to(np.array([0.3127 / 0.329, 1, 0.3583 / 0.329], np.float32), (2, 2, 3)).copy()
    np.testing.assert_allclose(read_frame(write_exr(tmp_path / "a.exr", white, XYZ)).pixels, 1, rtol=1e-4)


def test_neutral_of_any_other_exr_stays_neutral(tmp_path: Path) -> None:
    aces: Chromaticities = (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.077, 0.32168, 0.33767)  # SMPTE ST 2065-1, white D60
    np.testing.assert_allclose(read_frame(write_exr(tmp_path / "a.exr", grey(), aces)).pixels, 0.5, rtol=1e-4)


def test_one_picture_in_two_spaces(shared_data: Path) -> None:
    bt709, xyz = (read_frame(shared_data / "hdr" / "edge" / f"{name}.exr") for name in ("Rec709", "XYZ"))
    assert bt709.facts.primaries is None
    assert xyz.facts.primaries == "xyz"
    bright = bt709.pixels > 0.05  # half floats of XYZ leave little of a dark, saturated channel
    ratio = xyz.pixels[bright] / bt709.pixels[bright]
    assert np.median(ratio) == pytest.approx(1, abs=0.002)
    assert np.percentile(abs(ratio - 1), 99) < 0.02


@pytest.mark.parametrize("pixel", [(INF, 1.0, 1.0), (INF, INF, INF)])
def test_infinity_is_repaired_before_the_change_of_primaries(pixel: tuple[float, float, float], tmp_path: Path) -> None:
    pixels = grey()
    pixels[3, 4] = 8.0  # the largest finite value, which infinity becomes
    pixels[5, 6] = pixel
    frame = read_frame(write_exr(tmp_path / "a.exr", pixels, BT2020))
    finite = np.where(np.isinf(pixel), 8.0, pixel)
    expected = np.maximum(to_bt709_matrix(BT2020) @ finite, 0)
    assert frame.nonfinite == 1
    np.testing.assert_allclose(frame.pixels[5, 6], expected, rtol=1e-5)


# Public files


def test_one_picture_in_two_formats(shared_data: Path) -> None:
    exr, radiance = (read_frame(shared_data / "hdr" / f"hdr-rgb-arboretum.{suffix}") for suffix in ("exr", "hdr"))
    assert exr.facts == radiance.facts == Facts(width=768, height=768)
    # a Radiance pixel holds eight bits of its largest channel
    brightest = exr.pixels.max(axis=2, keepdims=True)
    assert (abs(exr.pixels - radiance.pixels) <= brightest / 128).all()


@pytest.mark.parametrize(
    "file",
    [
        "Desk.exr",  # negative values
        "edge/BrightRingsNanInf.exr",  # 12 pixels of NaN and infinity
        "GoldenGate.exr",  # nothing to repair
        "blender_courtyard.exr",  # negative values left by lossy coding
    ],
)
def test_public_files_are_repaired_and_counted(file: str, shared_data: Path) -> None:
    path = shared_data / "hdr" / file
    channels = OpenEXR.File(str(path), separate_channels=True).channels()
    values = np.stack([channels[name].pixels.astype(np.float32) for name in "RGB"], axis=-1)
    finite = np.isfinite(values)
    frame = read_frame(path)
    assert (frame.facts.height, frame.facts.width, 3) == frame.pixels.shape == values.shape
    assert np.isfinite(frame.pixels).all()
    assert frame.pixels.min() >= 0
    assert frame.nonfinite == (~finite).any(axis=2).sum() == (12 if "NanInf" in file else 0)
    assert frame.negative == pytest.approx(((values < 0) & finite).any(axis=2).sum(), rel=0.01)
    assert (frame.negative > 0) == (file in {"Desk.exr", "blender_courtyard.exr"})
