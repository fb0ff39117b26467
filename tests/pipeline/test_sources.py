"""Finding files and telling who they are."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError, UsageError
from pipeline.sources import Discovery, discover, identify

SUFFIXES = frozenset({".exr", ".hdr"})

Grow = Callable[..., list[Path]]


@pytest.fixture
def grow(tmp_path: Path) -> Grow:
    """Make files, each holding its own name, below the test's folder."""

    def make(*names: str) -> list[Path]:
        paths = [tmp_path / name for name in names]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(path.name)
        return paths

    return make


def find(*paths: Path) -> Discovery:
    return discover(paths, SUFFIXES)


def test_a_folder_is_walked_in_the_order_of_its_paths(grow: Grow, tmp_path: Path) -> None:
    c, a, b, deep = grow("c.exr", "a.hdr", "sub/b.exr", "sub/deep/er/d.hdr")
    found = find(tmp_path)
    assert found.files == sorted([c, a, b, deep])
    assert found.ignored == Counter()
    assert all(file.is_absolute() for file in found.files)


def test_files_come_where_they_were_named(grow: Grow, tmp_path: Path) -> None:
    z, a, b = grow("z.exr", "sub/a.exr", "sub/b.exr")
    assert find(z, tmp_path / "sub").files == [z, a, b]
    assert find(tmp_path / "sub", z).files == [a, b, z]
    assert find(b, tmp_path / "sub").files == [b, a]


def test_no_file_comes_twice(grow: Grow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = grow("sub/a.exr", "sub/b.exr")
    monkeypatch.chdir(tmp_path)
    assert find(a, tmp_path, Path("sub"), Path("sub/a.exr"), tmp_path / "sub").files == [a, b]


def test_relative_paths_become_absolute(grow: Grow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (a,) = grow("a.exr")
    monkeypatch.chdir(tmp_path)
    assert find(Path("a.exr")).files == [a]
    assert find(Path()).files == [a]


def test_upper_case_suffixes_are_known(grow: Grow, tmp_path: Path) -> None:
    upper, mixed = grow("A.EXR", "b.Hdr")
    assert find(tmp_path).files == [upper, mixed]
    assert find(mixed).files == [mixed]


def test_unknown_types_below_a_folder_are_counted(grow: Grow, tmp_path: Path) -> None:
    a, *_ = grow("a.exr", "b.png", "sub/c.PNG", "sub/readme", "sub/d.txt")
    found = find(tmp_path)
    assert found.files == [a]
    assert found.ignored == Counter({".png": 2, "no suffix": 1, ".txt": 1})


def test_some_types_are_taken_only_where_they_are_named(grow: Grow, tmp_path: Path) -> None:
    exr, png, other = grow("sub/a.exr", "sub/b.png", "sub/c.PNG")
    named = frozenset({".png"})
    found = discover([tmp_path], SUFFIXES, named)
    assert (found.files, found.ignored) == ([exr], Counter({".png": 2}))
    assert discover([png, tmp_path], SUFFIXES, named).files == [png, exr]
    assert discover([other], SUFFIXES, named).files == [other]
    with pytest.raises(UsageError, match=r"\.exr, \.hdr; and of these where they are named themselves: \.png"):
        discover(grow("d.txt"), SUFFIXES, named)
    exr.unlink()
    with pytest.raises(UsageError, match=r"no HDR source found.*named themselves: \.png"):
        discover([tmp_path], SUFFIXES, named)


@pytest.mark.parametrize(("name", "said"), [("b.png", ".png"), ("readme", "no suffix")])
def test_an_unknown_type_named_directly_is_refused(name: str, said: str, grow: Grow) -> None:
    a, b = grow("a.exr", name)
    with pytest.raises(UsageError) as refusal:
        find(a, b)
    assert said in str(refusal.value)
    assert ".exr, .hdr" in str(refusal.value)
    assert refusal.value.exit_status == 2


def test_a_missing_path_is_refused(grow: Grow, tmp_path: Path) -> None:
    (a,) = grow("a.exr")
    with pytest.raises(UsageError, match=r"nothing\.exr does not exist"):
        find(a, tmp_path / "nothing.exr")


def test_finding_nothing_is_refused(grow: Grow, tmp_path: Path) -> None:
    grow("a.png", "sub/b.txt")
    for paths in ([tmp_path], []):
        with pytest.raises(UsageError, match=r"no HDR source found.*\.exr, \.hdr"):
            find(*paths)


def test_hidden_entries_are_left_out(grow: Grow, tmp_path: Path) -> None:
    a, _, hidden = grow("a.exr", ".b.exr", ".cache/c.exr")
    found = find(tmp_path)
    assert found.files == [a]
    assert found.ignored == Counter()
    assert find(tmp_path / ".cache").files == [hidden]  # but what is named is meant


def test_banks_are_left_out(grow: Grow, tmp_path: Path) -> None:
    a, *_ = grow("a.exr", "patches.zarr/zarr.json", "patches.zarr/b.exr", "patches.zarr/hdr/c.exr")
    found = find(tmp_path)
    assert found.files == [a]
    assert found.ignored == Counter()


def test_linked_folders_and_files_are_followed(grow: Grow, tmp_path: Path) -> None:
    grow("elsewhere/a.exr", "elsewhere/b.exr")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "file.exr").symlink_to(tmp_path / "elsewhere" / "a.exr")
    assert find(folder).files == [folder / "file.exr", folder / "link" / "a.exr", folder / "link" / "b.exr"]


def test_a_loop_of_links_ends(grow: Grow, tmp_path: Path) -> None:
    a, b = grow("top/a.exr", "top/sub/b.exr")
    (tmp_path / "top" / "sub" / "loop").symlink_to(tmp_path / "top")
    (tmp_path / "top" / "again").symlink_to(tmp_path / "top" / "sub")
    found = find(tmp_path / "top").files
    assert a in found
    assert sorted(file.resolve() for file in found) == [a, b]  # each folder once, by whichever way


def test_a_dangling_link_is_a_source_that_cannot_be_opened(tmp_path: Path) -> None:
    link = tmp_path / "gone.exr"
    link.symlink_to(tmp_path / "nowhere")
    assert find(tmp_path).files == [link]
    with pytest.raises(SourceError, match="cannot be opened"):
        identify([link])
    with pytest.raises(UsageError, match="does not exist"):
        find(link)


def test_a_folder_that_cannot_be_listed_is_refused(grow: Grow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grow("a.exr", "closed/b.exr")
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == "closed":  # as a folder without the right to read it; root may read all
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UsageError, match="closed"):
        find(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300) | st.just(b"x" * 2**20))
