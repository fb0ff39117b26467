"""The bank: atomic commits, the fold into tables, shards with one writer, and a reader that reports every damage."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.bank import (
    FORMAT_VERSION,
    PATCHES_SCHEMA,
    SOURCES_SCHEMA,
    BankReader,
    BankWriter,
    ExportSettings,
    Turn,
    commit_key,
    durable,
    plan_shards,
    write_commit,
)
from pipeline.bank.arrays import HALF_MAX, to_half
from pipeline.bank.commits import TURNS, list_commits
from pipeline.bank.drafts import ShardDraft, write_patches
from pipeline.bank.files import replace_file
from pipeline.bank.schema import COLUMNS
from pipeline.bank.writer import merge_patches
from pipeline.errors import BankDamaged, BankError, BankLocked, BankMissing, BankVersionError
from pipeline.records import patch_id
from tests.patience import HANGS

ATTRIBUTES: dict[str, Any] = {"seed": 0, "config": {}, "versions": {}}
SOURCES = ("a" * 64, "b" * 64)


def described(attributes: dict[str, Any]) -> str:
    """What zarr.json holds of a bank with these attributes."""
    return json.dumps({"attributes": {"hdrprep": {"format_version": FORMAT_VERSION, **attributes}}})


def patch_row(source_id: str, k: int, **more: Any) -> dict[str, Any]:
    return {"patch_id": patch_id(source_id, 0, k), "source_id": source_id, "frame": 0, "k": k, **more}


def patch_table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=PATCHES_SCHEMA)


def source_row(source_id: str | None, path: str, **more: Any) -> dict[str, Any]:
    return {"source_id": source_id, "path": path, "also_at": [], "status": "ok", **more}


def make_bank(path: Path) -> Path:
    BankWriter.create(path, ATTRIBUTES).close()
    return path


def begin(bank: Path) -> Turn:
    """A turn of a process that ends without a word."""
    with BankWriter.open(bank) as writer:
        return writer.begin()


def make_exported_bank(
    path: Path, compression: Any = "none"
) -> tuple[Path, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A bank of five exported patches of 16x16, two a shard."""
    rng = np.random.default_rng(0)
    hdr, ldr = rng.random((5, 16, 16, 3)).astype(np.float16), rng.integers(0, 256, (5, 16, 16, 3), np.uint8)
    rows = [patch_row(SOURCES[0], k, row=k, verdict="kept") for k in range(5)]
    with BankWriter.create(path, ATTRIBUTES) as writer:
        writer.create_arrays(16, ExportSettings(shard_rows=2, compression=compression))
        writer.arrays().resize(5)
        for start in (0, 2, 4):
            span = range(start, min(start + 2, 5))
            write_patches(writer.storage, ((row, rows[row]["patch_id"], hdr[row], ldr[row]) for row in span))
        writer.replace_patches(patch_table(*rows))
    return path, hdr, ldr


def read_pairs(bank: Path, *rows: int) -> None:
    for row in rows:
        BankReader(bank).pair(row)


def test_commits_are_folded_in_order_whatever_order_they_came_in(tmp_path: Path) -> None:
    tables = []
    for name, order in (("one", SOURCES), ("two", SOURCES[::-1])):
        bank = make_bank(tmp_path / name)
        turn = begin(bank)
        for source_id in order:
            rows = patch_table(*(patch_row(source_id, k) for k in (2, 0, 1)))
            write_commit(turn, commit_key("ingest", source_id), rows, source_row(source_id, f"/{source_id}"))
        with BankWriter.open(bank) as writer:
            tables.append((writer.sources, writer.patches))
        assert list((bank / TURNS).iterdir()) == []
    assert tables[0][0].equals(tables[1][0])
    assert tables[0][1].equals(tables[1][1])
    assert tables[0][1]["source_id"].to_pylist() == sorted(SOURCES * 3)
    assert tables[0][1]["k"].to_pylist() == [0, 1, 2] * 2


def test_a_later_commit_replaces_rows_of_the_same_patch_and_leaves_the_others(tmp_path: Path) -> None:
    bank = make_bank(tmp_path / "bank")
    write_commit(begin(bank), "first", patch_table(*(patch_row(SOURCES[0], k) for k in range(3))))
    with BankWriter.open(bank) as writer:
        write_commit(writer.begin(), "second", patch_table(patch_row(SOURCES[0], 1, score=0.5)))
        assert writer.fold() == 1
        assert writer.patches["score"].to_pylist() == [None, 0.5, None]
        assert writer.fold() == 0


