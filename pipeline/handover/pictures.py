"""The format `files`: an OpenEXR and a PNG picture a patch."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import OpenEXR

from pipeline.handover.rendered import Rendered

BT709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)  # x, y of red, green, blue and white


def write_exr(path: Path, patch: Rendered) -> None:
    """Write the ground truth as OpenEXR: half float R, G, B, ZIP, scene-linear with the chromaticities of BT.709.

    Raises OSError where it cannot be written.
    """
    header = {"type": OpenEXR.scanlineimage, "compression": OpenEXR.ZIP_COMPRESSION, "chromaticities": BT709}
    try:
        OpenEXR.File(header, {"RGB": np.ascontiguousarray(patch.half)}).write(str(path))
    except RuntimeError as error:  # this is how OpenEXR tells of a full disk
        raise OSError(str(error)) from error


def encode_png(patch: Rendered) -> bytes:
    """Return the photograph as an 8-bit RGB PNG, the very pixels of `ldr`."""
    _, stream = cv2.imencode(".png", cv2.cvtColor(patch.photograph.ldr, cv2.COLOR_RGB2BGR))
    return stream.tobytes()


def write_png(path: Path, patch: Rendered) -> None:
    """Write the photograph as PNG."""
    path.write_bytes(encode_png(patch))
