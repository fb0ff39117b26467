"""What a worker does to hand patches over, called in this process."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import packing, work
from pipeline.bank import PATCHES_SCHEMA, SOURCES_SCHEMA, LocalStorage, Turn
from pipeline.bank.commits import list_commits, read_commit
from pipeline.config import resolve
from pipeline.errors import OutputError
from pipeline.handover import FORMATS, Folder, digest_of, wanted_rows
from pipeline.work import Outcome, Place

SETTINGS = resolve([{"crops": {"patch_size": 32, "patches": 3}, "score": {"threshold": 0.0}}])


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of the tests keeps its threads."""
    monkeypatch.setattr(work, "single_threaded", lambda: None)
    monkeypatch.setattr(packing, "single_threaded", lambda: None)


class Case:
    """A source with three scored patches, and a folder that is ready for them."""

    def __init__(self, source: Path, top: Path, form: str) -> None:
        bank = LocalStorage(top / "bank.zarr")
        turn = Turn(bank, "first")
        bank.write(f"{turn.folder}/open", b"")
        self.place, self.out, self.form = Place(turn, 60.0), Folder(top / "out"), FORMATS[form]
        self.file = Path(shutil.copy(source, top / source.name))
        work.ingest_source(self.place, work.find(self.file), SETTINGS, also_score=True)
        ((patches, row),) = (read_commit(bank, key) for key in list_commits(bank, turn.folder))
        assert row is not None
        sources = pa.Table.from_pylist([row], schema=SOURCES_SCHEMA)
        self.source = row
        self.wanted = wanted_rows(patches.cast(PATCHES_SCHEMA), sources, self.form, 8)
        self.rows: list[dict[str, Any]] = self.wanted.to_pylist()
        self.out.path.mkdir()
        self.out.prepare()

    def pack(self) -> Outcome:
        schema = self.wanted.schema
        if self.form.sharded:
            sources = {self.source["source_id"]: self.source}
            return packing.pack_shard(self.place, sources, self.rows, self.out.path, schema)
        return packing.pack_frames(self.place, self.source, self.rows, self.out.path, self.form.name, schema)


@pytest.fixture(params=list(FORMATS))
def case(request: pytest.FixtureRequest, hdr_folder: Path, tmp_path: Path) -> Case:
    return Case(min(hdr_folder.glob("*.exr")), tmp_path, request.param)


def test_one_commit_tells_of_the_files_that_were_written(case: Case) -> None:
    assert case.pack().patches == 3
    (commit,) = case.out.committed()
    rows = pq.read_table(commit).to_pylist()
    assert [row["patch_id"] for row in rows] == [row["patch_id"] for row in case.rows]
    for row in rows:
        assert row["clipped_values"] == 0
        for name in case.form.members:
            path = case.out.path / row[f"{name}_path"]
            assert (row[f"{name}_bytes"], row[f"{name}_sha256"]) == (path.stat().st_size, digest_of(path))


def test_the_same_patches_are_packed_into_the_same_bytes(case: Case) -> None:
    case.pack()
    names = [f"{name}_path" for name in case.form.members]
    first = {row[name]: (case.out.path / row[name]).read_bytes() for row in case.rows for name in names}
    case.pack()
    assert first == {name: (case.out.path / name).read_bytes() for name in first}


def test_a_source_that_is_gone_is_an_outcome_and_leaves_nothing(case: Case) -> None:
    case.file.unlink()
    outcome = case.pack()
    assert outcome.path == str(case.file)
    assert outcome.reason is not None
    assert outcome.reason.endswith("put the file back and repeat the command")
    assert case.out.committed() == []
    assert case.out.files(case.form).num_rows == 0
    assert list((case.out.path / "_work" / "unfinished").iterdir()) == []


def test_a_folder_that_takes_no_file_is_no_fault_of_the_source(case: Case) -> None:
    shutil.rmtree(case.out.path)
    case.out.path.write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        case.pack()


def test_files_of_another_content_are_found(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    listed = {name: digest_of(tmp_path / name) for name in ("a", "b", "c")}
    (tmp_path / "b").write_text("d")
    assert packing.find_wrong(tmp_path, listed) == ["b"]