def test_a_fold_that_was_killed_before_it_removed_its_commits_changes_nothing_when_repeated(tmp_path: Path) -> None:
    bank = make_bank(tmp_path / "bank")
    rows = patch_table(patch_row(SOURCES[0], 0, score=0.5))
    turn = begin(bank)
    write_commit(turn, "first", rows, source_row(SOURCES[0], "/a"))
    commit = bank / list_commits(turn.bank, turn.folder)[0]
    kept = commit.read_bytes()
    with BankWriter.open(bank) as writer:
        before = writer.sources, writer.patches
    commit.parent.mkdir()
    (commit.parent / "open").touch()
    commit.write_bytes(kept)
    with BankWriter.open(bank) as writer:
        assert writer.sources.equals(before[0])
        assert writer.patches.equals(before[1])


identified = st.tuples(st.sampled_from("ab0f"), st.integers(0, 2), st.integers(0, 3))


@given(st.sets(identified, max_size=30), st.lists(identified, unique=True, max_size=30))
def test_rows_are_merged_as_by_a_dictionary_that_is_sorted(
    old: set[tuple[str, int, int]], new: list[tuple[str, int, int]]
) -> None:
    def rows(of: Any, score: float) -> list[dict[str, Any]]:
        return [
            {"patch_id": patch_id(s, f, k), "source_id": s, "frame": f, "k": k, "score": score + k} for s, f, k in of
        ]

    before, after = rows(sorted(old), 0.0), rows(new, 10.0)
    merged = merge_patches(patch_table(*before), patch_table(*after))
    expected = {row["patch_id"]: row for row in [*before, *after]}
    ordered = sorted(expected.values(), key=lambda row: (row["source_id"], row["frame"], row["k"]))
    assert merged.equals(patch_table(*ordered))


def test_who_works_on_in_a_turn_that_is_over_changes_nothing(tmp_path: Path) -> None:
    bank, hdr, ldr = make_exported_bank(tmp_path / "bank")
    turn = begin(bank)
    draft = ShardDraft(turn.storage, 0)
    draft.put(0, 8, hdr[2], ldr[2])
    write_commit(turn, "in time", patch_table(patch_row(SOURCES[0], 7)))
    with BankWriter.open(bank) as writer:  # the command is repeated after its driver was killed
        assert 7 in writer.patches["k"].to_pylist()
        before = {path: path.read_bytes() for path in bank.rglob("*") if path.is_file()}
        with pytest.raises(BankError, match="another command took it over"):
            write_commit(turn, "late", patch_table(patch_row(SOURCES[0], 8)))
        with pytest.raises(BankError, match="cannot be written"):
            draft.write()
        assert {path: path.read_bytes() for path in bank.rglob("*") if path.is_file()} == before


def test_a_turn_that_ends_while_a_file_is_being_filled_takes_the_file_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, hdr, ldr = make_exported_bank(tmp_path / "bank")
    with BankWriter.open(bank) as writer:
        turn, fill = writer.begin(), durable._write

        def fill_and_end(file: FileIO, content: memoryview) -> None:
            fill(file, content)
            writer.end()

        monkeypatch.setattr(durable, "_write", fill_and_end)
        with pytest.raises(BankError, match="cannot be written"):
            write_patches(turn.storage, [(0, 8, hdr[2], ldr[2]), (1, 9, hdr[3], ldr[3])])
    np.testing.assert_array_equal(zarr.open_array(bank, path="hdr", mode="r")[:], hdr)


def test_nothing_gets_its_name_before_it_lies_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[int] = set()
    sync, replace = os.fsync, os.replace

    def note(descriptor: int) -> None:
        sync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    def check(source: Path, target: Path) -> None:
        assert source.stat().st_ino in synced, target
        replace(source, target)
        named.append(target)

    named: list[Path] = []
    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "replace", check)
    bank, _, _ = make_exported_bank(tmp_path / "bank")
    write_commit(begin(bank), "first", patch_table(patch_row(SOURCES[0], 7)))
    places = {str(path.relative_to(bank)).split("/")[0] for path in named}
    assert places == {"zarr.json", "tables", "hdr", "ldr", "patch_id", "_work"}
    for path in named:  # and the name itself as well
        assert path.parent.stat().st_ino in synced


