"""Each stage trains, learns and resumes to the bit; what it lacks is told in one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from model.checkpoint import list_checkpoints, load_state
from model.config import StageName, TrainSettings
from model.holes import DrawnHoles
from model.stages import open_stage
from model.train import main
from tests.model.photo_folder import make_photographs, picture
from tests.model.test_train import failing, lines
from tests.model.test_vgg import random_vgg
from tests.model.toy_bank import change_attributes, make_bank, sources_on

QUICK = ["--set", "train.width=2", "--set", "train.learning_rate=0.01", "--batch-size", "2", "--device", "cpu"]
QUICK += ["--set", "train.perceptual_weight=0", "--set", "train.patch_size=64", "--set", "train.validate_every=4"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photographs(tmp_path_factory.mktemp("photographs") / "photos", 9)


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masks")
    for i in range(4):
        cv2.imwrite(str(folder / f"{i}.png"), DrawnHoles(9).holes(i, 50, 60).astype(np.uint8) * 255)
    return folder


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("vgg") / "vgg.pth"
    torch.save(random_vgg(19).state_dict(), file)
    return file


KINDS: dict[str, list[str]] = {
    "inpainting": ["--stage", "inpainting", "--photos", "PHOTOS"],
    "masks": ["--stage", "inpainting", "--photos", "PHOTOS", "--holes", "MASKS", "--val", "PHOTOS"],
    "hdr-pretraining": ["--stage", "hdr-pretraining", "--photos", "PHOTOS"],
    "balanced": ["--stage", "hdr", "--bank", "BANK", "--set", "train.balance=sources"],
    "flip": ["--bank", "BANK", "--set", "train.augment=flip"],
    "camera": ["--bank", "BANK", "--set", "train.augment=camera", "--set", "train.balance=sources"],
}


def command(kind: str, out: Path, places: dict[str, Path]) -> list[str]:
    return [str(places.get(word, word)) for word in KINDS[kind]] + ["--out", str(out), *QUICK]


@pytest.fixture
def places(photos: Path, masks: Path, bank: Path) -> dict[str, Path]:
    return {"PHOTOS": photos, "MASKS": masks, "BANK": bank}


def losses(out: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "validation_loss"} for line in lines(out)]


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_twice_in_mid_epoch_every_stage_is_the_uninterrupted_one(
    kind: str, places: dict[str, Path], bank: Path, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main([*command(kind, whole, places), "--steps", "11"]) == 0
    assert main([*command(kind, cut, places), "--steps", "3"]) == 0
    resume = ["--out", str(cut), "--bank", str(bank), "--resume", "--device", "cpu", "--steps"]
    assert main([*resume, "7"]) == 0
    state = load_state(list_checkpoints(cut)[-1])
    assert state.sampler.position  # in mid-epoch
    assert main([*resume, "11"]) == 0
    assert losses(cut) == losses(whole)
    ours, theirs = (load_file(out / "weights.safetensors") for out in (cut, whole))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    validation = {line["step"]: line["validation_loss"] for line in lines(whole) if "validation_loss" in line}
    again = {line["step"]: line["validation_loss"] for line in lines(cut) if line["step"] in validation}
    assert again == validation


@pytest.mark.parametrize("kind", ["inpainting", "camera"])
def test_a_process_reads_what_this_one_reads(kind: str, places: dict[str, Path], tmp_path: Path) -> None:
    for workers in ("0", "1"):
        assert main([*command(kind, tmp_path / workers, places), "--steps", "2", "--workers", workers]) == 0
    assert losses(tmp_path / "1") == losses(tmp_path / "0")


@pytest.mark.parametrize(
    ("stage", "term"), [("inpainting", "hole"), ("inpainting", "valid"), ("hdr-pretraining", "reconstruction")]
)
def test_the_loss_falls_on_few_photographs(tmp_path: Path, stage: str, term: str) -> None:
    photos = make_photographs(tmp_path / "photos", 2)
    more = ["--photos", str(photos), "--stage", stage, "--steps", "60", "--set", "train.photo_validation=0"]
    assert main(["--out", str(tmp_path / "out"), *QUICK, "--set", "train.width=4", *more]) == 0
    found = [line[term] for line in lines(tmp_path / "out")]
    assert sum(found[-10:]) < 0.6 * sum(found[:10])


def test_stages_follow_one_another(places: dict[str, Path], vgg: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    full = ["--set", "train.perceptual_weight=1", "--vgg", str(vgg), "--steps", "1", "--batch-size", "1"]
    assert main([*command("inpainting", first, places), *full]) == 0
    (line,) = lines(first)
    weighted = line["valid"] + 6.0 * line["hole"] + 0.1 * line["total_variation"]
    assert line["loss"] == pytest.approx(weighted + 0.05 * line["vgg"] + 120.0 * line["style"], rel=1e-5)
    with safe_open(first / "weights.safetensors", framework="pt") as opened:
        assert opened.metadata()["stage"] == "inpainting"
    rate = [
        "--set",
        "train.learning_rate=1e-9",
        "--set",
        "train.minimum_rate=1e-9",
    ]  # which hardly moves weights
    rate += ["--steps", "1"]
    assert main([*command("flip", second, places), *rate, "--init", str(first / "weights.safetensors")]) == 0
    ours, theirs = (load_file(out / "weights.safetensors") for out in (second, first))
    assert all(torch.allclose(ours[key], theirs[key], rtol=0, atol=1e-7) for key in theirs)
    (first / "weights.safetensors").unlink()  # which only the first step needed
    resume = ["--out", str(second), "--bank", str(places["BANK"]), "--resume", "--steps", "2"]
    assert main(resume) == 0


def test_what_a_stage_learns_from_is_told(
    places: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = make_photographs(tmp_path / "photos", 9)
    (photos / "broken.png").write_bytes(b"")
    more = ["--photos", str(photos), "--stage", "inpainting", "--val", str(places["PHOTOS"]), "--steps", "1"]
    assert main(["--out", str(tmp_path / "out"), *QUICK, *more]) == 0
    told = capsys.readouterr().err
    assert f"Photographs in {photos}: 9; left out: 1 that cannot be read (such as broken.png)" in told
    assert "Training on cpu, stage inpainting; photographs to train on: 9, to validate on: 9" in told


def test_too_few_photographs_for_a_validation_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = make_photographs(tmp_path / "photos", 1)
    assert main(["--out", str(tmp_path / "out"), *QUICK, "--photos", str(photos), *FIRST, "--steps", "1"]) == 0
    assert "too few photographs for a validation" in capsys.readouterr().err
    assert "validation_loss" not in lines(tmp_path / "out")[0]


FIRST = ["--stage", "inpainting"]


def stopped(capsys: pytest.CaptureFixture[str], out: Path, *more: str) -> str:
    """Return the one sentence of a command that cannot work, and leaves nothing."""
    message = failing(capsys, "--out", str(out), *QUICK, "--steps", "2", *more)[1]
    assert not out.exists()
    return message


def test_what_is_missing_is_one_sentence(
    places: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, photos, empty = tmp_path / "out", str(places["PHOTOS"]), tmp_path / "empty"
    empty.mkdir()
    assert "name their folder with --photos" in stopped(capsys, out, *FIRST)
    assert "holds no photographs" in stopped(capsys, out, *FIRST, "--photos", str(empty))
    assert "there is no folder" in stopped(capsys, out, *FIRST, "--photos", str(tmp_path / "nowhere"))
    assert "holds no photographs" in stopped(capsys, out, *FIRST, "--photos", photos, "--val", str(empty))
    assert "no pictures of masks" in stopped(capsys, out, *FIRST, "--photos", photos, "--holes", str(empty))
    large = ["--set", "train.patch_size=512"]
    assert "lower train.patch_size" in stopped(capsys, out, *FIRST, "--photos", photos, *large)
    bright = make_photographs(tmp_path / "bright", 2)
    for file in bright.rglob("*.png"):
        cv2.imwrite(str(file), np.full((80, 80, 3), 255, np.uint8))
    assert "gave no patch that is unsaturated" in stopped(
        capsys, out, "--stage", "hdr-pretraining", "--photos", str(bright)
    )
    augment = ["--photos", photos, "--set", "train.augment=camera"]
    assert "augment is of stage hdr alone" in stopped(capsys, out, *FIRST, *augment)


def test_weights_that_do_not_fit_are_one_sentence(
    bank: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, begin = tmp_path / "out", ["--bank", str(bank), "--init", str(weights)]
    for setting, known in (("masking=none", "masking feature"), ("width=3", "width 2"), ("alpha=0.9", "alpha 0.96")):
        message = stopped(capsys, out, *begin, "--set", f"train.{setting}")
        name, value = setting.split("=")
        assert f"holds a network of {known}, and train.{name} is {value}: set it as the weights have it" in message
    assert "is not a readable safetensors file" in stopped(capsys, out, *begin[:3], str(tmp_path / "none"))


def test_resume_takes_no_other_weights(
    places: dict[str, Path], weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command("flip", tmp_path / "out", places), "--steps", "1"]) == 0
    capsys.readouterr()
    resume = ["--out", str(tmp_path / "out"), "--bank", str(places["BANK"]), "--resume", "--init", str(weights)]
    assert "leave one out" in failing(capsys, *resume)[1]


def test_other_photographs_or_masks_are_another_run(
    photos: Path, masks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, holes, out = shutil.copytree(photos, tmp_path / "p"), shutil.copytree(masks, tmp_path / "m"), tmp_path / "out"
    start = ["--out", str(out), *QUICK, *FIRST, "--photos", str(ours), "--holes", str(holes)]
    assert main([*start, "--steps", "1"]) == 0
    capsys.readouterr()
    resume = ["--out", str(out), "--device", "cpu", "--resume", "--steps", "2"]
    removed = (holes / "0.png").read_bytes()
    (holes / "0.png").unlink()
    assert "not those the run was started with" in failing(capsys, *resume)[1]
    (holes / "0.png").write_bytes(removed)
    make_photographs(ours / "more", 1)
    assert "not those the run was started with" in failing(capsys, *resume)[1]
    shutil.rmtree(ours / "more")
    assert main(resume) == 0


def test_new_cameras_are_drawn_as_the_bank_was_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bank = make_bank(tmp_path / "bank", sources_on("train", 1), size=64)
    config = json.loads((bank / "zarr.json").read_text())["attributes"]["hdrprep"]["config"]
    change_attributes(bank, config=config | {"camera": {"lens": 3}})
    more = ["--bank", str(bank), "--set", "train.augment=camera"]
    assert "set train.augment=flip" in stopped(capsys, tmp_path / "out", *more)
    change_attributes(bank, config=config | {"camera": {"clip_fraction": 0.5}})
    assert main(["--out", str(tmp_path / "dim"), *QUICK, *more, "--steps", "1"]) == 0
    change_attributes(bank, config=config | {"camera": {"clip_fraction": 0.99}})
    assert main(["--out", str(tmp_path / "bright"), *QUICK, *more, "--steps", "1"]) == 0
    dim, bright = lines(tmp_path / "dim")[0], lines(tmp_path / "bright")[0]
    assert dim["reconstruction"] > 2.0 * bright["reconstruction"]  # more of the patch is saturated


@pytest.mark.parametrize(("size", "told"), [(128, True), (255, True), (256, False)])
def test_patches_too_small_for_whole_pictures_are_told(size: int, told: bool, tmp_path: Path) -> None:
    make_bank(tmp_path / "bank.zarr", sources_on("train", 1), 1, size=size)
    notices = open_stage(TrainSettings(stage="hdr"), str(tmp_path / "bank.zarr")).notices
    assert any(notice.startswith(f"Patches of {size} pixels are too small") for notice in notices) == told


@pytest.mark.parametrize("stage", ["inpainting", "hdr-pretraining"])
def test_photographs_too_small_for_whole_pictures_are_told(stage: StageName, tmp_path: Path) -> None:
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture(number, 260, 260))
    for size, told in ((64, True), (256, False)):
        settings = TrainSettings(stage=stage, photos=str(tmp_path), patch_size=size)
        assert any("too small" in notice for notice in open_stage(settings, "").notices) == told
