"""Sources that give no picture, and pictures that are there already: each is told as what it is today."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from model.evaluation import making
from model.evaluation.candidates import of_folder
from model.evaluation.testset import TestSet
from pipeline.errors import SourceError
from pipeline.scenes import render_scene, write_exr
from tests.model.test_evaluation_testset import bank_of, digests, make


def test_a_name_that_is_not_utf8_is_told_and_stops_no_other(
    tmp_path: Path, hdr_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "hdr"
    folder.mkdir()
    shutil.copy(hdr_folder / "sky.exr", folder)
    try:
        shutil.copy(hdr_folder / "lamps.exr", folder / os.fsdecode(b"caf\xe9.exr"))
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    assert make("--folder", folder, "--out", tmp_path / "out") == 1
    assert f"Error: caf?: the name {folder}/caf?.exr is not UTF-8" in capsys.readouterr().err
    found = TestSet.load(tmp_path / "out")
    assert ([p.title for p in found.pictures], [r.title for r in found.rejected]) == (["sky"], ["caf?"])


def test_whatever_a_reader_raises_is_a_reason(
    tmp_path: Path, hdr_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has no sentence of its own, and one whose text holds a file name that is not UTF-8."""
    candidate = of_folder(hdr_folder)[0]
    for raised, told in (
        (TypeError("open(): \nno"), "it could not be processed (TypeError: open(): )"),
        (SourceError("caf\udce9"), "caf?"),
        (MemoryError(), "out of memory"),
    ):
        monkeypatch.setattr(making, "read", lambda _, raised=raised: (_ for _ in ()).throw(raised))
        order = making.orders([candidate], tmp_path, 0, None, [])[0]
        assert making.take(order).reason == told


def test_two_sources_of_one_name_are_both_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "hdr"
    folder.mkdir()
    write_exr(folder / "good.exr", render_scene("sky", 0, 40, 64))
    for suffix in ("exr", "hdr"):
        (folder / f"bad.{suffix}").write_text(suffix)
    assert make("--folder", folder, "--out", tmp_path / "out", "--saturated", "5,10") == 1
    rejected = TestSet.load(tmp_path / "out").rejected
    assert [r.title for r in rejected] == ["bad", "bad"]
    assert len({r.reason for r in rejected}) == 2
    assert capsys.readouterr().err.count("Error: bad: ") == 2


def test_a_reused_picture_has_the_scene_and_licence_of_today(tmp_path: Path, hdr_folder: Path) -> None:
    """The bank was scored again: its sources are one group now, and have another licence. Their pixels are the same."""
    out = tmp_path / "out"
    assert make("--bank", bank_of(tmp_path, hdr_folder, split="test"), "--out", out) == 0
    assert TestSet.load(out).scenes == 4
    before, times = digests(out), {file: file.stat().st_mtime_ns for file in out.glob("*.*g")}
    told = {"group": "take 1", "licence": "CC-BY-4.0", "attribution": "S. Omeone"}
    shutil.rmtree(tmp_path / "bank.zarr")
    assert make("--bank", bank_of(tmp_path, hdr_folder, split="test", **told), "--out", out) == 0
    found = TestSet.load(out)
    assert {p.scene for p in found.pictures} == {"group take 1"}
    assert {(p.licence, p.attribution) for p in found.pictures} == {("CC-BY-4.0", "S. Omeone")}
    assert {name for name, digest in digests(out).items() if before[name] != digest} == {"testset.json"}
    assert all(file.stat().st_mtime_ns == then for file, then in times.items())