def test_a_bank_that_is_deleted_under_a_command_is_not_written_again(tmp_path: Path) -> None:
    bank = make_bank(tmp_path / "bank")
    with BankWriter.open(bank) as first:
        write_commit(first.begin(), "first", patch_table(patch_row(SOURCES[0], 0)))
        shutil.rmtree(bank)
        with BankWriter.create(bank, ATTRIBUTES) as second:
            for writing in (first.fold, first.begin, lambda: first.replace_patches(patch_table())):
                with pytest.raises(BankError, match="was deleted or moved"):
                    writing()
            assert second.patches.num_rows == 0
        assert BankReader(bank).patches().num_rows == 0


def test_an_interrupted_write_leaves_the_old_file_and_no_debris(tmp_path: Path) -> None:
    target = tmp_path / "table"
    target.write_text("old")

    def fail(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        replace_file(target, fail)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


# Begins to write a file and says so; then it waits for its end.
WRITER = """
import sys
from pathlib import Path
from pipeline.bank.files import replace_file

def fill(beside):
    beside.write_text("half")
    print("begun", flush=True)
    sys.stdin.read()

replace_file(Path(sys.argv[1]), fill)
"""


def test_what_a_killed_process_left_of_a_file_goes_with_the_next_write(tmp_path: Path) -> None:
    """And what a living one is writing, or what belongs to another file, stays."""
    target, other = tmp_path / "table[1].json", tmp_path / ".table[1].json.old"
    other.write_text("mine")
    both = [
        subprocess.Popen([sys.executable, "-c", WRITER, target], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    with both[0] as living, both[1] as killed:
        assert [process.stdout and process.stdout.readline() for process in both] == [b"begun\n"] * 2
        killed.kill()
        killed.wait()
        assert len(list(tmp_path.iterdir())) == 3
        replace_file(target, lambda beside: beside.write_text("new"))
        assert len(list(tmp_path.iterdir())) == 3
        assert target.read_text() == "new"
        living.communicate()
        assert living.returncode == 0
    assert target.read_text() == "half"
    assert sorted(tmp_path.iterdir()) == sorted([target, other])


def test_a_table_with_columns_of_a_later_version_is_read_and_not_written(tmp_path: Path) -> None:
    bank = make_bank(tmp_path / "bank")
    file = bank / "tables" / "patches.parquet"
    written = pq.read_table(file)
    pq.write_table(written.append_column("sharpness", pa.nulls(written.num_rows, pa.float64())), file)
    before = file.read_bytes()
    assert BankReader(bank).patches().schema == PATCHES_SCHEMA
    with pytest.raises(BankVersionError, match="the column sharpness, which this version would lose"):
        BankWriter.open(bank)
    assert file.read_bytes() == before


def test_a_collision_of_patch_ids_is_refused(tmp_path: Path) -> None:
    bank = make_bank(tmp_path / "bank")
    write_commit(
        begin(bank), "first", patch_table(patch_row(SOURCES[0], 0), {**patch_row(SOURCES[0], 1), "patch_id": 7})
    )
    BankWriter.open(bank).close()
    write_commit(begin(bank), "second", patch_table({**patch_row(SOURCES[1], 0), "patch_id": 7}))
    with pytest.raises(BankError, match="same patch_id"):
        BankWriter.open(bank)


def _try_to_open(path: Path, answers: Any) -> None:
    try:
        BankWriter.open(path).close()
        answers.put("opened")
    except BankLocked as error:
        answers.put(str(error))


def test_a_second_writer_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    bank = make_bank(tmp_path / "bank")
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()

    def ask() -> str:
        process = context.Process(target=_try_to_open, args=(bank, answers))
        process.start()
        process.join(HANGS)
        return str(answers.get(timeout=HANGS))

    with BankWriter.open(bank):
        assert "another process" in ask()
    assert ask() == "opened"


def test_unreadable_sources_are_told_apart_by_path_and_stand_last(tmp_path: Path) -> None:
    bank = make_bank(tmp_path / "bank")
    turn, empty = begin(bank), PATCHES_SCHEMA.empty_table()
    for key, row in {
        "1": source_row(None, "/z", status="rejected", reason="it cannot be opened"),
        "2": source_row(None, "/y", status="rejected", reason="it cannot be opened"),
        "3": source_row(SOURCES[1], "/a"),
    }.items():
        write_commit(turn, key, empty, row)
    with BankWriter.open(bank) as writer:
        assert writer.sources["path"].to_pylist() == ["/a", "/y", "/z"]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, BankMissing),
        ("not json", BankDamaged),
        (json.dumps({"attributes": {}}), BankDamaged),
        (json.dumps({"attributes": {"hdrprep": {"format_version": 99}}}), BankVersionError),
        *((described(ATTRIBUTES | {name: None}), BankDamaged) for name in ATTRIBUTES),
        *((described({n: v for n, v in ATTRIBUTES.items() if n != name}), BankDamaged) for name in ATTRIBUTES),
    ],
)
def test_what_is_no_bank_of_this_version_is_refused(
    tmp_path: Path, content: str | None, error: type[Exception]
) -> None:
    if content is not None:
        (tmp_path / "zarr.json").write_text(content)
    for opening in (BankReader, BankWriter.open):
        with pytest.raises(error):
            opening(tmp_path)


