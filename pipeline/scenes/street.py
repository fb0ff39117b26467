"""A narrow street, its geometry and its walls, and the street in low sun."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.scenes.drawing import (
    Colour,
    Numbers,
    Picture,
    Plane,
    Point,
    Rng,
    bloom,
    fractal,
    lay_over,
    light_of,
    pixel_grid,
    rgb,
    sample,
    single,
    step,
)
from pipeline.scenes.plants import add_leaves


class Street(NamedTuple):
    """A narrow street along z, seen from eye height 1 above the ground; the eye is at 0, y points down.

    The planes (H, W) tell the place that each pixel shows, and what is there.
    """

    x: Plane
    y: Plane
    z: Plane
    surface: Numbers  # 0 ground, 1 left houses, 2 right houses, 3 the house at the end, 4 sky
    house: Numbers  # 0 to 15, from near to far
    along: Plane  # coordinate along the surface, sideways
    base: Plane  # (1, W), the row where the houses meet the ground, in pixels
    roofs: Plane  # (5, 16), height above the eye of the houses of each surface
    eye: Point  # the vanishing point

    @property
    def houses(self) -> npt.NDArray[np.bool_]:
        """Where a house is seen."""
        return (self.surface > 0) & (self.surface < 4)


# In eye heights: the length of a house along the street, the height of a storey and of its windows
HOUSE, STOREY, WINDOW = 2.2, 1.5, 0.8
NORMALS = np.array([(0, -1, 0), (1, 0, 0), (-1, 0, 0), (0, 0, -1), (0, 0, 0)], np.float32)  # of each surface


def make_street(rng: Rng, height: int, width: int) -> Street:
    """Return the geometry of a street, as the pixels of a picture see it."""
    rows, columns = pixel_grid(height, width)
    eye = (rng.uniform(0.35, 0.65) * width, rng.uniform(0.5, 0.6) * height)
    dx, dy = (columns - eye[0]) / height, (rows - eye[1]) / height
    to_wall = np.where(dx < 0, *single(rng.uniform(0.9, 1.2, 2))) / (np.abs(dx) + 1e-3)
    to_house = np.minimum(to_wall, rng.uniform(6, 9))
    z = np.minimum(to_house, 1 / np.maximum(dy, 1e-3))
    x, y = dx * z, dy * z
    house = np.minimum(z / HOUSE + 0.3, 15).astype(int)
    surface = np.where(z < to_house, 0, np.where(to_house < to_wall, 3, np.where(dx < 0, 1, 2)))
    roofs = single(rng.uniform(2.6, 4.5, (5, 16)))
    surface = np.where((surface > 0) & (-y > roofs[surface, house]), 4, surface)
    along = np.where((surface == 1) | (surface == 2), z, x + 20) + 0.3 * HOUSE
    return Street(x, y, z, surface, house, along, eye[1] + height / to_house, roofs, eye)


def footprint(coordinate: Plane) -> Plane:
    """Return how much a coordinate changes from one pixel to the next."""
    values = single(coordinate)
    dx, dy = (single(cv2.Sobel(values, cv2.CV_32F, *order, scale=0.125)) for order in ((1, 0), (0, 1)))
    return np.abs(dx) + np.abs(dy) + 1e-4


def masonry(rng: Rng, u: Plane, v: Plane, depth: Plane) -> Plane:
    """Return the reflectance (H, W), around 1, of rough stones; u, v in courses, `depth` of the joints 0 to 1."""
    pixel = np.maximum(footprint(u), footprint(v))
    row = np.floor(v)
    across = u / 2.3 + 0.37 * row
    column = np.floor(across)
    fu, fv = (across - column) * 2.3, v - row
    stone = step(0, 1, (np.minimum(np.minimum(fu, 2.3 - fu), np.minimum(fv, 1 - fv)) - 0.02) / (0.08 + pixel))
    tone = single(rng.normal(0, 0.28, 4096))[((71 * row + 13 * column) % 4096).astype(int)]
    edges = 0.9 * step(0.2, 0.05, fv) - 0.5 * step(0.8, 0.95, fv)  # the light comes from above
    near = depth * np.clip(1.3 - 1.5 * pixel, 0, 1)  # stones smaller than a pixel have no joints
    rough = 0.6 * sample(fractal(rng, 512, 512, 0.8), u * 26, v * 26) + sample(fractal(rng, 256, 256, 1.3), u, v)
    return single(np.exp(near * tone + 0.09 * rough) * (1 - near * 0.75 * (1 - stone)) * (1 + near * edges))


def paint_walls(rng: Rng, street: Street) -> Picture:
    """Return the reflectance of a street's surfaces (H, W, 3): paving, and each house of bricks or of plaster."""
    ground = street.surface == 0
    course = single(np.where(ground, 0.2, rng.uniform(0.09, 0.16)))
    bare = single(np.where(rng.random((5, 16)) < 0.5, 0.85, 0.05))
    bare[0] = 1
    up = np.where(ground, street.z, street.y)
    stones = masonry(rng, street.along / course, up / course, bare[street.surface, street.house])
    paint = rng.uniform(0.3, 0.8, (5, 16, 1)) * rgb(1, 0.8, 0.58) * rng.lognormal(0, 0.2, (5, 16, 3))
    paint[0] = rgb(0.25, 0.24, 0.22)
    return single(paint)[street.surface, street.house] * stones[..., None]


