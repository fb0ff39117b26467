"""What results are kept under and shown for: damage, changes of code and another test set leave no wrong number."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import model
from model.evaluation import scoring
from model.evaluation.scoring import code_version
from model.evaluation.testset import TestSet, read_pair
from model.evaluation.writing import write_half
from tests.model.test_evaluation import rows, run


@pytest.mark.parametrize(
    ("changed", "matters"),
    [
        ("evaluation/writing.py", True),  # decodes the photographs
        ("metrics/hdrvdp2/steerable_taps.json", True),
        ("metrics/hdrvdp2/masking.py", True),
        ("unet.py", True),
        ("evaluation/page.py", False),  # only shows numbers
    ],
)
def test_results_are_kept_under_the_code_that_made_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str, matters: bool
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(Path(model.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(model, "__file__", str(copy / "__init__.py"))
    before = code_version.__wrapped__()
    assert before == code_version()
    (copy / changed).write_bytes((copy / changed).read_bytes() + b"\n")
    assert (code_version.__wrapped__() != before) == matters


def test_results_are_kept_under_the_version_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_version()
    monkeypatch.setattr(scoring, "version", lambda name: {"hdrprep": "another"}[name])
    assert code_version.__wrapped__() != before


def test_one_damaged_picture_costs_its_own_numbers_alone(
    tmp_path: Path, testset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, out = tmp_path / "testset", tmp_path / "out"
    shutil.copytree(testset, copy)
    first, *rest = TestSet.load(copy).pictures
    (copy / f"{first.name}.exr").write_bytes(b"damaged")
    assert run("table1", copy, out, "--no-crf") == 1
    assert f"Error: Input on {first.name}: {copy / first.name}.exr is missing or was changed" in capsys.readouterr().err
    assert {row["pictures"] for row in rows(out / "table1.csv")} == {"3"}
    assert [shown["name"] for shown in shown_in(out)] == [picture.name for picture in rest]
    assert (out / "index.html").exists()


def shown_in(out: Path) -> list[dict[str, Any]]:
    """The pictures of the viewer."""
    pictures: list[dict[str, Any]] = json.loads((out / "viewer.json").read_text())["pictures"]
    return pictures


def test_an_old_result_does_not_stand_for_one_that_failed(tmp_path: Path, testset: Path) -> None:
    """Another method's file is lost between two commands: its picture stays, with what the others have."""
    results, out = tmp_path / "theirs", tmp_path / "out"
    results.mkdir()
    for picture in TestSet.load(testset).pictures:
        write_half(results / f"{picture.name}.exr", read_pair(testset, picture)[1])
    theirs = ("--no-crf", "--method", f"Theirs={results}")
    assert run("table1", testset, out, *theirs) == 0
    (results / f"{picture.name}.exr").unlink()
    assert run("table2", testset, out, *theirs) == 1
    by_name = {shown["name"]: shown for shown in shown_in(out)}
    assert len(by_name) == 4
    lost = by_name.pop(picture.name)
    assert lost["previews"].keys() == lost["numbers"].keys() == {"Input", "Landis 2002"}
    assert all("Theirs" in shown["previews"] for shown in by_name.values())


def test_the_page_shows_one_test_set(tmp_path: Path, testset: Path) -> None:
    """Another test set, half of the first one, uses the same folder: what is not of it waits for its own page."""
    half, out = tmp_path / "half", tmp_path / "out"
    shutil.copytree(testset, half)
    found = TestSet.load(half)
    found.model_copy(update={"pictures": found.pictures[:2]}).save(half)

    def shown() -> list[str]:
        return re.findall(r'<section id="(\w+)">', (out / "index.html").read_text())

    assert run("table1", testset, out, "--no-crf") == 0
    assert run("fig8", testset, out, "--no-crf") == 0
    assert shown() == ["table1", "fig8", "viewer"]
    assert run("ablation", half, out, "--side", 32, "--crops", 1) == 0
    assert shown() == ["ablation"]
    assert run("fig8", testset, out, "--no-crf") == 0
    assert shown() == ["table1", "fig8", "viewer"]
