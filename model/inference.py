"""From a photograph to radiance: the network run over the whole picture or over exact tiles of it.

Legend: H, W height and width in pixels; T (H, W, 3) float32 display-encoded RGB in [0, 1]; radiance (H, W, 3) float32
scene-linear RGB, the sensor that took the photograph clips at 1.0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
import torch

from model.color import well_exposed_mask
from model.errors import PictureError
from model.memory import available
from model.tiles import Tile, choose, cut, read
from model.unet import HALF_MAX, SIDE, MaskedUNet, compose
from pipeline.records import FloatImage

RADIANCE_BYTES = 12  # of a pixel, three float32
Tiling = int | Literal["auto", "none"]  # side of the tiles in pixels, a multiple of 128


def reconstruct(
    T: FloatImage,
    network: MaskedUNet,
    device: torch.device,
    tiling: Tiling = "auto",
    progress: Callable[[list[Tile]], Iterable[Tile]] = iter,
) -> FloatImage:
    """Return the radiance of a picture of any size, finite and in [0, 65504] (Santos et al. 2020, Eq. 1).

    `auto` takes the picture whole where it fits into the memory that is free, else in tiles, which give the same
    numbers to 1e-5. `progress` sees the tiles go by. Raises PictureError where the network makes no finite numbers,
    ValueError for a picture without pixels or tiles of another size.
    """
    height, width = T.shape[:2]
    if T.ndim != 3 or T.shape[2] != 3 or not height or not width:
        raise ValueError(f"a picture (H, W, 3) with pixels is asked for, and this one is {T.shape}")
    radiance = np.empty((height, width, 3), np.float32)
    for tile in progress(cut(height, width, side_of(tiling, height, width, network, device))):
        radiance[slice(*tile.rows), slice(*tile.columns)] = _tile(read(T, tile), tile, network, device)
    return radiance


def side_of(tiling: Tiling, height: int, width: int, network: MaskedUNet, device: torch.device) -> int | None:
    """Return the side of the tiles in pixels, None for the whole picture."""
    if tiling == "none":
        return None
    if tiling == "auto":
        radiance = 0 if device.type == "cuda" else height * width * RADIANCE_BYTES  # not yet written to, nor taken
        return choose(height, width, network.architecture, available(device) - radiance)
    if tiling <= 0 or tiling % SIDE:
        raise ValueError(
            f"tiles of {tiling} pixels do not give what the whole picture gives: take a multiple of {SIDE}"
        )
    return tiling


def _tile(T: FloatImage, tile: Tile, network: MaskedUNet, device: torch.device) -> FloatImage:
    """Return the radiance that a tile fills, from the pixels that it reads."""
    with torch.inference_mode():
        T_ = torch.from_numpy(np.ascontiguousarray(T, np.float32)).to(device).permute(2, 0, 1)[None]  # channels-last
        M = well_exposed_mask(T_, network.architecture.alpha)
        radiance = compose(T_, network(T_, M), M)[0].permute(1, 2, 0)
    rows, columns = (
        slice(filled[0] - given[0], filled[1] - given[0])
        for filled, given in ((tile.rows, tile.read_rows), (tile.columns, tile.read_columns))
    )
    result: FloatImage = radiance[rows, columns].cpu().numpy()
    if not np.isfinite(result).all():
        raise PictureError("the network made numbers that are not finite: use other weights")
    return result.clip(0.0, HALF_MAX)
