"""What a reconstruction leaves on disk: the EXR with the photograph's metadata, and pictures to look at.

Legend: H, W height and width in pixels; radiance (H, W, 3) float32 scene-linear BT.709, finite, never negative, the
sensor that took the photograph clips at 1.0; T (H, W, 3) float32 display-encoded RGB in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import OpenImageIO as oiio

from model.color import reduced
from model.errors import PictureError
from pipeline.bank.files import replace_file
from pipeline.color import BT709
from pipeline.frames.png import PNG_MAGIC
from pipeline.records import ByteImage, FloatImage

SOFTWARE = f"hdrprep {version('hdrprep')}"
STOPS = (0, -2, -4, -6)  # exposures of the strip
PANEL = 480  # pixels of the longer side of each
LINE = 24  # pixels of text above it
SUFFIXES = ("_preview.png", "_exposures.png", "_masks.png")  # of the pictures beside an EXR


def write_exr(target: Path, radiance: FloatImage, attributes: Mapping[str, Any] | None = None) -> None:
    """Write radiance as half float EXR, zip, BT.709, with these attributes, by OpenImageIO's names."""
    more = {"chromaticities": BT709, "oiio:ColorSpace": "lin_rec709_scene", **(attributes or {})}
    # EXR knows one date, that of capture. Where it is unknown none is written; OpenImageIO would take today.
    more["DateTime"] = more.get("Exif:DateTimeOriginal") or more.get("DateTime") or ""
    write_picture(target, "openexr", radiance, "half", more)


def write_png(target: Path, codes: ByteImage) -> None:
    """Write (H, W, 3) display-encoded RGB as PNG."""
    write_picture(target, "png", codes, "uint8")


def write_picture(
    target: Path,
    kind: str,
    pixels: npt.NDArray[np.generic],
    stored_as: str,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Write (H, W, 3) RGB as a file of this kind, in one rename. EXR files are compressed by zip."""
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], 3, stored_as)
    for name, value in (attributes or {}).items():
        _set(spec, name, value)
    spec["compression"] = "zip"
    spec["Software"] = SOFTWARE

    def fill(beside: Path) -> None:
        output = oiio.ImageOutput.create(kind)
        if output is None:
            raise PictureError(f"{target} cannot be written ({' '.join(oiio.geterror().split())})")
        done = output.open(str(beside), spec) and output.write_image(np.ascontiguousarray(pixels)) and output.close()
        if not done:
            raise PictureError(f"{target} cannot be written ({' '.join(output.geterror().split())})")

    replace_file(target, fill)


def _set(spec: oiio.ImageSpec, name: str, value: Any) -> None:
    """Set an attribute; of a fraction its value, for readers to whom two whole numbers say nothing."""
    if isinstance(value, tuple) and len(value) == 2 and all(isinstance(part, int) for part in value):
        value = value[0] / value[1] if value[1] else 0.0
    if isinstance(value, tuple):
        if all(isinstance(part, int | float) for part in value):
            spec.attribute(name, oiio.TypeDesc(f"float[{len(value)}]"), tuple(map(float, value)))
    elif isinstance(value, str):  # bytes that are no UTF-8 come as surrogates, which OpenImageIO does not take back
        spec.attribute(name, value.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    elif isinstance(value, int) and abs(value) < 2**31:
        spec.attribute(name, value)
    elif isinstance(value, int | float):  # larger whole numbers too: EXR knows none without a sign
        spec.attribute(name, float(value))


def is_result(file: Path) -> bool:
    """Say whether a file is one of the pictures that are written beside an EXR, and no photograph."""
    if not file.name.endswith(SUFFIXES):
        return False
    try:
        with file.open("rb") as stream:
            head = stream.read(4096)
    except OSError:
        return False  # it is told, and stops no other, when it is its turn
    return head.startswith(PNG_MAGIC) and b"Software\0hdrprep " in head


def exposure_strip(T: FloatImage, radiance: FloatImage) -> ByteImage:
    """Return the photograph beside its reconstruction at 0, -2, -4 and -6 stops, (h, w, 3) uint8, with captions.

    An exposure of s stops shows 2^s times the radiance, cut off at 1, through the photograph's curve (Eq. 1: the
    square root), so that at 0 stops both are alike where the photograph is well exposed.
    """
    T, light = reduced(T, PANEL), reduced(radiance, PANEL)
    panels = [("input", T)]
    panels += [
        (f"{stops:+d} stops" if stops else "0 stops", np.sqrt(np.clip(light * 2.0**stops, 0, 1))) for stops in STOPS
    ]
    return np.hstack([_captioned(text, np.asarray(panel, np.float32)) for text, panel in panels])


def _captioned(text: str, picture: FloatImage) -> ByteImage:
    codes = np.rint(np.clip(picture, 0.0, 1.0) * 255).astype(np.uint8)
    room = max(110 - codes.shape[1], 0)
    panel = np.pad(codes, ((LINE, 4), (0, 8 + room), (0, 0)), constant_values=255)
    cv2.putText(panel, text, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return panel
