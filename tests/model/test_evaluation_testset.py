"""Test sets: the camera on whole held-out frames, the same each time, read with distrust."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.evaluate import main
from model.evaluation.candidates import choose, of_bank, of_folder
from model.evaluation.making import shrink
from model.evaluation.testset import TestSet, read_pair
from model.evaluation.writing import read_png, write_half, write_png
from pipeline.bank.schema import SOURCES_SCHEMA
from pipeline.camera import response
from pipeline.frames import read_frame
from pipeline.records import split_of
from pipeline.scenes import render_scene, write_exr
from tests.model.toy_bank import make_bank


def make(*arguments: object) -> int:
    return main(["testset", *map(str, arguments)])


def digests(folder: Path) -> dict[str, str]:
    files = [f for f in folder.iterdir() if f.is_file()]
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def held_out_by_hash(source: str) -> bool:
    return split_of(source, 0.0, 0.5) == "test"


def bank_of(folder: Path, hdr: Path, **changes: object) -> Path:
    """A bank whose sources are the files of a folder, half of them held out."""
    place = make_bank(folder / "bank.zarr", [], exported=False)
    rows = []
    for file in sorted(hdr.iterdir()):
        source_id = hashlib.sha256(file.read_bytes()).hexdigest()
        row = {"source_id": source_id, "path": str(file), "also_at": [], "kind": "still", "frames": 1}
        row |= {"frames_used": 1, "status": "ok", "licence": "CC0-1.0", "attribution": "A. Nyone"}
        rows.append(row | {"split": split_of(source_id, 0.0, 0.5)} | changes)
    pq.write_table(pa.Table.from_pylist(rows, SOURCES_SCHEMA), place / "tables" / "sources.parquet")
    return place


def test_a_photograph_is_what_its_camera_says(testset: Path) -> None:
    found = TestSet.load(testset)
    assert (len(found.pictures), found.scenes, found.split) == (4, 4, None)
    for picture in found.pictures:
        T, truth = read_pair(testset, picture)
        assert T.shape == truth.shape == (72, 96, 3)
        # 5 to 15 % of the channel values clip, before noise and colour shifts move some of them.
        assert 0.85 <= picture.camera.clip_fraction <= 0.95
        assert picture.saturated_values == pytest.approx(1.0 - picture.camera.clip_fraction, abs=0.05)
        assert picture.saturated_pixels == pytest.approx((truth >= 1.0).any(axis=2).mean(), abs=1e-3)
        shown = response(truth, picture.camera.curve_n, picture.camera.curve_sigma)
        assert np.abs(T - shown).mean() < 0.05  # JPEG is all that is between them
        clean = (truth > 1.5).all(axis=2)
        assert T[clean].mean() > 0.9


def test_no_camera_is_that_of_a_training_patch(testset: Path) -> None:
    from pipeline.camera import CameraSettings, draw_camera

    for picture in TestSet.load(testset).pictures:
        patch = draw_camera(CameraSettings(), 0, picture.source_id, picture.frame, 0)
        assert picture.camera.clip_fraction != patch.clip_fraction
        assert picture.camera.seed != patch.seed


def test_only_held_out_sources_are_taken(tmp_path: Path, hdr_folder: Path) -> None:
    assert make("--bank", bank_of(tmp_path, hdr_folder), "--out", tmp_path / "out") == 0
    found = TestSet.load(tmp_path / "out")
    ids = [hashlib.sha256(f.read_bytes()).hexdigest() for f in hdr_folder.iterdir()]
    held_out = {i for i in ids if held_out_by_hash(i)}
    assert 0 < len(held_out) < 4
    assert {picture.source_id for picture in found.pictures} == held_out
    assert found.split == "test"
    assert {(p.licence, p.attribution) for p in found.pictures} == {("CC0-1.0", "A. Nyone")}


def test_the_same_files_come_out_each_time(tmp_path: Path, hdr_folder: Path, testset: Path) -> None:
    """Made elsewhere, by several workers, of a folder with one more picture: what both have is equal to the byte."""
    more = tmp_path / "more"
    shutil.copytree(hdr_folder, more)
    write_exr(more / "extra.exr", render_scene("sky", 9, 40, 64))
    assert make("--folder", more, "--out", tmp_path / "out", "--count", 5, "--workers", 2) == 0
    before, after = digests(testset), digests(tmp_path / "out")
    del before["testset.json"]
    assert before.items() <= after.items()
    assert len(after) == len(before) + 3


def test_a_second_run_touches_nothing_and_mends_what_is_broken(tmp_path: Path, hdr_folder: Path, testset: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(testset, out)
    times = {file: file.stat().st_mtime_ns for file in out.glob("*.*g")}
    hurt = min(out.glob("*.exr"))
    hurt.write_bytes(b"damaged")
    assert make("--folder", hdr_folder, "--out", out, "--count", 4) == 0
    assert digests(out) == digests(testset)
    kept = [file for file in times if file.stem != hurt.stem]
    assert kept
    assert all(file.stat().st_mtime_ns == times[file] for file in kept)


def test_the_choice_depends_on_content_and_seed_alone(hdr_folder: Path) -> None:
    found = of_folder(hdr_folder)
    two = choose(found, 2, seed=0)
    assert choose(found[::-1], 2, seed=0) == two
    assert choose(found, 3, seed=0)[:2] == two
    assert len({tuple(c.title for c in choose(found, 4, seed)) for seed in range(6)}) > 1


def test_a_share_can_be_set_for_every_scene(tmp_path: Path, hdr_folder: Path) -> None:
    assert make("--folder", hdr_folder, "--out", tmp_path, "--count", 2, "--saturated", "2,20") == 0
    found = TestSet.load(tmp_path)
    assert (len(found.pictures), found.scenes) == (4, 2)
    for picture in found.pictures:
        assert picture.camera.clip_fraction == pytest.approx(0.8 if picture.name.endswith("-200") else 0.98)


def test_sources_that_cannot_be_used_are_told_and_stop_no_other(
    tmp_path: Path, hdr_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "hdr"
    shutil.copytree(hdr_folder, folder)
    bank = bank_of(tmp_path, folder, split="test")
    (folder / "lamps.exr").unlink()
    (folder / "sky.exr").write_bytes((folder / "window.exr").read_bytes())
    assert make("--bank", bank, "--out", tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert "Error: lamps: " in told
    assert "No such file" in told
    assert "sky.exr has another content than when it was ingested" in told
    found = TestSet.load(tmp_path / "out")
    assert [r.title for r in found.rejected] == ["lamps", "sky"]
    assert {p.title for p in found.pictures} == {"textured_highlights", "window"}


def test_a_video_gives_one_frame_and_a_group_is_one_scene(tmp_path: Path, hdr_folder: Path) -> None:
    bank = bank_of(tmp_path, hdr_folder, split="test", kind="sequence", frames=40, frames_used=4, group="take 1")
    document = json.loads((bank / "zarr.json").read_text())
    document["attributes"]["hdrprep"]["config"]["ingest"] = {"every": 10}
    (bank / "zarr.json").write_text(json.dumps(document))
    found = of_bank(str(bank), seed=0)
    assert len(found) == 4
    assert {c.scene for c in found} == {"group take 1"}
    assert {c.frame for c in found} <= {0, 10, 20, 30}
    assert len({c.frame for seed in range(5) for c in of_bank(str(bank), seed)}) > 1


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["--folder", "nowhere"], 2, "there is no folder nowhere"),
        (["--folder", "{empty}"], 2, "holds no HDR picture"),
        (["--bank", "nowhere"], 2, "there is no bank"),
        (["--bank", "{train}"], 1, "is held out for tests"),
        (["--bank", "{old}"], 1, "does not say which sources are held out"),
        (["--folder", "{empty}", "--count", "0"], 2, "is not a whole number above 0"),
        (["--folder", "{empty}", "--saturated", "20,5"], 2, "are not rising percentages"),
        (
            ["--folder", "{hdr}", "--count", "4", "--saturated", "5,5.02"],
            2,
            "name shares that differ by 0.1 percent or more",
        ),
        (["--folder", "{empty}", "--bank", "x"], 2, "not allowed with"),
    ],
)
def test_a_test_set_that_cannot_be(
    tmp_path: Path,
    hdr_folder: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    sentence: str,
) -> None:
    places = {"empty": tmp_path / "empty", "train": tmp_path / "train", "old": tmp_path / "old"}
    for place in places.values():
        place.mkdir()
    bank_of(places["train"], hdr_folder, split="train")
    bank_of(places["old"], hdr_folder, split=None)
    places["train"] /= "bank.zarr"
    places["old"] /= "bank.zarr"
    places["hdr"] = hdr_folder
    filled = [a.format(**{k: str(v) for k, v in places.items()}) for a in arguments]
    assert make(*filled, "--out", tmp_path / "out") == status
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.count("\n") == 1
    assert sentence in stderr


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda document: document.clear(), "does not describe a test set"),
        (lambda document: document.update(format_version=2), "does not describe a test set"),
        (lambda document: document["pictures"][0].update(name="../../etc/passwd"), "does not describe a test set"),
        (lambda document: document["pictures"][0].update(width=10**9), "does not describe a test set"),
        (lambda document: document["pictures"][0]["camera"].update(iso=100), "does not describe a test set"),
        (lambda document: document["pictures"][0]["camera"].pop("seed"), "does not describe a test set"),
        (lambda document: document["pictures"][0]["camera"].update(seed="a"), "does not describe a test set"),
        (lambda document: document["pictures"].append(document["pictures"][0]), "names no picture, or one twice"),
        (lambda document: document["pictures"].clear(), "names no picture, or one twice"),
    ],
)
def test_a_description_is_read_with_distrust(
    tmp_path: Path, testset: Path, capsys: pytest.CaptureFixture[str], change: Callable[[object], None], sentence: str
) -> None:
    document = json.loads((testset / "testset.json").read_text())
    change(document)
    (tmp_path / "testset.json").write_text(json.dumps(document))
    assert main(["table1", "--testset", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert sentence in capsys.readouterr().err


def test_files_depend_on_pixels_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels, radiance = rng.integers(0, 256, (5, 7, 3)).astype(np.uint8), rng.random((5, 7, 3), np.float32)
    radiance[0, 0] = 1e9
    for name in "ab":
        write_png(tmp_path / f"{name}.png", pixels)
        write_half(tmp_path / f"{name}.exr", radiance)
    assert (tmp_path / "a.exr").read_bytes() == (tmp_path / "b.exr").read_bytes()
    np.testing.assert_array_equal(np.rint(read_png(tmp_path / "a.png") * 255), pixels)
    radiance[0, 0] = 65504.0
    np.testing.assert_array_equal(read_frame(tmp_path / "b.exr").pixels, radiance.astype(np.float16))


def test_shrinking_keeps_the_mean_light() -> None:
    scene = np.random.default_rng(0).random((60, 90, 3), np.float32)
    small = shrink(scene, 30)
    assert small.shape == (20, 30, 3)
    np.testing.assert_allclose(small, scene.reshape(20, 3, 30, 3, 3).mean(axis=(1, 3)), rtol=1e-5)
    assert shrink(scene, 90) is scene
