"""The Radiance reader against files made by hand, OpenImageIO, and damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import OpenImageIO
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.frames.radiance import MAX_HEADER_BYTES, read_header, read_radiance
from pipeline.records import FloatImage
from tests.pipeline.radiance_files import Bytes, flat, header, new_rle, old_rle, random_pixels

ORIENTATIONS = ["-Y +X", "-Y -X", "+Y +X", "+Y -X", "+X -Y", "+X +Y", "-X -Y", "-X +Y"]


def expected_values(pixels: Bytes) -> FloatImage:
    """The format's definition, in double precision: m * 2^(e - 136), black where e is 0."""
    exponents = pixels[..., 3:].astype(np.float64)
    values = pixels[..., :3] * 2.0 ** (exponents - 136)
    return np.where(exponents == 0, 0, values).astype(np.float32)


def read_with_openimageio(path: Path) -> FloatImage:
    file = OpenImageIO.ImageInput.open(str(path))
    assert file is not None
    return np.asarray(file.read_image("float"), np.float32)


@pytest.fixture
def save(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "picture.hdr"
        path.write_bytes(content)
        return path

    return write


def test_a_value_worked_out_by_hand(save: Callable[[bytes], Path]) -> None:
    # 128 * 2^(129 - 136) = 1; 255 * 2^-7 = 1.9921875; an exponent of 0 is black whatever the mantissas say
    pixels, _ = read_radiance(save(header("-Y 1 +X 2") + bytes([128, 255, 64, 129, 9, 9, 9, 0])))
    assert pixels.tolist() == [[[1.0, 1.9921875, 0.5], [0.0, 0.0, 0.0]]]


def test_smallest_and_largest_exponent_are_exact(save: Callable[[bytes], Path]) -> None:
    pixels, _ = read_radiance(save(header("-Y 1 +X 2") + bytes([1, 128, 255, 1, 1, 128, 255, 255])))
    assert pixels[0, 0].tolist() == [2.0**-135, 2.0**-128, 255 * 2.0**-135]
    assert pixels[0, 1].tolist() == [2.0**119, 2.0**126, 255 * 2.0**119]


@pytest.mark.parametrize("code", [flat, new_rle, old_rle])
@pytest.mark.parametrize("length", [8, 127, 128, 129, 700])
def test_each_code(code: Callable[[Bytes], bytes], length: int, save: Callable[[bytes], Path]) -> None:
    pixels = random_pixels(np.random.default_rng(length), 5, length)
    values, facts = read_radiance(save(header(f"-Y 5 +X {length}") + code(pixels)))
    np.testing.assert_array_equal(values, expected_values(pixels))
    assert values.dtype == np.float32
    assert values.flags.c_contiguous
    assert (facts.width, facts.height, facts.format, facts.orientation) == (length, 5, "rgbe", "-Y +X")


@pytest.mark.parametrize("code", [flat, old_rle])
@pytest.mark.parametrize(("scanlines", "length"), [(1, 1), (300, 1), (9, 7), (2, 32768), (1, 2**20 + 3)])
def test_lengths_without_new_run_lengths(
    code: Callable[[Bytes], bytes], scanlines: int, length: int, save: Callable[[bytes], Path]
) -> None:
    rng = np.random.default_rng(length)
    pixels = random_pixels(rng, scanlines, min(length, 500))
    pixels = np.concatenate([pixels, np.repeat(pixels[:, -1:], length - pixels.shape[1], axis=1)], axis=1)
    # Where new run lengths cannot occur, a pixel that looks like their mark is a pixel.
    pixels[0, 0] = (2, 2, 0, length & 255)
    values, _ = read_radiance(save(header(f"-Y {scanlines} +X {length}") + code(pixels)))
    np.testing.assert_array_equal(values, expected_values(pixels))


def test_scanlines_of_different_codes_in_one_file(save: Callable[[bytes], Path]) -> None:
    pixels = random_pixels(np.random.default_rng(1), 6, 300)
    data = b"".join(code(pixels[i : i + 1]) for i, code in enumerate([new_rle, flat, old_rle] * 2))
    values, _ = read_radiance(save(header("-Y 6 +X 300") + data))
    np.testing.assert_array_equal(values, expected_values(pixels))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_orientations(orientation: str, save: Callable[[bytes], Path]) -> None:
    """Walk the file pixel by pixel, as its size line says, and place each pixel by its coordinates."""
    slow, fast = orientation.split()
    width, height = 11, 8
    count, length = (height, width) if slow[1] == "Y" else (width, height)
    pixels = random_pixels(np.random.default_rng(3), count, length)
    stored = expected_values(pixels)
    displayed = np.full((height, width, 3), np.nan, np.float32)
    for s in range(count):
        for t in range(length):
            at = {slow[1]: s if slow[0] == "+" else count - 1 - s, fast[1]: t if fast[0] == "+" else length - 1 - t}
            displayed[height - 1 - at["Y"], at["X"]] = stored[s, t]  # Y points up
    values, facts = read_radiance(save(header(f"{slow} {count} {fast} {length}") + new_rle(pixels)))
    np.testing.assert_array_equal(values, displayed)
    assert (facts.width, facts.height, facts.orientation) == (width, height, orientation)
    assert values.flags.c_contiguous


def test_exposure_and_colorcorr_are_cumulative_and_divided_out(save: Callable[[bytes], Path]) -> None:
    lines = ["EXPOSURE=2", "COLORCORR= 1 2 4", "EXPOSURE= 4.0", "COLORCORR=1 1 0.5", "FORMAT=32-bit_rle_rgbe"]
    # Programs indent the lines of the pictures that theirs was made from: they tell nothing of this one.
    lines += ["\tEXPOSURE=1000", " COLORCORR=7 7 7"]
    values, facts = read_radiance(save(header("-Y 1 +X 1", lines) + bytes([128, 128, 128, 129])))
    assert (facts.exposure, facts.colorcorr) == (8.0, (1.0, 2.0, 2.0))
    assert values.tolist() == [[[1 / 8, 1 / 16, 1 / 16]]]


def test_extreme_exposure_gives_infinity_and_zero_without_a_warning(save: Callable[[bytes], Path]) -> None:
    bright, dark = bytes([128, 128, 128, 255]), bytes([128, 128, 128, 1])
    assert np.isinf(read_radiance(save(header("-Y 1 +X 1", ["EXPOSURE=1e-20"]) + bright))[0]).all()
    assert (read_radiance(save(header("-Y 1 +X 1", ["EXPOSURE=1e20"]) + dark))[0] == 0).all()


def test_xyze_is_handed_over_as_stored(save: Callable[[bytes], Path]) -> None:
    pixels = random_pixels(np.random.default_rng(2), 2, 9)
    values, facts = read_radiance(save(header("-Y 2 +X 9", ["FORMAT=32-bit_rle_xyze"]) + new_rle(pixels)))
    assert facts.format == "xyze"
    np.testing.assert_array_equal(values, expected_values(pixels))


def test_primaries(save: Callable[[bytes], Path]) -> None:
    one = bytes([128, 128, 128, 129])
    given_primaries = "PRIMARIES= .640 .330 .290 .600 .150 .060 .333 .333"
    assert read_header(save(header("-Y 1 +X 1", [given_primaries]) + one)).primaries == (
        *(0.64, 0.33, 0.29, 0.6, 0.15, 0.06),
        *(0.333, 0.333),
    )
    assert read_header(save(header("-Y 1 +X 1", ["PRIMARIES=0 0 0 0 0 0 0 0"]) + one)).primaries is None
    assert read_header(save(header("-Y 1 +X 1") + one)).primaries is None


@pytest.mark.parametrize("magic", ["#?RADIANCE", "#?RGBE", "#?AUTOPANO", "#?"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_magic_words_comments_and_line_ends(magic: str, newline: str, save: Callable[[bytes], Path]) -> None:
    lines = ["# Caf\xe9", "#?RADIANCE", "GAMMA=1", "VIEW= -vtv", "FORMAT=32-bit_rle_rgbe", "EXPOSURE=2"]
    content = header("-Y 1 +X 1", lines, magic, newline) + bytes([128, 128, 128, 129])
    values, facts = read_radiance(save(content))
    assert values.tolist() == [[[0.5, 0.5, 0.5]]]
    assert facts.data_offset == len(content) - 4


def test_format_may_be_missing_and_trailing_bytes_are_ignored(save: Callable[[bytes], Path]) -> None:
    values, _ = read_radiance(save(header("-Y 1 +X 1", []) + bytes([128, 128, 128, 129]) + b"trailing" * 9))
    assert values.tolist() == [[[1.0, 1.0, 1.0]]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "does not begin with"),
        (b"\x89PNG\r\n", "does not begin with"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n", "no blank line"),
        (b"#?RADIANCE\n\n-Y 5 +X 5", "no blank line"),
        (b"#?RADIANCE\n" + b"#" * MAX_HEADER_BYTES + header("-Y 1 +X 1") + bytes(4), "no blank line"),
        (header("-Y 5 -Y 5"), "the picture's size"),
        (header("-Y five +X 5"), "the picture's size"),
        (header("-Y 9999999999 +X 5"), "the picture's size"),
        (header("-Y 0 +X 5"), "size of 5x0"),
        (header("-Y 99999 +X 99999") + bytes(1000), "99999x99999"),
        (header("-Y 16384 +X 16384") + bytes(1000), "cannot hold 16384 x 16384 pixels"),
        (header("-Y 1 +X 1", ["FORMAT=32-bit_rle_cmyk"]) + bytes(4), "unknown Radiance format '32-bit_rle_cmyk'"),
        (header("-Y 1 +X 1", ["EXPOSURE=bright"]) + bytes(4), "EXPOSURE must be followed by 1 number"),
        (header("-Y 1 +X 1", ["EXPOSURE=nan"]) + bytes(4), "EXPOSURE must be followed by 1 number"),
        (header("-Y 1 +X 1", ["EXPOSURE=0"]) + bytes(4), "must be positive"),
        (header("-Y 1 +X 1", ["EXPOSURE=-1", "COLORCORR=-1 -1 -1"]) + bytes(4), "must be positive"),
        (header("-Y 1 +X 1", ["EXPOSURE=1e200", "EXPOSURE=1e200"]) + bytes(4), "must be positive"),
        (header("-Y 1 +X 1", ["COLORCORR=1 1"]) + bytes(4), "COLORCORR must be followed by 3 number"),
        (header("-Y 1 +X 1", ["PRIMARIES=1 1"]) + bytes(4), "PRIMARIES must be followed by 8 number"),
        # new run lengths: another length, a run over the end, a run of nothing
        (header("-Y 1 +X 9") + bytes([2, 2, 0, 8, *[137, 0] * 4]), "scanline 1 has another length than 9"),
        (header("-Y 1 +X 9") + bytes([2, 2, 0, 9, *[138, 0] * 4]), "scanline 1 holds a run of impossible"),
        (header("-Y 1 +X 9") + bytes([2, 2, 0, 9, *[0] * 80]), "scanline 1 holds a run of impossible"),
        # old run lengths: a run over the end, none to repeat
        (header("-Y 1 +X 3") + bytes([200, 0, 0, 9, 1, 1, 1, 3]), "scanline 1 holds a run of impossible"),
        (header("-Y 1 +X 3") + bytes([200, 0, 0, 9, *[1, 1, 1, 0] * 2, 1, 1, 1, 255]), "truncated"),
        (header("-Y 2 +X 3") + bytes([200, 0, 0, 9, 1, 1, 1, 2, 1, 1, 1, 3, 0, 0, 0, 0]), "scanline 2 holds a run"),
        (header("-Y 1 +X 1") + bytes([1, 1, 1, 1, 0, 0, 0, 0]), "scanline 1 holds a run of impossible"),
    ],
)
def test_refusals_name_the_reason(content: bytes, reason: str, save: Callable[[bytes], Path]) -> None:
    with pytest.raises(SourceError) as caught:
        read_radiance(save(content))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("code", "length"), [(flat, 5), (old_rle, 5), (flat, 200), (new_rle, 200), (old_rle, 200)])
def test_truncation_is_refused_and_says_where(
    code: Callable[[Bytes], bytes], length: int, save: Callable[[bytes], Path]
) -> None:
    pixels = random_pixels(np.random.default_rng(4), 10, length)
    start, data = header(f"-Y 10 +X {length}"), code(pixels)
    whole = len(code(pixels[:7]))
    for size, complete in [(whole, 7), (whole + 1, 7), (whole - 1, 6), (len(data) - 1, 9)]:
        with pytest.raises(SourceError, match=f"truncated: the file ends after {complete} of 10 scanlines"):
            read_radiance(save(start + data[:size]))


def test_missing_file_and_folder_are_source_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "none.hdr", tmp_path):
        with pytest.raises(SourceError, match="cannot be read"):
            read_header(path)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_gives_anything_but_a_picture_or_a_reason(data: st.DataObject, tmp_path: Path) -> None:
    """Any byte string is read as a complete picture of the size its header says, or refused as a source."""
    path = tmp_path / "damaged.hdr"
    path.write_bytes(data.draw(damaged_files()))
    try:
        values, facts = read_radiance(path)
    except SourceError:
        return
    assert values.shape == (facts.height, facts.width, 3)
    assert values.dtype == np.float32
    assert (values >= 0).all()


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    """A good file of any code with bytes replaced, taken out or put in, then perhaps cut; or nothing but noise."""
    code = draw(st.sampled_from([flat, new_rle, old_rle]))
    length = draw(st.sampled_from([1, 7, 8, 40, 200]))
    lines = ["FORMAT=32-bit_rle_rgbe", "EXPOSURE=2", "COLORCORR=1 2 3", "PRIMARIES=0 0 0 0 0 0 0 0"]
    pixels = random_pixels(np.random.default_rng(draw(st.integers(0, 9))), 4, length)
    content = header(f"-Y 4 +X {length}", lines) + code(pixels)
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(content)))
        content = content[:at] + draw(st.binary(max_size=4)) + content[at + draw(st.integers(0, 4)) :]
    content = content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content
    return draw(st.one_of(st.just(content), st.binary(max_size=64).map(lambda noise: b"#?\n\n" + noise)))