def place_openings(street: Street, width: float) -> tuple[Plane, Numbers, Plane, Plane]:
    """Return windows of a width in eye heights: coverage, the number 0 to 63 of each, place (s, t) within, -1 to 1."""
    u, v = street.along / (HOUSE / 2), (street.y + 0.1) / STOREY
    column, row = np.floor(u), np.floor(v)
    across, down = HOUSE / width, 2 * STOREY / WINDOW
    s, t = (u - column - 0.5) * across, (v - row - 0.5) * down
    inside = np.clip((1 - np.abs(s)) / (across * footprint(u)) + 0.5, 0, 1)
    inside *= np.clip((1 - np.abs(t)) / (down * footprint(v)) + 0.5, 0, 1)
    return inside * street.houses, (row * 17 + column * 5).astype(int) % 64, s, t


def textured_highlights(rng: Rng, height: int, width: int) -> Picture:
    """Return a street in low sun: one side in light, the other and the ground in shadow, flowers on the walls."""
    street = make_street(rng, height, width)
    sunlight = 4 * light_of(rng.uniform(3000, 5000))
    lit = _sunshine(rng, street)
    light = lit[..., None] * sunlight + rgb(0.10, 0.15, 0.22) * step(-1, 3, -street.y)[..., None] + 0.02 * sunlight
    picture = paint_walls(rng, street) * light
    glass = _add_shuttered_windows(picture, rng, street, light)
    for tint in (rgb(0.1, 0.2, 0.03), single(rng.permutation([0.9, 0.12, 0.3]))):
        place = step(0.6, 1.4, fractal(rng, height, width, 1.5)) * step(7, 2, street.z)
        place *= np.isin(street.surface, (2, 3))
        add_leaves(picture, rng, place + 1e-9, 0.016 * height, 2500, tint * light)
    clouds = step(-0.5, 1.5, fractal(rng, height, width, 1.9))[..., None]
    above = rgb(0.9, 1.6, 3.0) * (1 - clouds) + (2 + 3 * clouds) * clouds
    picture = np.where((street.surface == 4)[..., None], above, picture)
    _add_glints(picture, rng, glass * lit + 1e-9, sunlight, 0.006 * height)
    return bloom(picture)


def _sunshine(rng: Rng, street: Street) -> Plane:
    """Return where the sun, low on the left, reaches the street past the roofs and through trees."""
    opposite = street.roofs[1, np.clip(street.z / HOUSE - 0.2, 0, 15).astype(int)]
    line = opposite - rng.uniform(2.7, 3.6)  # height above the eye of the left houses' shadow
    lit = np.where(street.surface >= 2, step(-0.015, 0.015, -street.y - line), 0)
    lane = np.abs(street.z + 0.4 * street.x - rng.uniform(2, 3.5))  # a lane on the left lets the sun in
    lit = np.where(street.surface == 0, step(0.45, 0.42, lane), lit)
    leaves = sample(fractal(rng, 256, 256, 1.1), (street.z + street.x) * 60, (street.y + street.x) * 60)
    trees = step(0.2, 0.6, np.sin(street.z * 1.1 + rng.uniform(0, 6)))
    return lit * (1 - 0.9 * trees * step(-0.1, 0.5, leaves))


def _add_shuttered_windows(picture: Picture, rng: Rng, street: Street, light: Picture) -> Plane:
    """Add windows by day, in place: dark glass between louvred shutters; return the coverage of glass."""
    cover, number, s, t = place_openings(street, 0.82)
    bars = (np.abs(s) < 0.03) | (np.abs(t + 0.25) < 0.03) | (np.abs(np.abs(s) - 0.47) < 0.03) | (np.abs(t) > 0.94)
    glass = (np.abs(s) < 0.5) & ~bars
    louvres = 0.55 + 0.45 * np.sin(t * 70) * np.clip(1.5 - 60 * footprint(t), 0, 1)
    shutters = single(rng.uniform(0.05, 0.5, 3)) * louvres[..., None]
    wood = np.where(bars[..., None], 0.7, shutters) * light
    lay_over(picture, np.where(glass[..., None], 0.004 + 0.03 * light * (number % 3 == 0)[..., None], wood), cover)
    return single(cover * glass)


def _add_glints(picture: Picture, rng: Rng, where: Plane, sunlight: Colour, size: float) -> None:
    """Let the sun glint from three places of a mask (H, W), in place; `size` in pixels."""
    width = picture.shape[1]
    chance = np.cumsum(where, dtype=np.float64)
    for place in np.searchsorted(chance, rng.random(3) * chance[-1]).tolist():
        colour = (800 * sunlight).tolist()
        cv2.circle(picture, (place % width, place // width), max(1, round(size)), colour, -1)
