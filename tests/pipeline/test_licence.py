"""Where a licence comes from, and which of several counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.licence import Licence, find_licence, read_licence_table

TABLE = """# Sources

| file | format | origin (repository) | licence | note |
|---|---|---|---|---|
| a.exr | EXR | somewhere | CC0-1.0 | |
| edge/a.exr | EXR | elsewhere | BSD-3-Clause | another |

Some words.

| file | size |
|---|---|
| c.exr | 12 |
"""


@pytest.fixture
def table(tmp_path: Path) -> dict[str, Licence]:
    (tmp_path / "SOURCES.md").write_text(TABLE)
    return read_licence_table(tmp_path / "SOURCES.md")


def test_a_table_names_files_by_the_end_of_their_path(table: dict[str, Licence]) -> None:
    assert find_licence(Path("/data/a.exr"), table, None) == Licence("CC0-1.0", "somewhere")
    assert find_licence(Path("/data/edge/a.exr"), table, None) == Licence("BSD-3-Clause", "elsewhere")
    assert find_licence(Path("/data/aa.exr"), table, None) == Licence()
    assert find_licence(Path("/data/c.exr"), table, "ours") == Licence("ours")
    assert set(table) == {"a.exr", "edge/a.exr"}


@pytest.mark.parametrize("name", ["a.exr.licence", "a.licence"])
def test_a_sidecar_counts_before_the_table(name: str, table: dict[str, Licence], tmp_path: Path) -> None:
    (tmp_path / name).write_text("CC BY 4.0\nPhotograph: A. Person,\nUppsala\n")
    found = find_licence(tmp_path / "a.exr", table, "ours")
    assert found == Licence("CC BY 4.0", "Photograph: A. Person,\nUppsala")


def test_what_the_user_says_counts_where_nothing_else_does(tmp_path: Path) -> None:
    assert find_licence(tmp_path / "a.exr", {}, "all rights reserved") == Licence("all rights reserved")
    (tmp_path / "a.licence").write_text("")
    assert find_licence(tmp_path / "a.exr", {}, "all rights reserved") == Licence()


@pytest.mark.parametrize("content", [b"", b"no table here", b"| file | size |\n|---|---|\n| a | 1 |\n", b"\xff\xfe"])
def test_a_table_without_licences_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "table.md").write_bytes(content)
    with pytest.raises(UsageError, match=r"table\.md"):
        read_licence_table(tmp_path / "table.md")


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_licence_table(tmp_path / "nowhere.md")


def test_the_table_of_real_data_is_understood(shared_data: Path) -> None:
    table = read_licence_table(shared_data / "hdr" / "SOURCES.md")
    assert len(table) == 35
    found = find_licence(shared_data / "hdr" / "edge" / "XYZ.exr", table, None)
    assert found.licence is not None
    assert found.licence.startswith("BSD-3-Clause")
    assert found.attribution is not None
    assert "openexr-images" in found.attribution
