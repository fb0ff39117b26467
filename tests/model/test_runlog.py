"""metrics.jsonl, the lines of progress, and what a resumed run does with what is there."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from model.errors import TrainingError
from model.losses import Loss
from model.runlog import RunLog, StepRecord, truncate_metrics


def record(step: int, loss: float, validation_loss: float | None = None) -> StepRecord:
    terms = {"reconstruction": torch.tensor(loss / 2), "style": torch.tensor(loss * 4)}
    return StepRecord(step, step // 3, (10 * step, 11), 0.5, Loss(torch.tensor(loss), terms), validation_loss)


def test_one_line_a_step(tmp_path: Path) -> None:
    with RunLog(tmp_path, 0, 2, log_every=5, lazy=False) as log:
        log.add(record(1, 0.5))
        log.add(record(2, 0.25, 0.75))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [
        {"step": 1, "epoch": 0, "loss": 0.5, "reconstruction": 0.25, "style": 2.0, "lr": 0.5},
        {
            "step": 2,
            "epoch": 0,
            "loss": 0.25,
            "reconstruction": 0.125,
            "style": 1.0,
            "lr": 0.5,
            "validation_loss": 0.75,
        },
    ]
    assert log.last_loss == 0.25


def test_progress_is_told_every_so_many_steps_and_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunLog(tmp_path, 0, 5, log_every=2, lazy=False) as log:
        for step in range(1, 6):
            log.add(record(step, float(step)))
    lines = capsys.readouterr().err.splitlines()
    assert [line.rsplit("  ", 2)[0] for line in lines] == [
        "step 2/5  epoch 0  loss 1.500000  rate 0.5",
        "step 4/5  epoch 1  loss 3.500000  rate 0.5",
        "step 5/5  epoch 1  loss 5.000000  rate 0.5",
    ]
    assert all(
        re.fullmatch(r"[\d.]+ patches/s  \d+:\d\d:\d\d left", "  ".join(line.rsplit("  ", 2)[1:])) for line in lines
    )


def test_the_remaining_time_is_that_of_the_steps_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.runlog.time.monotonic", lambda: 0.0)
    with RunLog(tmp_path, 10, 40, log_every=20, lazy=False) as log:
        monkeypatch.setattr("model.runlog.time.monotonic", lambda: 100.0)
        for step in range(11, 21):
            log.add(record(step, 1.0))
    assert capsys.readouterr().err.rstrip().endswith("  0.20 patches/s  0:03:20 left")  # 10 steps in 100 s, 20 to come


def test_lazy_log_reads_losses_when_it_has_to(tmp_path: Path) -> None:
    with RunLog(tmp_path, 0, 9, log_every=3, lazy=True) as log:
        for step in (1, 2):
            log.add(record(step, 1.0))
        assert (tmp_path / "metrics.jsonl").read_text() == ""
        log.add(record(3, 1.0))
        assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3
        log.add(record(4, 2.0))
        log.flush()
        assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path, loss: float) -> None:
    with RunLog(tmp_path, 0, 9, 9, lazy=False) as log:
        log.add(record(1, 1.0))
        with pytest.raises(
            TrainingError, match=r"the loss of step 2 is (nan|inf) \(patches 20, 11\): lower train\.lea"
        ):
            log.add(record(2, loss))
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1


def test_lines_past_the_checkpoint_and_half_a_line_are_dropped(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    lines = [record(step, step / 8).line(step / 8, {}) for step in range(1, 5)]
    file.write_text("".join(lines) + lines[0][:9])
    assert truncate_metrics(file, 3) == 3 / 8
    assert file.read_text() == "".join(lines[:3])
    assert truncate_metrics(file, 0) is None
    assert file.read_text() == ""
    assert truncate_metrics(tmp_path / "none", 3) is None


def test_curves_of_a_resumed_run_have_one_value_a_step(tmp_path: Path) -> None:
    for start in (0, 2):
        with RunLog(tmp_path, start, 4, log_every=1, lazy=False) as log:
            for step in range(start + 1, 5):
                log.add(record(step, step + start / 8, validation_loss=2.0 * step))
        time.sleep(1.1)  # TensorBoard reads its files by the second in their names, as a resumed run's differ
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss/train")] == [(1, 1), (2, 2), (3, 3.25), (4, 4.25)]
    assert [e.value for e in events.Scalars("loss/validation")] == [2, 4, 6, 8]
    assert [e.value for e in events.Scalars("loss/style")] == [4, 8, 13, 17]
    assert {e.value for e in events.Scalars("learning_rate")} == {0.5}
    assert len(events.Scalars("patches_per_second")) == 4


def test_curves_of_terms_are_means_since_the_last_report(tmp_path: Path) -> None:
    with RunLog(tmp_path, 0, 4, log_every=2, lazy=False) as log:
        for step, loss in enumerate((1.0, 3.0, 5.0, 9.0), start=1):
            log.add(record(step, loss))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss/reconstruction")] == [(2, 1.0), (4, 3.5)]
