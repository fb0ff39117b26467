"""SSIM of PU21-encoded luminance (Mantiuk and Azimi 2021)."""

from __future__ import annotations

from model.metrics.pair import Image, planes
from model.metrics.pu21 import ENCODING, PEAK, VERSION, encoded_luminance
from model.metrics.result import Result
from model.metrics.ssim import similarity


def pu21_ssim(test: Image, reference: Image) -> Result:
    """Return the mean SSIM, at most 1, with a dynamic range of 256, of (H, W, 3) linear RGB in cd/m2."""
    T, R = planes(test, reference)
    value = similarity(encoded_luminance(T), encoded_luminance(R), PEAK)
    return Result("ssim", value, VERSION, f"{ENCODING}, luminance")
