"""Compacting: what is kept no more leaves the arrays, everything else stays what it was, at every moment."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bank import BankReader, PatchArrays, open_storage
from pipeline.bank.drafts import write_patches
from pipeline.bank.shards import read_shard
from pipeline.compact import plan_moves
from pipeline.errors import BankDamaged
from tests.pipeline.banks import array, array_files, assert_same_bank, run_in_process, table
from tests.pipeline.conftest import Result

Command = Callable[..., Result]
SIZES = ("--set", "export.shard_rows=4", "--set", "export.compression=none")  # each chunk has the same number of bytes
MANY = ("--patch-size", "64", "--patches", "30", *SIZES, "--threshold", "0.5")


@pytest.fixture(scope="module")
def loose(hdr_folder: Path, scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank whose threshold was raised after its export: a third of what it holds is kept. Not to be changed."""
    bank = tmp_path_factory.mktemp("loose") / "bank.zarr"
    run_in_process("run", hdr_folder, "--bank", bank, "--scheduler", scheduler, *MANY)
    patches = table(bank, "patches")
    scores = patches.filter(pc.is_valid(patches["row"]))["score"].to_numpy()
    run_in_process("score", "--bank", bank, "--threshold", np.quantile(scores, 0.66))
    return bank


@pytest.fixture(scope="module")
def compacted(loose: Path, scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same bank, compacted without interruption. Not to be changed."""
    bank = shutil.copytree(loose, tmp_path_factory.mktemp("compacted") / "bank.zarr")
    run_in_process("compact", "--bank", bank, "--scheduler", scheduler)
    return bank


def pixels(bank: Path) -> dict[int, tuple[bytes, bytes]]:
    """Return the pixels of each exported patch, as plain Zarr reads them where the table says they lie."""
    patches, hdr, ldr = table(bank, "patches"), array(bank, "hdr"), array(bank, "ldr")
    exported = patches.filter(pc.is_valid(patches["row"])).to_pylist()
    return {row["patch_id"]: (hdr[row["row"]].tobytes(), ldr[row["row"]].tobytes()) for row in exported}


def test_what_is_no_longer_kept_is_gone_and_the_rest_is_as_it_was(loose: Path, compacted: Path) -> None:
    before, after = table(loose, "patches"), table(compacted, "patches")
    kept = set(before.filter(pc.equal(before["verdict"], "kept"))["patch_id"].to_pylist())
    all_before, all_after = pixels(loose), pixels(compacted)
    assert 3 < len(kept) < len(all_before) - 3
    assert all_after == {patch_id: pair for patch_id, pair in all_before.items() if patch_id in kept}
    changed = ["row", "clipped_values"]
    assert after.drop_columns(changed).equals(before.drop_columns(changed))
    assert after["clipped_values"].null_count == after["row"].null_count
    assert sorted(after["row"].drop_null().to_pylist()) == list(range(len(kept)))
    assert (
        len(array(compacted, "hdr")) == len(array(compacted, "ldr")) == len(array(compacted, "patch_id")) == len(kept)
    )
    assert_nothing_else_is_stored(compacted)
    rows = {row["row"]: row["patch_id"] for row in after.to_pylist() if row["row"] is not None}
    assert array(compacted, "patch_id").tolist() == [rows[row] for row in range(len(kept))]


def assert_nothing_else_is_stored(bank: Path) -> None:
    """Assert that the shards hold the chunks of the exported patches, their indices, and no more."""
    patches = table(bank, "patches")
    exported = patches.num_rows - patches["row"].null_count
    shards = -(-exported // 4)
    stored = {key: len(content) for key, content in array_files(bank).items() if "/c/" in key}
    assert len(stored) == 3 * shards
    for name, depth in (("hdr", 6), ("ldr", 3)):
        size = sum(size for key, size in stored.items() if key.startswith(name))
        assert size == exported * (64 * 64 * depth + 4) + shards * (4 * 16 + 4)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_nothing_is_left_in_the_last_shard(number: int, loose: Path, hdrprep: Command, tmp_path: Path) -> None:
    bank = shutil.copytree(loose, tmp_path / "bank.zarr")
    patches = table(bank, "patches")
    scores = np.sort(patches.filter(pc.is_valid(patches["row"]))["score"].to_numpy())
    assert hdrprep("score", "--bank", bank, "--threshold", repr(float(scores[number]))).status == 0
    assert hdrprep("compact", "--bank", bank).status == 0
    assert table(bank, "patches")["row"].drop_null().length() == len(scores) - number
    assert_nothing_else_is_stored(bank)


def test_patches_that_need_not_move_do_not(loose: Path, compacted: Path) -> None:
    before, after = table(loose, "patches"), table(compacted, "patches")
    total = len(array(compacted, "hdr"))
    for old, new in zip(before.to_pylist(), after.to_pylist(), strict=True):
        if old["verdict"] == "kept" and old["row"] < total:
            assert new["row"] == old["row"]


def test_status_and_export_tell_what_is_no_longer_kept_and_compact_before_and_after(
    loose: Path, hdrprep: Command, tmp_path: Path
) -> None:
    bank = shutil.copytree(loose, tmp_path / "bank.zarr")
    patches = table(bank, "patches")
    exported = patches.num_rows - patches["row"].null_count
    kept = pc.sum(pc.equal(patches["verdict"], "kept")).as_py()
    for command in ("status", "export"):
        assert f"{exported - kept} of them no longer kept: hdrprep compact drops them" in (
            hdrprep(command, "--bank", bank).out
        )
    result = hdrprep("compact", "--bank", bank)
    first, second = result.out.splitlines()
    assert first.startswith(f"before       {exported} patches, ")
    assert second.startswith(f"after        {kept} patches, ")
    assert "no longer kept" not in hdrprep("status", "--bank", bank).out
    assert hdrprep("verify", "--deep", "--bank", bank).status == 0


def test_a_compacted_bank_is_left_as_it_is(compacted: Path, hdrprep: Command, tmp_path: Path) -> None:
    bank = shutil.copytree(compacted, tmp_path / "bank.zarr")
    assert hdrprep("compact", "--bank", bank).status == 0
    assert array_files(bank) == array_files(compacted)
    assert_same_bank(bank, compacted)
    # A lower threshold exports again what was dropped.
    assert hdrprep("score", "--bank", bank, "--threshold", "0.5").status == 0
    assert hdrprep("export", "--bank", bank).status == 0
    assert hdrprep("verify", "--deep", "--bank", bank).status == 0


def test_a_bank_of_which_nothing_is_kept_becomes_empty(loose: Path, hdrprep: Command, tmp_path: Path) -> None:
    bank = shutil.copytree(loose, tmp_path / "bank.zarr")
    assert hdrprep("score", "--bank", bank, "--threshold", "1e9").status == 0
    assert hdrprep("compact", "--bank", bank).status == 0
    assert array(bank, "hdr").shape == (0, 64, 64, 3)
    assert not [key for key in array_files(bank) if "/c/" in key]
    assert hdrprep("verify", "--bank", bank).status == 0


def test_a_damaged_patch_is_neither_moved_nor_lost(loose: Path, hdrprep: Command, tmp_path: Path) -> None:
    bank = shutil.copytree(loose, tmp_path / "bank.zarr")
    patches = table(bank, "patches")
    row = pc.max(patches.filter(pc.equal(patches["verdict"], "kept"))["row"]).as_py()
    shard = bank / "hdr" / f"c/{row // 4}/0/0/0"
    data = bytearray(shard.read_bytes())
    data[row % 4 * (64 * 64 * 6 + 4) + 9] ^= 1
    shard.write_bytes(data)
    result = hdrprep("compact", "--bank", bank)
    assert result.status == 1
    assert f"(row {row}) is damaged; run hdrprep verify --repair first" in result.err
    assert hdrprep("verify", "--repair", "--bank", bank).status == 0
    assert hdrprep("compact", "--bank", bank).status == 0
    assert pixels(bank) == {patch_id: pair for patch_id, pair in pixels(loose).items() if patch_id in pixels(bank)}
    assert len(array(bank, "hdr")) == pc.sum(pc.equal(patches["verdict"], "kept")).as_py()


KILLED = """
import os, signal, sys
from pipeline import cli
from pipeline.bank import durable, files, storage
left = int(sys.argv[1])
before = files.replace_file
def replace_file(path, *how):
    global left
    if path.name != "lock":
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    before(path, *how)
storage.replace_file = durable.replace_file = replace_file
from pipeline.localcluster import OwnWorkers
OwnWorkers.processes = lambda count: OwnWorkers.thread()
cli.main(["compact", "--bank", sys.argv[2], "--workers", "1"])
"""


def kill_at(write: int, bank: Path) -> bool:
    """Compact in one process that is killed before it writes its n-th file; say whether it came to that."""
    ended = subprocess.run([sys.executable, "-c", KILLED, str(write), str(bank)], capture_output=True, check=False)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr.decode()
    return ended.returncode != 0


@pytest.mark.parametrize("write", [0, 1, 3, 5, 8, 14, 21, 30])
def test_a_killed_compaction_ends_as_an_uninterrupted_one(
    write: int, loose: Path, compacted: Path, hdrprep: Command, tmp_path: Path
) -> None:
    bank = shutil.copytree(loose, tmp_path / "bank.zarr")
    assert kill_at(write, bank)
    kept = set(pixels(compacted))
    now = pixels(bank)  # what a reader of the moment sees
    assert all(pair == pixels_of(loose)[patch_id] for patch_id, pair in now.items())
    assert kept <= set(now)
    assert hdrprep("verify", "--bank", bank).status == 0
    assert hdrprep("compact", "--bank", bank).status == 0
    assert_same_bank(bank, compacted)
    assert array_files(bank) == array_files(compacted)


_pixels: dict[Path, dict[int, tuple[bytes, bytes]]] = {}


def pixels_of(bank: Path) -> dict[int, tuple[bytes, bytes]]:
    return _pixels.setdefault(bank, pixels(bank))


def test_no_reader_ever_gets_the_pixels_of_another_patch(loose: Path, hdrprep: Command, tmp_path: Path) -> None:
    bank = shutil.copytree(loose, tmp_path / "bank.zarr")
    rows = {row["patch_id"]: row["row"] for row in table(bank, "patches").to_pylist() if row["row"] is not None}
    expected, done, seen = pixels_of(loose), threading.Event(), [0, 0]
    reader = BankReader(bank)

    def read_with_the_old_table() -> None:
        while not done.is_set():
            for patch_id, row in rows.items():
                with contextlib.suppress(BankDamaged):
                    hdr, ldr = reader.pair(row, patch_id)
                    seen[0] += 1
                    seen[1] += (hdr.tobytes(), ldr.tobytes()) != expected[patch_id]

    thread = threading.Thread(target=read_with_the_old_table)
    thread.start()
    try:
        assert hdrprep("compact", "--bank", bank).status == 0
    finally:
        done.set()
        thread.join()
    assert seen[0] > 0
    assert seen[1] == 0


def test_a_patch_that_has_moved_is_refused_by_its_old_row(loose: Path, compacted: Path) -> None:
    old = {row["patch_id"]: row["row"] for row in table(loose, "patches").to_pylist() if row["row"] is not None}
    new = {row["patch_id"]: row["row"] for row in table(compacted, "patches").to_pylist() if row["row"] is not None}
    reader = BankReader(compacted)
    for patch_id, row in old.items():
        if new.get(patch_id) == row:
            reader.pair(row, patch_id)
        else:
            with pytest.raises(BankDamaged):
                reader.pair(row, patch_id)


@pytest.mark.parametrize("empty", [False, True])
def test_a_row_that_changes_hands_loses_its_id_before_its_pixels(empty: bool, loose: Path, tmp_path: Path) -> None:
    bank = open_storage(shutil.copytree(loose, tmp_path / "bank.zarr"))
    stored, states = read_shard(bank, 0), list[list[int]]()
    hdr, ldr = (np.stack(arrays) for arrays in zip(*(stored.pair(row) for row in stored.found.rows), strict=True))
    write = bank.write

    def watch(key: str, *parts: bytes | memoryview) -> None:
        if key.startswith("hdr"):
            states.append(np.asarray(PatchArrays(bank).patch_id[:4]).tolist())
        write(key, *parts)

    bank.write = watch  # type: ignore[method-assign]
    ids = stored.found.ids.tolist()
    write_patches(bank, zip(range(4), [ids[0], 77, ids[2], 78], hdr, ldr, strict=True), empty)
    assert states == [[ids[0], -1, ids[2], -1]]
    assert np.asarray(PatchArrays(bank).patch_id[:4]).tolist() == [ids[0], 77, ids[2], 78]


@given(rows=st.sets(st.integers(0, 60)), done=st.data())
def test_a_plan_of_moves_fills_the_front_and_goes_on_where_it_stopped(rows: set[int], done: st.DataObject) -> None:
    plan = plan_moves(np.array(sorted(rows), np.int64))
    assert (rows - {old for old, _ in plan}) | {new for _, new in plan} == set(range(len(rows)))
    finished = done.draw(st.sets(st.sampled_from(plan))) if plan else set()
    meanwhile = (rows - {old for old, _ in finished}) | {new for _, new in finished}
    assert plan_moves(np.array(sorted(meanwhile), np.int64)) == [move for move in plan if move not in finished]


def test_a_bank_in_a_bucket_is_compacted(
    s3: str, loose: Path, compacted: Path, hdrprep: Command, tmp_path: Path
) -> None:
    from tests.pipeline.test_remote import contents, download, upload

    url = upload(loose, f"{s3}/loose.zarr")
    open_storage(url).delete("_work/lock")
    assert hdrprep("compact", "--bank", url, "--workers", "1").status == 0
    there = download(url, tmp_path / "there.zarr")
    assert array_files(there) == array_files(compacted)
    assert_same_bank(there, compacted)
    assert "_work/lock" not in contents(url)
