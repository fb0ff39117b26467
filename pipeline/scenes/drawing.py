"""What all scenes are drawn with: noise of a 1/f spectrum, smooth steps, coverages, light of a colour temperature.

Legend: H, W height and width in pixels; positions (x, y) are in pixels, y points down. A plane is (H, W) float32, a
picture (H, W, 3) float32, scene-linear BT.709, and a colour (3,) float32.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.records import FloatImage

Plane = npt.NDArray[np.floating[Any]]  # float32, of which numpy's types lose track
Picture = npt.NDArray[np.floating[Any]]
Colour = npt.NDArray[np.floating[Any]]
Numbers = npt.NDArray[np.int_]
Mask = npt.NDArray[np.uint8]
Rng = np.random.Generator
Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom

BRIGHTEST = 6e4  # float16 ends at 65504


def single(values: npt.ArrayLike) -> FloatImage:
    """Return values as float32, the one type that all of OpenCV takes."""
    return np.asarray(values, np.float32)


def pixel_grid(height: int, width: int) -> tuple[Plane, Plane]:
    """Return y (H, 1) and x (1, W)."""
    return np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]


def step(low: float, high: float, values: Plane) -> Plane:
    """Return the smooth step from 0 at `low` to 1 at `high`."""
    t = single(np.clip((values - low) / (high - low), 0, 1))
    return t * t * (3 - 2 * t)


def fractal(rng: Rng, height: int, width: int, slope: float) -> Plane:
    """Return periodic noise of amplitude 1 / f^slope, mean 0 and standard deviation 1."""
    spectrum = np.fft.rfft2(rng.standard_normal((height, width), dtype=np.float32))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(spectrum * frequency.astype(np.float32) ** -slope, (height, width))
    return single(noise / noise.std())


def rgb(red: float, green: float, blue: float) -> Colour:
    """Return a colour (3,)."""
    return np.array([red, green, blue], np.float32)


def light_of(kelvin: float) -> Colour:
    """Return about the colour of a lamp or a sun of this colour temperature, green 1."""
    stops = (1500, 2500, 3500, 5000, 6500)
    red, blue = (2.3, 1.7, 1.35, 1.12, 1.0), (0.1, 0.32, 0.55, 0.83, 1.0)
    return rgb(float(np.interp(kelvin, stops, red)), 1.0, float(np.interp(kelvin, stops, blue)))


def sample(texture: Picture, x: Plane, y: Plane) -> Picture:
    """Look a periodic texture up at x and y, which broadcast to (H, W)."""
    rows, columns = texture.shape[:2]
    u, v = (np.array(at, np.float32) for at in np.broadcast_arrays(x % columns, y % rows))
    return single(cv2.remap(texture, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP))


def cover_polygon(height: int, width: int, points: list[Point]) -> Plane:
    """Return the coverage, 0 to 1, of a convex polygon with these corners."""
    mask = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(mask, _sixteenths(points), 255, cv2.LINE_AA, 4)
    return single(mask) / 255


def cover_box(height: int, width: int, box: Box) -> Plane:
    """Return the coverage, 0 to 1, of an upright rectangle."""
    left, top, right, bottom = box
    return cover_polygon(height, width, [(left, top), (right, top), (right, bottom), (left, bottom)])


def draw_line(mask: Mask, first: Point, last: Point, thickness: float) -> None:
    """Draw a line into a mask, in place; `thickness` in pixels."""
    ends = _sixteenths([first, last]).tolist()
    cv2.line(mask, ends[0], ends[1], 255, max(1, round(thickness)), cv2.LINE_AA, 4)


def _sixteenths(points: list[Point]) -> npt.NDArray[np.int32]:
    """Return points as OpenCV takes them with 4 fractional bits; it draws nothing far outside the picture."""
    return np.round(np.clip(points, -1e4, 1e4) * 16).astype(np.int32)


def lay_over(picture: Picture, colour: Picture, cover: Plane) -> None:
    """Lay a colour, or a picture, over a picture in place, where `cover` says so."""
    picture += (colour - picture) * cover[..., None]


def bloom(picture: Picture) -> Picture:
    """Add the glow that air and lens spread around bright things."""
    height, width = picture.shape[:2]
    small = np.minimum(cv2.resize(picture, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA), 300)
    near, far = (single(cv2.GaussianBlur(small, (0, 0), sigma * height)) for sigma in (0.0025, 0.01))
    glow = cv2.resize(0.015 * near + 0.007 * far, (width, height), interpolation=cv2.INTER_LINEAR)
    return single(picture + glow)
