"""What a picture may be given as, and its conversion to linear light (HDR-VDP-2.2.1).

Legend: H, W height and width in pixels, C channels; V display-encoded in [0, 1]; L linear in cd/m2 per channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from model.metrics.pair import mix

Encoding = Literal["luminance", "luma-display", "rgb-bt.709", "sRGB-display", "XYZ"]

PEAK, BLACK = 99.0, 1.0  # cd/m2 of the assumed display: L = 99 V + 1
TO_RGB = ((3.240708, -1.537259, -0.498570), (-0.969257, 1.875995, 0.041555), (0.055636, -0.203996, 1.057069))


@dataclass(frozen=True, slots=True)
class Conversion:
    """How many channels an encoding has, and how its planes (C, H, W) become linear."""

    channels: int
    linear: Callable[[Tensor], Tensor]


def _luma_display(V: Tensor) -> Tensor:
    return PEAK * V.pow(2.2) + BLACK


def _srgb_display(V: Tensor) -> Tensor:
    return PEAK * torch.where(V <= 0.04045, V / 12.92, ((V + 0.055) / 1.055).pow(2.4)) + BLACK


def _xyz(XYZ: Tensor) -> Tensor:
    return mix(TO_RGB, XYZ)


CONVERSIONS: Mapping[Encoding, Conversion] = {
    "luminance": Conversion(1, lambda L: L),
    "luma-display": Conversion(1, _luma_display),
    "rgb-bt.709": Conversion(3, lambda L: L),
    "sRGB-display": Conversion(3, _srgb_display),
    "XYZ": Conversion(3, _xyz),
}
