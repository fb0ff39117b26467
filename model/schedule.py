"""When the learning rate is halved and when training ends: on a plateau of the validation loss.

Santos et al. 2020, Section 4, halve the rate on a plateau in the second stage and train until convergence; they say
neither how long a plateau is nor what convergence is. Here both are counts of validations, see `TrainSettings`. Where a
bank gives no validation the rate is constant and the last step is `steps`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from model.config import TrainSettings


@dataclass(frozen=True, slots=True)
class Progress:
    """What the validations so far have said; part of a checkpoint."""

    best: float | None = None  # lowest mean loss that was a clear improvement on the one before
    waited: int = 0  # validations since then
    on_plateau: int = 0  # validations since then or, if later, since the rate was last halved
    reductions: int = 0  # how often the rate was multiplied by plateau_factor


def learning_rate(settings: TrainSettings, progress: Progress) -> float:
    """Return the rate of the next step: a function of the settings and the count, so that no error adds up."""
    return max(settings.learning_rate * settings.plateau_factor**progress.reductions, settings.minimum_rate)


def after_validation(settings: TrainSettings, progress: Progress, loss: float) -> Progress:
    """Take the mean loss of a validation into account; one that is not a number is no improvement."""
    if math.isfinite(loss) and (
        progress.best is None or loss < progress.best - settings.plateau_improvement * abs(progress.best)
    ):
        return Progress(best=loss, reductions=progress.reductions)
    progress = replace(progress, waited=progress.waited + 1, on_plateau=progress.on_plateau + 1)
    patience = settings.plateau_patience
    if patience is None or progress.on_plateau < patience or learning_rate(settings, progress) <= settings.minimum_rate:
        return progress
    return replace(progress, on_plateau=0, reductions=progress.reductions + 1)


def has_converged(settings: TrainSettings, progress: Progress) -> bool:
    """Say whether so many validations have brought no improvement that training is to end."""
    return settings.stop_patience is not None and progress.waited >= settings.stop_patience
