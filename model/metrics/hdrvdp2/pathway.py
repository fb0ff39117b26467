"""What one picture becomes on the way through the eye: adapting luminance and the bands of its response.

Legend: B pictures, C channels, H, W height and width in pixels, O orientations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from model.metrics.hdrvdp2.optics import filter_in_surround, scatter
from model.metrics.hdrvdp2.receptors import achromatic_response, adapting_luminance, receptor_input
from model.metrics.hdrvdp2.sensitivity import ncsf
from model.metrics.hdrvdp2.steerable import decompose

TEST, REFERENCE = 0, 1  # along the first axis of everything here


@dataclass(frozen=True, slots=True)
class Seen:
    """A test picture and its reference as they are seen, in this order along the first axis.

    `adaptation` (2, H, W) in cd/m2; `bands`, finest first, each (2, O, h, w), in units of the response.
    """

    adaptation: Tensor
    bands: list[Tensor]


def see(test: Tensor, reference: Tensor, ppd: float, surround: Tensor) -> Seen:
    """Return what is seen of planes (C, H, W) in cd/m2, within a surround (C,) in cd/m2."""
    received = [receptor_input(scatter(image, ppd, surround)) for image in (test, reference)]
    adaptation = torch.stack([adapting_luminance(each) for each in received])
    bands = decompose(torch.stack([achromatic_response(each) for each in received]))
    bands[-1] = filter_base(bands[-1], adaptation.mean(dim=(1, 2)), band_frequency(len(bands), ppd))
    return Seen(adaptation, bands)


def filter_base(base: Tensor, adaptation: Tensor, rho: float) -> Tensor:
    """Return the low-pass band (2, 1, h, w) filtered by the nCSF at the mean adaptation (2,) of each picture.

    The reference's mean surrounds both. The sampling rate, 2 sqrt 2 rho instead of 4 rho, is that of release 2.2.1.
    """
    padding, rate = base[REFERENCE].mean(), 2 * math.sqrt(2) * rho
    filtered = [filter_in_surround(base[i], partial(ncsf, L=adaptation[i]), rate, padding) for i in (TEST, REFERENCE)]
    return torch.stack(filtered)


def band_frequency(band: int, ppd: float) -> float:
    """Return the nominal frequency of a band, 1 being the finest, in cycles per degree."""
    return 0.5 * ppd * band_scale(band)


def band_scale(band: int) -> float:
    """Return the normalisation n_f of a band, by its number and not by the size of its map."""
    return float(2.0 ** -(band - 1))
