"""The stages on Dask: the same numbers however the work is cut, ordered, interrupted and repeated."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from pipeline.bank import BankWriter
from pipeline.scenes import render_scene, write_exr
from tests.patience import HANGS
from tests.pipeline.banks import array, array_files, assert_same_bank, assert_same_patches, table
from tests.pipeline.conftest import SMALL, Result

Command = Callable[..., Result]


@pytest.fixture(scope="session")
def reference(hdr_folder: Path, scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bank of one uninterrupted run; not to be changed."""
    bank = tmp_path_factory.mktemp("reference") / "bank.zarr"
    return run_in_process(bank, hdr_folder, "--scheduler", scheduler, *SMALL)


def run_in_process(bank: Path, *arguments: object) -> Path:
    command = [sys.executable, "-m", "pipeline.cli", "run", "--bank", bank, *arguments]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return bank


def test_a_run_tells_all_and_keeps_textured_patches(reference: Path, hdr_folder: Path) -> None:
    patches = table(reference, "patches")
    assert patches.num_rows == 4 * 6
    assert table(reference, "sources").num_rows == 4
    assert np.isfinite(patches["score"].to_numpy()).all()
    kept = patches.filter(np.array(patches["verdict"].to_pylist()) == "kept")
    assert 0 < kept.num_rows < patches.num_rows
    assert kept["row"].null_count == 0
    assert patches["row"].null_count == patches.num_rows - kept.num_rows
    assert min(kept["score"].to_pylist()) >= 0.85
    # Rows are assigned in the order of the table, which is (source_id, frame, k).
    assert kept["row"].to_pylist() == list(range(kept.num_rows))
    assert array(reference, "patch_id").tolist() == kept["patch_id"].to_pylist()


def test_the_four_commands_give_what_run_gives(
    reference: Path, hdr_folder: Path, hdrprep: Command, tmp_path: Path
) -> None:
    bank = tmp_path / "bank.zarr"
    assert hdrprep("ingest", hdr_folder, "--bank", bank, *SMALL).status == 0
    before = table(bank, "patches")
    assert before["score"].null_count == before["exposure"].null_count == before.num_rows
    for command in ("simulate-ldr", "score", "export"):
        assert hdrprep(command, "--bank", bank).status == 0
    assert_same_bank(bank, reference)


def test_one_worker_gives_what_two_give(reference: Path, hdr_folder: Path, hdrprep: Command, tmp_path: Path) -> None:
    bank = tmp_path / "bank.zarr"
    assert hdrprep("run", hdr_folder, "--bank", bank, "--workers", "1", *SMALL).status == 0
    assert_same_bank(bank, reference)


def test_a_repeated_run_changes_no_byte(reference: Path, hdr_folder: Path, hdrprep: Command, tmp_path: Path) -> None:
    bank = shutil.copytree(reference, tmp_path / "bank.zarr")
    before = {path: path.read_bytes() for path in bank.rglob("*") if path.is_file() and path.name != "lock"}
    assert hdrprep("run", hdr_folder, "--bank", bank).status == 0
    assert {path: path.read_bytes() for path in bank.rglob("*") if path.is_file() and path.name != "lock"} == before


def test_sources_in_two_halves_and_in_another_order_give_the_same_patches(
    reference: Path, hdr_folder: Path, hdrprep: Command, tmp_path: Path
) -> None:
    files = sorted(hdr_folder.iterdir(), reverse=True)
    bank = tmp_path / "bank.zarr"
    for half in (files[:2], files[2:]):
        assert hdrprep("run", *half, "--bank", bank, *SMALL).status == 0
    assert_same_patches(bank, reference)


def test_more_patches_for_new_sources_leave_the_old_ones(
    reference: Path, hdr_folder: Path, hdrprep: Command, tmp_path: Path
) -> None:
    bank = shutil.copytree(reference, tmp_path / "bank.zarr")
    copy = tmp_path / "more" / "other.exr"
    copy.parent.mkdir()
    write_exr(copy, render_scene("sky", 77, 160, 200))
    assert hdrprep("run", copy, "--bank", bank, "--patches", "9").status == 0
    counts = dict.fromkeys(table(bank, "sources")["source_id"].to_pylist(), 0)
    for source_id in table(bank, "patches")["source_id"].to_pylist():
        counts[source_id] += 1
    assert sorted(counts.values()) == [6, 6, 6, 6, 9]


def test_another_seed_gives_other_patches(reference: Path, hdr_folder: Path, hdrprep: Command, tmp_path: Path) -> None:
    bank = tmp_path / "bank.zarr"
    assert hdrprep("ingest", hdr_folder, "--bank", bank, "--seed", "7", *SMALL).status == 0
    assert table(bank, "patches")["patch_id"].equals(table(reference, "patches")["patch_id"])
    assert not table(bank, "patches")["y"].equals(table(reference, "patches")["y"])
    # Bare commands keep the bank's seed.
    assert hdrprep("simulate-ldr", "--bank", bank).status == 0
    again = tmp_path / "again.zarr"
    assert hdrprep("run", hdr_folder, "--bank", again, "--seed", "7", *SMALL).status == 0
    for command in ("score", "export"):
        assert hdrprep(command, "--bank", bank).status == 0
    assert_same_bank(bank, again)


