"""Damage of every kind to a bank: found, named, nothing silently zero, and repaired to the original."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline.bank import BankReader, BankWriter, open_storage, write_commit
from pipeline.bank.schema import encode_table
from pipeline.errors import BankDamaged
from pipeline.rows import patch_table
from tests.pipeline.banks import array, array_files, assert_same_bank, run_in_process, table
from tests.pipeline.conftest import SMALL, Result

Command = Callable[..., Result]


@pytest.fixture(scope="module")
def whole(hdr_folder: Path, scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of 24 patches without damage, some of them exported, four a shard; not to be changed."""
    bank = tmp_path_factory.mktemp("whole") / "bank.zarr"
    run_in_process("run", hdr_folder, "--bank", bank, "--scheduler", scheduler, *SMALL)
    return bank


@pytest.fixture
def bank(whole: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(whole, tmp_path / "bank.zarr")


def flip(file: Path, position: int) -> None:
    data = bytearray(file.read_bytes())
    data[position] ^= 0x10
    file.write_bytes(data)


def cut(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:-size])


def change(bank: Path, position: int, **values: Any) -> None:
    """Change numbers of a patch in the table."""
    rows = table(bank, "patches").to_pylist()
    rows[position] |= values
    write_patches(bank, rows)


def write_patches(bank: Path, rows: list[dict[str, Any]]) -> None:
    changed = pa.Table.from_pylist(rows, schema=table(bank, "patches").schema)
    (bank / "tables" / "patches.parquet").write_bytes(encode_table(changed))


def exported(bank: Path) -> list[int]:
    """Return the positions of exported patches, by row."""
    rows = table(bank, "patches")["row"].to_pylist()
    return sorted((position for position, row in enumerate(rows) if row is not None), key=lambda p: rows[p])


def patch_at(bank: Path, row: int) -> dict[str, Any]:
    patches = table(bank, "patches")
    return dict(patches.filter(pc.equal(patches["row"], row)).to_pylist()[0])


def verified(hdrprep: Command, bank: Path | str, *words: str) -> dict[str, Any]:
    result = hdrprep("verify", "--json", "--bank", bank, *words)
    found = dict(json.loads(result.out))
    assert result.status == (1 if found["damages"] or found.get("undone") else 0), result.err
    return found


def damaged_rows(found: dict[str, Any]) -> list[int]:
    return sorted(damage["patch"]["row"] for damage in found["damages"] if damage["patch"] is not None)


def assert_repaired(hdrprep: Command, bank: Path, whole: Path, *words: str) -> None:
    found = verified(hdrprep, bank, "--repair", *words)
    assert found["damages"] == found["undone"] == []
    assert_same_bank(bank, whole)
    assert array_files(bank) == array_files(whole)
    again = verified(hdrprep, bank, "--deep")
    assert again["damages"] == []


def test_a_bank_without_damage_is_left_as_it_is(bank: Path, hdrprep: Command) -> None:
    before = {path: path.read_bytes() for path in bank.rglob("*") if path.is_file()}
    result = hdrprep("verify", "--deep", "--bank", bank)
    assert result.status == 0
    assert result.out.splitlines()[-1] == "damage       none"
    assert "note" not in result.out
    assert f"compared     {len(exported(bank))} patches" in result.out
    assert {path: path.read_bytes() for path in bank.rglob("*") if path.is_file()} == before


SHARD = "c/1/0/0/0"  # rows 4 to 7

