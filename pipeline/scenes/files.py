"""Scenes as files, written by OpenImageIO."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenImageIO as oiio

from pipeline.records import FloatImage


def write_exr(path: Path, pixels: FloatImage, half: bool = True, compression: str = "zip") -> None:
    """Write (H, W, 3) as OpenEXR; if `half` as float16, where values above its range become its largest."""
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], 3, "half" if half else "float")
    spec.attribute("compression", compression)
    # OpenImageIO would write the time, and a source is known by its content.
    spec.attribute("DateTime", "2020:07:01 00:00:00")
    _write(path, np.minimum(pixels, np.float32(np.finfo(np.float16).max)) if half else pixels, spec)


def write_hdr(path: Path, pixels: FloatImage) -> None:
    """Write (H, W, 3) as Radiance RGBE."""
    _write(path, pixels, oiio.ImageSpec(pixels.shape[1], pixels.shape[0], 3, "float"))


def _write(path: Path, pixels: FloatImage, spec: oiio.ImageSpec) -> None:
    output = oiio.ImageOutput.create(str(path))
    if output is None or not output.open(str(path), spec):
        raise OSError(f"{path} cannot be written: {oiio.geterror()}")
    written = output.write_image(np.ascontiguousarray(pixels, np.float32))
    if not output.close() or not written:
        raise OSError(f"{path} cannot be written: {output.geterror()}")
