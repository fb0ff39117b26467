"""How near a test picture comes to its reference: every metric with its version, pixels per degree, scale and encoding.

`compare` runs them all on one pair. Each has a module of its own, with its formula's source, for use by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from model.metrics.crf import crf_correct
from model.metrics.hdrvdp2 import hdr_vdp_2
from model.metrics.mse import mse_gamma
from model.metrics.pair import Image, absolute, planes, scale_factor, scale_name
from model.metrics.psnr import psnr
from model.metrics.pu21_psnr import pu21_psnr, pu21_psnr_y
from model.metrics.pu21_ssim import pu21_ssim
from model.metrics.result import Quantity, Record, Result
from model.metrics.ssim import ssim

__all__ = ["CORRECTED", "compare", "headline", "quantity_of"]

_QUANTITIES: Mapping[str, Quantity] = {
    "mse_gamma": "mse",
    "psnr": "dB",
    "ssim": "ssim",
    "pu21_psnr": "dB",
    "pu21_psnr_y": "dB",
    "pu21_ssim": "ssim",
    "hdr_vdp_2": "Q",
    "color_video_vdp": "JOD",
}
CORRECTED = "_crf"  # ends the name of a metric of the corrected test picture

_RELATIVE: Mapping[str, Callable[[Image, Image], Result]] = {"mse_gamma": mse_gamma}
_ABSOLUTE: Mapping[str, Callable[[Image, Image], Result]] = {
    "psnr": psnr,
    "ssim": ssim,
    "pu21_psnr": pu21_psnr,
    "pu21_psnr_y": pu21_psnr_y,
    "pu21_ssim": pu21_ssim,
}


def compare(
    test: Image,
    reference: Image,
    *,
    mean_luminance: float | None = 100.0,
    ppd: float = 30.0,
    crf_correction: bool = True,
    device: torch.device | None = None,
) -> dict[str, Record]:
    """Return every metric of one pair: the name of the metric, then its number and conditions by name.

    `test`, `reference`: (H, W, 3) linear BT.709 of one scale. One factor, by which the reference has `mean_luminance`
    cd/m2, multiplies both; None: they are in cd/m2 already. Then both are floored at 1e-5 cd/m2. `mse_gamma` alone
    is taken of the pictures as given. `ppd`: pixels per visual degree, for HDR-VDP-2. With `crf_correction` the same
    metrics of the corrected test picture follow, their names ending in `_crf`. `device`: where it is computed, in
    float64; None: where the pictures are.

    A number is infinite for the PSNR of equal pictures, and None, with a `reason`, where a metric is not defined.
    Raises MetricError where the two cannot be compared at all.
    """
    T, R = planes(test, reference, device)
    factor = scale_factor(R, mean_luminance)
    scale = scale_name(mean_luminance)
    found = {name: result.record() for name, result in _measure(T, R, factor, scale, ppd)}
    if crf_correction:
        C = crf_correct(absolute(T, factor).movedim(0, 2), absolute(R, factor).movedim(0, 2)).movedim(2, 0) / factor
        found |= {name + CORRECTED: result.record() for name, result in _measure(C, R, factor, scale, ppd)}
    return found


def headline(result: Mapping[str, Mapping[str, float | str | int | None]]) -> dict[str, float]:
    """Return the one number of each metric that `compare` found, by its name; NaN where it is not defined."""
    numbers = {}
    for name, record in result.items():
        value = record[quantity_of(name)]
        numbers[name] = math.nan if value is None else float(value)
    return numbers


def quantity_of(name: str) -> Quantity:
    """Return what the one number of a metric, corrected or not, is called in its record."""
    return _QUANTITIES[name.removesuffix(CORRECTED)]


def _measure(T: Tensor, R: Tensor, factor: float, scale: str, ppd: float) -> Iterator[tuple[str, Result]]:
    """Yield each metric of planes (3, H, W) that the factor brings to cd/m2."""
    given = (T.movedim(0, 2), R.movedim(0, 2))
    for name, metric in _RELATIVE.items():
        yield name, metric(*given)
    scaled = tuple(absolute(image, factor).movedim(0, 2) for image in (T, R))
    for name, metric in _ABSOLUTE.items():
        yield name, metric(*scaled).at(scale, factor)
    yield "hdr_vdp_2", hdr_vdp_2(*scaled, ppd=ppd).at(scale, factor)
