"""Merging: banks of equal settings become the bank that one ingest of all their sources gives."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline.bank import PATCHES_SCHEMA, BankWriter, open_storage
from pipeline.bank.schema import encode_table
from pipeline.errors import BankMismatch
from pipeline.merge import unite_patches
from tests.pipeline.banks import array_files, assert_same_bank, assert_same_patches, run_in_process, table
from tests.pipeline.conftest import SMALL, Result
from tests.pipeline.exr_files import picture, save

Command = Callable[..., Result]


@pytest.fixture(scope="module")
def banks(hdr_folder: Path, scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Banks of halves of the files that share one, of all of them, and of both halves merged. Not to be changed."""
    folder, files = tmp_path_factory.mktemp("banks"), sorted(hdr_folder.iterdir())
    made = {name: folder / f"{name}.zarr" for name in ("a", "b", "all", "merged")}
    for name, some in (("a", files[:3]), ("b", files[2:]), ("all", files)):
        more = ("--set", "export.compression=zstd") if name == "b" else ()
        run_in_process("run", *some, "--bank", made[name], "--scheduler", scheduler, *SMALL, *more)
    run_in_process("merge", made["a"], made["b"], "--bank", made["merged"], "--scheduler", scheduler)
    return made


def test_merged_halves_are_the_bank_of_one_ingest(banks: dict[str, Path], hdrprep: Command) -> None:
    assert_same_bank(banks["merged"], banks["all"])
    assert array_files(banks["merged"]) == array_files(banks["all"])
    described = [json.loads((banks[name] / "zarr.json").read_text()) for name in ("merged", "all")]
    assert described[0] == described[1]
    assert hdrprep("verify", "--deep", "--bank", banks["merged"]).status == 0


def test_the_order_of_the_banks_changes_no_patch(banks: dict[str, Path], hdrprep: Command, tmp_path: Path) -> None:
    bank = tmp_path / "bank.zarr"
    result = hdrprep("merge", banks["b"], banks["a"], "--bank", bank)
    assert result.status == 0
    assert result.out.splitlines()[0] == "sources      4 used, 0 rejected"
    assert_same_patches(bank, banks["all"])


def test_a_bank_grows_by_another_one_and_its_rows_stay(
    banks: dict[str, Path], hdrprep: Command, tmp_path: Path
) -> None:
    bank = shutil.copytree(banks["a"], tmp_path / "bank.zarr")
    assert hdrprep("merge", banks["b"], "--bank", bank).status == 0
    assert_same_patches(bank, banks["all"])
    rows = {row["patch_id"]: row["row"] for row in table(bank, "patches").to_pylist()}
    for row in table(banks["a"], "patches").to_pylist():
        assert row["row"] is None or rows[row["patch_id"]] == row["row"]
    before = array_files(bank)
    assert hdrprep("merge", banks["b"], banks["a"], "--bank", bank).status == 0
    assert array_files(bank) == before
    assert hdrprep("verify", "--bank", bank).status == 0


KILLED = """
import os, signal, sys
from pipeline import cli
from pipeline.localcluster import OwnWorkers
from pipeline.bank import durable, files, storage
left = int(sys.argv[1])
before = files.replace_file
def replace_file(path, *how):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    before(path, *how)
storage.replace_file = durable.replace_file = replace_file
OwnWorkers.processes = lambda count: OwnWorkers.thread()
cli.main(["merge", sys.argv[2], sys.argv[3], "--bank", sys.argv[4], "--workers", "1"])
"""


@pytest.mark.parametrize("write", [0, 2, 3, 4, 7, 11, 14, 17, 20, 24])
def test_a_killed_merge_ends_as_an_uninterrupted_one(
    write: int, banks: dict[str, Path], hdrprep: Command, tmp_path: Path
) -> None:
    bank = tmp_path / "bank.zarr"
    command = [sys.executable, "-c", KILLED, str(write), *map(str, (banks["a"], banks["b"], bank))]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert hdrprep("merge", banks["a"], banks["b"], "--bank", bank).status == 0
    assert_same_bank(bank, banks["all"])
    assert array_files(bank) == array_files(banks["all"])


