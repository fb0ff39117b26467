"""Pictures as files that depend on nothing but their pixels: equal pictures are equal files, on any day.

That is what lets a test set be named by the digests of its files. Each is written in one rename.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from model.errors import EvaluationError
from model.results import write_exr, write_png
from pipeline.records import FloatImage

__all__ = ["HALF_MAX", "read_png", "write_half", "write_png"]

HALF_MAX = float(np.finfo(np.float16).max)


def read_png(file: Path) -> FloatImage:
    """Return T (H, W, 3) float32 in [0, 1] of a PNG that `write_png` wrote: its codes, whatever it says of colour."""
    pixels = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise EvaluationError(f"{file} is no PNG; make the test set anew")
    return np.asarray(pixels, dtype=np.float32) / np.float32(255)


def write_half(file: Path, radiance: FloatImage) -> None:
    """Write RGB (H, W, 3) float32 as OpenEXR of float16, what lies beyond its range held to it."""
    write_exr(file, np.minimum(radiance, np.float32(HALF_MAX)))