def test_identity_is_the_contents(tmp_path: Path, content: bytes) -> None:
    one, other = tmp_path / "one.exr", tmp_path / "other.hdr"
    one.write_bytes(content)
    other.write_bytes(content)
    assert identify([one]) == identify([other]) == (hashlib.sha256(content).hexdigest(), len(content))
    other.write_bytes(content + b"\0")
    assert identify([one])[0] != identify([other])[0]


def test_an_identity_known_beforehand(tmp_path: Path) -> None:
    # FIPS 180-2, Appendix B.1: SHA-256 of "abc"
    (tmp_path / "a.exr").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert identify([tmp_path / "a.exr"]) == (known, 3)


def test_what_cannot_be_read_has_no_identity(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.exr"):
        with pytest.raises(SourceError, match="cannot be opened") as refusal:
            identify([path])
        assert "\n" not in str(refusal.value)


def test_a_pipe_is_never_read(tmp_path: Path) -> None:
    (tmp_path / "a.exr").write_bytes(b"x")
    os.mkfifo(tmp_path / "b.exr")
    assert [path.name for path in find(tmp_path).files] == ["a.exr"]
    with pytest.raises(UsageError, match=r"b\.exr"):
        find(tmp_path / "b.exr")


def test_two_ways_to_write_a_path_are_one_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.exr").write_bytes(b"x")
    named = [tmp_path / "a" / "x.exr", tmp_path / "a" / ".." / "a" / "x.exr"]
    assert find(*named).files == [tmp_path / "a" / "x.exr"]
