"""Structural similarity (Wang, Bovik, Sheikh and Simoncelli 2004), of gamma-corrected luminance or of encoded planes.

Legend: H, W height and width in pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from model.metrics.gamma import GAMMA, encoding_name, gamma_correct
from model.metrics.pair import Image, luminance, planes
from model.metrics.result import OURS, Result

RADIUS, SIGMA = 5, 1.5  # of the Gaussian window of 11x11 samples (Wang et al. 2004, Section III-B)
K1, K2 = 0.01, 0.03  # of the constants that keep the quotient stable, same place


def ssim(test: Image, reference: Image, *, gamma: float = GAMMA) -> Result:
    """Return the mean SSIM, at most 1, of the gamma-corrected luminance of (H, W, 3) linear RGB of any scale.

    Both luminances are divided by the reference's largest one, which is the dynamic range. Black has none: None.
    """
    T, R = (luminance(image.clamp(min=0.0)) for image in planes(test, reference))
    peak = R.max()
    conditions = (OURS, encoding_name(gamma, "luminance, dynamic range: the reference's largest value"))
    if not peak > 0:
        return Result("ssim", None, *conditions, reason="the reference is black: there is no dynamic range")
    value = similarity(gamma_correct(T / peak, gamma), gamma_correct(R / peak, gamma), 1.0)
    return Result("ssim", value, *conditions)


def similarity(test: Tensor, reference: Tensor, dynamic_range: float) -> float:
    """Return the mean over all pixels of the SSIM map of (H, W) encoded planes.

    Population moments in a Gaussian window; beyond the border the edge sample is repeated.
    """
    means = blur(torch.stack([test, reference, test * test, reference * reference, test * reference]))
    mu_T, mu_R, TT, RR, TR = means.unbind()
    c1, c2 = (K1 * dynamic_range) ** 2, (K2 * dynamic_range) ** 2
    numerator = (2 * mu_T * mu_R + c1) * (2 * (TR - mu_T * mu_R) + c2)
    denominator = (mu_T**2 + mu_R**2 + c1) * (TT - mu_T**2 + RR - mu_R**2 + c2)
    return float((numerator / denominator).mean())


def blur(maps: Tensor) -> Tensor:
    """Return Gaussian averages of maps (N, H, W), one axis after the other; the edge sample is repeated.

    Shifted maps are added up: torch's convolution would take ten times the memory in float64.
    """
    taps = [math.exp(-(offset**2) / (2 * SIGMA**2)) for offset in range(-RADIUS, RADIUS + 1)]
    averages = functional.pad(maps[:, None], (RADIUS,) * 4, mode="replicate")[:, 0]
    for axis in (1, 2):
        length = maps.shape[axis]
        total = torch.zeros_like(averages.narrow(axis, 0, length))
        for start, tap in enumerate(taps):
            total.add_(averages.narrow(axis, start, length), alpha=tap / sum(taps))
        averages = total
    return averages