def test_of_an_unfinished_and_a_finished_bank_the_finished_rows_stay(
    banks: dict[str, Path], hdr_folder: Path, hdrprep: Command, tmp_path: Path
) -> None:
    early, bank = tmp_path / "early.zarr", tmp_path / "bank.zarr"
    assert hdrprep("ingest", hdr_folder, "--bank", early, *SMALL).status == 0
    assert hdrprep("merge", early, banks["a"], "--bank", bank).status == 0
    scored = table(bank, "patches")["score"]
    assert scored.null_count == 6
    for command in ("simulate-ldr", "score", "export"):
        assert hdrprep(command, "--bank", bank).status == 0
    assert_same_patches(bank, banks["all"])


def test_places_of_equal_content_are_united(
    banks: dict[str, Path], hdr_folder: Path, hdrprep: Command, tmp_path: Path
) -> None:
    folder, other, bank = tmp_path / "copies", tmp_path / "other.zarr", tmp_path / "bank.zarr"
    shutil.copytree(hdr_folder, folder)
    (folder / "broken.exr").write_bytes(b"no picture")
    assert hdrprep("run", folder, "--bank", other, *SMALL).status == 3
    assert hdrprep("merge", banks["all"], other, "--bank", bank).status == 0
    for row in table(bank, "sources").to_pylist():
        if row["status"] == "ok":
            assert Path(row["path"]).parent == hdr_folder
            assert row["also_at"] == [str(folder / Path(row["path"]).name)]
    assert "rejected" in table(bank, "sources")["status"].to_pylist()
    assert_same_patches(bank, banks["all"])


def test_parts_of_a_sequence_are_joined(hdrprep: Command, tmp_path: Path) -> None:
    folder = tmp_path / "shots"
    folder.mkdir()
    for number in range(1001, 1005):
        frame = picture(80, 96, seed=number)
        frame[3, 4] = -1.0
        save(folder / f"shot.{number}.exr", {"RGB": frame})
    words = ("--every", "1", *SMALL)
    whole, early, late = (tmp_path / f"{name}.zarr" for name in ("whole", "early", "late"))
    assert hdrprep("run", folder, "--bank", whole, *words).status == 0
    for bank, frames in ((early, {0, 1, 2}), (late, {2, 3})):
        shutil.copytree(whole, bank)
        patches = table(bank, "patches")
        there = patches.filter(pc.is_in(patches["frame"], value_set=pa.array(sorted(frames), pa.int32())))
        (bank / "tables/patches.parquet").write_bytes(encode_table(there))
    bank = tmp_path / "bank.zarr"
    assert hdrprep("merge", early, late, "--bank", bank).status == 0
    assert_same_bank(bank, whole)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--seed", "7"), "ingest.seed is 0, but {other} was made with 7"),
        (("--patch-size", "32"), "crops.patch_size is 64, but {other} was made with 32"),
        (("--every", "3"), "ingest.every is 10, but {other} was made with 3"),
        (("--set", "score.alpha=0.9"), "score.alpha is 0.96, but {other} was made with 0.9"),
        (("--set", "camera.jpeg_quality={constant: 90}"), "camera.jpeg_quality"),
    ],
)
def test_banks_of_other_settings_are_refused_in_one_sentence(
    words: tuple[str, ...], told: str, banks: dict[str, Path], hdr_folder: Path, hdrprep: Command, tmp_path: Path
) -> None:
    other, bank = tmp_path / "other.zarr", tmp_path / "bank.zarr"
    assert hdrprep("ingest", min(hdr_folder.iterdir()), "--bank", other, *SMALL, *words).status == 0
    result = hdrprep("merge", banks["a"], other, "--bank", bank)
    assert result.status == 2
    (line,) = result.err.strip().splitlines()
    assert told.format(other=other) in line
    assert "only banks of equal settings can be merged" in line
    assert not bank.exists()


