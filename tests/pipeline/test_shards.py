"""Our own look at the bytes of a shard, held against what plain Zarr makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.bank import BankWriter, ExportSettings, PatchArrays, Storage, open_storage
from pipeline.bank.chunks import crc
from pipeline.bank.drafts import Patch, ShardDraft, write_patches
from pipeline.bank.shards import decode_ids, encode_ids, read_shard
from pipeline.errors import BankDamaged, BankError

SIZE, ROWS, SHARD_ROWS = 8, 6, 4
Pixels = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def make(place: Path, compression: Any, written: tuple[int, ...] = tuple(range(ROWS))) -> tuple[Storage, Pixels]:
    """A bank of six rows, four a shard; row i holds patch 100 + i if it is written."""
    BankWriter.create(place, {"seed": 0, "config": {}, "versions": {}}).close()
    bank, rng = open_storage(place), np.random.default_rng(0)
    PatchArrays.create(bank, SIZE, ExportSettings(shard_rows=SHARD_ROWS, compression=compression))
    PatchArrays(bank, "r+").resize(ROWS)
    hdr = rng.random((ROWS, SIZE, SIZE, 3)).astype(np.float16)
    ldr = rng.integers(0, 4, (ROWS, SIZE, SIZE, 3), np.uint8)
    for first in range(0, ROWS, SHARD_ROWS):
        rows = [row for row in written if first <= row < first + SHARD_ROWS]
        write_patches(bank, patches((hdr, ldr), rows))
    return bank, (hdr, ldr)


def patches(pixels: Pixels, rows: Iterable[int]) -> list[Patch]:
    return [(row, 100 + row, pixels[0][row], pixels[1][row]) for row in rows]


def let_zarr_write(bank: Storage, pixels: Pixels, rows: range) -> None:
    """Write rows that follow each other by Zarr alone."""
    arrays, span = PatchArrays(bank, "r+"), slice(rows.start, rows.stop)
    arrays.hdr[span], arrays.ldr[span] = pixels[0][span], pixels[1][span]
    arrays.patch_id[span] = np.arange(100 + rows.start, 100 + rows.stop)


def zarr_reads(bank: Storage, pixels: Pixels, row: int) -> bool:
    """Say whether plain Zarr gives the pixels of a row as they were."""
    arrays = PatchArrays(bank)
    try:
        found = np.asarray(arrays.hdr[row]), np.asarray(arrays.ldr[row])
    except Exception:
        return False
    return all(np.array_equal(one, other[row]) for one, other in zip(found, pixels, strict=True))


@pytest.fixture(scope="module", params=["none", "lz4", "zstd"])
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Storage, Pixels]:
    return make(tmp_path_factory.mktemp("bank") / "bank.zarr", request.param)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_row_is_at_fault_where_zarr_does_not_give_its_pixels(
    stored: tuple[Storage, Pixels], data: st.DataObject
) -> None:
    bank, pixels = stored
    key = data.draw(st.sampled_from([f"{name}/c/{shard}/0/0/0" for name in ("hdr", "ldr") for shard in (0, 1)]))
    intact = bank.read(key)
    damage: Callable[[bytearray], bytearray] = data.draw(
        st.one_of(
            st.builds(_flip, st.integers(0, len(intact) - 1), st.integers(0, 7)),
            st.builds(lambda size: lambda content: content[:size], st.integers(0, len(intact) - 1)),
        )
    )
    bank.write(key, bytes(damage(bytearray(intact))))
    try:
        for shard in (0, 1):
            found = read_shard(bank, shard).found
            assert {row for row in found.rows if not zarr_reads(bank, pixels, row)} == set(found.faults)
    finally:
        bank.write(key, intact)


def _flip(position: int, bit: int) -> Callable[[bytearray], bytearray]:
    def damage(content: bytearray) -> bytearray:
        content[position] ^= 1 << bit
        return content

    return damage


def test_what_is_read_is_what_was_written(stored: tuple[Storage, Pixels]) -> None:
    bank, (hdr, ldr) = stored
    for shard in (0, 1):
        stored_shard = read_shard(bank, shard)
        found = stored_shard.found
        assert not found.faults
        assert found.ids.tolist() == [100 + row for row in found.rows]
        for row in found.rows:
            np.testing.assert_array_equal(stored_shard.pair(row)[0], hdr[row])
            np.testing.assert_array_equal(stored_shard.pair(row)[1], ldr[row])


def test_rows_that_hold_no_patch_are_told(tmp_path: Path) -> None:
    bank, _ = make(tmp_path / "bank.zarr", "none", (0, 2))
    first, second = read_shard(bank, 0).found, read_shard(bank, 1).found
    assert first.ids.tolist() == [100, -1, 102, -1]
    assert set(first.faults) == {1, 3}
    assert set(second.faults) == {4, 5}
    assert second.ids_fault == "patch_id/c/1 is missing"


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
@pytest.mark.parametrize("written", [(0, 1, 2, 3, 4, 5), (1, 3, 4), (2,)])
def test_a_shard_written_anew_has_the_bytes_that_an_export_gives_it(
    compression: Any, written: tuple[int, ...], tmp_path: Path
) -> None:
    once, (hdr, ldr) = make(tmp_path / "once.zarr", compression, written)
    again, _ = make(tmp_path / "again.zarr", compression)  # every row holds something else before
    for first in (0, 4):
        rows = [row for row in written if first <= row < first + SHARD_ROWS]
        if rows:
            write_patches(again, patches((hdr, ldr), rows), empty=True)
            for name in ("hdr", "ldr", "patch_id"):
                key = PatchArrays(once).shard_key(name, first)
                assert again.read(key) == once.read(key)


def stored_files(bank: Storage) -> dict[str, bytes]:
    return {key: bank.read(key) for name in ("hdr", "ldr", "patch_id") for key in bank.keys(f"{name}/c")}


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
@pytest.mark.parametrize("parts", [[range(6)], [range(2), range(2, 4), range(4, 6)], [range(3, 5), range(1, 4)]])
def test_a_shard_has_the_bytes_that_zarr_gives_it(compression: Any, parts: list[range], tmp_path: Path) -> None:
    ours, pixels = make(tmp_path / "ours.zarr", compression, ())
    theirs, _ = make(tmp_path / "theirs.zarr", compression, ())
    for part in parts:
        let_zarr_write(theirs, pixels, part)
        for shard in (0, 1):
            write_patches(ours, patches(pixels, [row for row in part if row // SHARD_ROWS == shard]))
    assert stored_files(ours) == stored_files(theirs)
    assert len(stored_files(ours)) == 6


def test_what_lies_beside_new_patches_is_carried_over_even_if_it_is_damaged(tmp_path: Path) -> None:
    bank, pixels = make(tmp_path / "bank.zarr", "lz4", (0, 1, 2))
    content = bytearray(bank.read("hdr/c/0/0/0/0"))
    content[10] ^= 1  # in row 0
    bank.write("hdr/c/0/0/0/0", bytes(content))
    write_patches(bank, patches(pixels, [3]))
    found = read_shard(bank, 0).found
    assert found.faults == {0: "hdr/c/0/0/0/0 does not match its checksum"}
    assert found.ids.tolist() == [100, 101, 102, 103]
    assert all(zarr_reads(bank, pixels, row) for row in (1, 2, 3))


@pytest.mark.parametrize("key", ["hdr/c/0/0/0/0", "ldr/c/0/0/0/0", "patch_id/c/0"])
@pytest.mark.parametrize("left", [0.5, 3, 0])
def test_a_shard_that_cannot_be_carried_over_is_left_as_it_is(key: str, left: float, tmp_path: Path) -> None:
    bank, pixels = make(tmp_path / "bank.zarr", "lz4", (0, 1))
    content = bank.read(key)
    bank.write(key, content[: int(len(content) * left)] if left < 1 else content[: int(left)])
    before = stored_files(bank)
    with pytest.raises(BankDamaged, match=rf"/{key} .*; run hdrprep verify --repair on that bank first$"):
        write_patches(bank, patches(pixels, [2]))
    assert stored_files(bank) == before


def test_a_chunk_said_to_lie_beyond_its_shard_is_damage(tmp_path: Path) -> None:
    bank, pixels = make(tmp_path / "bank.zarr", "lz4", (0, 1))
    content, key = bank.read("hdr/c/0/0/0/0"), "hdr/c/0/0/0/0"
    index = np.frombuffer(content[-68:-4], "<u8").copy()
    index[0] = len(content)
    bank.write(key, content[:-68] + index.tobytes() + crc(index.tobytes()))
    with pytest.raises(BankDamaged, match="damaged index"):
        write_patches(bank, patches(pixels, [2]))


def test_chunks_that_overlap_are_damage(tmp_path: Path) -> None:
    bank, pixels = make(tmp_path / "bank.zarr", "lz4", (0, 1))
    content, key = bank.read("hdr/c/0/0/0/0"), "hdr/c/0/0/0/0"
    index = np.frombuffer(content[-68:-4], "<u8").reshape(4, 2).copy()
    index[:] = 0, len(content) - 68
    bank.write(key, content[:-68] + index.tobytes() + crc(index.tobytes()))
    with pytest.raises(BankDamaged, match="damaged index"):
        write_patches(bank, patches(pixels, [2]))


@pytest.mark.parametrize("ids", [b"", b"no ids", None])
def test_what_is_replaced_as_a_whole_may_be_damaged_or_missing(ids: bytes | None, tmp_path: Path) -> None:
    bank, pixels = make(tmp_path / "bank.zarr", "lz4", (0, 1))
    whole, _ = make(tmp_path / "whole.zarr", "lz4", (0, 2))
    bank.write("hdr/c/0/0/0/0", b"")
    bank.delete("patch_id/c/0") if ids is None else bank.write("patch_id/c/0", ids)
    write_patches(bank, patches(pixels, [0, 2]), empty=True)
    assert stored_files(bank) == stored_files(whole)


def test_ids_that_cannot_even_be_read_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bank, pixels = make(tmp_path / "bank.zarr", "lz4", (0, 1))
    read = bank.read

    def failing(key: str) -> bytes:
        if key.startswith("patch_id/c"):
            raise OSError(5, "Input/output error")
        return read(key)

    monkeypatch.setattr(bank, "read", failing)
    with pytest.raises(BankError, match=r"patch_id/c/0 cannot be read \(Input/output error\)"):
        write_patches(bank, patches(pixels, [2]))
    write_patches(bank, patches(pixels, [0, 1, 2]), empty=True)
    monkeypatch.undo()
    assert read_shard(bank, 0).found.ids.tolist() == [100, 101, 102, -1]


def test_a_draft_takes_patches_of_its_own_shard_and_size_only(tmp_path: Path) -> None:
    bank, (hdr, ldr) = make(tmp_path / "bank.zarr", "lz4")
    draft = ShardDraft(bank, 0)
    with pytest.raises(ValueError, match="row 4 lies in shard 1, not in 0"):
        draft.put(4, 104, hdr[4], ldr[4])
    with pytest.raises(ValueError, match=r"a chunk is float16 \(8, 8, 3\), not float16 \(4, 8, 3\)"):
        draft.put(0, 100, hdr[0][:4], ldr[0])
    with pytest.raises(ValueError, match=r"a chunk is uint8 \(8, 8, 3\), not float32"):
        draft.put(0, 100, hdr[0], ldr[0].astype(np.float32))


def test_arrays_of_other_software_are_not_written(tmp_path: Path) -> None:
    bank, (hdr, ldr) = make(tmp_path / "bank.zarr", "lz4")
    zarr.create_array(
        tmp_path / "bank.zarr", name="ldr", shape=ldr.shape, chunks=(1, SIZE, SIZE, 3), dtype="uint8", overwrite=True
    )
    with pytest.raises(BankError, match="stored by other software; export into a new bank"):
        write_patches(bank, patches((hdr, ldr), [0]))


@given(ids=st.lists(st.integers(-1, 2**63 - 1), min_size=1, max_size=9))
def test_ids_survive_their_encoding_and_no_flipped_bit_does(ids: list[int]) -> None:
    data = encode_ids(np.array(ids, np.int64))
    decoded = decode_ids(data, len(ids))
    assert decoded is not None
    assert decoded.tolist() == ids
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1
        assert decode_ids(bytes(damaged), len(ids)) is None


def test_ids_are_encoded_as_zarr_does(stored: tuple[Storage, Pixels]) -> None:
    bank, _ = stored
    assert bank.read("patch_id/c/0") == encode_ids(np.arange(100, 104))
