"""The command as users run it: it learns, it resumes to the bit, it says in one sentence what is wrong."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from model import stages as stages_module
from model import vgg_weights
from model.checkpoint import list_checkpoints, load_network, load_state
from model.losses import Loss
from model.train import main
from tests.model.test_vgg import random_vgg
from tests.model.toy_bank import change_attributes, make_bank, sources_on
from tests.patience import HANGS

QUICK = ["--set", "train.width=2", "--set", "train.learning_rate=0.03", "--batch-size", "2", "--device", "cpu"]
QUICK += ["--set", "train.perceptual_weight=0"]
OFTEN = ["--set", "train.checkpoint_every=4", "--set", "train.validate_every=5", "--set", "train.log_every=10"]


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def arguments(bank: Path, out: Path, *more: str) -> list[str]:
    return ["--bank", str(bank), "--out", str(out), *QUICK, *OFTEN, *more]


STRUCK = """
import os, signal, sys
from model import checkpoint, run, train

owner, name, number, action = {owner}, {name!r}, {number}, {action!r}
struck, calls = getattr(owner, name), 0

def strike(*arguments, **more):
    global calls
    calls += 1
    if calls == number:
        exec(action)
    return struck(*arguments, **more)

setattr(owner, name, strike)
sys.exit(train.main(sys.argv[1:]))
"""


def run_struck(owner: str, name: str, number: int, action: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a session of its own, as a terminal does; the `number`th call of a function meets `action`."""
    script = STRUCK.format(owner=owner, name=name, number=number, action=action)
    call = [sys.executable, "-c", script, *command]
    return subprocess.run(call, capture_output=True, text=True, start_new_session=True, timeout=HANGS, check=False)


