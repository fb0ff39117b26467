"""Pictures as files that depend on nothing but their pixels: equal pictures are equal files, on any day.

That is what lets a test set be named by the digests of its files. Each is written in one rename.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import OpenImageIO as oiio

from model.errors import EvaluationError
from pipeline.bank.files import replace_file
from pipeline.records import ByteImage, FloatImage

HALF_MAX = float(np.finfo(np.float16).max)


def write_png(file: Path, pixels: ByteImage) -> None:
    """Write RGB (H, W, 3) uint8 as PNG, without a word about colour or time."""
    _, stream = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    replace_file(file, lambda beside: beside.write_bytes(stream.tobytes()))


def read_png(file: Path) -> FloatImage:
    """Return T (H, W, 3) float32 in [0, 1] of a PNG that `write_png` wrote."""
    pixels = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise EvaluationError(f"{file} is no PNG; make the test set anew")
    return np.asarray(pixels, dtype=np.float32) / np.float32(255)


def write_half(file: Path, radiance: FloatImage) -> None:
    """Write RGB (H, W, 3) float32 as OpenEXR of float16, what lies beyond its range held to it; compressed by zip."""
    spec = oiio.ImageSpec(radiance.shape[1], radiance.shape[0], 3, "half")
    spec["compression"] = "zip"
    spec["DateTime"] = "2020:07:01 00:00:00"  # or OpenImageIO would write the time
    held = np.ascontiguousarray(np.minimum(radiance, np.float32(HALF_MAX)))

    def fill(beside: Path) -> None:
        output = oiio.ImageOutput.create("openexr")
        if output is None or not output.open(str(beside), spec):
            raise EvaluationError(f"{file} cannot be written ({' '.join(oiio.geterror().split())})")
        written = output.write_image(held)
        if not (output.close() and written):
            raise EvaluationError(f"{file} cannot be written ({' '.join(output.geterror().split())})")

    replace_file(file, fill)
