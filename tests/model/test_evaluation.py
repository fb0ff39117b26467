"""The main job: tables, Fig. 8 and crops of a test set, each by one command; what is done is not done again."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from model.evaluate import main
from model.evaluation import ablation, scoring
from model.evaluation.previews import decode, encode
from model.evaluation.testset import Picture, TestSet, read_pair
from model.evaluation.writing import read_png, write_half
from tests.patience import HANGS


def run(command: str, testset: Path, out: Path, *more: object) -> int:
    return main([command, "--testset", str(testset), "--out", str(out), "--device", "cpu", *map(str, more)])


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pictures that were measured, in order."""
    seen: list[str] = []

    def count(folder: Path, picture: Picture) -> object:
        seen.append(picture.name)
        return read_pair(folder, picture)

    monkeypatch.setattr(scoring, "read_pair", count)
    return seen


def test_every_command_of_the_documents(
    tmp_path: Path, testset: Path, weights: Path, capsys: pytest.CaptureFixture[str], counted: list[str]
) -> None:
    ours = ("--method", f"Ours={weights}", "--no-crf")
    assert run("table1", testset, tmp_path, *ours) == 0
    stdout, stderr = capsys.readouterr()
    assert [Path(line).name for line in stdout.splitlines()] == [
        "table1.csv",
        "table1.md",
        "table1-pictures.csv",
        "index.html",
    ]
    assert stderr == "12 results, 0 of them from before\n"
    assert len(counted) == 12 + 4  # and each ground truth once, for the page

    table = rows(tmp_path / "table1.csv")
    assert {row["method"] for row in table} == {"Input", "Landis 2002", "Ours"}
    single = rows(tmp_path / "table1-pictures.csv")
    for row in table:
        values = [float(s[row["metric"]]) for s in single if s["method"] == row["method"]]
        assert float(row["mean"]) == pytest.approx(np.mean(values))
        assert float(row["low"]) <= float(row["mean"]) <= float(row["high"])
        assert (row["pictures"], row["versus"]) == ("4", "Ours")
    psnr = {row["method"]: row for row in table if row["metric"] == "psnr"}
    gap = float(psnr["Input"]["mean"]) - float(psnr["Ours"]["mean"])
    assert float(psnr["Input"]["difference"]) == pytest.approx(gap)
    assert psnr["Ours"]["difference"] == ""

    # Nothing is measured twice: not by the same command, not by the next one.
    counted.clear()
    before = {name: (tmp_path / name).read_bytes() for name in ("table1.csv", "table1.md", "index.html")}
    assert run("table1", testset, tmp_path, *ours) == 0
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert run("fig8", testset, tmp_path, *ours, "--edges", "0,20,100") == 0
    assert run("table2", testset, tmp_path, *ours) == 0
    assert counted == []
    assert (tmp_path / "fig8-mse_gamma.svg").read_text().startswith("<svg")
    ranges = rows(tmp_path / "fig8.csv")
    assert {(row["from_share"], row["to_share"]) for row in ranges} <= {("0.0", "0.2"), ("0.2", "1.0")}

    assert run("ablation", testset, tmp_path, *ours[:2], "--side", 32, "--crops", 2) == 0
    page = (tmp_path / "index.html").read_text()
    for name in ("table1", "table2", "fig8", "ablation", "viewer"):
        assert f'<section id="{name}">' in page


def test_a_change_computes_what_it_concerns_and_no_more(
    tmp_path: Path, testset: Path, weights: Path, counted: list[str]
) -> None:
    picture, other = TestSet.load(testset).pictures[:2]
    results = tmp_path / "theirs"
    results.mkdir()
    for shown in TestSet.load(testset).pictures:
        write_half(results / f"{shown.name}.exr", read_pair(testset, shown)[1])
    out, more = tmp_path / "out", ("--no-crf", "--method", f"Theirs={results}")
    assert run("table1", testset, out, *more) == 0
    table = {(row["method"], row["metric"]): row["mean"] for row in rows(out / "table1.csv")}
    assert float(table["Theirs", "mse_gamma"]) == 0.0  # the truth itself
    assert table["Theirs", "psnr"] == ""  # infinite

    counted.clear()
    T, truth = read_pair(testset, picture)
    write_half(results / f"{picture.name}.exr", truth * np.float32(2))
    assert run("table1", testset, out, *more) == 0
    assert counted == [picture.name]
    next((out / "results").glob(f"Input-*/{other.name}.json")).write_text("{")  # half written, or damaged
    counted.clear()
    assert run("table1", testset, out, *more) == 0
    assert counted == [other.name]
    counted.clear()
    assert run("table1", testset, out, *more, "--ppd", 60) == 0
    assert len(counted) == 12
    assert T.size