def test_other_thresholds_and_numbers_of_patches_may_be_merged(
    banks: dict[str, Path], hdr_folder: Path, hdrprep: Command, tmp_path: Path
) -> None:
    other, bank = tmp_path / "other.zarr", tmp_path / "bank.zarr"
    words = (*SMALL, "--threshold", "0.3", "--patches", "8")
    assert hdrprep("run", hdr_folder, "--bank", other, *words).status == 0
    assert hdrprep("merge", banks["a"], other, "--bank", bank).status == 0
    patches = table(bank, "patches")
    assert patches.num_rows == 32
    assert patches.filter(pc.is_valid(patches["row"]))["score"].to_numpy().min() >= 0.85
    assert hdrprep("verify", "--deep", "--bank", bank).status == 0


def test_a_bank_that_is_written_to_is_refused(banks: dict[str, Path], hdrprep: Command, tmp_path: Path) -> None:
    other = shutil.copytree(banks["b"], tmp_path / "other.zarr")
    with BankWriter.open(other):
        result = hdrprep("merge", banks["a"], other, "--bank", tmp_path / "bank.zarr")
    assert result.status == 1
    assert f"is writing to {other}" in result.err
    assert not (tmp_path / "bank.zarr").exists()


def test_a_bank_named_twice_is_a_mistake(banks: dict[str, Path], hdrprep: Command, tmp_path: Path) -> None:
    for words in ((banks["a"], banks["a"], "--bank", tmp_path / "x.zarr"), (banks["a"], "--bank", banks["a"])):
        result = hdrprep("merge", *words)
        assert result.status == 2
        assert "is named twice" in result.err


def test_a_damaged_patch_is_named_and_the_others_come(banks: dict[str, Path], hdrprep: Command, tmp_path: Path) -> None:
    other, bank = shutil.copytree(banks["a"], tmp_path / "other.zarr"), tmp_path / "bank.zarr"
    (other / "ldr/c/0/0/0/0").unlink()
    result = hdrprep("merge", other, "--bank", bank)
    assert result.status == 1
    assert "are missing; run hdrprep verify --repair" in result.err
    assert hdrprep("merge", other, banks["b"], banks["a"], "--bank", bank).status == 1  # the first one is asked
    assert hdrprep("verify", "--repair", "--bank", other).status == 0
    assert hdrprep("merge", other, banks["b"], "--bank", bank).status == 0
    assert_same_patches(bank, banks["all"])


def test_other_libraries_are_told(banks: dict[str, Path], hdrprep: Command, tmp_path: Path) -> None:
    other = shutil.copytree(banks["b"], tmp_path / "other.zarr")
    document = json.loads((other / "zarr.json").read_text())
    document["attributes"]["hdrprep"]["versions"]["numpy"] = "0.1"
    (other / "zarr.json").write_text(json.dumps(document))
    result = hdrprep("merge", banks["a"], other, "--bank", tmp_path / "bank.zarr")
    assert result.status == 0
    assert f"{other}: numpy 0.1 instead of" in result.err


def test_different_numbers_of_one_patch_are_refused() -> None:
    def rows(**values: Any) -> pa.Table:
        row = {"patch_id": 1, "source_id": "a", "frame": 0, "k": 0, "exposure": 2.0, **values}
        return pa.Table.from_pylist([row], schema=PATCHES_SCHEMA)

    place = open_storage("other.zarr")
    assert unite_patches(rows(), rows(verdict="kept", score=1.0, row=5), place).equals(rows())
    assert unite_patches(rows(exposure=None), rows(clip_fraction=0.9), place).equals(rows(clip_fraction=0.9))
    with pytest.raises(BankMismatch, match=r"patch 1 has another exposure in other\.zarr"):
        unite_patches(rows(), rows(exposure=2.5), place)


def test_banks_in_a_bucket_are_merged(s3: str, banks: dict[str, Path], hdrprep: Command, tmp_path: Path) -> None:
    from tests.pipeline.test_remote import download, upload

    url = upload(banks["b"], f"{s3}/b.zarr")
    open_storage(url).delete("_work/lock")
    assert hdrprep("merge", banks["a"], url, "--bank", f"{s3}/merged.zarr", "--workers", "1").status == 0
    there = download(f"{s3}/merged.zarr", tmp_path / "there.zarr")
    assert_same_bank(there, banks["all"])
    assert array_files(there) == array_files(banks["all"])
