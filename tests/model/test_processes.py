"""Several processes on one network: the same order, the same loss, one voice, a common end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.checkpoint import list_checkpoints, load_state
from model.config import TrainSettings
from model.processes import Processes, Share, check_shares
from model.run import build
from model.train import main
from pipeline.errors import ConfigError
from tests.model.photo_folder import make_photographs
from tests.patience import HANGS

BATCHES = [[0, 1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 12, 13, 14, 15]]
QUICK = ["--set", "train.width=2", "--set", "train.learning_rate=0.03", "--device", "cpu", "--batch-size", "4"]
QUICK += ["--set", "train.perceptual_weight=0", "--set", "train.deterministic=true", "--set", "train.validate_every=4"]
QUICK += ["--set", "train.checkpoint_every=4"]

STRUCK = '''
import os, signal, sys, time
from model import run, train
struck, calls = run.Run.update, 0

def end_all():
    """Have torchrun end its processes, and wait until this one is told; pausing after that would be too late."""
    handler = signal.getsignal(signal.SIGTERM)
    os.kill(os.getppid(), signal.SIGTERM)
    while signal.getsignal(signal.SIGTERM) == handler:
        time.sleep(0.01)

def strike(*arguments):
    global calls
    calls += 1
    if calls == 3 and os.environ["RANK"] == "1":
        {action}
    return struck(*arguments)

run.Run.update = strike
sys.exit(train.main(sys.argv[1:]))
'''


def torchrun(script: list[str], *more: str) -> subprocess.CompletedProcess[str]:
    """Start two processes on this machine."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *script, *more]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(launch, capture_output=True, text=True, timeout=HANGS, check=False, env=environment)


def lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_every_patch_is_taken_by_one_process_in_parts_of_one_size(count: int, accumulate: int) -> None:
    shares = [list(Share(BATCHES, Processes(rank, count), accumulate)) for rank in range(count)]
    assert {len(share) for share in shares} == {2 * accumulate}
    assert {len(part) for share in shares for part in share} == {8 // (count * accumulate)}
    for step, batch in enumerate(BATCHES):
        taken = [i for share in shares for part in share[step * accumulate : (step + 1) * accumulate] for i in part]
        assert sorted(taken) == batch


def test_a_batch_that_cannot_be_shared_is_one_sentence() -> None:
    check_shares(8, 2, Processes(0, 2))
    with pytest.raises(ConfigError, match=r"train\.batch_size = 6 cannot be cut .* choose a multiple of 4"):
        check_shares(6, 2, Processes(0, 2))


def test_accumulated_gradients_are_those_of_the_whole_batch(bank: Path, tmp_path: Path) -> None:
    gradients: list[list[Tensor]] = []
    losses = []
    for accumulate in (1, 4):
        values = {"width": 2, "perceptual_weight": 0, "steps": 1, "accumulate": accumulate}
        run = build(str(bank), tmp_path, TrainSettings.model_validate(values), torch.device("cpu"))
        losses += [float(run.update(parts).total) for parts in run.batches()]
        gradients.append([p.grad for p in run.network.parameters() if p.grad is not None])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-6)


def test_two_processes_give_the_loss_of_one_and_resume_as_one_or_two(bank: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    command = ["--bank", str(bank), *QUICK]
    assert main([*command, "--steps", "8", "--out", str(one)]) == 0
    ended = torchrun(["-m", "model.train"], *command, "--steps", "4", "--out", str(two))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("step: 4\n") == ended.stderr.count("Training on cpu") == 1
    more = ["--bank", str(bank), "--device", "cpu", "--resume", "--out", str(two), "--steps"]
    assert torchrun(["-m", "model.train"], *more, "6").returncode == 0
    assert main([*more, "8"]) == 0
    assert [line["step"] for line in lines(two)] == list(range(1, 9))
    for ours, theirs in zip(lines(two), lines(one), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        if "validation_loss" in theirs:
            assert ours["validation_loss"] == pytest.approx(theirs["validation_loss"], rel=1e-5)


def test_photographs_too_are_shared_by_processes(tmp_path: Path) -> None:
    photos = make_photographs(tmp_path / "photos", 9)
    command = ["--stage", "inpainting", "--photos", str(photos), "--set", "train.patch_size=64", *QUICK, "--steps", "4"]
    assert main([*command, "--out", str(tmp_path / "one")]) == 0
    command += ["--set", "train.accumulate=2"]
    ended = torchrun(["-m", "model.train"], *command, "--out", str(tmp_path / "two"))
    assert ended.returncode == 0, ended.stderr
    for ours, theirs in zip(lines(tmp_path / "two"), lines(tmp_path / "one"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)


def test_the_failure_of_one_ends_all_with_one_sentence(bank: Path, tmp_path: Path) -> None:
    script = tmp_path / "struck.py"
    for action, sentence in [
        ("from pipeline.errors import BankError; raise BankError('patch 7 is damaged')", "Error: patch 7 is damaged"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "Error: another process of the run was ended from outside"),
    ]:
        script.write_text(STRUCK.format(action=action))
        ended = torchrun([str(script)], "--bank", str(bank), *QUICK, "--steps", "8", "--out", str(tmp_path / "out"))
        assert ended.returncode == 1
        said = [line for line in ended.stderr.splitlines() if line.startswith("Error: ")]
        assert len(said) == 1, ended.stderr
        assert said[0].startswith(sentence)


def test_sigterm_to_torchrun_stops_all_after_the_same_step_with_a_checkpoint(bank: Path, tmp_path: Path) -> None:
    script, out = tmp_path / "struck.py", tmp_path / "out"
    script.write_text(STRUCK.format(action="end_all()"))
    ended = torchrun([str(script)], "--bank", str(bank), *QUICK, "--steps", "50", "--out", str(out))
    step = load_state(list_checkpoints(out)[-1]).step
    assert f"Stopped after step {step} of 50; to go on: " in ended.stderr
    assert len(lines(out)) == step < 50
