"""Algorithm 1 of Santos et al. 2020: how much texture lies where the photograph is saturated, and the verdict on it.

Legend: S patch size. H (S, S, 3) float32, scene-linear, the sensor clips at 1.0. T (S, S, 3) in [0, 1]: the photograph,
after JPEG. M (S, S, 3) in [0, 1]: 1 well exposed, 0 saturated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from pipeline.compiled import compiled
from pipeline.detail import detail_layer, weighted_gradient
from pipeline.records import ByteImage, FloatImage, Verdict

_ONE = np.float32(1)


class ScoreSettings(BaseModel):
    """How patches are scored and labelled."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    threshold: float = 0.85  # patches below are smooth (Santos et al. 2020, Section 3.4)
    # What the gradients are averaged over. The text of Section 3.4 says the saturated areas; Algorithm 1 prints the
    # mean over the whole patch, which no patch could pass at a threshold of 0.85.
    average: Literal["saturated", "patch"] = "saturated"
    # Patches with less saturated weight than this share are `unsaturated`: nothing to learn (Section 4, Dataset).
    min_saturated_fraction: float = Field(0.01, ge=0, le=1)
    alpha: float = Field(0.96, ge=0, lt=1)  # where the mask begins to fall (Fig. 2)
    sigma_color: float = Field(100.0, gt=0)  # of the bilateral filter, in units of log radiance (Algorithm 1)
    sigma_space: float = Field(10.0, gt=0, le=100)  # of the bilateral filter, pixels (Algorithm 1)


@dataclass(frozen=True, slots=True)
class Score:
    """What is measured on a patch; `over_saturated` and `over_patch` are the two averages of the detail gradient."""

    saturated_fraction: float  # mean of 1 - M over pixels and channels
    over_saturated: float  # sum G (1 - M) / sum (1 - M); 0 where nothing is saturated
    over_patch: float  # mean G (1 - M), Algorithm 1 to the letter


def well_exposed_mask(ldr: ByteImage, alpha: float = 0.96) -> FloatImage:
    """Return M = beta(T) = clip((1 - T) / (1 - alpha), 0, 1) per channel (Santos et al. 2020, Fig. 2)."""
    return mask_levels(alpha)[ldr]


@lru_cache(maxsize=16)
def mask_levels(alpha: float) -> npt.NDArray[np.float32]:
    """Return M of each of the 256 values of T: a table gives the same numbers as the formula, faster."""
    return np.clip((1.0 - np.arange(256) / 255.0) / (1.0 - alpha), 0.0, 1.0).astype(np.float32)


def score_patch(hdr: FloatImage, ldr: ByteImage, settings: ScoreSettings | None = None) -> Score:
    """Score one patch (Santos et al. 2020, Algorithm 1).

    hdr: (S, S, 3) float32, the sensor clips at 1.0. ldr: (S, S, 3) uint8, the photograph after JPEG.
    """
    settings = settings or ScoreSettings()
    weight, saturated = np.empty(ldr.shape[:2], np.float32), np.empty(len(ldr), np.bool_)
    total = _weigh(ldr, mask_levels(settings.alpha), weight, saturated)
    if total == 0.0:
        return Score(0.0, 0.0, 0.0)
    near = saturated.copy()  # the lines that Sobel reaches
    near[1:] |= saturated[:-1]
    near[:-1] |= saturated[1:]
    weighted = weighted_gradient(detail_layer(hdr, settings.sigma_color, settings.sigma_space, near), weight)
    return Score(total / ldr.size, weighted / total, weighted / ldr.size)


@compiled
def _weigh(ldr: ByteImage, levels: FloatImage, weight: FloatImage, saturated: npt.NDArray[np.bool_]) -> float:
    """Write the sum over channels of 1 - M of each pixel, and which lines have any; return the sum of all.

    G of Algorithm 1 is the same for the three channels, so their weights may be summed first.
    """
    total = 0.0
    for y in range(weight.shape[0]):
        row, out = ldr[y], weight[y]
        line = np.float32(0)
        for x in range(out.size):
            out[x] = (_ONE - levels[row[x, 0]]) + (_ONE - levels[row[x, 1]]) + (_ONE - levels[row[x, 2]])
            line = np.float32(line + out[x])
        saturated[y] = line > 0
        total += float(line)
    return total


def chosen_average(score: Score, average: Literal["saturated", "patch"]) -> float:
    """Return the average that counts as the score."""
    return score.over_saturated if average == "saturated" else score.over_patch


def judge(score: float, saturated_fraction: float, settings: ScoreSettings) -> tuple[Verdict, str | None]:
    """Return the verdict on a patch and, unless it is kept, the reason."""
    if saturated_fraction < settings.min_saturated_fraction:
        return "unsaturated", reasons(settings)["unsaturated"]
    if score < settings.threshold:
        return "smooth", reasons(settings)["smooth"]
    return "kept", None


def reasons(settings: ScoreSettings) -> dict[Verdict, str | None]:
    """Return what is said of a patch for each verdict on it."""
    return {
        "unsaturated": f"saturated_fraction below {settings.min_saturated_fraction:g}",
        "smooth": f"score below {settings.threshold:g}",
        "kept": None,
    }
