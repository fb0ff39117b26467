"""Taking in sources: sequences, licences, time limits, and another try."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dask
import numpy as np
import pyarrow.compute as pc
import pytest

from pipeline import localcluster
from pipeline.bank import BankWriter
from pipeline.config import resolve
from pipeline.frames import read_frame
from pipeline.scenes import render_scene, write_exr
from pipeline.work import Place, ingest_frames
from tests.pipeline.banks import assert_same_bank, table
from tests.pipeline.conftest import SMALL, Result

Command = Callable[..., Result]


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sequence of 23 frames that pan over a scene, 1010 missing, and a numbered still."""
    folder = tmp_path_factory.mktemp("shots")
    scene = render_scene("textured_highlights", 5, 80, 200)
    for number in range(24):
        if number != 9:
            write_exr(folder / f"shot.{1001 + number}.exr", scene[:, 4 * number : 4 * number + 100])
    write_exr(folder / "still.0001.exr", scene[:, 100:])
    return folder


PRELOAD = "distributed.worker.preload"
HANGING = """
import time
from pipeline import work

def read_frames(*_):
    time.sleep(60)
    yield from ()

work.read_frames = read_frames
"""


@contextmanager
def workers_that_hang() -> Iterator[None]:
    """Let local workers that are started meanwhile hang in decoding."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(localcluster.LOCAL_DASK, PRELOAD, [*localcluster.LOCAL_DASK[PRELOAD], HANGING])
        yield
    dask.config.set(localcluster.LOCAL_DASK)


def test_a_sequence_is_one_source_of_which_every_tenth_frame_is_used(
    shots: Path, hdrprep: Command, tmp_path: Path
) -> None:
    bank = tmp_path / "bank.zarr"
    result = hdrprep("run", shots, "--bank", bank, *SMALL)
    assert result.status == 0
    assert "1010" in result.err
    rows = {row["kind"]: row for row in table(bank, "sources").to_pylist()}
    assert set(rows) == {"sequence", "still"}
    sequence = rows["sequence"]
    assert (sequence["frames"], sequence["frames_used"]) == (23, 3)
    assert sequence["path"].startswith(str(shots / "shot."))
    assert sequence["bytes"] == sum(path.stat().st_size for path in shots.glob("shot.*.exr"))
    patches = table(bank, "patches")
    of_sequence = patches.filter(pc.equal(patches["source_id"], sequence["source_id"]))
    assert sorted(set(of_sequence["frame"].to_pylist())) == [0, 10, 20]
    assert of_sequence.num_rows == 3 * 6
    assert of_sequence["score"].null_count == 0
    # Frame 0 of the sequence is the file of lowest number, frame 10 the eleventh that is there.
    for frame, name in ((0, "shot.1001.exr"), (10, "shot.1012.exr")):
        alone = read_frame(shots / name).pixels
        np.testing.assert_array_equal(read_frame(Path(sequence["path"]), frame).pixels, alone)


def test_the_four_commands_do_the_same_to_a_sequence(shots: Path, hdrprep: Command, tmp_path: Path) -> None:
    one, four = tmp_path / "one.zarr", tmp_path / "four.zarr"
    assert hdrprep("run", shots, "--bank", one, "--every", "4", *SMALL).status == 0
    assert hdrprep("ingest", shots, "--bank", four, "--every", "4", *SMALL).status == 0
    for command in ("simulate-ldr", "score", "export"):
        assert hdrprep(command, "--bank", four).status == 0
    assert_same_bank(one, four)
    assert table(one, "sources")["frames_used"].to_pylist().count(6) == 1
    assert hdrprep("ingest", shots, "--bank", four, "--every", "5").status == 2


def test_without_sequences_all_are_stills(shots: Path, hdrprep: Command, tmp_path: Path) -> None:
    bank = tmp_path / "bank.zarr"
    assert hdrprep("ingest", shots, "--bank", bank, "--no-sequences", *SMALL).status == 0
    assert table(bank, "sources")["kind"].to_pylist() == ["still"] * 24


def test_some_frames_named_one_by_one_are_stills(shots: Path, hdrprep: Command, tmp_path: Path) -> None:
    bank = tmp_path / "bank.zarr"
    some = [shots / f"shot.{number}.exr" for number in (1001, 1003, 1005)]
    assert hdrprep("ingest", *some, "--bank", bank, *SMALL).status == 0
    assert table(bank, "sources")["kind"].to_pylist() == ["still"] * 3


def test_frames_that_an_interrupted_ingest_left_out_are_made_up_for(
    shots: Path, hdrprep: Command, tmp_path: Path
) -> None:
    whole, bank = tmp_path / "whole.zarr", tmp_path / "bank.zarr"
    for place in (whole, bank):
        assert hdrprep("ingest", shots, "--bank", place, *SMALL).status == 0
    with BankWriter.open(bank) as writer:
        writer.replace_patches(writer.patches.filter(pc.not_equal(writer.patches["frame"], 10)))
    result = hdrprep("ingest", shots, "--bank", bank)
    assert result.status == 0
    assert "this run     6 patches" in result.out  # and no frame that is there already
    assert table(bank, "patches").equals(table(whole, "patches"))
    assert table(bank, "sources").equals(table(whole, "sources"))


def test_a_damaged_frame_rejects_its_sequence_and_nothing_else(shots: Path, hdrprep: Command, tmp_path: Path) -> None:
    folder, bank = shutil.copytree(shots, tmp_path / "in"), tmp_path / "bank.zarr"
    damaged = folder / "shot.1012.exr"  # frame 10: 1010 is missing
    damaged.write_bytes(damaged.read_bytes()[:-3000])
    result = hdrprep("run", folder, "--bank", bank, *SMALL)
    assert result.status == 3
    rows = {row["kind"]: row for row in table(bank, "sources").to_pylist()}
    assert rows["sequence"]["status"] == "rejected"
    assert "truncated or damaged" in rows["sequence"]["reason"]
    assert rows["still"]["status"] == "ok"
    assert set(table(bank, "patches")["source_id"].to_pylist()) == {rows["still"]["source_id"]}
    # Repaired, it is another content and so another source.
    shutil.copy(shots / damaged.name, damaged)
    assert hdrprep("run", folder, "--bank", bank).status == 0
    assert table(bank, "patches").num_rows == 4 * 6


def test_licences_travel_into_the_table(hdr_folder: Path, hdrprep: Command, tmp_path: Path) -> None:
    folder, bank = shutil.copytree(hdr_folder, tmp_path / "in"), tmp_path / "bank.zarr"
    first, second, *_ = sorted(path.name for path in folder.iterdir())
    (folder / f"{first}.licence").write_text("CC BY 4.0\nA. Person")
    (tmp_path / "table.md").write_text(f"| file | licence | origin |\n|---|---|---|\n| {second} | CC0-1.0 | us |\n")
    options = ("--licence-table", tmp_path / "table.md", "--licence", "all rights reserved")
    assert hdrprep("ingest", folder, "--bank", bank, *options, *SMALL).status == 0
    found = {Path(r["path"]).name: (r["licence"], r["attribution"]) for r in table(bank, "sources").to_pylist()}
    assert found.pop(first) == ("CC BY 4.0", "A. Person")
    assert found.pop(second) == ("CC0-1.0", "us")
    assert set(found.values()) == {("all rights reserved", None)}


def test_a_source_that_takes_too_long_is_rejected_and_can_be_tried_again(
    hdr_folder: Path, hdrprep: Command, tmp_path: Path
) -> None:
    bank, source = tmp_path / "bank.zarr", min(hdr_folder.iterdir())
    with workers_that_hang():
        result = hdrprep("ingest", source, "--bank", bank, "--workers", "1", "--source-timeout", "0.5", *SMALL)
    assert result.status == 3
    (row,) = table(bank, "sources").to_pylist()
    assert "took longer than 0.5 s" in row["reason"]
    assert hdrprep("failures", "--bank", bank, "--retry", "no such reason").status == 0
    assert table(bank, "sources")["status"].to_pylist() == ["rejected"]
    assert hdrprep("failures", "--bank", bank, "--retry", "took longer").status == 0
    assert table(bank, "sources")["status"].to_pylist() == ["ok"]
    assert table(bank, "patches").num_rows == 6


@pytest.mark.parametrize(("allowed", "status"), [("0", 3), ("1", 0), ("24%", 3), ("25%", 0), ("x", 2), ("101%", 2)])
def test_so_many_rejected_sources_are_allowed(
    allowed: str, status: int, hdr_folder: Path, hdrprep: Command, tmp_path: Path
) -> None:
    folder, bank = shutil.copytree(hdr_folder, tmp_path / "in"), tmp_path / "bank.zarr"
    bad = min(folder.iterdir())
    bad.write_bytes(bad.read_bytes()[:-2000])
    assert hdrprep("ingest", folder, "--bank", bank, "--max-failures", allowed, *SMALL).status == status


def test_a_retry_reads_what_was_mended(hdrprep: Command, tmp_path: Path) -> None:
    folder, bank = tmp_path / "in", tmp_path / "bank.zarr"
    folder.mkdir()
    pixels = np.random.default_rng(0).random((80, 90, 3)).astype(np.float32)
    write_exr(folder / "a.exr", pixels)
    whole = (folder / "a.exr").read_bytes()
    (folder / "a.exr").write_bytes(whole[:-999])
    assert hdrprep("run", folder, "--bank", bank, "--licence", "ours", *SMALL).status == 3
    (folder / "a.exr").write_bytes(whole)
    assert hdrprep("failures", "--bank", bank, "--retry").status == 0
    (row,) = table(bank, "sources").to_pylist()
    assert (row["status"], row["licence"]) == ("ok", "ours")


def test_frames_are_never_taken_from_other_content_than_the_sources(
    shots: Path, hdrprep: Command, tmp_path: Path
) -> None:
    folder, bank = shutil.copytree(shots, tmp_path / "in"), tmp_path / "bank.zarr"
    assert hdrprep("ingest", folder, "--bank", bank, *SMALL).status == 0
    (source,) = (row for row in table(bank, "sources").to_pylist() if row["kind"] == "sequence")
    shutil.copy(folder / "shot.1001.exr", folder / "shot.1012.exr")
    with BankWriter.open(bank) as writer:
        place = Place(writer.begin(), 60)
    outcome = ingest_frames(place, source, [10], resolve([{"crops": {"patch_size": 64}}]))
    assert outcome.patches == 0
    assert outcome.reason is not None
    assert "another content" in outcome.reason


def test_a_frame_that_took_too_long_in_a_later_stage_is_tried_again_by_the_next_command(
    hdr_folder: Path, hdrprep: Command, tmp_path: Path
) -> None:
    bank, source = tmp_path / "bank.zarr", min(hdr_folder.iterdir())
    assert hdrprep("ingest", source, "--bank", bank, *SMALL).status == 0
    with workers_that_hang():
        result = hdrprep("simulate-ldr", "--bank", bank, "--workers", "1", "--source-timeout", "0.5")
    assert result.status == 1
    assert "took longer than 0.5 s" in result.err
    assert hdrprep("simulate-ldr", "--bank", bank).status == 0
    assert table(bank, "patches")["exposure"].null_count == 0