# What is done to a bank, and which rows of its arrays are then named.
PIXELS: dict[str, tuple[Callable[[Path], object], list[int]]] = {
    "a flipped bit of hdr": (lambda bank: flip(bank / "hdr" / SHARD, 64 * 64 * 6 + 1000), [5]),
    "a flipped bit of ldr": (lambda bank: flip(bank / "ldr" / SHARD, 10), [4]),
    "a flipped bit in a checksum": (lambda bank: flip(bank / "hdr" / SHARD, 64 * 64 * 6 + 2), [4]),
    "a flipped bit of an index": (lambda bank: flip(bank / "ldr" / SHARD, -30), [4, 5, 6, 7]),
    "a flipped bit of patch_id": (lambda bank: flip(bank / "patch_id/c/1", 9), [4, 5, 6, 7]),
    "a deleted shard of hdr": (lambda bank: (bank / "hdr" / SHARD).unlink(), [4, 5, 6, 7]),
    "a deleted shard of ldr": (lambda bank: (bank / "ldr" / SHARD).unlink(), [4, 5, 6, 7]),
    "a deleted shard of patch_id": (lambda bank: (bank / "patch_id/c/1").unlink(), [4, 5, 6, 7]),
    "a truncated shard": (lambda bank: cut(bank / "hdr" / SHARD, 5000), [4, 5, 6, 7]),
    "an emptied shard": (lambda bank: (bank / "ldr" / SHARD).write_bytes(b""), [4, 5, 6, 7]),
    "a shard of other patches": (lambda bank: shutil.copy(bank / "patch_id/c/0", bank / "patch_id/c/1"), [4, 5, 6, 7]),
}


@pytest.mark.parametrize("kind", PIXELS)
def test_damage_to_a_shard_is_named_by_patch_and_repaired(kind: str, bank: Path, whole: Path, hdrprep: Command) -> None:
    damage, rows = PIXELS[kind]
    damage(bank)
    found = verified(hdrprep, bank)
    assert damaged_rows(found) == rows
    for told in found["damages"]:
        patch = patch_at(whole, told["patch"]["row"])
        assert told["patch"]["patch_id"] == patch["patch_id"]
        sources = table(whole, "sources").to_pylist()
        assert told["patch"]["path"] == {row["source_id"]: row["path"] for row in sources}[patch["source_id"]]
    (line, *_) = hdrprep("verify", "--bank", bank).out.splitlines()
    assert re.fullmatch(r"patch \d+ \(row \d, frame 0, k \d of /\S+\): .+", line)
    assert_repaired(hdrprep, bank, whole)


@pytest.mark.parametrize("array", ["hdr", "ldr", "patch_id"])
def test_no_flipped_bit_of_an_array_goes_unseen(array: str, bank: Path, hdrprep: Command) -> None:
    file = bank / array / ("c/0" if array == "patch_id" else "c/0/0/0/0")
    intact = file.read_bytes()
    for position in np.linspace(0, len(intact) - 1, 6).astype(int).tolist():
        flip(file, position)
        assert verified(hdrprep, bank)["damages"], position
        file.write_bytes(intact)


def test_damage_to_two_patches_of_a_shard_leaves_the_others(bank: Path, whole: Path, hdrprep: Command) -> None:
    size = 64 * 64 * 6 + 4
    flip(bank / "hdr" / SHARD, 10)
    flip(bank / "hdr" / SHARD, 3 * size + 10)
    assert damaged_rows(verified(hdrprep, bank)) == [4, 7]
    # The sources of the others need not be there.
    needed = {patch_at(whole, row)["source_id"] for row in (4, 7)}
    assert needed
    assert_repaired(hdrprep, bank, whole)


def test_a_damaged_patch_whose_source_is_gone_is_told_and_the_rest_is_repaired(
    hdr_folder: Path, hdrprep: Command, tmp_path: Path
) -> None:
    folder, bank = shutil.copytree(hdr_folder, tmp_path / "in"), tmp_path / "bank.zarr"
    assert hdrprep("run", folder, "--bank", bank, *SMALL).status == 0
    before = shutil.copytree(bank, tmp_path / "before.zarr")
    paths = {row["source_id"]: row["path"] for row in table(bank, "sources").to_pylist()}
    first, last = patch_at(bank, 0), patch_at(bank, len(exported(bank)) - 1)
    assert first["source_id"] != last["source_id"]
    gone = Path(paths[first["source_id"]])
    content = gone.read_bytes()
    gone.unlink()
    flip(bank / "hdr/c/0/0/0/0", 10)
    flip(bank / "ldr" / f"c/{last['row'] // 4}/0/0/0", 10 + last["row"] % 4 * (64 * 64 * 3 + 4))
    found = verified(hdrprep, bank, "--repair")
    assert damaged_rows(found) == [0]
    assert any(str(gone) in reason for reason in found["undone"])
    with pytest.raises(BankDamaged):
        BankReader(bank).pair(0)
    compared = verified(hdrprep, bank, "--deep")
    assert any(str(gone) in note for note in compared["notes"])
    gone.write_bytes(content)
    assert_repaired(hdrprep, bank, before)


