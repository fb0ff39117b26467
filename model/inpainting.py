"""Photographs with holes, the examples of stage inpainting (Santos et al. 2020, Section 3.3; Liu et al. 2018).

Legend: B batch, S patch size in pixels; I (B, 3, S, S) the photograph, display-encoded in [0, 1]; M (B, 3, S, S) mask,
0 in holes, 1 elsewhere; T (B, 3, S, S) the photograph with holes filled by one colour.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from model.data import Example
from model.holes import Holes, HoleSource
from model.order import Draw
from model.photographs import Photographs
from model.unet import IMAGENET, PRESETS, PresetName
from pipeline.errors import HdrprepError

LIKE_SATURATED = (1.0, 1.0, 1.0)


class Holed(NamedTuple):
    """A photograph (S, S, 3) uint8 and its holes (S, S) bool; `patch_id` is its number in the run."""

    patch_id: int
    photograph: npt.NDArray[np.uint8]
    holes: Holes


class HoledBatch(NamedTuple):
    """photograph (B, S, S, 3) uint8, holes (B, S, S) bool."""

    patch_ids: tuple[int, ...]
    photograph: Tensor
    holes: Tensor


class HoledPhotographs(Dataset[Holed | HdrprepError]):
    """Cuts photographs, and holes into them; an error comes back as a value, as BankDataset's do."""

    def __init__(self, photographs: Photographs, holes: HoleSource) -> None:
        self.photographs, self.holes = photographs, holes

    def __len__(self) -> int:
        return len(self.photographs)

    def __getitem__(self, draw: Draw) -> Holed | HdrprepError:
        size = self.photographs.size
        try:
            patch = self.photographs.patch(draw, lambda _: True, "can be read")
            return Holed(draw.number, patch, self.holes.holes(draw.number, size, size))
        except HdrprepError as error:
            return error


def collate_holed(items: list[Holed | HdrprepError]) -> HoledBatch | HdrprepError:
    """Stack photographs and holes to a batch, or hand on the first error."""
    read = [item for item in items if isinstance(item, Holed)]
    for item in items:
        if isinstance(item, HdrprepError):
            return item
    photograph, holes = (torch.from_numpy(np.stack(a)) for a in ([i.photograph for i in read], [i.holes for i in read]))
    return HoledBatch(tuple(item.patch_id for item in read), photograph, holes)


def fill_colour(preset: PresetName) -> tuple[float, float, float]:
    """Return what holes are filled with, in units of T.

    `official`: what ImageNet's normalisation makes 1, as in the authors' code. `paper`: 1, the value of saturated
    pixels, which the holes stand for.
    """
    if not PRESETS[preset].imagenet:
        return LIKE_SATURATED
    red, green, blue = (mean + deviation for mean, deviation in IMAGENET)
    return red, green, blue


def to_holed_example(batch: HoledBatch, device: torch.device, colour: tuple[float, float, float]) -> Example:
    """Bring a batch to the device, then to float: T, the photograph I in the place of H, and M."""
    I = batch.photograph.to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 255.0  # noqa: E741
    M = 1.0 - batch.holes.to(device, non_blocking=True)[:, None].float()  # (B, 1, S, S)
    T = M * I + (1.0 - M) * torch.tensor(colour, device=device).view(1, 3, 1, 1)
    return Example(T, I, M.expand_as(I).contiguous(memory_format=torch.channels_last))
