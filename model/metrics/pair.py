"""A pair of pictures before it is measured: checked, in double precision, brought to cd/m2.

Legend: H, W height and width in pixels, C channels; planes (C, H, W) float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.errors import MetricError

Image = npt.NDArray[np.floating] | Tensor  # (H, W, C), linear BT.709 where C is 3

FLOOR = 1e-5  # cd/m2, of both pictures: HDR-VDP-2.2.1 clips there, and zeros would be divided by
LUMINANCE = (0.2126, 0.7152, 0.0722)  # of linear BT.709 RGB (ITU-R BT.709-6), of the scale only: PU21 has its own


def planes(
    test: Image, reference: Image, device: torch.device | None = None, channels: int = 3
) -> tuple[Tensor, Tensor]:
    """Return both pictures as planes (C, H, W) float64 on this device (None: where they are).

    Raises MetricError where they differ in size, have another number of channels, hold no pixel, or hold NaN or
    infinite values.
    """
    pair = tuple(torch.as_tensor(image).to(device, torch.float64) for image in (test, reference))
    shapes = tuple(tuple(image.shape) for image in pair)
    if shapes[0] != shapes[1]:
        raise MetricError(
            f"the test picture is {_size(shapes[0])} and the reference {_size(shapes[1])}: make them equal"
        )
    if len(shapes[0]) != 3 or shapes[0][2] != channels or 0 in shapes[0]:
        raise MetricError(f"a picture is (height, width, {channels}), and not {shapes[0]}")
    for name, image in zip(("test picture", "reference"), pair, strict=True):
        if not bool(torch.isfinite(image).all()):
            raise MetricError(f"the {name} holds NaN or infinite values: repair it first")
    return pair[0].movedim(2, 0), pair[1].movedim(2, 0)


def _size(shape: tuple[int, ...]) -> str:
    height, width, *_ = (*shape, 0, 0)
    return f"{width}x{height} pixels"


def mix(weights: Sequence[float] | Sequence[Sequence[float]], image: Tensor) -> Tensor:
    """Return weighted sums of the planes (C, H, W): one (H, W) for weights (C,), more (M, H, W) for weights (M, C)."""
    mixed: Tensor = torch.tensordot(image.new_tensor(weights), image, dims=1)
    return mixed


def luminance(rgb: Tensor) -> Tensor:
    """Return the luminance (H, W) of planes (3, H, W)."""
    return mix(LUMINANCE, rgb)


def scale_factor(reference: Tensor, mean_luminance: float | None) -> float:
    """Return what both pictures are multiplied by for the reference (3, H, W) to have this mean luminance in cd/m2.

    Negative light counts as none. Raises MetricError where the reference has no light to scale.
    """
    if mean_luminance is None:
        return 1.0
    if not (math.isfinite(mean_luminance) and mean_luminance > 0):
        raise MetricError(f"a mean luminance is above 0 cd/m2, and not {mean_luminance:g}")
    mean = float(luminance(reference.clamp(min=0.0)).mean())
    factor = mean_luminance / mean if mean > 0 else math.inf
    if not math.isfinite(factor):
        raise MetricError("the reference is black, so no factor gives it a mean luminance: measure in cd/m2 as given")
    return factor


def scale_name(mean_luminance: float | None) -> str:
    """Say what the scale is, for a result's conditions."""
    return "cd/m2 as given" if mean_luminance is None else f"mean luminance of the reference {mean_luminance:g} cd/m2"


def absolute(image: Tensor, factor: float) -> Tensor:
    """Return the picture in cd/m2, nowhere below `FLOOR`."""
    return (image * factor).clamp(min=FLOOR)
