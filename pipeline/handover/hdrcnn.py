"""The format `hdrcnn`: what the public training code of Eilertsen et al. 2017 and of Santos et al. 2020 reads.

A patch is `bin/NAME.bin` and `jpg/NAME.jpg`. The former is little-endian float32 without a header of its own: height,
width, channels, the camera curve's n and sigma, then the pixels row by row, R, G, B, scene-linear, the sensor clips at
1.0. The readers list the folder `bin` and look for the same name in `jpg`: nothing else may lie in either.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pipeline.handover.rendered import Rendered


def write_bin(path: Path, patch: Rendered) -> None:
    """Write the ground truth in float32, as it was rendered."""
    header = np.array([*patch.hdr.shape, patch.row["curve_n"], patch.row["curve_sigma"]], "<f4")
    path.write_bytes(header.tobytes() + patch.hdr.astype("<f4", copy=False).tobytes())


def write_jpeg(path: Path, patch: Rendered) -> None:
    """Write the camera's own JPEG, or the best there is where the camera compresses nothing: quality 100, 4:4:4."""
    path.write_bytes(patch.photograph.jpeg or _best_jpeg(patch))


def _best_jpeg(patch: Rendered) -> bytes:
    best = [cv2.IMWRITE_JPEG_QUALITY, 100, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, stream = cv2.imencode(".jpg", cv2.cvtColor(patch.photograph.ldr, cv2.COLOR_RGB2BGR), best)
    return stream.tobytes()