@pytest.fixture(scope="module")
def reference(bank: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 40 steps that nothing disturbed."""
    out = tmp_path_factory.mktemp("runs") / "reference"
    assert main(arguments(bank, out, "--steps", "40")) == 0
    return out


def assert_same(found: Path, expected: Path) -> None:
    assert (found / "metrics.jsonl").read_text() == (expected / "metrics.jsonl").read_text()
    for name in ("weights.safetensors", "best.safetensors"):
        ours, theirs = load_file(found / name), load_file(expected / name)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_the_loss_falls_on_what_can_be_learned(reference: Path) -> None:
    losses = [line["loss"] for line in lines(reference)]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    validation = [line["validation_loss"] for line in lines(reference) if "validation_loss" in line]
    assert len(validation) == 8
    assert validation[-1] < 0.5 * validation[0]


@pytest.mark.parametrize("masking", ["input", "none", "gated"])
def test_each_masking_trains_and_its_weights_know_it(bank: Path, tmp_path: Path, masking: str) -> None:
    more = ["--steps", "12", "--set", f"train.masking={masking}", "--set", "train.preset=official"]
    assert main(arguments(bank, tmp_path, *more)) == 0
    losses = [line["loss"] for line in lines(tmp_path)]
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])
    architecture = load_network(tmp_path / "weights.safetensors").architecture
    assert (architecture.masking, architecture.preset, architecture.alpha) == (masking, "official", 0.95)


def test_patches_of_any_size_train(tmp_path: Path) -> None:
    bank = make_bank(tmp_path / "bank", sources_on("train", 1), size=72)
    assert main(arguments(bank, tmp_path / "out", "--steps", "2")) == 0


def test_a_run_leaves_what_is_promised(reference: Path) -> None:
    assert [line["step"] for line in lines(reference)] == list(range(1, 41))
    assert {line["lr"] for line in lines(reference)} == {0.03}
    assert [line["epoch"] for line in lines(reference)] == [step // 6 for step in range(40)]  # 12 patches, 2 a step
    assert [load_state(path).step for path in list_checkpoints(reference)] == [32, 36, 40]
    assert load_network(reference / "weights.safetensors").architecture.width == 2
    assert list((reference / "tensorboard").iterdir())
    best = min(line["validation_loss"] for line in lines(reference) if "validation_loss" in line)
    assert load_state(list_checkpoints(reference)[-1]).best_validation == best


@pytest.mark.parametrize(
    ("owner", "name", "number", "step"),
    [
        ("run.Run", "update", 11, 8),  # between checkpoints
        ("checkpoint", "_write_text", 3, 8),  # in the middle of the third
        ("checkpoint", "_copy", 3, 12),  # after it, before its weights are handed out
    ],
)
def test_a_killed_run_resumes_to_the_same_numbers(
    bank: Path, reference: Path, tmp_path: Path, owner: str, name: str, number: int, step: int
) -> None:
    kill = "os.kill(os.getpid(), signal.SIGKILL)"
    assert run_struck(owner, name, number, kill, *arguments(bank, tmp_path, "--steps", "40")).returncode == -9
    assert load_state(list_checkpoints(tmp_path)[-1]).step == step
    assert main(["--bank", str(bank), "--out", str(tmp_path), "--resume"]) == 0
    assert_same(tmp_path, reference)
    assert not list(tmp_path.rglob(".*"))  # what the kill left half written is gone


def test_killed_twice_on_plateaus_in_deterministic_mode_the_curve_is_the_same(bank: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    settings = ["--set", "train.deterministic=true", "--set", "train.validate_every=2", "--set", "train.accumulate=2"]
    settings += ["--set", "train.plateau_patience=1", "--set", "train.plateau_improvement=0.2"]
    assert main(arguments(bank, whole, *settings, "--steps", "20")) == 0
    assert len({line["lr"] for line in lines(whole)}) > 2
    kill = "os.kill(os.getpid(), signal.SIGKILL)"
    first = arguments(bank, cut, *settings, "--steps", "20")
    again = ["--bank", str(bank), "--out", str(cut), "--resume", "--device", "cpu"]
    assert run_struck("run.Run", "update", 8, kill, *first).returncode == -9
    assert run_struck("run.Run", "update", 7, kill, *again).returncode == -9
    assert load_state(list_checkpoints(cut)[-1]).step == 8
    assert main(again) == 0
    assert_same(cut, whole)


def test_a_run_without_improvement_ends_early_and_stays_ended(
    bank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--set", "train.stop_patience=2", "--set", "train.plateau_improvement=0.99"]
    assert main(arguments(bank, tmp_path, *settings, "--steps", "90")) == 0
    assert "Ended after step 15 of 90: 2 validations without improvement" in capsys.readouterr().err
    assert load_state(list_checkpoints(tmp_path)[-1]).step == 15
    before = (tmp_path / "metrics.jsonl").read_text()
    assert main(["--bank", str(bank), "--out", str(tmp_path), "--resume", "--device", "cpu"]) == 0
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_bfloat16_learns_too(bank: Path, reference: Path, tmp_path: Path) -> None:
    assert main(arguments(bank, tmp_path, "--steps", "10", "--set", "train.precision=bfloat16")) == 0
    found, expected = ([line["loss"] for line in lines(out)[:10]] for out in (tmp_path, reference))
    assert found != expected
    assert found == pytest.approx(expected, rel=0.1)


def test_tensorboard_shows_the_same_patches_at_each_validation(reference: Path) -> None:
    events = EventAccumulator(str(reference / "tensorboard"), {"images": 0}).Reload()
    shown = events.Images("patches")
    assert [picture.step for picture in shown] == list(range(5, 41, 5))
    assert {(picture.width, picture.height) for picture in shown} == {(4 * 132 - 4, 4 * 132 - 4)}
    sheets = [cv2.imdecode(np.frombuffer(p.encoded_image_string, np.uint8), cv2.IMREAD_COLOR_RGB) for p in shown]
    columns = [[sheet[:, x : x + 128] for sheet in sheets if sheet is not None] for x in range(0, 4 * 132, 132)]
    changes = [any(not np.array_equal(column[0], later) for later in column[1:]) for column in columns]
    assert changes == [False, False, True, False]  # input, mask, output, truth


def test_sigterm_saves_says_how_to_resume_and_ends_well(bank: Path, reference: Path, tmp_path: Path) -> None:
    terminate = "os.kill(os.getpid(), signal.SIGTERM)"
    ended = run_struck("run.Run", "update", 6, terminate, *arguments(bank, tmp_path, "--steps", "40"))
    assert ended.returncode == 0
    assert (
        ended.stdout == f"weights: {tmp_path}/weights.safetensors\nstep: 6\nloss: {lines(tmp_path)[-1]['loss']:.6f}\n"
    )
    assert "Stopping after this step, with a checkpoint" in ended.stderr
    stopped, _, command = ended.stderr.splitlines()[-1].partition("; to go on: ")
    assert stopped == "Stopped after step 6 of 40"
    assert main(shlex.split(command)[3:]) == 0
    assert_same(tmp_path, reference)


def test_ctrl_c_with_reading_processes_saves_and_ends_as_interrupted(
    bank: Path, reference: Path, tmp_path: Path
) -> None:
    interrupt = "os.killpg(os.getpgid(0), signal.SIGINT)"  # as a terminal sends it: to the readers too
    command = arguments(bank, tmp_path, "--steps", "40", "--workers", "1")
    ended = run_struck("run.Run", "update", 3, interrupt, *command)
    assert ended.returncode == 130
    assert "Traceback" not in ended.stderr
    assert load_state(list_checkpoints(tmp_path)[-1]).step == 3
    assert main(["--bank", str(bank), "--out", str(tmp_path), "--resume", "--workers", "0"]) == 0
    assert_same(tmp_path, reference)


def test_a_second_ctrl_c_ends_at_once(bank: Path, tmp_path: Path) -> None:
    # To this thread: of two signals to the process, another thread may take both as one.
    twice = "signal.raise_signal(signal.SIGINT); signal.raise_signal(signal.SIGINT)"
    ended = run_struck("run.Run", "update", 6, twice, *arguments(bank, tmp_path, "--steps", "40"))
    assert ended.returncode == 130
    assert "Traceback" not in ended.stderr
    assert load_state(list_checkpoints(tmp_path)[-1]).step == 4


def test_the_module_is_a_command(bank: Path, reference: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "model.train", *arguments(bank, tmp_path, "--steps", "3")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=HANGS, check=False)
    assert ended.returncode == 0
    assert ended.stdout.startswith(f"weights: {tmp_path}/weights.safetensors\nstep: 3\n")
    assert [line["loss"] for line in lines(tmp_path)] == [line["loss"] for line in lines(reference)[:3]]


def test_results_go_to_stdout_and_progress_to_stderr(
    bank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(bank, tmp_path, "--steps", "3")) == 0
    stdout, stderr = capsys.readouterr()
    loss = lines(tmp_path)[-1]["loss"]
    assert stdout == f"weights: {tmp_path / 'weights.safetensors'}\nstep: 3\nloss: {loss:.6f}\n"
    assert "patches to train on: 12 (sources: 3), to validate on: 4 (sources: 1)" in stderr
    assert "step 3/3  epoch 0  loss " in stderr


def test_resuming_a_finished_run_does_nothing(
    bank: Path, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(reference, tmp_path / "out")
    assert main(["--bank", str(bank), "--out", str(out), "--resume"]) == 0
    assert capsys.readouterr().out.endswith(f"step: 40\nloss: {lines(reference)[-1]['loss']:.6f}\n")
    assert_same(out, reference)


def test_too_few_sources_are_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bank = make_bank(tmp_path / "bank", sources_on("train", 1))
    assert main(arguments(bank, tmp_path / "out", "--steps", "6")) == 0
    stderr = capsys.readouterr().err
    assert stderr.count("a validation side: training without validation and at a constant rate") == 1
    assert "validation loss" not in stderr
    assert not any("validation_loss" in line for line in lines(tmp_path / "out"))
    assert not (tmp_path / "out" / "best.safetensors").exists()


def test_no_validation_can_be_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bank = make_bank(tmp_path / "bank", sources_on("train", 1), validation=0.0)
    assert main(arguments(bank, tmp_path / "out", "--steps", "1")) == 0
    assert "too few" not in capsys.readouterr().err


def test_the_bank_may_be_named_by_the_environment(bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HDRPREP_BANK", str(bank))
    assert main(["--out", str(tmp_path), *QUICK, "--steps", "1"]) == 0


def test_seed_changes_weights_and_order(bank: Path, tmp_path: Path) -> None:
    weights, losses = [], []
    for seed in ("1", "2"):
        # One step with every patch of the bank: were it the order alone, the losses would agree but for rounding.
        assert main(arguments(bank, tmp_path / seed, "--steps", "1", "--seed", seed, "--batch-size", "12")) == 0
        losses.append(lines(tmp_path / seed)[0]["loss"])
        weights.append(load_file(tmp_path / seed / "weights.safetensors")["encoder.0.conv.weight"])
    assert losses[0] != pytest.approx(losses[1], rel=1e-4)
    assert (weights[0] - weights[1]).abs().max() > 0.07  # two steps of 0.03 apart, had they begun as one


def failing(capsys: pytest.CaptureFixture[str], *command: str) -> tuple[int, str]:
    """Run a command that cannot work; return its status and the one sentence."""
    status = main(command)
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    notices = (
        "Training on",
        "The bank has too few",
        "Resuming",
        "VGG-19 from",
        "Downloading",
        "Photographs in",
        "There are too few",
        "Patches of ",
    )
    errors = [line for line in stderr.splitlines() if not line.startswith(notices)]
    assert len(errors) == 1, stderr
    assert errors[0].startswith("Error: ")
    return status, errors[0]


def other_format(path: Path) -> Path:
    bank = make_bank(path, sources_on("train", 1))
    change_attributes(bank, format_version=2)
    return bank


def damaged(path: Path) -> Path:
    bank = make_bank(path, sources_on("train", 1))
    shutil.rmtree(bank / "hdr" / "c")
    return bank


@pytest.mark.parametrize(
    ("bank_at", "status", "sentence"),
    [
        (lambda path: path, 2, "there is no bank at"),
        (lambda path: make_bank(path, sources_on("train", 1), exported=False), 1, "run hdrprep export"),
        (other_format, 1, "format version 2"),
        (damaged, 1, "patch "),
    ],
)
def test_a_bank_that_cannot_be_used(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    bank_at: Callable[[Path], Path],
    status: int,
    sentence: str,
) -> None:
    found, message = failing(capsys, *arguments(bank_at(tmp_path / "bank"), tmp_path / "out", "--steps", "2"))
    assert found == status
    assert sentence in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--steps", "0"], "train.steps = 0"),
        (["--steps", "many"], "argument --steps: invalid int value"),
        (["--stage", "outpainting"], "invalid choice: 'outpainting'"),
        (["--stage", "inpainting"], "name their folder with --photos"),
        (["--resume", "--init", "weights.safetensors"], "holds no checkpoint to resume from"),
        (["--set", "train.widht=3"], "did you mean train.width?"),
        (["--config", "none.yaml"], "cannot read none.yaml"),
        (["--device", "tpu"], "invalid choice: 'tpu'"),
        (["--set", "train.precision=float16"], "train.precision = 'float16'"),
        (["--set", "train.compile=maybe"], "train.compile = 'maybe'"),
        (["--set", "train.deterministic=1"], "train.deterministic = 1"),
        (["--set", "train.accumulate=0"], "train.accumulate = 0"),
        (["--set", "train.accumulate=3"], "2 patches a step cannot be accumulated in 3 equal parts"),
        (["--set", "train.plateau_patience=0"], "train.plateau_patience = 0"),
        (["--set", "train.plateau_patience=true"], "train.plateau_patience = True: a number is asked for"),
        (["--set", "train.plateau_factor=1"], "train.plateau_factor = 1"),
        (["--set", "train.stop_patience=0"], "train.stop_patience = 0"),
        (["--set", "train.minimum_rate=0.5"], "minimum_rate 0.5 is above learning_rate 0.03"),
        (["--resume"], "holds no checkpoint to resume from"),
    ],
)
def test_a_command_that_cannot_be(
    bank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], sentence: str
) -> None:
    status, message = failing(capsys, *arguments(bank, tmp_path / "out", *more))
    assert status == 2
    assert sentence in message


def test_a_run_is_not_overwritten(bank: Path, reference: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (reference / "metrics.jsonl").read_text()
    assert failing(capsys, *arguments(bank, reference))[0] == 2
    assert (reference / "metrics.jsonl").read_text() == before


def test_a_run_is_not_resumed_as_another(
    bank: Path, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--out", str(reference), "--resume", "--device", "cpu"]
    status, message = failing(capsys, "--bank", str(bank), *command, "--seed", "5")
    assert (status, "train.seed = 0, not 5" in message) == (2, True)
    other = make_bank(tmp_path / "other", [*sources_on("train", 3), *sources_on("validation", 1)], seed=9)
    status, message = failing(capsys, "--bank", str(other), *command, "--steps", "99")
    assert (status, "not those the run was started with" in message) == (1, True)
    assert len(lines(reference)) == 40


def test_a_damaged_checkpoint_names_the_remedy(
    bank: Path, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(reference, tmp_path / "out")
    newest = list_checkpoints(out)[-1]
    (newest / "optimizer.safetensors").write_bytes(b"damage")
    command = ["--bank", str(bank), "--out", str(out), "--resume"]
    status, message = failing(capsys, *command)
    assert status == 1
    assert str(newest) in message
    shutil.rmtree(newest)
    assert main(command) == 0
    assert_same(out, reference)


def test_damage_in_the_middle_of_a_run_names_the_patch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bank = make_bank(tmp_path / "bank", sources_on("train", 2))
    for shard in (p for p in (bank / "ldr" / "c").rglob("*") if p.is_file()):
        if shard.parts[-4] == "1":
            shard.unlink()
    status, message = failing(capsys, *arguments(bank, tmp_path / "out", "--steps", "40"))
    assert status == 1
    assert "patch " in message


def test_running_out_of_memory_names_the_remedy(
    bank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*_: object) -> torch.Tensor:
        return torch.empty(2**60, dtype=torch.uint8)

    monkeypatch.setattr(stages_module, "hdr_loss", greedy)
    status, message = failing(capsys, *arguments(bank, tmp_path))
    assert status == 1
    assert message.startswith("Error: out of memory with 2 patches a step: raise train.accumulate")
    status, message = failing(capsys, *arguments(bank, tmp_path, "--set", "train.accumulate=2"))
    assert "with 2 patches a step in 2 parts: raise train.accumulate" in message


def infinite_loss(Y: torch.Tensor, *_: object) -> torch.Tensor:
    return Y.square().sum() * torch.inf


def nan_gradient(Y: torch.Tensor, *_: object) -> torch.Tensor:
    return (Y * 0.0).sum().sqrt()  # 0, but its derivative is infinity times zero


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (infinite_loss, "the loss of step 1 is inf"),
        (nan_gradient, "step 1 made weights that are not finite numbers, nothing was saved"),
    ],
)
def test_a_run_that_diverges_saves_nothing_broken(
    bank: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    loss: Callable[..., torch.Tensor],
    sentence: str,
) -> None:
    monkeypatch.setattr(stages_module, "hdr_loss", lambda *tensors: Loss(loss(*tensors), {}))
    status, message = failing(capsys, *arguments(bank, tmp_path, "--set", "train.checkpoint_every=1"))
    assert status == 1
    assert sentence in message
    assert "lower train.learning_rate" in message
    assert not list_checkpoints(tmp_path)


def test_a_resumed_run_knows_its_best_validation(bank: Path, reference: Path, tmp_path: Path) -> None:
    out = shutil.copytree(reference, tmp_path / "out")
    file = list_checkpoints(out)[-1] / "state.json"
    state = json.loads(file.read_text())
    file.write_text(json.dumps(state | {"best_validation": 0.0}))  # which nothing beats
    assert main(["--bank", str(bank), "--out", str(out), "--resume", "--steps", "45"]) == 0
    assert load_state(list_checkpoints(out)[-1]).best_validation == 0.0
    assert (out / "best.safetensors").read_bytes() == (reference / "best.safetensors").read_bytes()


def test_a_folder_that_cannot_be_written_is_one_sentence(
    bank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert failing(capsys, *arguments(bank, tmp_path / "file" / "out"))[0] == 1


PERCEPTUAL = ["--set", "train.perceptual_weight=1"]  # the last assignment wins


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights of the right shapes, which know nothing."""
    file = tmp_path_factory.mktemp("vgg") / "vgg.pth"
    torch.save(random_vgg(19).state_dict(), file)
    return file


def test_the_full_loss_is_told_by_its_terms_and_resumes_to_the_bit(
    bank: Path, vgg: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    settings = [*PERCEPTUAL, "--vgg", str(vgg), "--batch-size", "1"]
    assert main(arguments(bank, whole, *settings, "--steps", "3")) == 0
    assert capsys.readouterr().err.count(f"VGG-19 from {vgg} (not torchvision's file)") == 1
    for line in lines(whole):
        expected = 6.0 * line["reconstruction"] + line["vgg"] + 120.0 * line["style"]
        assert line["loss"] == pytest.approx(expected, rel=1e-5)
        assert min(line["reconstruction"], line["vgg"], line["style"]) > 0.0
    assert main(arguments(bank, cut, *settings, "--steps", "2")) == 0
    assert main(["--bank", str(bank), "--out", str(cut), "--device", "cpu", "--resume", "--steps", "3"]) == 0
    assert [line["loss"] for line in lines(cut)] == [line["loss"] for line in lines(whole)]
    other = tmp_path / "other.pth"
    torch.save(random_vgg(19, seed=1).state_dict(), other)
    capsys.readouterr()
    command = ["--bank", str(bank), "--out", str(cut), "--device", "cpu", "--resume", "--steps", "4"]
    status, message = failing(capsys, *command, "--vgg", str(other))
    assert (status, "made with other weights of VGG: name their file with --vgg" in message) == (2, True)


def test_the_loss_without_perceptual_terms_needs_no_vgg(reference: Path) -> None:
    for line in lines(reference):
        assert "vgg" not in line
        assert line["loss"] == pytest.approx(6.0 * line["reconstruction"], rel=1e-6)


def test_without_weights_of_vgg_one_sentence_names_both_remedies(
    bank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    nowhere = vgg_weights.Published("http://127.0.0.1:9/vgg19-00000000.pth", "0" * 64)
    monkeypatch.setitem(vgg_weights.PUBLISHED, 19, nowhere)
    for more in ([], ["--vgg", str(tmp_path / "none.pth")]):
        status, message = failing(capsys, *arguments(bank, tmp_path / "out", *PERCEPTUAL, *more))
        assert status == 1
        assert "--vgg" in message
        assert "--set train.perceptual_weight=0" in message
    assert not (tmp_path / "out").exists()
