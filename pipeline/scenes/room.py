"""A window seen from a dark room."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.scenes.drawing import (
    BRIGHTEST,
    Box,
    Colour,
    Picture,
    Point,
    Rng,
    bloom,
    cover_box,
    cover_polygon,
    fractal,
    lay_over,
    pixel_grid,
    rgb,
    sample,
    single,
)
from pipeline.scenes.lake import sky
from pipeline.scenes.plants import add_leaves
from pipeline.scenes.street import masonry, textured_highlights


def window(rng: Rng, height: int, width: int) -> Picture:
    """Return a window and a dark room: daylight behind panes, curtains, a plant on the sill, sun on the floor."""
    outdoors = np.minimum(12 * (sky, textured_highlights)[rng.integers(2)](rng, height, width), BRIGHTEST)
    middle, half = rng.uniform(0.35, 0.65) * width, rng.uniform(0.32, 0.42) * height
    frame = (middle - half, 0.08 * height, middle + half, rng.uniform(0.64, 0.72) * height)
    picture = _room(rng, height, width, middle, half)
    _add_panes(picture, outdoors, frame)
    _add_plant(picture, rng, (middle + rng.uniform(-0.5, 0.5) * half, frame[3]))
    daylight = np.median(outdoors[::4, ::4], axis=(0, 1))
    for x in (frame[0], frame[2]):
        _add_curtain(picture, rng, x, frame, daylight)
    return bloom(picture)


def _room(rng: Rng, height: int, width: int, middle: float, half: float) -> Picture:
    """Return wallpaper and floor boards in the light of a window of half width `half` pixels."""
    y, x = pixel_grid(height, width)
    wave = np.sin(x / height * 90)
    paper = 0.9 + 0.1 * wave * np.sin(y / height * 90 + 3 * wave)
    falloff = 0.02 + 0.06 * np.exp(-2.5 * np.maximum(np.abs(x - middle) - half, 0) / height)
    picture = single(single(rng.uniform(0.2, 0.6, 3)) * (paper * falloff)[..., None])
    top = 0.84 * height
    away = 0.3 * height / (np.maximum(y - top, 0) + 0.12 * height)  # 2.5 at the wall, about 1 at our feet
    u, v = (x - middle) / height * away, away + 0 * x
    boards = masonry(rng, v * 8, u * 25, np.full_like(v, 0.6))
    boards *= np.exp(0.3 * sample(fractal(rng, 512, 512, 0.9), v * 400, u * 1500))  # the grain
    across = (u - 0.3 * (2 - v) - rng.uniform(-0.3, 0.3)) * (height / half)
    sun = (np.abs(across) < 1.3) * (np.abs(across) > 0.06) * (v > 1.3) * (v < 2)
    floor = rgb(0.3, 0.16, 0.07) * (boards * (0.1 + 15 * sun))[..., None]
    lay_over(picture, floor, np.clip(y - top, 0, 1) + 0 * x)
    return picture


def _add_panes(picture: Picture, outdoors: Picture, frame: Box) -> None:
    """Open a wall to the outdoors, in place, behind a casing and nine panes."""
    height, width = picture.shape[:2]
    left, top, right, bottom = frame
    edge, bar = 0.03 * height, 0.006 * height
    lay_over(
        picture,
        rgb(0.08, 0.075, 0.07),
        cover_box(height, width, (left - edge, top - edge, right + edge, bottom + edge)),
    )
    view = cover_box(height, width, frame)
    for i in (1 / 3, 2 / 3):
        column, row = left + (right - left) * i, top + (bottom - top) * i
        view *= 1 - cover_box(height, width, (column - bar, 0, column + bar, height))
        view *= 1 - cover_box(height, width, (0, row - bar, width, row + bar))
    lay_over(picture, outdoors, view)


def _add_plant(picture: Picture, rng: Rng, foot: Point) -> None:
    """Stand a plant in a pot on the sill, in place."""
    height, width = picture.shape[:2]
    (x, y), (rows, columns) = foot, pixel_grid(height, width)
    a, b = 0.05 * height, 0.08 * height
    crown = np.exp(-(((columns - x) / (1.8 * a)) ** 2) - ((rows - y + 1.6 * b) / b) ** 2)
    add_leaves(picture, rng, crown, 0.04 * height, 300, rgb(0.2, 0.4, 0.06))
    pot = cover_polygon(height, width, [(x - a, y - b), (x + a, y - b), (x + 0.7 * a, y), (x - 0.7 * a, y)])
    lay_over(picture, rgb(0.03, 0.015, 0.01), pot)


def _add_curtain(picture: Picture, rng: Rng, middle: float, frame: Box, daylight: Colour) -> None:
    """Hang a curtain around the column `middle`, in place; the daylight in the frame shines through its folds."""
    height, width = picture.shape[:2]
    y, x = pixel_grid(height, width)
    sway = (y / height - 0.1) * 0.02 * height * np.sin(x / width * 23) + fractal(rng, 1, width, 1.5) * 0.006 * height
    phase = (x + sway) / (0.012 * height)
    folds = 0.5 + 0.5 * np.sin(phase) * (0.7 + 0.3 * np.sin(phase * 0.37))
    weave = np.exp(0.06 * fractal(rng, height, width, 0.3))
    behind = single(cv2.GaussianBlur(single(cover_box(height, width, frame)), (0, 0), 0.015 * height)) + 0.005
    through = (0.08 + 0.4 * folds**2) * weave * behind
    half = rng.uniform(0.1, 0.16) * height
    hem = rng.uniform(0.78, 0.9) * height + 4 * np.sin(phase)
    cover = np.clip(half + 0.5 - np.abs(x + 2 * sway - middle), 0, 1) * np.clip(hem - y, 0, 1)
    lay_over(picture, single(rng.uniform(0.6, 0.95, 3)) * daylight * through[..., None], cover)
