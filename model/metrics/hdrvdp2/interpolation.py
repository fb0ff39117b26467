"""Piecewise linear functions: between equally spaced nodes on a tensor, between given nodes on a few numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Nodes = npt.NDArray[np.float64]  # (N,)


@dataclass(frozen=True, slots=True)
class Table:
    """A function of x, linear between its `values` (N,) at equally spaced nodes from `first` to `last`."""

    first: float
    last: float
    values: Nodes

    def __call__(self, x: Tensor) -> Tensor:
        """Return the function at x, any shape; x beyond the ends is taken for the end."""
        values = torch.from_numpy(self.values).to(x.device)
        intervals = len(self.values) - 1
        position = ((x - self.first) * (intervals / (self.last - self.first))).clamp(0, intervals)
        left = position.long().clamp(max=intervals - 1)
        below = values[left]
        return below + (values[left + 1] - below) * (position - left)


def equally_spaced(first: float, last: float, count: int) -> Nodes:
    """Return that many numbers, both ends among them."""
    return first + (last - first) * np.arange(count, dtype=np.float64) / (count - 1)