TABLES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a truncated patches table": (lambda bank: cut(bank / "tables/patches.parquet", 40), "truncated or damaged"),
    "a missing patches table": (lambda bank: (bank / "tables/patches.parquet").unlink(), "is missing"),
    "a flipped bit of a page": (lambda bank: flip(bank / "tables/patches.parquet", 80), "damaged"),
    "a wrong row": (lambda bank: change(bank, exported(bank)[5], row=6), "its row holds patch"),
    "a row outside": (lambda bank: change(bank, exported(bank)[5], row=1000), "outside the arrays"),
    "a forgotten candidate": (
        lambda bank: write_patches(bank, [row for p, row in enumerate(table(bank, "patches").to_pylist()) if p != 1]),
        "its frame lacks patches",
    ),
    "a wrong id": (lambda bank: change(bank, exported(bank)[3], patch_id=77), "not the hash"),
    "a wrong window": (lambda bank: change(bank, 2, y=5000), "not lie in its frame"),
    "an infinite score": (lambda bank: change(bank, 2, score_saturated=float("inf")), "not finite"),
    "a wrong verdict": (lambda bank: change(bank, 2, verdict="smooth", score=0.0), "not labelled as"),
    "too many clipped values": (lambda bank: change(bank, exported(bank)[0], clipped_values=7), "clipped_values is 7"),
    "an order of its own": (
        lambda bank: write_patches(bank, table(bank, "patches").to_pylist()[::-1]),
        "out of order",
    ),
}


@pytest.mark.parametrize("kind", TABLES)
def test_damage_to_the_patches_table_is_named_and_repaired(
    kind: str, bank: Path, whole: Path, hdrprep: Command
) -> None:
    damage, told = TABLES[kind]
    damage(bank)
    found = verified(hdrprep, bank)
    assert any(told in entry["text"] for entry in found["damages"]), found
    assert_repaired(hdrprep, bank, whole)


def test_a_wrong_number_is_found_by_the_source(bank: Path, whole: Path, hdrprep: Command) -> None:
    position = exported(bank)[4]
    change(bank, position, exposure=table(bank, "patches")["exposure"][position].as_py() * 1.5)
    assert verified(hdrprep, bank)["damages"] == []
    (told,) = verified(hdrprep, bank, "--deep")["damages"]
    assert told["text"].startswith("its exposure is ")
    assert told["patch"]["row"] == 4
    assert_repaired(hdrprep, bank, whole, "--deep")


def test_other_pixels_with_a_right_checksum_are_found_by_the_source(bank: Path, whole: Path, hdrprep: Command) -> None:
    from pipeline.bank import PatchArrays

    arrays = PatchArrays(open_storage(bank), "r+")
    pixels = np.asarray(arrays.ldr[3:4])
    arrays.ldr[3:4] = 255 - pixels
    assert verified(hdrprep, bank)["damages"] == []
    (told,) = verified(hdrprep, bank, "--deep", "--sample", "100%")["damages"]
    assert told["text"] == "its ldr is another one than its source gives"
    assert verified(hdrprep, bank, "--deep", "--sample", "0")["compared"] == 0
    assert_repaired(hdrprep, bank, whole, "--deep")


