"""--dry-run: what it says is what the command then does, and it leaves no trace."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from pipeline.bank import PATCHES_SCHEMA, BankWriter, open_storage
from pipeline.bank.commits import list_commits, write_commit
from pipeline.bank.schema import encode_table
from pipeline.config import resolve
from pipeline.plan import plan_intake, plan_stage
from pipeline.scenes import render_scene, write_exr
from pipeline.sources import discover
from tests.pipeline.banks import array_files, table
from tests.pipeline.conftest import SMALL, Result
from tests.pipeline.test_cli import assert_one_sentence, damaged_files
from tests.pipeline.video_files import Spec, random_planes, write_video

Command = Callable[..., Result]
Tree = dict[str, tuple[int, bytes]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a test, where temporary files would lie as well."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tree(*tops: Path) -> Tree:
    """Return everything below some folders: when it was changed, and what is in it."""
    paths = [path for top in tops for path in [top, *top.rglob("*")]]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in paths}


def told(result: Result) -> dict[str, int]:
    """Return the first number of each line of a plan."""
    assert result.status == 0, result.err
    lines = [re.match(r"(\w+) +(?:about )?(\d+)", line) for line in result.out.splitlines()]
    return {line[1]: int(line[2]) for line in lines if line is not None}


def done(bank: Path) -> dict[str, int]:
    """Return what a bank holds, in the words of a plan."""
    sources, patches = table(bank, "sources"), table(bank, "patches")
    used = pc.sum(sources["frames_used"]).as_py()
    kept = patches["verdict"].to_pylist().count("kept")
    exported = len(patches) - patches["row"].null_count
    return {"sources": len(sources), "frames": used, "candidates": len(patches), "kept": kept, "exported": exported}


@pytest.mark.parametrize("limit", [(), ("--limit", "3")])
def test_a_run_is_foretold_and_nothing_is_written(
    hdr_folder: Path, hdrprep: Command, place: Path, limit: tuple[str, ...]
) -> None:
    bank = place / "bank.zarr"
    before = tree(place, hdr_folder)
    plan = hdrprep("run", hdr_folder, "--bank", bank, "--dry-run", *limit, *SMALL)
    assert tree(place, hdr_folder) == before
    assert plan.err == ""
    # The sample is all of it here, so that nothing of what is said is an estimate but bytes and time.
    assert "confidence" not in plan.out
    assert hdrprep("run", hdr_folder, "--bank", bank, *limit, *SMALL).status == 0
    expected = done(bank)
    assert expected["exported"] == (3 if limit else expected["kept"])
    assert 0 < expected["kept"] < expected["candidates"]
    assert expected.items() <= told(plan).items()


@pytest.mark.parametrize("compression", ["none", "zstd", "lz4"])
def test_the_bytes_are_foretold(hdr_folder: Path, hdrprep: Command, place: Path, compression: str) -> None:
    bank = place / "bank.zarr"
    settings = (*SMALL, "--set", f"export.compression={compression}")
    out = hdrprep("run", hdr_folder, "--bank", bank, "--dry-run", *settings).out
    assert hdrprep("run", hdr_folder, "--bank", bank, *settings).status == 0
    pixels = sum(len(content) for name, content in array_files(bank).items() if not name.endswith("zarr.json"))
    sizes = dict(re.findall(r"(tables|arrays) +about ([\d.]+) KB", out))
    assert float(sizes["arrays"]) * 1000 == pytest.approx(pixels, rel=0.02)
    # What any table takes comes on top of what its rows take.
    assert 0 < float(sizes["tables"]) * 1000 < (bank / "tables" / "patches.parquet").stat().st_size


def test_each_stage_is_foretold(hdr_folder: Path, hdrprep: Command, place: Path) -> None:
    bank = place / "bank.zarr"
    words: dict[str, tuple[object, ...]] = {
        "ingest": (hdr_folder, *SMALL),
        "simulate-ldr": (),
        "score": ("--threshold", "0.7"),
        "export": ("--limit", "3"),
    }
    for command, arguments in words.items():
        before = tree(place, hdr_folder)
        plan = told(hdrprep(command, *arguments, "--bank", bank, "--dry-run"))
        assert tree(place, hdr_folder) == before, command
        assert hdrprep(command, *arguments, "--bank", bank).status == 0
        expected = done(bank)
        assert expected["kept" if command == "export" else "candidates"] >= plan["candidates"] > 0
        for name in {"kept", "exported"} & plan.keys():
            assert plan[name] == expected[name], (command, name)
        again = hdrprep(command, *arguments, "--bank", bank, "--dry-run")
        assert "nothing is left to do" in again.out
        assert told(again)["candidates"] == 0
    assert done(bank)["exported"] == 3
    assert told(hdrprep("export", "--bank", bank, "--dry-run"))["exported"] == expected["kept"] - 3


def test_a_run_goes_on_where_a_bank_stands(hdr_folder: Path, hdrprep: Command, place: Path) -> None:
    files = sorted(hdr_folder.iterdir())
    bank = place / "bank.zarr"
    assert hdrprep("run", files[0], "--bank", bank, *SMALL).status == 0
    assert hdrprep("ingest", files[1], "--bank", bank).status == 0
    assert hdrprep("simulate-ldr", "--bank", bank).status == 0
    assert hdrprep("ingest", files[2], "--bank", bank).status == 0
    before, standing = tree(bank), done(bank)
    copy = shutil.copy(files[0], place / "copy.exr")
    plan = hdrprep("run", *files, copy, "--bank", bank, "--threshold", "0.7", "--dry-run")
    assert re.search(r"1 new \(.*\), 3 in the bank, 1 of the same content as others", plan.out)
    # Twelve without a score, and those that the lower threshold lets through.
    unfinished = re.search(r"6 new, 18 in the bank, (\d+) of these unfinished", plan.out)
    assert unfinished is not None
    assert int(unfinished[1]) >= 12
    assert tree(bank) == before
    assert hdrprep("run", *files, "--bank", bank, "--threshold", "0.7").status == 0
    after = done(bank)
    assert told(plan)["exported"] == after["exported"] - standing["exported"]
    relabelled = re.search(r"(\d+) scored before, (\d+) of them kept \((\d+) until now\)", plan.out)
    assert relabelled is not None
    assert int(relabelled[3]) == standing["kept"]
    assert told(plan)["kept"] + int(relabelled[2]) == after["kept"]


def test_a_threshold_is_foretold_without_a_sample(hdr_folder: Path, hdrprep: Command, place: Path) -> None:
    bank = place / "bank.zarr"
    assert hdrprep("run", hdr_folder, "--bank", bank, *SMALL).status == 0
    plan = hdrprep("score", "--bank", bank, "--threshold", "2.5", "--dry-run")
    assert hdrprep("score", "--bank", bank, "--threshold", "2.5").status == 0
    assert f"24 scored before, {done(bank)['kept']} of them kept" in plan.out


def test_rejected_sources_are_foretold(hdrprep: Command, place: Path) -> None:
    folder, bank = place / "in", place / "bank.zarr"
    folder.mkdir()
    damaged_files(folder)
    plan = hdrprep("run", folder, "--bank", bank, "--dry-run", *SMALL)
    assert "Traceback" not in plan.err
    assert not bank.exists()
    assert hdrprep("run", folder, "--bank", bank, *SMALL).status == 3
    rejected = {row["path"]: row["reason"] for row in table(bank, "sources").to_pylist() if row["reason"]}
    assert f"{len(rejected)} sources would be rejected" in plan.out
    for path, reason in rejected.items():
        assert f"      1  {reason}: {path}\n" in plan.out
    assert done(bank).items() - {("sources", 8)} <= told(plan).items()
    again = hdrprep("run", folder, "--bank", bank, "--dry-run")
    assert "0 new (0 bytes), 8 in the bank (6 rejected)" in again.out
    assert "would be rejected" not in again.out


def test_sequences_and_videos_are_foretold(hdrprep: Command, place: Path) -> None:
    scene = render_scene("textured_highlights", 5, 80, 200)
    (place / "in").mkdir()
    for number in range(12):
        write_exr(place / "in" / f"shot.{1001 + number}.exr", scene[:, 4 * number : 4 * number + 100])
    write_video(place / "in" / "clip.mkv", [random_planes("yuv420p10le", 80, 100, seed) for seed in range(9)], Spec())
    bank = place / "bank.zarr"
    words = ("run", place / "in", "--bank", bank, "--every", "4", *SMALL)
    plan = hdrprep(*words, "--dry-run")
    assert hdrprep(*words).status == 0
    assert done(bank)["frames"] == 6
    assert done(bank).items() <= told(plan).items()
    # Frames that an interrupted run left out are still to come.
    patches = table(bank, "patches")
    fewer = patches.filter(
        pc.or_(pc.less(patches["frame"], 4), pc.equal(patches["source_id"], patches["source_id"][0]))
    )
    (bank / "tables" / "patches.parquet").write_bytes(encode_table(fewer))
    assert told(hdrprep(*words, "--dry-run"))["candidates"] == len(patches) - len(fewer) == 12


def test_what_waits_to_be_folded_counts(hdr_folder: Path, hdrprep: Command, place: Path) -> None:
    bank = place / "bank.zarr"
    assert hdrprep("ingest", hdr_folder, "--bank", bank, *SMALL).status == 0
    patches, sources = table(bank, "patches"), table(bank, "sources")
    (bank / "tables" / "patches.parquet").write_bytes(encode_table(PATCHES_SCHEMA.empty_table()))
    (bank / "tables" / "sources.parquet").write_bytes(encode_table(sources.slice(1)))
    with BankWriter.open(bank) as writer:  # a command that ends without a word
        turn = writer.begin()
    write_commit(turn, "one", patches, sources.to_pylist()[0])
    before = tree(place)
    plan = told(hdrprep("simulate-ldr", "--bank", bank, "--dry-run"))
    assert (plan["frames"], plan["candidates"]) == (4, 24)
    assert tree(place) == before
    assert len(list_commits(turn.bank, turn.folder)) == 1


def test_a_bank_that_another_process_writes_is_read(hdr_folder: Path, hdrprep: Command, place: Path) -> None:
    bank = place / "bank.zarr"
    assert hdrprep("ingest", hdr_folder, "--bank", bank, *SMALL).status == 0
    with BankWriter.open(bank):
        before = tree(place)
        assert hdrprep("simulate-ldr", "--bank", bank).status == 1
        assert hdrprep("simulate-ldr", "--bank", bank, "--dry-run").status == 0
        assert hdrprep("run", hdr_folder, "--bank", bank, "--dry-run").status == 0
        assert tree(place) == before


def test_a_bank_that_cannot_be_written_is_read(hdr_folder: Path, hdrprep: Command, place: Path) -> None:
    bank = place / "bank.zarr"
    assert hdrprep("ingest", hdr_folder, "--bank", bank, *SMALL).status == 0
    folders = [path for path in [bank, *bank.rglob("*")] if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert told(hdrprep("run", hdr_folder, "--bank", bank, "--dry-run"))["frames"] == 4
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_mistakes_end_as_those_of_the_command(hdr_folder: Path, hdrprep: Command, place: Path) -> None:
    bank = place / "bank.zarr"
    mistakes: list[tuple[int, tuple[object, ...], str]] = [
        (2, ("run", place / "nowhere"), "does not exist"),
        (2, ("score",), "there is no bank"),
        (2, ("run", hdr_folder, "--patch-size", "4"), "patch_size"),
        (2, ("run", hdr_folder, "--licence-table", place / "none.md"), "none.md"),
        (1, ("run", hdr_folder, "--bank", hdr_folder), "is no bank"),
    ]
    for status, words, sentence in mistakes:
        words = words if "--bank" in words else (*words, "--bank", bank)
        result = hdrprep(*words, "--dry-run")
        assert result.status == status, words
        assert_one_sentence(result, sentence)
        assert hdrprep(*words).status == status, words
    assert not bank.exists()
    assert hdrprep("ingest", hdr_folder, "--bank", bank, *SMALL).status == 0
    assert_one_sentence(hdrprep("run", hdr_folder, "--bank", bank, "--seed", "1", "--dry-run"), "ingest.seed")
    assert_one_sentence(hdrprep("score", "--bank", bank, "--dry-run"), "no camera", "simulate-ldr")
    assert_one_sentence(hdrprep("export", "--bank", bank, "--dry-run"), "no score", "hdrprep score")


def test_a_source_that_is_gone_is_told(hdr_folder: Path, hdrprep: Command, place: Path) -> None:
    folder, bank = shutil.copytree(hdr_folder, place / "in"), place / "bank.zarr"
    assert hdrprep("ingest", folder, "--bank", bank, *SMALL).status == 0
    sorted(folder.iterdir())[0].unlink()
    plan = hdrprep("simulate-ldr", "--bank", bank, "--dry-run")
    assert (told(plan)["frames"], told(plan)["candidates"]) == (3, 18)
    assert "1 source cannot be read" in plan.out
    assert "its file is gone; put it back" in plan.out


def test_the_plan_of_no_bank_and_of_an_empty_one_agree(hdr_folder: Path, place: Path) -> None:
    settings = resolve([{"crops": {"patch_size": 64, "patches": 5}}])
    with BankWriter.create(place / "bank.zarr", {"seed": 0, "config": settings.stored(), "versions": {}}):
        pass
    files = discover([hdr_folder], frozenset({".exr", ".hdr"})).files
    one, two = (plan_intake("run", bank, settings, files) for bank in (None, open_storage(place / "bank.zarr")))
    assert one.candidates == two.candidates == 20
    assert one.jobs[0].sample is not None
    assert two.jobs[0].sample is not None
    assert one.jobs[0].sample.share == two.jobs[0].sample.share
    assert plan_stage("export", open_storage(place / "bank.zarr"), settings).candidates == 0


def test_a_reader_that_breaks_rejects_its_source_only(
    hdr_folder: Path, hdrprep: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("no such luck")

    monkeypatch.setattr("pipeline.plan.probe", breaks)
    plan = hdrprep("run", hdr_folder, "--bank", place / "bank.zarr", "--dry-run", *SMALL)
    assert told(plan)["frames"] == 0
    assert "it could not be processed (RuntimeError: no such luck)" in plan.out
    assert os.listdir(place) == ["tmp"]  # noqa: PTH208
    assert np.all([path.exists() for path in hdr_folder.iterdir()])