def test_a_method_without_a_result_leaves_the_others_comparable(
    tmp_path: Path, testset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *rest = TestSet.load(testset).pictures
    results = tmp_path / "theirs"
    results.mkdir()
    for picture in rest:
        write_half(results / f"{picture.name}.exr", read_pair(testset, picture)[1])
    out = tmp_path / "out"
    assert run("table1", testset, out, "--no-crf", "--method", f"Theirs={results}") == 1
    told = capsys.readouterr().err
    assert f"Error: Theirs on {first.name}: {results} holds no {first.name}.exr" in told
    table = rows(out / "table1.csv")
    assert {row["pictures"] for row in table} == {"3"}
    inputs = [s for s in rows(out / "table1-pictures.csv") if s["method"] == "Input" and s["picture"] != first.name]
    ssim = next(row for row in table if (row["method"], row["metric"]) == ("Input", "ssim"))
    assert float(ssim["mean"]) == pytest.approx(np.mean([float(s["ssim"]) for s in inputs]))
    assert "(3 of 4)" in (out / "table1.md").read_text()


def test_an_interrupted_evaluation_goes_on(tmp_path: Path, testset: Path, weights: Path) -> None:
    """Ctrl-C while two workers measure: status 130, no traceback, nobody left, and what was done counts."""
    out = tmp_path / "out"
    command = ["table1", "--testset", str(testset), "--out", str(out), "--device", "cpu", "--method", f"Ours={weights}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "model.evaluate", *command, "--workers", "2"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
    )
    while process.poll() is None and not list(out.glob("results/*/*.json")):
        time.sleep(0.02)
    done = [file.name for file in out.glob("results/*/*.json")]
    process.send_signal(signal.SIGINT)  # to it alone: its workers are its own to end
    _, stderr = process.communicate(timeout=HANGS)
    assert done
    assert process.returncode == 130 or len(done) == 12, stderr  # or it was done already
    assert "Traceback" not in stderr
    assert _ends(process.pid)
    kept = {file: file.stat().st_mtime_ns for file in out.glob("results/*/*.json")}
    assert main([*command, "--workers", "1"]) == 0
    assert len(list(out.glob("results/*/*.json"))) == 12
    assert all(file.stat().st_mtime_ns == then for file, then in kept.items())
    assert not list(out.rglob(".*.json.*"))


def _ends(group: int) -> bool:
    """Say whether a group of processes is gone, or goes within some seconds: Python's own tracker of them ends last."""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_several_workers_find_the_same(tmp_path: Path, testset: Path) -> None:
    for workers in (1, 2):
        assert run("table1", testset, tmp_path / str(workers), "--no-crf", "--workers", workers) == 0
    one, two = (rows(tmp_path / str(workers) / "table1.csv") for workers in (1, 2))
    for ours, theirs in zip(one, two, strict=True):
        assert (ours["method"], ours["metric"]) == (theirs["method"], theirs["metric"])
        assert float(ours["mean"]) == pytest.approx(float(theirs["mean"]), rel=1e-6)


def test_a_changed_test_set_is_not_measured(tmp_path: Path, testset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "testset"
    shutil.copytree(testset, copy)
    for file in copy.glob("*.exr"):
        write_half(file, np.ones((72, 96, 3), np.float32))
    assert run("table1", copy, tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert "is missing or was changed; repeat python -m model.evaluate testset" in told
    assert "nothing can be compared" in told


@pytest.mark.parametrize(
    ("command", "more", "sentence"),
    [
        ("table1", ["--method", "Input={weights}"], "two methods are called Input"),
        ("table1", ["--method", "Ground truth={weights}"], "no method can be called Ground truth"),
        ("ablation", ["--method", "Ground truth={weights}"], "no method can be called Ground truth"),
        ("fig8", ["--edges", "90,95"], "--edges: no picture lies between 90 and 95 %, they have "),
        ("table1", ["--versus", "Nobody"], "--versus Nobody: name one of Input, Landis 2002"),
        ("table2", [], "table2 compares checkpoints"),
        ("table1", ["--ppd", "nan"], "nan is not a number above 0"),
        ("fig8", ["--edges", "5"], "--edges: name two or more"),
        ("ablation", ["--crop", "nothing"], "--crop nothing: write PICTURE"),
        ("ablation", ["--crop", "{name}:90,0,32"], "reaches beyond the picture, which is 96x72"),
    ],
)
def test_a_command_that_cannot_be(
    tmp_path: Path,
    testset: Path,
    weights: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    more: Sequence[str],
    sentence: str,
) -> None:
    name = TestSet.load(testset).pictures[0].name
    assert run(command, testset, tmp_path / "out", *(m.format(weights=weights, name=name) for m in more)) == 2
    stderr = capsys.readouterr().err
    assert stderr.count("\n") == 1
    assert sentence in stderr


def test_crops_are_cut_where_they_are_asked_for(tmp_path: Path, testset: Path, weights: Path) -> None:
    picture = TestSet.load(testset).pictures[0]
    T, truth = read_pair(testset, picture)
    named = ["--crop", f"{picture.name}:5,7,40", "--stops", "0"]
    assert run("ablation", testset, tmp_path, "--method", f"Ours={weights}", *named) == 0
    section = json.loads((tmp_path / "ablation.json").read_text())
    files = section["crops"][0]["files"]
    assert list(files) == ["Input", "Ours", "Ground truth"]
    place = np.s_[7:47, 5:45]
    for name, light in (("Input", T**2), ("Ground truth", truth)):
        shown = read_png(tmp_path / files[name])
        np.testing.assert_allclose(shown, np.clip(light[place], 0, 1) ** (1 / 2.2), atol=0.5 / 255 + 1e-6)
    assert (tmp_path / "ablation.png").read_bytes().startswith(b"\x89PNG")


def test_rows_of_crops_stand_in_the_order_of_the_command(
    tmp_path: Path, testset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of several workers ends first; a window that is named twice is one row."""
    monkeypatch.setattr(ablation, "run_jobs", lambda work, jobs, _: [work(job) for job in jobs][::-1])
    names = [picture.name for picture in TestSet.load(testset).pictures][::-1]
    named = [f"{names[0]}:40,0,32", f"{names[0]}:5,0,32", *names[1:], f"{names[0]}:40,0,32"]
    crops = [part for name in named for part in ("--crop", name)]
    assert run("ablation", testset, tmp_path, *crops, "--side", 32) == 0
    found = json.loads((tmp_path / "ablation.json").read_text())["crops"]
    assert [crop["picture"] for crop in found] == [names[0], *names]
    assert [crop["x"] for crop in found[:2]] == [40, 5]


def test_previews_hold_what_a_display_can_show() -> None:
    """Six octaves above clipping and as many below: no step is larger than 4 % of light, which is 1.7 % displayed."""
    light = np.geomspace(2.0**-6, 60.0, 999, dtype=np.float32).reshape(-1, 1, 1).repeat(3, axis=2)
    np.testing.assert_allclose(decode(encode(light)), light, rtol=0.05)
    assert decode(encode(np.zeros((1, 1, 3), np.float32))).max() == 0.0


def test_the_document_names_commands_and_options_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    document = Path(__file__).parents[2] / "docs" / "evaluation.md"
    if not document.exists():
        pytest.skip("runs in a checkout only")
    told = document.read_text().replace("\\\n", " ")
    used = re.findall(r"^python -m model.evaluate (\w+) (.*)$", told, re.MULTILINE)
    assert {command for command, _ in used} == {"testset", "table1", "table2", "fig8", "ablation"}
    known = set[str]()
    for command, rest in used:
        with pytest.raises(SystemExit):
            main([command, "--help"])
        options = set(re.findall(r"--[\w-]+", capsys.readouterr().out))
        assert set(re.findall(r"--[\w-]+", rest)) <= options
        known |= options
    assert set(re.findall(r"`(--[\w-]+)", told)) <= known