def test_with_other_libraries_a_difference_is_no_damage(bank: Path, hdrprep: Command) -> None:
    document = json.loads((bank / "zarr.json").read_text())
    document["attributes"]["hdrprep"]["versions"]["numpy"] = "0.1"
    (bank / "zarr.json").write_text(json.dumps(document))
    position = exported(bank)[4]
    change(bank, position, exposure=table(bank, "patches")["exposure"][position].as_py() * (1 + 1e-6))
    found = verified(hdrprep, bank, "--deep")
    assert found["damages"] == []
    assert any("its exposure is" in note and "numpy 0.1 -> " in note for note in found["notes"])


def test_values_that_cannot_be_light_are_damage(bank: Path, whole: Path, hdrprep: Command) -> None:
    from pipeline.bank import PatchArrays

    for row, value, told in ((1, np.nan, "no finite numbers"), (2, -0.5, "negative"), (3, np.inf, "no finite numbers")):
        arrays = PatchArrays(open_storage(bank), "r+")
        pixels = np.asarray(arrays.hdr[row : row + 1])
        pixels[0, 10, 10, 1] = value
        arrays.hdr[row : row + 1] = pixels
        found = verified(hdrprep, bank)
        assert damaged_rows(found) == list(range(1, row + 1))
        assert told in found["damages"][-1]["text"]
    assert_repaired(hdrprep, bank, whole)


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "an orphan shard": (lambda bank: shutil.copytree(bank / "hdr/c/0", bank / "hdr/c/99"), "hdr/c/99/0/0/0"),
    "debris beside a table": (
        lambda bank: (bank / "tables/.patches.parquet.ab12cd_9").write_text("half"),
        "tables/.patches.parquet.ab12cd_9",
    ),
    "debris of Zarr": (lambda bank: (bank / "ldr/c/0/0/0/0.abc.partial").write_text(""), "ldr/c/0/0/0/0.abc.partial"),
    "metadata that was cut": (lambda bank: cut(bank / "ldr/zarr.json", 30), "ldr/zarr.json"),
    "metadata that is gone": (lambda bank: (bank / "patch_id/zarr.json").unlink(), "patch_id/zarr.json"),
    "metadata of another fill value": (
        lambda bank: (bank / "hdr/zarr.json").write_text((bank / "hdr/zarr.json").read_text().replace('"NaN"', "0.0")),
        "hdr/zarr.json",
    ),
    "metadata without checksums": (
        lambda bank: (bank / "hdr/zarr.json").write_text((bank / "hdr/zarr.json").read_text().replace("crc32c", "xyz")),
        "hdr/zarr.json",
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_damage_to_files_is_named_by_file_and_repaired(kind: str, bank: Path, whole: Path, hdrprep: Command) -> None:
    damage, key = FILES[kind]
    damage(bank)
    found = verified(hdrprep, bank)
    assert [told["file"] for told in found["damages"]] == [key]
    found = verified(hdrprep, bank, "--repair")
    assert found["damages"] == found["undone"] == []
    assert_same_bank(bank, whole)
    assert {path for path, content in array_files(bank).items() if array_files(whole)[path] != content} <= {key}


def test_files_of_somebody_else_are_told_and_left_alone(bank: Path, hdrprep: Command) -> None:
    (bank / "notes.txt").write_text("mine")
    flip(bank / "hdr" / SHARD, 10)
    assert any("notes.txt" in note for note in verified(hdrprep, bank)["notes"])
    assert verified(hdrprep, bank, "--repair")["damages"] == []
    assert (bank / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("both", [False, True])
def test_a_lost_sources_table_is_told_with_its_remedy(
    both: bool, bank: Path, whole: Path, hdr_folder: Path, hdrprep: Command
) -> None:
    cut(bank / "tables/sources.parquet", 30)
    if both:
        cut(bank / "tables/patches.parquet", 30)
    files = {damage["file"] for damage in verified(hdrprep, bank)["damages"]}
    assert "tables/sources.parquet" in files
    found = verified(hdrprep, bank, "--repair")
    assert any("hdrprep run SOURCES" in text for text in found["undone"])
    assert (bank / "tables/sources.parquet.damaged-1").exists()
    assert hdrprep("run", hdr_folder, "--bank", bank, *SMALL).status == 0
    assert_same_bank(bank, whole)
    assert verified(hdrprep, bank, "--deep")["damages"] == []


def test_a_damaged_description_of_the_bank_is_one_sentence(bank: Path, hdrprep: Command) -> None:
    cut(bank / "zarr.json", 20)
    for words in ((), ("--repair",)):
        result = hdrprep("verify", "--bank", bank, *words)
        assert result.status == 1
        (line,) = result.err.strip().splitlines()
        assert "does not describe a bank" in line


def test_a_bank_that_is_written_is_told_so_and_not_called_damaged(bank: Path, hdrprep: Command) -> None:
    with BankWriter.open(bank):
        result = hdrprep("verify", "--bank", bank)
    assert result.status == 1
    assert "is writing to" in result.err
    assert result.out == ""


def test_flipped_bits_of_a_table_raise_or_change_nothing(bank: Path) -> None:
    file = bank / "tables" / "patches.parquet"
    intact, before = file.read_bytes(), table(bank, "patches")
    for position in np.linspace(0, len(intact) - 1, 60).astype(int).tolist():
        flip(file, position)
        try:
            after = BankReader(bank).patches()
        except BankDamaged:
            continue
        finally:
            file.write_bytes(intact)
        assert after.equals(before), position
    assert pq.read_table(file).equals(before)


@pytest.mark.parametrize(("name", "column"), [("patches", "score_patch"), ("patches", "split"), ("sources", "group")])
def test_a_damaged_column_name_is_not_taken_for_an_earlier_version(bank: Path, name: str, column: str) -> None:
    file = bank / "tables" / f"{name}.parquet"
    intact, places = file.read_bytes(), 0
    for match in re.finditer(rf"(?<![a-z_,]){column}(?![a-z_,])".encode(), intact):
        flip(file, match.start())
        try:
            changed = pq.read_schema(file).names != pq.read_schema(pa.BufferReader(intact)).names
        except (pa.ArrowException, OSError):
            changed = False
        if changed:
            places += 1
            with pytest.raises(BankDamaged, match="names of its columns"):
                getattr(BankReader(bank), name)()
        file.write_bytes(intact)
    assert places


def test_a_bank_in_a_bucket_is_verified_and_repaired(
    s3: str, whole: Path, hdr_folder: Path, hdrprep: Command, tmp_path: Path
) -> None:
    from tests.pipeline.test_remote import contents, upload

    url = upload(whole, f"{s3}/verified.zarr")
    storage = open_storage(url)
    storage.delete("_work/lock")  # a file of the disk, which means nothing here
    before = contents(url)
    assert verified(hdrprep, url, "--deep", "--workers", "1")["damages"] == []
    shard = bytearray(storage.read("hdr/c/0/0/0/0"))
    shard[1000] ^= 1
    storage.write("hdr/c/0/0/0/0", bytes(shard))
    storage.delete("ldr/c/1/0/0/0")
    storage.write("ldr/c/77/0/0/0", b"")
    found = verified(hdrprep, url, "--workers", "1")
    assert damaged_rows(found) == [0, 4, 5, 6, 7]
    found = verified(hdrprep, url, "--repair", "--workers", "1")
    assert found["damages"] == found["undone"] == []
    assert contents(url) == before


def test_a_bank_in_memory_is_verified_by_this_process(hdr_folder: Path, hdrprep: Command) -> None:
    url = "memory://verified.zarr"
    assert hdrprep("run", hdr_folder, "--bank", url, *SMALL, "--workers", "1").status == 0
    open_storage(url).delete("ldr/c/1/0/0/0")
    assert damaged_rows(verified(hdrprep, url, "--workers", "1")) == [4, 5, 6, 7]
    assert verified(hdrprep, url, "--repair", "--workers", "1")["damages"] == []
    refused = hdrprep("verify", "--bank", url)  # by workers that would see another memory
    assert refused.status == 2
    assert "leave --scheduler out" in refused.err
    fsspec.filesystem("memory").rm("/verified.zarr", recursive=True)


def test_a_bank_on_its_way_has_no_damage(hdr_folder: Path, whole: Path, hdrprep: Command, tmp_path: Path) -> None:
    bank = tmp_path / "bank.zarr"
    assert hdrprep("ingest", hdr_folder, "--bank", bank, *SMALL).status == 0
    for command in ("simulate-ldr", "score", "export"):
        found = verified(hdrprep, bank)
        assert found["damages"] == found["notes"] == []
        assert hdrprep(command, "--bank", bank).status == 0
    # An export that was killed: a shard is written and its commit waits, another is not begun.
    rows = table(bank, "patches").to_pylist()
    waiting = [row for row in rows if row["row"] is not None and row["row"] // 4 == 1]
    for row in rows:
        if row["row"] is not None and row["row"] >= 4:
            row |= {"row": None, "clipped_values": None}
    write_patches(bank, rows)
    with BankWriter.open(bank) as writer:
        write_commit(writer.begin(), "shard", patch_table(waiting))
    for name in ("hdr/c/2/0/0/0", "ldr/c/2/0/0/0", "patch_id/c/2"):
        (bank / name).unlink()
    found = verified(hdrprep, bank)
    assert found["damages"] == []
    assert any("commits of an interrupted command wait" in note for note in found["notes"])
    assert any("repeat hdrprep export" in note for note in found["notes"])
    assert hdrprep("export", "--bank", bank).status == 0
    assert_same_bank(bank, whole)
    assert verified(hdrprep, bank)["notes"] == []


FIVES = (*SMALL, "--threshold", "0", "--set", "export.shard_rows=5", "--set", "score.min_saturated_fraction=0")


@pytest.fixture
def half(hdr_folder: Path, hdrprep: Command, tmp_path: Path) -> Path:
    """A bank of two of the four sources, all patches kept, with two patches in the last of its shards of five."""
    bank = tmp_path / "half.zarr"
    assert hdrprep("run", *sorted(hdr_folder.iterdir())[:2], "--bank", bank, *FIVES).status == 0
    assert table(bank, "patches")["row"].null_count == 0
    return bank


def test_a_damaged_shard_that_is_to_be_filled_further_is_told_and_the_rest_is_exported(
    half: Path, hdr_folder: Path, hdrprep: Command
) -> None:
    cut(half / "hdr/c/2/0/0/0", 30)
    result = hdrprep("run", hdr_folder, "--bank", half)
    assert result.status == 1
    assert f"{half}/hdr/c/2/0/0/0 is truncated or has a damaged index; run hdrprep verify --repair" in result.err
    assert "Traceback" not in result.err
    assert table(half, "patches")["row"].null_count == 3
    assert hdrprep("verify", "--bank", half, "--repair").status == 0
    assert hdrprep("run", hdr_folder, "--bank", half).status == 0
    assert hdrprep("verify", "--bank", half, "--deep").status == 0
    assert len(array(half, "hdr")) == 24


def test_what_lies_in_a_shard_of_no_patch_does_not_matter_to_an_export(
    half: Path, hdr_folder: Path, hdrprep: Command
) -> None:
    # Damaged leavings of an export that was killed before its commit.
    for key in ("hdr/c/3/0/0/0", "ldr/c/4/0/0/0", "patch_id/c/3"):
        (half / key).parent.mkdir(parents=True, exist_ok=True)
        (half / key).write_bytes(b"debris")
    assert hdrprep("run", hdr_folder, "--bank", half).status == 0
    assert hdrprep("verify", "--bank", half, "--deep").status == 0
    assert len(array(half, "hdr")) == 24
