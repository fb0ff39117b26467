"""The masks of a network's layers as a picture (Santos et al. 2020, Fig. 4): how saturation is forgotten with depth.

Legend: H, W height and width in pixels; T (H, W, 3) float32 display-encoded RGB in [0, 1]; masks in [0, 1], 1 = white.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from model.color import reduced, well_exposed_mask
from model.errors import PictureError
from model.unet import MaskedUNet
from pipeline.records import ByteImage, FloatImage

LONGEST = 1024  # pixels of the longer side, to which a larger picture is reduced first
COLUMNS = 4  # channels shown of each layer, after their mean
CELL = 240  # pixels of the longer side of each picture on the sheet
LINE = 20  # pixels of text above it


def mask_sheet(T: FloatImage, network: MaskedUNet, device: torch.device) -> ByteImage:
    """Return a sheet (h, w, 3) uint8: a row for the input, T and its mask, and one for each layer of the encoder.

    Of each layer the mean over all channels is shown, then four channels evenly spread over it. A picture larger than
    1024 pixels is reduced first, so that the sheet takes no more memory for a large one. Raises PictureError for a
    network that follows no masks.
    """
    if network.architecture.masking != "feature":
        raise PictureError(f"a network of masking {network.architecture.masking} has no masks of layers to show")
    T = reduced(T, LONGEST)
    masks = layer_masks(T, network, device)
    size = _cell(T)
    M = masks[0].mean(axis=2)
    rows = [[("input", T), ("its mask, mean", M), *[(name, masks[0][..., i]) for i, name in enumerate("RGB")]]]
    for number, mask in enumerate(masks[1:], start=1):
        channels = np.linspace(0, mask.shape[2] - 1, COLUMNS).astype(int)
        rows.append([(f"layer {number}, mean", mask.mean(axis=2)), *((f"{i}", mask[..., i]) for i in channels)])
    return np.vstack([np.hstack([_labelled(text, picture, size) for text, picture in row]) for row in rows])


def layer_masks(T: FloatImage, network: MaskedUNet, device: torch.device) -> list[FloatImage]:
    """Return the mask of the input and of each layer of the encoder, (H / 2^l, W / 2^l, channels) float32.

    Sides are those of the picture continued to multiples of 128, but for the first mask's.
    """
    found: list[Tensor] = []
    hooks = [layer.register_forward_hook(lambda _, __, output: found.append(output[1])) for layer in network.encoder]
    try:
        with torch.inference_mode():
            T_ = torch.from_numpy(T).to(device).permute(2, 0, 1)[None]  # (1, 3, H, W)
            M = well_exposed_mask(T_, network.architecture.alpha)
            network(T_, M)
    finally:
        for hook in hooks:
            hook.remove()
    height, width = T.shape[:2]
    kept = [M, *(mask[..., : -(-height >> n), : -(-width >> n)] for n, mask in enumerate(found, start=1))]
    return [mask[0].permute(1, 2, 0).float().cpu().numpy() for mask in kept]


def _cell(T: FloatImage) -> tuple[int, int]:
    """Return width and height of each picture on the sheet."""
    height, width = T.shape[:2]
    scale = CELL / max(height, width)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _labelled(text: str, picture: FloatImage, size: tuple[int, int]) -> ByteImage:
    shown = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if picture.shape[1] > size[0] else cv2.INTER_NEAREST)
    codes = np.rint(np.clip(shown, 0.0, 1.0) * 255).astype(np.uint8)
    codes = codes if codes.ndim == 3 else np.repeat(codes[..., None], 3, axis=2)
    cell = np.pad(codes, ((LINE, 4), (0, max(CELL - size[0], 0) + 4), (0, 0)), constant_values=255)
    cv2.putText(cell, text, (2, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return cell
