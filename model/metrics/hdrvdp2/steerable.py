"""The steerable pyramid of Simoncelli and Freeman with four orientations ("sp3"), in the spatial domain's conventions.

Legend: B pictures, H, W height and width of a map in samples, O orientations.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files

import torch
from torch import Tensor
from torch.nn import functional

SMALLEST = 17  # samples: a shorter side has no oriented level
TAPS = "steerable_taps.json"


def decompose(maps: Tensor) -> list[Tensor]:
    """Return the bands of maps (B, H, W), finest first: high-pass, oriented levels, low-pass; each (B, O, h, w).

    Band 1 and 2 have the size of the maps, each further one half of it, rounded up. O is 4 in oriented levels, else 1.
    """
    taps = steerable_taps()
    first = correlate(maps, torch.stack([taps["initial_high_pass"], centred(taps["initial_low_pass"], 15)]))
    bands, rest = [first[:, :1]], first[:, 1]
    oriented = torch.stack([*(centred(kernel, 17) for kernel in taps["oriented"]), taps["low_pass"]])
    for _ in range(count_levels(*maps.shape[1:])):
        level = correlate(rest, oriented)
        bands.append(level[:, :4])
        rest = level[:, 4, ::2, ::2]
    return [*bands, rest[:, None]]


def count_levels(height: int, width: int) -> int:
    """Return the number of oriented levels: one for each time that the shorter side, halved, has 17 samples or more."""
    levels, side = 0, min(height, width)
    while side >= SMALLEST:
        levels, side = levels + 1, side // 2
    return levels


def correlate(maps: Tensor, kernels: Tensor) -> Tensor:
    """Return the correlation (B, O, H, W) of maps (B, H, W) with centred kernels (O, k, k), k odd.

    Beyond the border the maps are mirrored, without the edge sample. The sum is taken in the Fourier domain.
    """
    H, W = maps.shape[1:]
    radius = kernels.shape[-1] // 2
    padded = functional.pad(maps[None], (radius,) * 4, mode="reflect")[0]
    size = padded.shape[1:]
    spectra = torch.fft.rfft2(padded)[:, None] * torch.fft.rfft2(kernels.to(maps.device), s=size).conj()
    correlated: Tensor = torch.fft.irfft2(spectra, s=size)
    return correlated[..., :H, :W]


def centred(kernel: Tensor, size: int) -> Tensor:
    """Return a kernel within zeros, (size, size)."""
    return functional.pad(kernel, ((size - kernel.shape[-1]) // 2,) * 4)


@lru_cache(maxsize=1)
def steerable_taps() -> dict[str, Tensor]:
    """Return the filters by name, float64: (k, k) each, and `oriented` (4, 9, 9)."""
    stored = json.loads(files(__package__ or "").joinpath(TAPS).read_text())
    return {name: torch.tensor(taps, dtype=torch.float64) for name, taps in stored.items() if name != "source"}
