"""The bank's patches as they were never stored: mirrored, or photographed anew by another virtual camera.

What a patch becomes is a function of the seed, its patch_id and its number in the run, whoever reads it and when.

Legend: S patch size in pixels; hdr (S, S, 3) float16 scene-linear, the sensor clips at 1.0; ldr (S, S, 3) uint8.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from torch.utils.data import Dataset

from model.data import BankDataset, Pair
from model.order import Draw
from pipeline.camera import (
    RADIANCE_CEILING,
    RADIANCE_FLOOR,
    TRUTH_FLOOR,
    CameraSettings,
    develop,
    draw_camera,
    resolve_exposure,
)
from pipeline.errors import HdrprepError
from pipeline.records import derive_seed

Augmentation = Literal["none", "flip", "camera"]
HALF_MAX = np.float32(np.finfo(np.float16).max)


class AugmentedBank(Dataset[Pair | HdrprepError]):
    """Reads patches of a bank and changes each in its own way: mirrored or not, and with `camera` photographed anew."""

    def __init__(self, bank: BankDataset, seed: int, camera: CameraSettings | None) -> None:
        self.bank, self.seed, self.camera = bank, seed, camera

    def __len__(self) -> int:
        return len(self.bank)

    def __getitem__(self, draw: Draw) -> Pair | HdrprepError:
        pair = self.bank[draw]
        if isinstance(pair, HdrprepError):
            return pair
        if self.camera is not None:
            pair = rephotograph(pair, self.camera, self.seed, draw.number)
        return mirror(pair) if derive_seed(self.seed, str(pair.patch_id), 0, draw.number, "flip") % 2 else pair


def mirror(pair: Pair) -> Pair:
    """Return the patch turned left to right."""
    return Pair(pair.patch_id, pair.hdr[:, ::-1], pair.ldr[:, ::-1])


def rephotograph(pair: Pair, settings: CameraSettings, seed: int, number: int) -> Pair:
    """Draw exposure, curve and JPEG quality anew, and take the photograph that they make of the patch's radiance.

    Noise, hue and saturation of the first camera are in that radiance already, and are not changed a second time: the
    noise is scaled with it.
    """
    camera = draw_camera(settings, seed, str(pair.patch_id), 0, number)
    scene = np.clip(pair.hdr.astype(np.float32), np.float32(RADIANCE_FLOOR), np.float32(RADIANCE_CEILING))
    camera = replace(camera, exposure=resolve_exposure(scene, camera.clip_fraction))
    hdr = np.clip(scene * np.float32(camera.exposure), np.float32(TRUTH_FLOOR), HALF_MAX)
    return Pair(pair.patch_id, hdr.astype(np.float16), develop(hdr, camera))
