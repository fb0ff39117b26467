"""PSNR of PU21-encoded pictures (Mantiuk and Azimi 2021)."""

from __future__ import annotations

from model.metrics.pair import Image, planes
from model.metrics.psnr import decibels
from model.metrics.pu21 import ENCODING, PEAK, VERSION, encoded_luminance, pu21_encode
from model.metrics.result import Result


def pu21_psnr(test: Image, reference: Image) -> Result:
    """Return 10 log10(256^2 / MSE) in dB, of the three encoded channels of (H, W, 3) linear RGB in cd/m2.

    Equal pictures have an infinite one; so have pictures that differ only outside of 0.005 to 10^4 cd/m2.
    """
    T, R = planes(test, reference)
    return Result("dB", decibels(pu21_encode(T), pu21_encode(R), PEAK), VERSION, f"{ENCODING}, RGB")


def pu21_psnr_y(test: Image, reference: Image) -> Result:
    """Return the same of encoded luminance: PU21-PSNR-Y."""
    T, R = planes(test, reference)
    value = decibels(encoded_luminance(T), encoded_luminance(R), PEAK)
    return Result("dB", value, VERSION, f"{ENCODING}, luminance")
