"""Antialiased bicubic resampling of maps to a given size, as MATLAB's default image resize.

No library's resizer does this: they cut the kernel off at the border, where here the picture is mirrored.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def resample(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Return maps (..., h, w) at another size, height and width; negative lobes may leave their range."""
    for axis, count in ((-2, size[0]), (-1, size[1])):
        if maps.shape[axis] != count:
            weights = torch.from_numpy(resampling_weights(maps.shape[axis], count)).to(maps.device)
            maps = weights @ maps if axis == -2 else maps @ weights.T
    return maps


@lru_cache(maxsize=64)
def resampling_weights(n: int, N: int) -> npt.NDArray[np.float64]:
    """Return the weights (N, n) of n samples in N outputs along an axis.

    Where it shrinks, the kernel is widened. Beyond the ends samples are mirrored, the last one repeated.
    """
    scale = N / n
    narrow = min(scale, 1.0)
    centres = np.arange(1, N + 1) / scale + 0.5 * (1 - 1 / scale)  # of the outputs, in one-based inputs
    reach = int(np.ceil(2 / narrow)) + 1
    inputs = np.floor(centres).astype(np.int64)[:, None] + np.arange(-reach, reach + 1)
    taps = keys_kernel(narrow * (centres[:, None] - inputs))
    taps /= taps.sum(axis=1, keepdims=True)
    mirrored = (inputs - 1) % (2 * n)
    weights = np.zeros((N, n))
    rows = np.broadcast_to(np.arange(N)[:, None], inputs.shape)
    np.add.at(weights, (rows, np.minimum(mirrored, 2 * n - 1 - mirrored)), taps)
    return weights


def keys_kernel(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the cubic convolution kernel of Keys (1981), a = -0.5."""
    d = np.abs(distance)
    near = (1.5 * d - 2.5) * d**2 + 1
    far = ((-0.5 * d + 2.5) * d - 4) * d + 2
    return np.where(d <= 1, near, np.where(d <= 2, far, 0.0))
