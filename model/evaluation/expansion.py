"""A classical expansion operator as baseline: Landis 2002, in the notation of Banterle et al. 2011.

H. Landis, "Production-ready global illumination", SIGGRAPH Course Notes 16, 2002; F. Banterle, A. Artusi, K. Debattista
and A. Chalmers, "Advanced High Dynamic Range Imaging", 2011, chapter on expansion operators. It is a global operator:
what is brighter than a threshold is made brighter still, the more the nearer it is to white. It knows nothing of
context, and so says what a network that does is worth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.color import WHITE_LUMINANCE
from model.unet import GAMMA
from pipeline.records import FloatImage


@dataclass(frozen=True, slots=True)
class Landis:
    """The numbers of the operator.

    threshold  R, linear luminance from which on it expands, in [0, 1)
    exponent   alpha, how slowly the expansion begins
    peak       L_max, what white becomes, in units of the clipping level
    """

    threshold: float = 0.5
    exponent: float = 2.0
    peak: float = 8.0  # ours: three stops above clipping; the operator was made for a display's peak luminance


def expand(T: FloatImage, numbers: Landis | None = None) -> FloatImage:
    """Return the radiance (H, W, 3) of a photograph T (H, W, 3) in [0, 1], in units of the clipping level.

    With the linear picture L_d = T^2 (as in Santos et al. 2020, Eq. 1) and its luminance:
    L_w = L_d where the luminance is below R, else (1 - k) L_d + k L_max L_d, where k = ((L_d - R) / (1 - R))^alpha.
    All channels of a pixel are multiplied by the same factor: hue stays.
    """
    numbers = numbers or Landis()
    linear = np.asarray(T**GAMMA, dtype=np.float32)
    luminance = linear @ np.asarray(WHITE_LUMINANCE, dtype=np.float32)
    k = np.clip((luminance - numbers.threshold) / (1.0 - numbers.threshold), 0.0, 1.0) ** numbers.exponent
    factor = 1.0 + k * (numbers.peak - 1.0)
    return np.asarray(linear * factor[..., None], dtype=np.float32)
