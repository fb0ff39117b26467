"""Radiance as 8-bit pictures that a browser can expose anew: logarithmic code values, a filter of the page.

Code c in [0, 1] of radiance v in units of the clipping level, per channel: c = log2(1 + 256 v) / 14. It reaches from 0
to 64 times the clipping level, in displayed steps of 1.7 % from the mid tones on, and is linear near black.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pipeline.bank.files import replace_file
from pipeline.camera import encode_jpeg
from pipeline.records import ByteImage, FloatImage

SLOPE, STOPS = 256.0, 14.0
QUALITY = 92  # of JPEG


def encode(radiance: FloatImage) -> ByteImage:
    """Return the code values (H, W, 3) uint8 of radiance (H, W, 3)."""
    code = np.log2(1.0 + SLOPE * np.maximum(radiance, 0.0)) / STOPS
    return np.rint(np.clip(code, 0.0, 1.0) * 255.0).astype(np.uint8)


def decode(code: ByteImage) -> FloatImage:
    """Return the radiance that code values stand for: what the page's filter does."""
    return np.asarray((2.0 ** (code.astype(np.float32) / 255.0 * STOPS) - 1.0) / SLOPE, dtype=np.float32)


def write_preview(file: Path, radiance: FloatImage, max_side: int) -> None:
    """Write radiance as JPEG, shrunk where its longer side has more than so many pixels."""
    height, width = radiance.shape[:2]
    ratio = min(1.0, max_side / max(height, width))
    if ratio < 1.0:
        size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
        radiance = np.asarray(cv2.resize(radiance, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
    stream = encode_jpeg(encode(radiance), QUALITY)
    replace_file(file, lambda beside: beside.write_bytes(stream))


def develop(radiance: FloatImage, exposure: float) -> ByteImage:
    """Return radiance (H, W, 3) as displayed: times the exposure, clipped at 1, gamma corrected by 1 / 2.2, 8 bits."""
    display = np.clip(radiance * np.float32(exposure), 0.0, 1.0) ** (1.0 / 2.2)
    return np.asarray(np.rint(display * 255.0), dtype=np.uint8)
