"""Folders of small photographs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pipeline.records import ByteImage


def picture(seed: int, height: int = 80, width: int = 96, brightest: int = 240) -> ByteImage:
    """Return a smooth picture with a few shapes, (H, W, 3) uint8, no value above `brightest`."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(20, brightest - 20, (4, 5, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    canvas = np.ascontiguousarray(np.clip(smooth, 0, brightest).astype(np.uint8))
    for _ in range(4):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(canvas, centre, int(rng.integers(4, 16)), rng.integers(10, brightest, 3).tolist(), -1)
    return canvas


def make_photographs(folder: Path, count: int, *, brightest: int = 240, seed: int = 0) -> Path:
    """Write so many PNG files, some in a folder within."""
    (folder / "within").mkdir(parents=True)
    for i in range(count):
        name = f"within/{i:03d}.png" if i % 3 else f"{i:03d}.png"
        cv2.imwrite(str(folder / name), picture(seed + i, 80 + i % 7, 96 - i % 5, brightest))
    return folder
