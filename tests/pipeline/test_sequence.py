"""Which numbered files are one sequence, and the path that names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.frames.sequence import group_sequences, is_numbered, probe_sequence, read_sequence, sequence_files
from pipeline.scenes import write_exr

SHAPE = (64, 48, "RGB")


def group(
    *names: str, shapes: Callable[[Path], tuple[object, ...] | None] = lambda _: SHAPE
) -> tuple[list[str], list[str]]:
    stills, sequences = group_sequences([Path("/x") / name for name in names], shapes)
    return [path.name for path in stills], [sequence.path.name for sequence in sequences]


def test_three_files_of_one_name_are_a_sequence() -> None:
    assert group("a.1003.exr", "a.1001.exr", "a.1002.exr", "b.exr") == (["b.exr"], ["a.1001-1003.exr"])


@pytest.mark.parametrize(
    "names",
    [
        ("a.1001.exr", "a.1002.exr"),  # two
        ("a.001.exr", "a.002.exr", "a.003.exr"),  # three digits
        ("a_1001.exr", "a_1002.exr", "a_1003.exr"),  # no dot
        ("a.1001.hdr", "a.1002.hdr", "a.1003.hdr"),  # no EXR
        ("a.1001.exr", "b.1002.exr", "c.1003.exr"),  # three names
        ("1001.exr", "1002.exr", "1003.exr"),  # no name
        ("a.0001.exr", "a.00001.exr", "a.0002.exr"),  # one number twice
        ("a.20200701120000.exr", "a.20210701120000.exr", "a.20220701120000.exr"),  # dates
    ],
)
def test_everything_else_is_a_still(names: tuple[str, ...]) -> None:
    assert group(*names) == (list(names), [])


def test_files_of_another_size_or_channels_are_stills() -> None:
    names = [f"a.{number}.exr" for number in range(1001, 1005)]
    sizes = {f"a.{number}.exr": (64, 48, "RGB") for number in range(1001, 1005)}
    sizes["a.1003.exr"] = (64, 48, "RGBA")
    assert group(*names, shapes=lambda path: sizes[path.name]) == (names, [])


def test_a_damaged_frame_stays_in_its_sequence() -> None:
    names = [f"a.{number}.exr" for number in range(1001, 1005)]
    assert group(*names, shapes=lambda path: None if "1003" in path.name else SHAPE) == ([], ["a.1001-1004.exr"])
    assert group(*names, shapes=lambda _: None) == (names, [])


def test_folders_are_not_mixed_and_gaps_are_told() -> None:
    paths = [Path(f"/{folder}/a.{number}.exr") for folder in "xy" for number in (9998, 9999, 10001)]
    stills, sequences = group_sequences(paths, lambda _: SHAPE)
    assert stills == []
    assert [str(sequence.path) for sequence in sequences] == ["/x/a.9998-10001.exr", "/y/a.9998-10001.exr"]
    assert [sequence.missing for sequence in sequences] == [(10000,), (10000,)]
    assert [file.name for file in sequences[0].files] == ["a.9998.exr", "a.9999.exr", "a.10001.exr"]


@pytest.fixture
def shot(tmp_path: Path) -> Path:
    for number in (8, 9, 11, 12):
        write_exr(tmp_path / f"my.shot.{number:04d}.exr", np.full((20, 30, 3), number, np.float32))
    write_exr(tmp_path / "my.shot.0099.exr", np.full((20, 30, 3), 99, np.float32))
    write_exr(tmp_path / "other.0010.exr", np.full((20, 30, 3), 10, np.float32))
    return tmp_path / "my.shot.0008-0012.exr"


def test_a_path_names_the_files_that_are_there(shot: Path) -> None:
    files = sequence_files(shot)
    assert files is not None
    assert [file.name for file in files] == [f"my.shot.{number:04d}.exr" for number in (8, 9, 11, 12)]
    assert sequence_files(shot.with_name("my.shot.0013-0020.exr")) is None
    assert sequence_files(shot.with_name("my.shot.0008.exr")) is None
    shot.write_bytes(b"")  # a file of that name is a file
    assert sequence_files(shot) is None


def test_frames_are_counted_over_the_files_that_are_there(shot: Path) -> None:
    facts = probe_sequence(shot)
    assert (facts.kind, facts.frames, facts.width, facts.height) == ("sequence", 4, 30, 20)
    assert [(frame, picture.pixels[0, 0, 0]) for frame, picture in read_sequence(shot, [0, 2, 3])] == [
        (0, 8.0),
        (2, 11.0),
        (3, 12.0),
    ]


def test_a_damaged_frame_is_named(shot: Path) -> None:
    damaged = shot.with_name("my.shot.0009.exr")
    damaged.write_bytes(damaged.read_bytes()[:-40])
    frames = read_sequence(shot, [0, 1])
    next(frames)
    with pytest.raises(SourceError, match=r"my\.shot\.0009\.exr: "):
        next(frames)
    with pytest.raises(SourceError, match="no frame 4"):
        list(read_sequence(shot, [4]))


def test_files_that_are_gone_are_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="gone"):
        probe_sequence(tmp_path / "a.1001-1003.exr")


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NAMES | st.builds("{}.{}.exr".format, NAMES, st.integers(0, 10**20)), unique=True, max_size=12))
def test_no_name_breaks_the_grouping(tmp_path: Path, names: list[str]) -> None:
    paths = [tmp_path / name for name in names if name not in {".", ".."}]
    stills, sequences = group_sequences(paths, lambda _: SHAPE)
    files = [file for sequence in sequences for file in sequence.files]
    assert sorted([*stills, *files]) == sorted(paths)
    assert all(is_numbered(file) for file in files)
    for path in paths:
        sequence_files(path)
