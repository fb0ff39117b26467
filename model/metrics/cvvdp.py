"""ColorVideoVDP (Mantiuk et al., ACM TOG 43(4), 2024), by its authors' package `cvvdp` where that is installed.

It is no part of `hdrprep[model]`: it needs torchvision, whose wheels do not import beside every build of torch.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from types import ModuleType

import torch

from model.errors import MetricError
from model.metrics.pair import Image, absolute, planes, scale_factor, scale_name
from model.metrics.result import Result

DISPLAY = "standard_hdr_linear"  # linear BT.709 in cd/m2, peak 1500, 10 lux, 75.4 pixels per degree


def require_cvvdp() -> ModuleType:
    """Return the package; raises MetricError where it, or torchvision, cannot be imported."""
    try:
        return importlib.import_module("pycvvdp")
    except Exception as error:  # torchvision beside another build of torch raises RuntimeError, or worse
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MetricError(
            f"ColorVideoVDP cannot be imported ({detail}): install hdrprep[cvvdp], with a torchvision that fits torch"
        ) from error


def color_video_vdp(
    test: Image,
    reference: Image,
    *,
    mean_luminance: float | None = 100.0,
    device: torch.device | None = None,
) -> Result:
    """Return the quality in just-objectionable differences, 10 best, of (H, W, 3) linear BT.709 RGB.

    Scale and floor are those of `compare`; the display, and with it the pixels per degree, is `DISPLAY`.
    Raises MetricError where the package cannot be imported.
    """
    package = require_cvvdp()
    T, R = planes(test, reference, device)
    factor = scale_factor(R, mean_luminance)
    metric = package.cvvdp(display_name=DISPLAY, quiet=True, device=R.device)
    scaled = (absolute(image, factor).movedim(0, 2).float() for image in (T, R))
    quality, _ = metric.predict(*scaled, dim_order="HWC")
    ppd = float(metric.display_geometry.get_ppd())
    told = (f"cvvdp {version('cvvdp')}", f"display {DISPLAY}, float32")
    return Result("JOD", float(quality), *told, ppd=ppd).at(scale_name(mean_luminance), factor)
