"""Differences between the bands of two pictures, in units of what hides them (Mantiuk et al. 2011, Section 5).

Legend: f number of a band, 1 the finest, F the low-pass; O_f its orientations; h, w height and width of its maps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from model.metrics.hdrvdp2.pathway import REFERENCE, TEST, band_frequency, band_scale
from model.metrics.hdrvdp2.resampling import resample
from model.metrics.hdrvdp2.sensitivity import sensitivity_table

P = 10**0.544068  # exponent of the difference
Q = 10**0.49576  # exponent of the masking signals
SELF, ORIENTATIONS, NEIGHBOURS = 10**0.189065, 10**0.449199, 10**1.52512  # gains of what masks


def masking_signals(bands: Sequence[Tensor]) -> list[Tensor]:
    """Return what both pictures have in common in each band, (O_f, h, w): the smaller magnitude, averaged over 3x3.

    Beyond the border there is nothing: the average divides by nine there too.
    """
    smaller = [torch.minimum(band[TEST].abs(), band[REFERENCE].abs()) for band in bands]
    return [functional.avg_pool2d(each[None], 3, stride=1, padding=1)[0] for each in smaller]


def normalised_difference(f: int, band: Tensor, signals: Sequence[Tensor], level: Tensor, ppd: float) -> Tensor:
    """Return D (O_f, h, w) of a band (2, O_f, h, w): its difference over neural noise and masking.

    `signals` are those of all bands, `level` (H, W) is log10 of the luminance that both pictures adapt the eye to.
    """
    n = band_scale(f)
    noise = neural_noise(f, len(signals), band.shape[-2:], level, ppd)
    excitation = (n * (band[TEST] - band[REFERENCE]).abs()).pow(P) / n
    return excitation / torch.sqrt(noise.pow(2 * P) + masking_noise(f, signals, noise).square())


def neural_noise(f: int, F: int, size: Sequence[int], level: Tensor, ppd: float) -> Tensor:
    """Return N_nCSF (h, w), or one number for the low-pass band, whose sensitivity is in its filter already."""
    if f == F:
        return level.new_ones(())
    return 1 / sensitivity_table(band_frequency(f, ppd))(resample(level, size))


def masking_noise(f: int, signals: Sequence[Tensor], noise: Tensor) -> Tensor:
    """Return N_mask (O_f, h, w): masking by the band itself, by other orientations and by the bands beside it."""
    n, own = band_scale(f), signals[f - 1]
    others = (own.sum(dim=0) - own).clamp(min=0.0)
    terms = ((SELF, n * own), (ORIENTATIONS, n * others), (NEIGHBOURS, neighbour_activity(f, signals)))
    return sum((gain * (signal / noise).pow(Q) for gain, signal in terms), start=own.new_zeros(())) / n


def neighbour_activity(f: int, signals: Sequence[Tensor]) -> Tensor:
    """Return X (O_f, h, w) of the next finer and coarser bands, at the size of this one.

    A band of one orientation serves all four; the low-pass masks no other band, and sees orientation 1 alone.
    """
    own = signals[f - 1]
    activity = torch.zeros_like(own)
    finer, coarser = [f - 1] if f > 1 else [], [f + 1] if f + 1 < len(signals) else []
    for beside in finer + coarser:
        there = signals[beside - 1][: own.shape[0]]
        activity = activity + band_scale(beside) * resample(there, own.shape[-2:]).clamp(min=0.0)
    return activity
