"""A patch with its pixels, as the formats take it.

Legend: S patch size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.bank.arrays import to_half
from pipeline.camera import Photograph, render_photograph
from pipeline.records import FloatImage, Recipe


@dataclass(frozen=True, slots=True)
class Rendered:
    """`row` of the patches table, `hdr` (S, S, 3) float32, the sensor clips at 1.0, and the `photograph` of it."""

    row: Mapping[str, Any]
    hdr: FloatImage
    photograph: Photograph

    @classmethod
    def of(cls, frame: FloatImage, row: Mapping[str, Any]) -> Rendered:
        """Render the patch of a row of the patches table from its frame (H, W, 3)."""
        return cls(row, *render_photograph(frame, Recipe.from_row(row)))

    @property
    def half(self) -> npt.NDArray[np.float16]:
        """`hdr` as the bank's arrays hold it: float16, clipped to 65504."""
        return to_half(self.hdr)[0]

    @property
    def clipped_values(self) -> int:
        """How many values of `hdr` are beyond float16's range."""
        return to_half(self.hdr)[1]