def test_equal_content_is_one_source_and_its_places_are_kept(
    hdr_folder: Path, hdrprep: Command, tmp_path: Path
) -> None:
    first = min(hdr_folder.iterdir())
    folder = tmp_path / "in"
    folder.mkdir()
    places = [folder / f"{name}{first.suffix}" for name in ("a", "b", "c")]
    for place in places:
        shutil.copy(first, place)
    bank = tmp_path / "bank.zarr"
    assert hdrprep("ingest", folder, "--bank", bank, *SMALL).status == 0
    assert hdrprep("ingest", first, "--bank", bank).status == 0
    (row,) = table(bank, "sources").to_pylist()
    assert row["path"] == str(places[0])
    assert row["also_at"] == sorted([str(places[1]), str(places[2]), str(first)])
    assert table(bank, "patches").num_rows == 6
    # Any of its places will do.
    places[0].unlink()
    assert hdrprep("simulate-ldr", "--bank", bank).status == 0


def test_a_source_that_is_gone_or_changed_is_named_and_the_rest_is_done(
    hdr_folder: Path, hdrprep: Command, tmp_path: Path
) -> None:
    folder = shutil.copytree(hdr_folder, tmp_path / "in")
    gone, changed = sorted(folder.iterdir())[:2]
    bank, whole = tmp_path / "bank.zarr", tmp_path / "whole.zarr"
    assert hdrprep("ingest", folder, "--bank", bank, *SMALL).status == 0
    kept = {path: path.read_bytes() for path in (gone, changed)}
    gone.unlink()
    changed.write_bytes(kept[changed] + b"\0")
    result = hdrprep("simulate-ldr", "--bank", bank)
    assert result.status == 1
    assert f"{gone}: it cannot be opened" in result.err
    assert f"{changed} has another content" in result.err
    assert table(bank, "patches")["exposure"].null_count == 12
    for path, content in kept.items():
        path.write_bytes(content)
    for command in ("simulate-ldr", "score", "export"):
        assert hdrprep(command, "--bank", bank).status == 0
    assert hdrprep("run", folder, "--bank", whole, *SMALL).status == 0
    assert_same_bank(bank, whole)


def test_another_threshold_relabels_and_touches_no_pixel(reference: Path, hdrprep: Command, tmp_path: Path) -> None:
    bank = shutil.copytree(reference, tmp_path / "bank.zarr")
    before, pixels = table(bank, "patches"), array_files(bank)
    threshold = float(np.median(before["score"].to_numpy()))
    # Without its sources, and without workers: no scheduler answers there.
    nowhere = ("--scheduler", "tcp://127.0.0.1:1")
    assert hdrprep("score", "--bank", bank, "--threshold", threshold, *nowhere).status == 0
    after = table(bank, "patches")
    assert after["verdict"].to_pylist() == ["kept" if s >= threshold else "smooth" for s in before["score"].to_pylist()]
    unchanged = ["verdict", "verdict_reason"]
    assert after.drop_columns(unchanged).equals(before.drop_columns(unchanged))
    assert array_files(bank) == pixels
    assert hdrprep("score", "--bank", bank, "--threshold", "0.85").status == 0
    assert table(bank, "patches").equals(before)


def test_the_average_is_a_choice_that_can_be_taken_back(reference: Path, hdrprep: Command, tmp_path: Path) -> None:
    bank = shutil.copytree(reference, tmp_path / "bank.zarr")
    before = table(bank, "patches")
    assert hdrprep("score", "--bank", bank, "--set", "score.average=patch").status == 0
    over_patch = table(bank, "patches")["score"].to_numpy()
    product = before["score"].to_numpy() * before["saturated_fraction"].to_numpy()
    np.testing.assert_allclose(over_patch, product, rtol=1e-9)
    assert hdrprep("score", "--bank", bank, "--set", "score.average=saturated").status == 0
    assert table(bank, "patches").equals(before)


def test_export_adds_what_a_lower_threshold_keeps_and_moves_nothing(
    reference: Path, hdrprep: Command, tmp_path: Path
) -> None:
    bank = shutil.copytree(reference, tmp_path / "bank.zarr")
    rows, pixels = table(bank, "patches")["row"].to_pylist(), array(bank, "hdr")
    assert hdrprep("score", "--bank", bank, "--threshold", "0").status == 0
    assert hdrprep("export", "--bank", bank).status == 0
    after = table(bank, "patches")["row"].to_pylist()
    assert sorted(after) == list(range(len(after)))
    assert all(new == old for new, old in zip(after, rows, strict=True) if old is not None)
    np.testing.assert_array_equal(array(bank, "hdr")[: len(pixels)], pixels)
    assert not np.isnan(array(bank, "hdr")).any()