@pytest.mark.parametrize("length", [8, 1000, 32767])
def test_against_openimageio(length: int, tmp_path: Path) -> None:
    """OpenImageIO writes new run lengths; what it reads back is what we read."""
    values = np.random.default_rng(length).lognormal(0, 3, (3, length, 3)).astype(np.float32)
    values[:, 100:400] = 7.0
    path = tmp_path / "written.hdr"
    output = OpenImageIO.ImageOutput.create(str(path))
    assert output is not None
    assert output.open(str(path), OpenImageIO.ImageSpec(length, 3, 3, "float"))
    assert output.write_image(values)
    output.close()
    np.testing.assert_array_equal(read_radiance(path)[0], read_with_openimageio(path))


def test_real_files_against_openimageio(shared_data: Path) -> None:
    paths = sorted((shared_data / "hdr").glob("*.hdr"))
    assert paths
    for path in paths:
        np.testing.assert_array_equal(read_radiance(path)[0], read_with_openimageio(path), err_msg=path.name)


def test_a_last_run_that_goes_past_several_scanlines_is_refused(tmp_path: Path) -> None:
    # Found by fuzzing: four pixels, and a last word that repeats the fourth 59 times, in two scanlines of 7.
    path = tmp_path / "a.hdr"
    path.write_bytes(b"#?RGBE\n\n-Y 2 +X 7\n" + b"\x10\x20\x30\x80" * 4 + b"\x01\x01\x01\x3b")
    with pytest.raises(SourceError, match="run of impossible length"):
        read_radiance(path)
