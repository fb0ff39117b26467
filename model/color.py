"""From stored bytes to what the network sees: the display-encoded picture T and how well exposed it is, M.

Legend: T display-encoded picture in [0, 1]; M mask in [0, 1], 1 = well exposed, 0 = saturated; any shape, per channel.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from torch import Tensor

from pipeline.records import FloatImage, row_blocks

ALPHA = 0.96  # Santos et al. 2020, Fig. 2
WHITE_LUMINANCE = (0.2126, 0.7152, 0.0722)  # of linear BT.709 red, green, blue (ITU-R BT.709-6)


def well_exposed_mask(T: Tensor, alpha: float = ALPHA) -> Tensor:
    """Return M = beta(T) = clip((1 - T) / (1 - alpha), 0, 1), the function of Santos et al. 2020, Fig. 2.

    Falls linearly from 1 at T = alpha to 0 at T = 1, for each channel by itself: a red lamp may be saturated in red
    alone, and its green and blue still tell the network something. Dark pixels are well exposed by this definition.
    """
    return (1.0 - T).div_(1.0 - alpha).clamp_(0.0, 1.0)  # in one piece of memory


def preview(H: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Tone-map (H, W, 3) float32 scene-linear to (H, W, 3) uint8 display-encoded RGB, for a look at the result.

    Reinhard et al. 2002, Eq. 4: L_d = L (1 + L / L_white^2) / (1 + L), the brightest luminance L_white becoming 1;
    colours keep the ratios of their channels; a display gamma of 2.2.
    """
    weights = np.asarray(WHITE_LUMINANCE, dtype=np.float32)
    white = max(1.0, *(float((rows @ weights).max(initial=0.0)) for rows in row_blocks(H)))
    display, top = np.empty(H.shape, np.uint8), 0
    for rows in row_blocks(H):
        luminance = rows @ weights  # (h, W)
        scale = (1.0 + luminance / white**2) / (1.0 + luminance)  # L_d / L
        shown = np.clip(rows * scale[..., None], 0.0, 1.0) ** (1.0 / 2.2)
        display[top : top + len(rows)] = np.rint(shown * 255.0)
        top += len(rows)
    return display


def reduced(picture: FloatImage, longest: int) -> FloatImage:
    """Return a picture whose longer side has at most so many pixels, each the mean of those it stands for."""
    height, width = picture.shape[:2]
    if max(height, width) <= longest:
        return picture
    scale = longest / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32)