def test_a_limit_is_a_seeded_subset_that_grows_into_the_larger_one(
    reference: Path, hdrprep: Command, tmp_path: Path
) -> None:
    bank = shutil.copytree(reference, tmp_path / "bank.zarr")
    for name in ("hdr", "ldr", "patch_id"):
        shutil.rmtree(bank / name)
    _forget_rows(bank)
    exported: list[set[int]] = []
    for limit in (2, 5, 5):
        assert hdrprep("export", "--bank", bank, "--limit", limit).status == 0
        exported.append(set(array(bank, "patch_id").tolist()))
    assert [len(ids) for ids in exported] == [2, 5, 5]
    assert exported[0] < exported[1] == exported[2]
    first = table(bank, "patches").filter(np.array(table(bank, "patches")["verdict"].to_pylist()) == "kept")
    assert exported[1] != set(first["patch_id"].to_pylist()[:5])


def _forget_rows(bank: Path) -> None:
    with BankWriter.open(bank) as writer:
        index = writer.patches.schema.get_field_index("row")
        writer.replace_patches(writer.patches.set_column(index, "row", pa.nulls(writer.patches.num_rows, pa.int64())))


def test_exported_pairs_reproduce_their_score_by_an_independent_computation(reference: Path) -> None:
    """Contract, section 4, written out anew on what plain zarr reads."""
    hdr, ldr = array(reference, "hdr").astype(np.float32), array(reference, "ldr")
    patches = table(reference, "patches")
    exported = patches.filter(np.array([row is not None for row in patches["row"].to_pylist()])).to_pylist()
    assert exported
    for patch in exported:
        H, T = hdr[patch["row"]], ldr[patch["row"]] / 255.0
        M = np.clip((1.0 - T) / (1.0 - 0.96), 0.0, 1.0)
        L = np.log(H @ np.array([0.299, 0.587, 0.114], np.float32) + 1.0)
        D = L - cv2.bilateralFilter(L, -1, 100.0, 10.0)
        G = np.abs(cv2.Sobel(D, cv2.CV_32F, 1, 0)) + np.abs(cv2.Sobel(D, cv2.CV_32F, 0, 1))
        score = (G[..., None] * (1 - M)).sum() / (1 - M).sum()
        assert score == pytest.approx(patch["score"], rel=0.02)
        assert (1 - M).mean() == pytest.approx(patch["saturated_fraction"], rel=1e-5)


# So many patches that a run is still at work when its first source is done, however busy the machine is.
LONG = ("--patch-size", "64", "--patches", "150", "--set", "export.shard_rows=16")


@pytest.fixture(scope="module")
def long_reference(hdr_folder: Path, scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_in_process(tmp_path_factory.mktemp("long") / "bank.zarr", hdr_folder, "--scheduler", scheduler, *LONG)


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_run_ends_as_an_uninterrupted_one_when_repeated(
    ending: signal.Signals, long_reference: Path, hdr_folder: Path, hdrprep: Command, tmp_path: Path
) -> None:
    bank = tmp_path / "bank.zarr"
    command = [sys.executable, "-m", "pipeline.cli", "run", hdr_folder, "--bank", bank, "--workers", "1", *LONG]
    process = subprocess.Popen(
        list(map(str, command)),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A background job is born deaf to Ctrl-C, and so are its children: the tests may be one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + HANGS
    while not list(bank.glob("_work/turns/*/*.parquet")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, ending)
    _, told = process.communicate(timeout=HANGS)
    if ending == signal.SIGINT:
        assert process.returncode == 130
        assert told.strip().splitlines()[-1] == "hdrprep: interrupted; the same command resumes"
        assert "Traceback" not in told
    else:
        assert process.returncode == -signal.SIGKILL
    assert hdrprep("run", hdr_folder, "--bank", bank, *LONG).status == 0
    assert_same_bank(bank, long_reference)


def test_a_full_disk_is_one_sentence_and_no_fault_of_any_source(
    reference: Path, hdr_folder: Path, hdrprep: Command, tmp_path: Path
) -> None:
    bank = tmp_path / "bank.zarr"
    command = ["-m", "pipeline.cli", "run", hdr_folder, "--bank", bank, "--workers", "1", *SMALL]
    # Tables of a few kilobytes can be written, a shard of four patches cannot: as on a disk that is full.
    limited = f"ulimit -f 64; exec {shlex.join([sys.executable, *map(str, command)])}"
    ended = subprocess.run(["/bin/bash", "-c", limited], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    (line,) = ended.stderr.strip().splitlines()
    assert line.startswith(f"hdrprep: error: the bank {bank} cannot be written (File too large)")
    assert set(table(bank, "sources")["status"].to_pylist()) == {"ok"}
    assert hdrprep("run", hdr_folder, "--bank", bank, *SMALL).status == 0
    assert_same_bank(bank, reference)
