"""HDR patches simulated from photographs, the examples of stage hdr-pretraining (Eilertsen et al. 2017).

An unsaturated photograph is made linear by the inverse of one camera curve, and a virtual camera that clips 10 to 30 %
of the values takes another photograph of it: what is lost then is known.

Legend: S patch size in pixels; patch (S, S, 3) uint8 display-encoded; hdr (S, S, 3) scene-linear, clips at 1.0.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch.utils.data import Dataset

from model.data import Pair
from model.order import Draw
from model.photographs import Photographs
from pipeline.camera import RADIANCE_FLOOR, CameraSettings, Distribution, develop, draw_camera, expose, resolve_exposure
from pipeline.errors import HdrprepError
from pipeline.records import ByteImage, FloatImage

CURVE_N, CURVE_SIGMA = 0.9, 0.6  # the curve that is taken back; the means of the virtual camera's
CLIP_FRACTION = (0.7, 0.9)  # quantile that is scaled to the clipping level: 10 to 30 % clip
SATURATED = 250  # of 255: a channel from there on counts as saturated
MOST_SATURATED = 0.001  # share of an unsaturated patch's pixels that may be
UNSATURATED = f"is unsaturated (at most {MOST_SATURATED:.1%} of its pixels reach {SATURATED}) and not black"


class SimulatedHdr(Dataset[Pair | HdrprepError]):
    """Cuts unsaturated patches, makes them linear, and photographs them; `patch_id` is the number in the run."""

    def __init__(self, photographs: Photographs) -> None:
        self.photographs = photographs
        self.camera = CameraSettings(clip_fraction=Distribution(uniform=CLIP_FRACTION))

    def __len__(self) -> int:
        return len(self.photographs)

    def __getitem__(self, draw: Draw) -> Pair | HdrprepError:
        try:
            patch = self.photographs.patch(draw, is_unsaturated, UNSATURATED)
        except HdrprepError as error:
            return error
        return simulate(patch, self.camera, self.photographs.seed, draw.number)


def is_unsaturated(patch: ByteImage) -> bool:
    """Say whether a patch can stand for the whole of a scene.

    At most MOST_SATURATED of its pixels have a channel of SATURATED or more, and it is bright enough somewhere for an
    exposure to be found.
    """
    saturated = float((patch.max(axis=2) >= SATURATED).mean())
    return saturated <= MOST_SATURATED and float((patch > 0).mean()) > 1.0 - CLIP_FRACTION[0]


def linearise(patch: ByteImage) -> FloatImage:
    """Return H = (0.6 L / (1.6 - L))^(1 / 0.9), (S, S, 3) in [0, 1], of L = patch / 255: the curve's inverse."""
    L = patch.astype(np.float32) / np.float32(255.0)
    return np.power(CURVE_SIGMA * L / (1.0 + CURVE_SIGMA - L), 1.0 / CURVE_N, dtype=np.float32)


def simulate(patch: ByteImage, settings: CameraSettings, seed: int, number: int) -> Pair:
    """Return patch number `number` of the run as a bank would hold it."""
    camera = draw_camera(settings, seed, "photograph", 0, number)
    scene = np.maximum(linearise(patch), np.float32(RADIANCE_FLOOR))
    camera = replace(camera, exposure=resolve_exposure(scene, camera.clip_fraction))
    hdr = np.minimum(expose(scene, camera), np.float32(np.finfo(np.float16).max))
    return Pair(number, hdr.astype(np.float16), develop(hdr, camera))
