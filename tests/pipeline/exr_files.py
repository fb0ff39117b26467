"""EXR files for the tests, written by OpenEXR itself, where the reader under test is OpenImageIO.

Legend: H, W height and width of the data window; a picture is (H, W, 3) float32.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import OpenEXR

from pipeline.records import FloatImage

Channels = Mapping[str, Any]  # arrays, or OpenEXR.Channel

LOSSLESS = [
    OpenEXR.NO_COMPRESSION,
    OpenEXR.RLE_COMPRESSION,
    OpenEXR.ZIPS_COMPRESSION,
    OpenEXR.ZIP_COMPRESSION,
    OpenEXR.PIZ_COMPRESSION,
    *(
        getattr(OpenEXR, f"{new}_COMPRESSION")
        for new in ("HTJ2K256", "HTJ2K32", "ZSTD")
        if hasattr(OpenEXR, f"{new}_COMPRESSION")
    ),
]
LOSSY = [OpenEXR.B44_COMPRESSION, OpenEXR.B44A_COMPRESSION, OpenEXR.DWAA_COMPRESSION, OpenEXR.DWAB_COMPRESSION]
SCANLINES = {"type": OpenEXR.scanlineimage}


def name(compression: Any) -> str:
    return str(compression).rsplit(".", 1)[-1].split("_")[0]


def tiled(width: int, height: int, mode: Any = OpenEXR.ONE_LEVEL) -> dict[str, Any]:
    tiles = OpenEXR.TileDescription()
    tiles.xSize, tiles.ySize, tiles.mode = width, height, mode
    return {"type": OpenEXR.tiledimage, "tiles": tiles}


def picture(height: int = 37, width: int = 53, seed: int = 0) -> FloatImage:
    """Values over many stops, exact as half and as float."""
    values = np.random.default_rng(seed).lognormal(0, 2, (height, width, 3))
    return values.astype(np.float16).astype(np.float32)


def smooth_picture(height: int = 37, width: int = 53) -> FloatImage:
    """What lossy codecs are made for."""
    y, x = np.mgrid[:height, :width] / 20
    return np.stack([np.exp2(np.sin(x + c) + np.cos(y)) for c in range(3)], axis=-1).astype(np.float32)


def save(path: Path, channels: Channels, **header: Any) -> Path:
    OpenEXR.File({**SCANLINES, "compression": OpenEXR.ZIP_COMPRESSION, **header}, dict(channels)).write(str(path))
    return path


def box(left: int, top: int, right: int, bottom: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    return np.array([left, top], np.int32), np.array([right, bottom], np.int32)


def lie_about_size(path: Path, width: int, height: int) -> None:
    content = bytearray(path.read_bytes())
    mark = b"dataWindow\0box2i\0"
    start = content.index(mark) + len(mark) + 4
    content[start : start + 16] = struct.pack("<4i", 0, 0, width - 1, height - 1)
    path.write_bytes(content)


def subsampled(name: str, plane: npt.NDArray[Any], height: int, width: int) -> Any:
    """A channel of every second pixel; the bindings want an array of full size and take its first values."""
    full = np.zeros(height * width, plane.dtype)
    full[: plane.size] = plane.ravel()
    return OpenEXR.Channel(name, full.reshape(height, width), 2, 2)


def luminance_chroma(pixels: FloatImage, weights: tuple[float, float, float] = (0.2126, 0.7152, 0.0722)) -> Channels:
    """Y of every pixel, RY and BY of those in even rows and columns."""
    luminance = np.asarray(pixels @ np.array(weights, np.float32), np.float32)
    red, blue = (np.asarray((pixels[..., c] / luminance - 1)[::2, ::2], np.float32) for c in (0, 2))
    height, width = luminance.shape
    return {
        "Y": OpenEXR.Channel("Y", luminance, 1, 1),
        "RY": subsampled("RY", red, height, width),
        "BY": subsampled("BY", blue, height, width),
    }
