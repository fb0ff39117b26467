"""Peak signal-to-noise ratio of gamma-corrected pictures."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from model.metrics.gamma import GAMMA, encoding_name, gamma_correct
from model.metrics.pair import Image, planes
from model.metrics.result import OURS, Result


def psnr(test: Image, reference: Image, *, gamma: float = GAMMA) -> Result:
    """Return 10 log10(1 / mean((T'^(1/gamma) - R'^(1/gamma))^2)) in dB, of (H, W, 3) linear RGB of any scale.

    T', R' are both pictures over the reference's largest value, which is the peak; the mean runs over pixels and
    channels, and nothing is clipped. Equal pictures have an infinite one. A black reference has no peak: None.
    """
    T, R = planes(test, reference)
    peak = R.max()
    conditions = (OURS, encoding_name(gamma, "peak: the reference's largest value"))
    if not peak > 0:
        return Result("dB", None, *conditions, reason="the reference is black: there is no peak")
    return Result("dB", decibels(gamma_correct(T / peak, gamma), gamma_correct(R / peak, gamma), 1.0), *conditions)


def decibels(test: Tensor, reference: Tensor, peak: float) -> float:
    """Return 10 log10(peak^2 / MSE) of encoded planes; infinity where they are equal."""
    error = float(torch.mean((test - reference).square()))
    return 10.0 * math.log10(peak**2 / error) if error > 0 else math.inf
