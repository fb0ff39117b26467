"""Halving on a plateau and the end of training, as functions of the validations so far."""

from __future__ import annotations

import math

import torch

from model.config import TrainSettings
from model.schedule import Progress, after_validation, has_converged, learning_rate


def rates(settings: TrainSettings, losses: list[float]) -> list[float]:
    progress, found = Progress(), []
    for loss in losses:
        progress = after_validation(settings, progress, loss)
        found.append(learning_rate(settings, progress))
    return found


def test_rates_are_those_of_torchs_own_scheduler() -> None:
    losses = [1.0, 0.9, 0.95, 0.9, 0.91, 0.5, 0.5, 0.6, 0.7, 0.49, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8]
    settings = TrainSettings(learning_rate=0.1, plateau_patience=3, plateau_improvement=0.01, minimum_rate=0.02)
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.1)
    # torch lets `patience` validations pass and acts at the next one
    judge = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2, threshold=0.01, min_lr=0.02)
    expected = []
    for loss in losses:
        judge.step(loss)
        expected.append(optimizer.param_groups[0]["lr"])
    assert rates(settings, losses) == expected
    assert len(set(expected)) == 4


def test_without_patience_nothing_changes() -> None:
    settings = TrainSettings(plateau_patience=None, stop_patience=None)
    assert set(rates(settings, [1.0] * 50)) == {2e-4}
    assert not has_converged(settings, Progress(waited=10**6))


def test_training_ends_after_so_many_validations_without_improvement() -> None:
    settings = TrainSettings(stop_patience=3, plateau_patience=2)
    progress = Progress()
    for loss, ended in [
        (1.0, False),
        (1.0, False),
        (1.1, False),
        (0.5, False),
        (0.5, False),
        (0.6, False),
        (0.5, True),
    ]:
        progress = after_validation(settings, progress, loss)
        assert has_converged(settings, progress) is ended


def test_a_loss_that_is_no_number_is_no_improvement() -> None:
    settings = TrainSettings()
    progress = after_validation(settings, Progress(), math.nan)
    assert (progress.best, progress.waited) == (None, 1)
    assert after_validation(settings, progress, 2.0) == Progress(best=2.0)


def test_another_rate_of_a_resumed_run_counts() -> None:
    assert learning_rate(TrainSettings(learning_rate=0.5), Progress(reductions=2)) == 0.125
