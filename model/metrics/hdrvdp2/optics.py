"""Filters in the Fourier domain within a surround, and light scattered in the eye (Mantiuk et al. 2011, Section 4.1).

Legend: H, W height and width in samples; rho spatial frequency in cycles per visual degree.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

LOWEST, HIGHEST = 1e-5, 1e10  # cd/m2 per channel on the retina

_A, _B = 0.99727370023777070, 0.061466549455263
MTF_TERMS = ((0.426 * _A, 0.028), (0.574 * _A, 0.37), ((1 - _A) * _B, 37.0), ((1 - _A) * (1 - _B), 360.0))


def mtf(rho: Tensor) -> Tensor:
    """Return the modulation transfer function of the eye, 1 at rho = 0."""
    return torch.stack([a * torch.exp(-b * rho) for a, b in MTF_TERMS]).sum(dim=0)


def scatter(image: Tensor, ppd: float, surround: Tensor) -> Tensor:
    """Return the light on the retina of planes (C, H, W) in a surround (C,), all in cd/m2."""
    return filter_in_surround(image, mtf, ppd, surround[:, None, None]).clamp(LOWEST, HIGHEST)


def filter_in_surround(maps: Tensor, response: Callable[[Tensor], Tensor], rate: float, surround: Tensor) -> Tensor:
    """Return maps (..., H, W), sampled `rate` times a degree, filtered by a frequency response.

    The maps lie in one corner of a periodic grid of 2H x 2W whose other samples hold the surround, which broadcasts
    against them. It is subtracted first, and comes back with the gain of the response at rho = 0.
    """
    H, W = maps.shape[-2:]
    spectrum = torch.fft.rfft2(maps - surround, s=(2 * H, 2 * W))
    rho = frequencies(H, W, rate, maps.device)
    gain = float(response(torch.zeros(1, dtype=torch.float64)))
    filtered: Tensor = torch.fft.irfft2(spectrum * response(rho), s=(2 * H, 2 * W))
    return filtered[..., :H, :W] + gain * surround


def frequencies(H: int, W: int, rate: float, device: torch.device) -> Tensor:
    """Return rho (2H, W + 1) of the samples of a real transform of 2H x 2W."""
    kind = {"d": 1 / rate, "dtype": torch.float64, "device": device}
    vertical, horizontal = torch.fft.fftfreq(2 * H, **kind), torch.fft.rfftfreq(2 * W, **kind)
    return torch.sqrt(vertical[:, None] ** 2 + horizontal**2)


def geometric_mean(image: Tensor) -> Tensor:
    """Return the geometric mean (C,) of planes (C, H, W)."""
    return image.log().mean(dim=(1, 2)).exp()
