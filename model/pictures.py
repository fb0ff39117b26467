"""Pictures on disk: photographs as the network sees them, results as other programs read them.

Legend: H, W height and width in pixels, C channels; T (H, W, 3) float32 display-encoded RGB in [0, 1].
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import OpenImageIO as oiio

from model.errors import PictureError
from pipeline.bank.files import replace_file
from pipeline.records import FloatImage

LARGEST = {"uint8": 255.0, "uint16": 65535.0}  # code value of T = 1


def read_ldr(file: Path) -> FloatImage:
    """Read T (H, W, 3) as displayed: turned by its EXIF orientation, grey as RGB, without alpha."""
    if not file.is_file():
        raise PictureError("there is no such file")
    hint = oiio.ImageSpec()
    hint["oiio:UnassociatedAlpha"] = 1  # or transparent pixels would be darkened
    with quiet_libraries():
        source = oiio.ImageInput.open(str(file), hint)
        if source is not None and str(source.spec().format) == "half" and source.format_name() == "jpeg":
            return read_base_of_ultra_hdr(file)
        pixels = None if source is None else source.read_image("unknown")  # (H, W, C) or (H, W), in the file's type
    problem = oiio.geterror() if source is None else source.geterror()
    if source is None or pixels is None or problem:  # a JPEG that was cut off gives pixels and a problem
        raise PictureError(f"it cannot be read ({' '.join(problem.split())})")
    if str(source.spec().format) not in LARGEST:
        raise PictureError(f"it has {source.spec().format} samples, and an 8- or 16-bit picture is asked for")
    T = rgb(pixels).astype(np.float32) / np.float32(LARGEST[str(source.spec().format)])
    return turn(T, int(source.spec().getattribute("Orientation") or 1))


def read_size(file: Path) -> tuple[int, int]:
    """Read (height, width) of a picture from its header, before it is turned."""
    with quiet_libraries():
        source = oiio.ImageInput.open(str(file))
    if source is None:
        raise PictureError(f"it cannot be read ({' '.join(oiio.geterror().split())})")
    return int(source.spec().height), int(source.spec().width)


def read_base_of_ultra_hdr(file: Path) -> FloatImage:
    """Read T (H, W, 3) of a phone's JPEG with a gain map: the photograph that every other program shows.

    OpenImageIO applies the map and has no way to leave it; OpenCV knows none.
    """
    base = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR_RGB)  # (H, W, 3), turned as EXIF says
    if base is None:
        raise PictureError("it cannot be read (the JPEG before its gain map is damaged)")
    return base.astype(np.float32) / np.float32(255)


def rgb(pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Return the three colour channels of grey, grey with alpha, RGB or RGBA samples, (H, W, 3)."""
    channels = np.atleast_3d(pixels)
    return channels[..., :3] if channels.shape[2] >= 3 else np.repeat(channels[..., :1], 3, axis=2)


def turn(T: FloatImage, orientation: int) -> FloatImage:
    """Turn a picture as EXIF's Orientation (1 to 8) says it is to be displayed."""
    if orientation >= 5:  # 5 to 8 are 1, 4, 2, 3 of the transposed picture
        T, orientation = T.swapaxes(0, 1), {5: 1, 6: 2, 7: 3, 8: 4}.get(orientation, 1)
    rows, columns = {2: (1, -1), 3: (-1, -1), 4: (-1, 1)}.get(orientation, (1, 1))
    return np.ascontiguousarray(T[::rows, ::columns])


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep libpng and libjpeg from writing to stderr: what they have to say comes back as an error."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def write_picture(target: Path, kind: str, pixels: npt.NDArray[np.generic], stored_as: str) -> None:
    """Write (H, W, 3) RGB as a file of this kind, in one rename. EXR files are compressed by zip."""
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], 3, stored_as)
    spec["compression"] = "zip"
    spec["Software"] = "hdrprep"

    def fill(beside: Path) -> None:
        output = oiio.ImageOutput.create(kind)
        if output is None:
            raise PictureError(f"{target} cannot be written ({' '.join(oiio.geterror().split())})")
        done = output.open(str(beside), spec) and output.write_image(np.ascontiguousarray(pixels)) and output.close()
        if not done:
            raise PictureError(f"{target} cannot be written ({' '.join(output.geterror().split())})")

    replace_file(target, fill)
