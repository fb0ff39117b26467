"""HDR-VDP-2, release 2.2.1: the quality correlate Q.

Mantiuk, Kim, Rempel and Heidrich, ACM TOG 30(4), 2011: the model. Narwaria, Mantiuk, Da Silva and Le Callet, J.
Electronic Imaging 24(1), 2015: the pooling. Visibility maps are not computed: Q does not need them.

Legend: H, W height and width in pixels, C channels.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from model.errors import MetricError
from model.metrics.hdrvdp2.encodings import CONVERSIONS, Encoding
from model.metrics.hdrvdp2.masking import masking_signals, normalised_difference
from model.metrics.hdrvdp2.optics import LOWEST, geometric_mean
from model.metrics.hdrvdp2.pathway import band_frequency, see
from model.metrics.hdrvdp2.resampling import resample
from model.metrics.hdrvdp2.steerable import SMALLEST
from model.metrics.pair import Image, planes
from model.metrics.result import Result

__all__ = ["VERSION", "hdr_vdp_2"]

VERSION = "2.2.1"
EPSILON = 1e-12  # keeps the logarithm of no difference finite
ADAPTATION = (1e-5, 1e5)  # cd/m2
CONTRAST = 0.001  # relative difference of a channel below which a pixel counts as equal

# Frequency in cycles per degree, weight of the bands there (Narwaria et al. 2015, as released).
WEIGHTS = (
    *((0.1172, 0.0), (0.2344, 0.0), (0.4688, 0.0003), (0.9375, 0.0003), (1.875, 0.0398)),
    *((3.75, 0.2690), (7.5, 0.2142), (15.0, 0.2832), (30.0, 0.2832), (60.0, 0.0)),
)


def hdr_vdp_2(
    test: Image,
    reference: Image,
    *,
    ppd: float = 30.0,
    surround: float | None = LOWEST,
    encoding: Encoding = "rgb-bt.709",
) -> Result:
    """Return Q of (H, W, C) pictures in absolute units: 100 for equal ones, falling without a lower bound.

    C is 3 for `rgb-bt.709` (linear, cd/m2 per channel), `XYZ` and `sRGB-display`, 1 for `luminance` (cd/m2) and
    `luma-display`. `ppd`: pixels per visual degree. `surround`: cd/m2 around the picture, None for the geometric mean
    of the reference. Floor both pictures at 1e-5 cd/m2 before. Q is None where a side is below 17 pixels: the steerable
    pyramid has no level there. Raises MetricError for another number of channels and an option out of range.
    """
    conversion = CONVERSIONS[encoding]
    T, R = planes(test, reference, channels=conversion.channels)
    if not (math.isfinite(ppd) and ppd > 0):
        raise MetricError(f"pixels per degree are above 0, and not {ppd:g}")
    told = "geometric mean of the reference" if surround is None else f"{surround:g} cd/m2"
    conditions = (VERSION, f"{encoding}, surround {told}", ppd)
    if min(T.shape[1:]) < SMALLEST:
        return Result("Q", None, *conditions, reason=f"both sides must have {SMALLEST} pixels or more")
    return Result("Q", quality(conversion.linear(T), conversion.linear(R), ppd, surround), *conditions)


def quality(test: Tensor, reference: Tensor, ppd: float, surround: float | None) -> float:
    """Return Q of linear planes (C, H, W)."""
    around = geometric_mean(reference) if surround is None else reference.new_full(reference.shape[:1], surround)
    seen = see(test, reference, ppd, around)
    level = seen.adaptation.mean(dim=0).clamp(*ADAPTATION).log10()
    differs, signals = difference_mask(test, reference), masking_signals(seen.bands)
    lost = 0.0
    for f, band in enumerate(seen.bands, start=1):
        weight = band_weight(band_frequency(f, ppd))
        if weight > 0:
            D = normalised_difference(f, band, signals, level, ppd) * resample(differs, band.shape[-2:])
            lost += weight * pooled(D)
    return 100.0 - lost


def difference_mask(test: Tensor, reference: Tensor) -> Tensor:
    """Return 1 where a channel differs by more than 0.1 % of the reference, else 0, (H, W); 0 / 0 is no difference."""
    relative = (test - reference).abs() / reference  # of a negative reference negative: no difference, as released
    return (relative > CONTRAST).any(dim=0).to(test.dtype)


def pooled(D: Tensor) -> float:
    """Return the sum over orientations of ln(e + eps) - ln(eps), e the root of the summed squares over their number."""
    e = D.square().sum(dim=(1, 2)).sqrt() / D[0].numel()
    return float(torch.log(e + EPSILON).sum()) - len(e) * math.log(EPSILON)


def band_weight(rho: float) -> float:
    """Return the weight of a band, linear in its frequency between the tabulated ones, constant beyond them."""
    frequencies, weights = zip(*WEIGHTS, strict=True)
    return float(np.interp(rho, frequencies, weights))
