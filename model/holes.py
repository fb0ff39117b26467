"""Holes for inpainting: drawn at random, or taken from pictures; mask `index` of a run is a function of (seed, index).

Legend: H, W height and width in pixels; holes (H, W) bool, True where the photograph is cut out, so that the network's
mask M is 1 - holes; share: of the pixels, those in holes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from model.errors import PictureError
from model.pictures import read_ldr

Holes = npt.NDArray[np.bool_]
HoleColour = Literal["white", "black"]

SHARES = (0.01, 0.6)  # least and largest share; the masks that Liu et al. 2018 test on range over the same
LEAST_SPREAD = 0.1  # between the two, more than the largest shape covers
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff")
_TRIES = 100  # pictures looked at in search of one with a fitting share

# Sizes of shapes in units of the shorter side, so that none covers more than 0.09 of the picture.
_THICKNESS = (0.01, 0.06)
_LENGTH = (0.1, 1.0)
_RADIUS = (0.02, 0.15)


class HoleSource(Protocol):
    """Where holes come from."""

    def holes(self, index: int, height: int, width: int) -> Holes:
        """Return mask number `index` (H, W), always the same one."""


class DrawnHoles:
    """Random lines, circles and ellipses until a share is reached that is drawn evenly between two bounds."""

    def __init__(self, seed: int, shares: tuple[float, float] = SHARES) -> None:
        low, high = shares
        if not (0.0 <= low < high <= 1.0 and high - low > LEAST_SPREAD - 1e-9):
            raise ValueError(f"shares from {low} to {high}: both in [0, 1], at least {LEAST_SPREAD} apart")
        self.seed, self.shares = seed, shares

    def holes(self, index: int, height: int, width: int) -> Holes:
        """Draw mask number `index` (H, W); its share lies within the bounds. Meant for 32x32 pixels or more."""
        random = _random(self.seed, index)
        low, high = self.shares
        wanted = random.uniform(low, high)
        canvas = np.zeros((height, width), np.uint8)
        while canvas.mean() < wanted:
            more = _draw(random, canvas.copy())
            if more.mean() > high:  # the share is above high - LEAST_SPREAD already, and so above low
                break
            canvas = more
        return canvas > 0


class PicturedHoles:
    """Masks from a folder of pictures: one at random, turned and flipped at random, resized to the nearest pixel.

    `holes_are` says which half of the grey scale is hole. In the data set of Liu et al. 2018 that differs: holes are
    white in its testing set, and black in its training set.
    """

    def __init__(
        self, folder: Path, seed: int, holes_are: HoleColour = "white", shares: tuple[float, float] = SHARES
    ) -> None:
        self.seed, self.holes_are, self.shares = seed, holes_are, shares
        self.files = list_masks(folder)

    def holes(self, index: int, height: int, width: int) -> Holes:
        """Return mask number `index` (H, W). Pictures whose share is out of bounds are passed over.

        Raises PictureError for a picture that cannot be read, and where many in a row do not fit.
        """
        random = _random(self.seed, index)
        low, high = self.shares
        for _ in range(_TRIES):
            file = self.files[int(random.integers(len(self.files)))]
            turns, flip = int(random.integers(4)), bool(random.integers(2))
            holes = np.rot90(self._read(file), turns)
            holes = resize_nearest(holes[:, ::-1] if flip else holes, height, width)
            if low <= holes.mean() <= high:
                return holes
        raise PictureError(
            f"of {_TRIES} masks from {self.files[0].parent} none has holes over {low:.0%} to {high:.0%} of its pixels: "
            f"perhaps its holes are {'black' if self.holes_are == 'white' else 'white'}"
        )

    def _read(self, file: Path) -> Holes:
        try:
            grey = read_ldr(file).mean(axis=2)  # (H, W) in [0, 1]
        except PictureError as error:
            raise PictureError(f"the mask {file}: {error}") from error
        bright: Holes = grey >= 0.5
        return bright if self.holes_are == "white" else ~bright


def list_masks(folder: Path) -> Sequence[Path]:
    """Return the pictures below a folder, sorted by path. Raises PictureError where there are none."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        kinds = ", ".join(suffix.removeprefix(".") for suffix in SUFFIXES)
        raise PictureError(f"{folder} holds no pictures of masks ({kinds}): name a folder that does")
    return files


def resize_nearest(holes: Holes, height: int, width: int) -> Holes:
    """Return (H, W) of another size, each pixel that of the nearest centre: nothing in between."""
    rows = (np.arange(height) + 0.5) * holes.shape[0] / height
    columns = (np.arange(width) + 0.5) * holes.shape[1] / width
    resized: Holes = holes[np.ix_(rows.astype(int), columns.astype(int))]
    return resized


def _random(seed: int, index: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, index]))


def _draw(random: np.random.Generator, canvas: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Draw one more shape in 1 on (H, W), anywhere, and return the canvas."""
    height, width = canvas.shape
    side = min(height, width)
    centre = (int(random.integers(width)), int(random.integers(height)))
    kind = random.integers(3)
    if kind == 0:
        angle, length = random.uniform(0.0, 2.0 * np.pi), random.uniform(*_LENGTH) * side
        end = (round(centre[0] + length * np.cos(angle)), round(centre[1] + length * np.sin(angle)))
        cv2.line(canvas, centre, end, 1, max(1, round(random.uniform(*_THICKNESS) * side)))
    elif kind == 1:
        cv2.circle(canvas, centre, max(1, round(random.uniform(*_RADIUS) * side)), 1, thickness=-1)
    else:
        axes = (max(1, round(random.uniform(*_RADIUS) * side)), max(1, round(random.uniform(*_RADIUS) * side)))
        cv2.ellipse(canvas, centre, axes, random.uniform(0.0, 180.0), 0.0, 360.0, 1, thickness=-1)
    return canvas
