"""Turning a picture as its orientation tag says (TIFF 6.0, tag 274; EXIF uses the same): readers leave it as stored.

1 as stored     2 mirrored left to right      3 turned by 180 degrees     4 mirrored top to bottom
5 transposed    6 to be turned clockwise      7 transposed the other way  8 to be turned counterclockwise
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import OpenImageIO as oiio


def orientation_of(spec: oiio.ImageSpec) -> int:
    """Return the orientation 1 to 8 that a header gives; 1 where it gives none, or none that there is."""
    value = spec.getattribute("Orientation")
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def displayed_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """Return width and height as displayed."""
    return (height, width) if orientation >= 5 else (width, height)


def turn(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Return a picture (rows, columns, channels) as displayed, top row first: a view."""
    if orientation >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    # From which end rows and columns of the displayed picture start, counted in the stored one.
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return pixels
