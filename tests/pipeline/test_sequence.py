"""Image sequences: which files are one, their path there and back, their identity, and reading them."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.frames.exr import read_exr
from pipeline.frames.sequence import (
    group_sequences,
    identify_sequence,
    probe_sequence,
    read_sequence,
    sequence_files,
)


def alike(_: Path) -> Hashable:
    return "one size"


def touch(folder: Path, *names: str) -> list[Path]:
    files = [folder / name for name in names]
    for file in files:
        file.touch()
    return files


def numbered(name: str, *numbers: str) -> list[str]:
    return [f"{name}.{number}.exr" for number in numbers]


def write_exr(path: Path, value: float, size: tuple[int, int] = (4, 6), channels: str = "RGB") -> Path:
    pixels = {channel: np.full(size, value, np.float32) for channel in channels}
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, pixels).write(str(path))
    return path


def grouped(names: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    stills, sequences = group_sequences([Path("/shots") / name for name in names], alike)
    return [still.name for still in stills], {
        sequence.path.name: [file.name for file in sequence.files] for sequence in sequences
    }


def test_three_numbered_files_of_one_name_are_a_sequence() -> None:
    names = numbered("shot", "1003", "1001", "1002")
    assert grouped(names) == ([], {"shot.1001-1003.exr": sorted(names)})


@pytest.mark.parametrize(
    "names",
    [
        numbered("shot", "1001", "1002"),  # two
        numbered("shot", "001", "002", "003", "004"),  # three digits
        ["img_0001.exr", "img_0002.exr", "img_0003.exr"],  # no dot
        numbered("", "1001", "1002", "1003"),  # no name
        ["shot.1001.hdr", "shot.1002.hdr", "shot.1003.hdr"],
        ["a.1001.exr", "b.1002.exr", "c.1003.exr"],
        numbered("shot", "0001", "00002", "000003"),  # three widths
        numbered("shot", "١٠٠١", "١٠٠٢", "١٠٠٣"),  # noqa: RUF001 - digits, but not of a program
        ["shot.1001-1003.exr", "shot.1002-1004.exr", "shot.1003-1005.exr"],
    ],
)
def test_everything_else_is_a_still(names: list[str]) -> None:
    assert grouped(names) == (names, {})


def test_stills_beside_sequences_keep_their_order() -> None:
    names = ["z.exr", *numbered("b", "0001", "0002", "0003"), "a.exr", *numbered("a", "0001", "0003", "0002")]
    stills, sequences = grouped(names)
    assert stills == ["z.exr", "a.exr"]
    assert list(sequences) == ["a.0001-0003.exr", "b.0001-0003.exr"]


@pytest.mark.parametrize(
    ("numbers", "path"),
    [
        (("0998", "0999", "1000"), "0998-1000"),
        (("9998", "9999", "10000"), "9998-10000"),
        (("09999", "10000", "10001"), "09999-10001"),
        (("10000", "10001", "10002"), "10000-10002"),
        (("00001", "00002", "00003"), "00001-00003"),
    ],
)
def test_numbers_keep_their_width(numbers: tuple[str, ...], path: str, tmp_path: Path) -> None:
    files = touch(tmp_path, *numbered("shot", *numbers))
    (sequence,) = group_sequences(files, alike)[1]
    assert sequence.path == tmp_path / f"shot.{path}.exr"
    assert sequence_files(sequence.path, alike) == files == list(sequence.files)


def test_two_widths_of_one_name_are_two_sequences(tmp_path: Path) -> None:
    files = touch(tmp_path, *numbered("shot", "0001", "0002", "0003"), *numbered("shot", "00001", "00002", "00003"))
    stills, sequences = group_sequences(files, alike)
    assert not stills
    assert [sequence.path.name for sequence in sequences] == ["shot.00001-00003.exr", "shot.0001-0003.exr"]
    for sequence in sequences:
        assert sequence_files(sequence.path, alike) == list(sequence.files)


def test_missing_numbers_are_reported() -> None:
    files = [Path("/shots") / name for name in numbered("shot", "1001", "1002", "1004", "1010", "99999999999")]
    (sequence,) = group_sequences(files, alike)[1]
    assert sequence.gaps == ((1003, 1003), (1005, 1009), (1011, 99999999998))
    assert sequence.files == tuple(files)


def test_folders_sizes_and_channels_separate(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    files = [write_exr(tmp_path / f"shot.{number}.exr", 1.0) for number in (1001, 1003, 1005)]
    large = [write_exr(tmp_path / f"shot.{number}.exr", 1.0, (8, 6)) for number in (1002, 1004, 1006)]
    alpha = [write_exr(tmp_path / f"shot.{number}.exr", 1.0, channels="RGBA") for number in (1007, 1008)]
    other = [write_exr(tmp_path / "other" / f"shot.{number}.exr", 1.0) for number in (1001, 1002)]
    damaged = touch(tmp_path, "shot.1009.exr")
    stills, sequences = group_sequences([*files, *large, *alpha, *other, *damaged])
    assert stills == [*alpha, *other, *damaged]
    assert [sequence.path.name for sequence in sequences] == ["shot.1001-1005.exr", "shot.1002-1006.exr"]
    for sequence, members in zip(sequences, (files, large), strict=True):
        assert sequence_files(sequence.path) == members == list(sequence.files)


def test_a_path_that_is_no_sequence(tmp_path: Path) -> None:
    files = touch(tmp_path, *numbered("shot", "1001", "1002", "1003"))
    assert sequence_files(tmp_path / "shot.1001-1003.exr", alike) == files
    for name in (
        "shot.1001.exr",
        "shot.1001-1002.exr",
        "shot.1003-1001.exr",
        "shot.1000-1003.exr",
        "none.1001-1003.exr",
    ):
        assert sequence_files(tmp_path / name, alike) is None
    assert sequence_files(tmp_path / "missing" / "shot.1001-1003.exr", alike) is None
    # A file of just this name is itself.
    touch(tmp_path, "shot.1001-1003.exr")
    assert sequence_files(tmp_path / "shot.1001-1003.exr", alike) is None


def test_the_identity_is_that_of_the_contents_in_order(tmp_path: Path) -> None:
    files = [tmp_path / name for name in numbered("shot", "1001", "1002", "1003")]
    for number, file in enumerate(files):
        file.write_bytes(bytes([number]) * (number + 1))
    content = b"\0\1\1\2\2\2"
    assert identify_sequence(files) == (hashlib.sha256(content).hexdigest(), 6)
    files[1].unlink()
    with pytest.raises(SourceError, match=r"shot\.1002\.exr: it cannot be opened"):
        identify_sequence(files)


def test_frames_are_the_files_in_order(tmp_path: Path) -> None:
    for number in (1001, 1002, 1004):
        write_exr(tmp_path / f"shot.{number}.exr", float(number))
    path = tmp_path / "shot.1001-1004.exr"
    facts = probe_sequence(path)
    assert (facts.kind, facts.frames, facts.width, facts.height) == ("sequence", 3, 6, 4)
    values = {number: picture.pixels[0, 0, 0] for number, picture in read_sequence(path, [0, 2])}
    assert values == {0: 1001.0, 2: 1004.0}
    assert all(picture.facts == facts for _, picture in read_sequence(path, [1]))
    with pytest.raises(SourceError, match="3 frames"):
        list(read_sequence(path, [3]))


def test_a_damaged_frame_is_named_and_a_lost_one_too(tmp_path: Path) -> None:
    files = [write_exr(tmp_path / f"shot.{number}.exr", 1.0, (64, 64)) for number in (1001, 1002, 1003)]
    path = tmp_path / "shot.1001-1003.exr"
    files[1].write_bytes(files[1].read_bytes()[:-20])
    with pytest.raises(SourceError, match=r"shot\.1002\.exr: "):
        list(read_sequence(path, [0, 1]))
    files[2].unlink()
    with pytest.raises(SourceError, match="not all there"):
        list(read_sequence(path, [0]))
    with pytest.raises(SourceError, match="not all there"):
        probe_sequence(path)


NAMES = st.one_of(
    st.text(max_size=12),
    st.from_regex(r"[ab.]{0,3}\.?[0-9]{1,6}(-[0-9]{4,6})?\.(exr|EXR|hdr)", fullmatch=True),
)


@given(st.lists(NAMES.filter(lambda name: "/" not in name and name not in {"", ".", ".."}), max_size=12))
def test_any_names_are_grouped_without_loss(names: list[str]) -> None:
    files = [Path("/shots") / name for name in names]
    stills, sequences = group_sequences(files, lambda path: path.name.count("1") % 2)
    together = [*stills, *(file for sequence in sequences for file in sequence.files)]
    assert sorted(together) == sorted(set(files))
    paths = [sequence.path for sequence in sequences]
    assert len(set(paths)) == len(paths)
    for sequence in sequences:
        assert len(sequence.files) >= 3
        assert group_sequences(sequence.files, alike)[1][0].path == sequence.path
    assert all(sequence_files(file) is None for file in files)


@given(st.lists(st.from_regex(r"[ab]\.(0{0,2}[1-9]?[0-9]{3,5})\.exr", fullmatch=True), max_size=15, unique=True))
def test_paths_lead_back_to_the_files(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    folder = tmp_path_factory.mktemp("names")
    files = touch(folder, *names)
    for sequence in group_sequences(files, parity)[1]:
        assert sequence_files(sequence.path, parity) == list(sequence.files)


def parity(path: Path) -> Hashable:
    return path.name.count("1") % 2


def test_a_public_sequence(shared_data: Path) -> None:
    folder = shared_data / "video" / "exr_sequence"
    stills, (sequence,) = group_sequences(sorted(folder.iterdir()))
    assert not stills
    assert sequence.path == folder / "hdr10.1001-1012.exr"
    facts = probe_sequence(sequence.path)
    assert (facts.frames, facts.width, facts.height) == (12, 1280, 720)
    ((number, picture),) = read_sequence(sequence.path, [11])
    assert number == 11
    np.testing.assert_array_equal(picture.pixels, read_exr(folder / "hdr10.1012.exr").pixels)
    # The windows of these move from frame to frame, and two are no sequence.
    beachball = sorted((shared_data / "video" / "beachball").glob("*.exr"))
    assert group_sequences(beachball) == (beachball, [])