def test_a_folder_of_other_things_is_never_made_a_bank(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BankError, match="is no bank"):
        BankWriter.create(tmp_path, ATTRIBUTES)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
def test_pairs_come_back_by_our_reader_and_by_plain_zarr(tmp_path: Path, compression: str) -> None:
    bank, hdr, ldr = make_exported_bank(tmp_path / "bank", compression)
    reader = BankReader(bank)
    group = zarr.open_group(bank, mode="r")
    for row in range(5):
        read_hdr, read_ldr = reader.pair(row)
        np.testing.assert_array_equal(read_hdr, hdr[row])
        np.testing.assert_array_equal(read_ldr, ldr[row])
    for name, expected in (("hdr", hdr), ("ldr", ldr)):
        array = group[name]
        assert isinstance(array, zarr.Array)
        np.testing.assert_array_equal(array[:], expected)
        assert array.chunks == (1, 16, 16, 3)
        assert array.shards == (2, 16, 16, 3)


def test_every_chunk_has_a_crc_so_that_any_flipped_byte_is_found(tmp_path: Path) -> None:
    bank, _, _ = make_exported_bank(tmp_path / "bank")
    for name in ("hdr", "ldr"):
        shard = bank / name / "c" / "1" / "0" / "0" / "0"
        intact = shard.read_bytes()
        for position in np.linspace(0, len(intact) - 1, 25).astype(int).tolist():
            damaged = bytearray(intact)
            damaged[position] ^= 0x10
            shard.write_bytes(damaged)
            with pytest.raises(BankDamaged, match=r"patch \d+ \(row [23], source aaaa"):
                read_pairs(bank, 2, 3)
        shard.write_bytes(intact)
        BankReader(bank).pair(2)


@pytest.mark.parametrize("name", ["hdr", "ldr"])
def test_a_lost_shard_raises_and_never_reads_as_black(tmp_path: Path, name: str) -> None:
    bank, _, _ = make_exported_bank(tmp_path / "bank")
    (bank / name / "c" / "1" / "0" / "0" / "0").unlink()
    reader = BankReader(bank)
    reader.pair(0)
    with pytest.raises(BankDamaged, match="row 2"):
        reader.pair(2)


def test_a_lost_shard_of_hdr_shows_as_nan_in_plain_zarr(tmp_path: Path) -> None:
    bank, _, _ = make_exported_bank(tmp_path / "bank")
    (bank / "hdr" / "c" / "0" / "0" / "0" / "0").unlink()
    assert np.isnan(zarr.open_array(bank, path="hdr", mode="r")[0]).all()


def test_a_black_photograph_is_written_and_read_as_such(tmp_path: Path) -> None:
    bank, hdr, _ = make_exported_bank(tmp_path / "bank")
    with BankWriter.open(bank) as writer:
        black = np.zeros((16, 16, 3), np.uint8)
        write_patches(writer.storage, [(0, 1, hdr[0], black), (1, 2, hdr[1], black)])
    assert not BankReader(bank).pair(0)[1].any()


def test_nothing_exported_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(BankMissing, match="hdrprep export"):
        BankReader(make_bank(tmp_path / "bank")).pair(0)


@pytest.mark.parametrize("table", ["sources", "patches"])
def test_a_truncated_table_is_reported(tmp_path: Path, table: str) -> None:
    bank, _, _ = make_exported_bank(tmp_path / "bank")
    file = bank / "tables" / f"{table}.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(BankDamaged, match=table):
        getattr(BankReader(bank), table)()


def test_the_fingerprint_changes_with_what_is_exported_only(tmp_path: Path) -> None:
    bank, _, _ = make_exported_bank(tmp_path / "bank")
    before = BankReader(bank).fingerprint()
    with BankWriter.open(bank) as writer:
        more = patch_row(SOURCES[1], 0, verdict="smooth")
        writer.replace_patches(pa.concat_tables([writer.patches, patch_table(more)]))
    assert BankReader(bank).fingerprint() == before
    with BankWriter.open(bank) as writer:
        writer.replace_patches(writer.patches.slice(1))
    assert BankReader(bank).fingerprint() != before


