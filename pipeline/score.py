"""Algorithm 1 of Santos et al. 2020: how much texture lies where the photograph is saturated, and the verdict on it.

Legend: S patch size. H (S, S, 3) float32, scene-linear, the sensor clips at 1.0. T (S, S, 3) in [0, 1]: the photograph,
after JPEG. M (S, S, 3) in [0, 1]: 1 well exposed, 0 saturated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from pipeline.records import ByteImage, FloatImage, Verdict


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
    # T has 256 values: a table gives the same numbers as the formula, faster.
    levels = np.clip((1.0 - np.arange(256) / 255.0) / (1.0 - alpha), 0.0, 1.0).astype(np.float32)
    return levels[ldr]


def detail_layer(hdr: FloatImage, sigma_color: float = 100.0, sigma_space: float = 10.0) -> FloatImage:
    """Return D = L - bilateral(L), (S, S), of L = log(gray(H) + 1) (Durand and Dorsey 2002; Algorithm 1)."""
    log_gray = np.log1p(cv2.cvtColor(hdr, cv2.COLOR_RGB2GRAY))
    base = cv2.bilateralFilter(log_gray, -1, sigma_color, sigma_space)
    return np.asarray(log_gray - base, dtype=np.float32)


def gradient_magnitude(detail: FloatImage) -> FloatImage:
    """Return G = |Sobel_x D| + |Sobel_y D|, (S, S), 3x3, unnormalised (Algorithm 1)."""
    horizontal = cv2.Sobel(detail, cv2.CV_32F, 1, 0, ksize=3)
    vertical = cv2.Sobel(detail, cv2.CV_32F, 0, 1, ksize=3)
    return np.asarray(np.abs(horizontal) + np.abs(vertical), dtype=np.float32)


def score_patch(hdr: FloatImage, ldr: ByteImage, settings: ScoreSettings | None = None) -> Score:
    """Score one patch (Santos et al. 2020, Algorithm 1).

    hdr: (S, S, 3) float32, the sensor clips at 1.0. ldr: (S, S, 3) uint8, the photograph after JPEG.
    """
    settings = settings or ScoreSettings()
    # G is the same for the three channels, so the weights of a pixel's channels can be summed first.
    weight = (1.0 - well_exposed_mask(ldr, settings.alpha)).sum(axis=2, dtype=np.float64)
    total = float(weight.sum())
    if total == 0.0:
        return Score(0.0, 0.0, 0.0)
    gradient = gradient_magnitude(detail_layer(hdr, settings.sigma_color, settings.sigma_space))
    weighted = float((gradient * weight).sum())
    return Score(total / ldr.size, weighted / total, weighted / ldr.size)


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
