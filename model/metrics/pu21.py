"""PU21, the perceptually uniform encoding of Mantiuk and Azimi (Picture Coding Symposium 2021), "banding + glare"."""

from __future__ import annotations

from torch import Tensor

from model.metrics.pair import mix

VERSION = "PU21 banding_glare"
ENCODING = "PU21 of cd/m2, peak 256"
RANGE = (0.005, 1e4)  # cd/m2: what lies outside is clipped
PEAK = 256.0  # about V of 100 cd/m2, the peak of the metrics; V itself runs to 595
P = (0.353487901, 0.3734658629, 8.277049286e-05, 0.9062562627, 0.09150303166, 0.9099517204, 596.3148142)
LUMINANCE = (0.212656, 0.715158, 0.072186)  # of linear RGB, before the encoding


def pu21_encode(Y: Tensor) -> Tensor:
    """Return V in [0, 595.4] of luminance or linear colour values Y in cd/m2, any shape."""
    y = Y.clamp(*RANGE).pow(P[3])
    return (P[6] * (((P[0] + P[1] * y) / (1 + P[2] * y)).pow(P[4]) - P[5])).clamp(min=0.0)


def pu21_decode(V: Tensor) -> Tensor:
    """Return Y in cd/m2 of V: the inverse of `pu21_encode` within its range."""
    u = (V / P[6] + P[5]).clamp(min=0.0).pow(1 / P[4])
    return ((u - P[0]).clamp(min=0.0) / (P[1] - P[2] * u)).pow(1 / P[3])


def encoded_luminance(rgb: Tensor) -> Tensor:
    """Return V (H, W) of the luminance of planes (3, H, W) in cd/m2."""
    return pu21_encode(mix(LUMINANCE, rgb))