def test_half_precision_clips_at_its_largest_number_and_counts() -> None:
    hdr = np.array([1e-5, 1.0, HALF_MAX, 65519.0, 1e10], np.float32)
    half, clipped = to_half(hdr)
    assert clipped == 2
    np.testing.assert_array_equal(half, hdr.clip(max=HALF_MAX).astype(np.float16))
    assert np.isfinite(half).all()


@settings(deadline=None, max_examples=200)
@given(
    exported=st.sets(st.integers(0, 40)),
    pending=st.lists(st.integers(0, 1000), unique=True, max_size=60).map(sorted),
    shard_rows=st.integers(1, 9),
)
def test_a_plan_fills_the_free_rows_in_order_one_task_a_shard(
    exported: set[int], pending: list[int], shard_rows: int
) -> None:
    total = len(exported) + len(pending)
    taken = np.array(sorted(row for row in exported if row < total), np.int64)
    pending = pending[: total - taken.size]
    plans = plan_shards(taken, pending, shard_rows)
    rows = [row for plan in plans for row in plan.rows]
    assert [position for plan in plans for position in plan.positions] == pending
    assert rows == sorted(set(range(taken.size + len(pending))) - set(taken.tolist()))[: len(pending)]
    shards = [{row // shard_rows for row in plan.rows} for plan in plans]
    assert all(len(shard) == 1 for shard in shards)
    assert len(set.union(set(), *shards)) == len(plans)


def columns(names: str) -> set[str]:
    return set(names.split())


def test_tables_read_with_plain_pyarrow_have_the_published_columns(tmp_path: Path) -> None:
    bank, _, _ = make_exported_bank(tmp_path / "bank")
    sources = set(pq.read_schema(bank / "tables" / "sources.parquet").names)
    patches = set(pq.read_schema(bank / "tables" / "patches.parquet").names)
    assert sources >= columns(
        "source_id path also_at bytes kind width height frames frames_used transfer primaries status reason licence "
        "attribution"
    )
    assert patches >= columns(
        "patch_id source_id frame k y x height width flip clip_fraction exposure noise_sigma hue_shift "
        "saturation_shift curve_n curve_sigma jpeg_quality seed saturated_fraction score verdict row"
    )


LATER = {"sources": ["group", "split"], "patches": ["split", "frame_nonfinite_pixels", "frame_negative_pixels"]}


def without(file: Path, *columns: str) -> None:
    table = pq.read_table(file)
    metadata = {key: value for key, value in table.schema.metadata.items() if key != COLUMNS}  # earlier files have none
    pq.write_table(table.drop_columns(list(columns)).replace_schema_metadata(metadata), file)


def test_a_bank_of_an_earlier_version_opens_with_nulls_where_it_lacks_columns(tmp_path: Path) -> None:
    bank, _, _ = make_exported_bank(tmp_path / "bank")
    turn = begin(bank)
    write_commit(turn, "waits", patch_table(patch_row(SOURCES[1], 0)), source_row(SOURCES[1], "/b"))
    whole = BankReader(bank).patches()
    for name, later in LATER.items():
        without(bank / "tables" / f"{name}.parquet", *later)
    without(bank / list_commits(turn.bank, turn.folder)[0], *LATER["patches"])
    assert BankReader(bank).patches().equals(whole)
    assert BankReader(bank).patches(["split", "k"]).to_pydict() == {"split": [None] * 5, "k": list(range(5))}
    assert BankReader(bank).sources().column_names == SOURCES_SCHEMA.names
    with BankWriter.open(bank) as writer:
        assert writer.patches.num_rows == 6
        assert writer.sources.to_pylist()[0]["group"] is None
    # What is written again has them all.
    assert set(pq.read_schema(bank / "tables" / "patches.parquet").names) == set(PATCHES_SCHEMA.names)


@pytest.mark.parametrize(
    ("name", "column"), [("patches", "patch_id"), ("patches", "score"), ("sources", "source_id"), ("sources", "status")]
)
def test_a_table_without_what_every_version_writes_is_damaged(tmp_path: Path, name: str, column: str) -> None:
    bank = make_bank(tmp_path / "bank")
    without(bank / "tables" / f"{name}.parquet", column)
    with pytest.raises(BankDamaged, match=f"{name}.parquet has no column {column}"):
        getattr(BankReader(bank), name)()
    with pytest.raises(BankDamaged, match=column):
        BankWriter.open(bank)
