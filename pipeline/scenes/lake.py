"""The sun over a lake."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.scenes.drawing import (
    Colour,
    Picture,
    Point,
    Rng,
    fractal,
    lay_over,
    light_of,
    pixel_grid,
    rgb,
    sample,
    single,
    step,
)
from pipeline.scenes.plants import add_leaves, add_tree


def sky(rng: Rng, height: int, width: int) -> Picture:
    """Return the sun among clouds over hills and a lake, leaves on the near bank."""
    horizon = rng.uniform(0.5, 0.62) * height
    sun = (rng.uniform(0.2, 0.8) * width, rng.uniform(0.1, 0.35) * height)
    side = -1 if sun[0] > width / 2 else 1
    sunlight = light_of(rng.uniform(2100, 5500))
    green = (rgb(0.16, 0.22, 0.05), rgb(0.35, 0.2, 0.03))[rng.integers(2)] * sunlight  # or autumn
    picture = _clear_sky(rng, height, width, horizon, sun, sunlight)
    _add_clouds(picture, rng, horizon, sun, sunlight)
    _add_hills(picture, rng, horizon, sunlight)
    y, x = pixel_grid(height, width)
    lay_over(picture, _water(rng, picture, horizon), single(np.clip(y - horizon, 0, 1) + 0 * x))
    shore = single(0.86 + 0.02 * fractal(rng, 1, width, 1.4) - side * rng.uniform(-0.02, 0.12) * (x / height - 0.6))
    lay_over(picture, rgb(0.015, 0.02, 0.008), step(0, 0.01, y / height - shore))
    if rng.random() < 0.75:
        root = (width * (0.5 + side * 0.36), 0.92 * height)
        add_tree(picture, rng, root, rng.uniform(0.6, 0.8) * height, green)
    add_leaves(picture, rng, step(-0.01, 0.05, y / height - shore) + 1e-6, 0.016 * height, 6000, green)
    return picture


def _clear_sky(rng: Rng, height: int, width: int, horizon: float, sun: Point, sunlight: Colour) -> Picture:
    """Return a cloudless sky with the sun's disc and its aureole."""
    y, x = pixel_grid(height, width)
    blue = rgb(0.16, 0.4, 0.95) * rng.uniform(0.5, 0.9)
    haze = 0.75 * np.sqrt(sunlight)
    elevation = step(horizon + 0.1 * height, horizon - 0.7 * height, y)[..., None]
    distance = np.hypot(x - sun[0], y - sun[1])[..., None] / height
    disc = np.clip((0.01 - distance) * height + 0.5, 0, 1)
    glow = np.exp(-4 * distance) + 15 * np.exp(-25 * distance) + 2e4 * disc
    return single(haze * (1 - elevation) + blue * elevation + sunlight * glow)


def _add_clouds(picture: Picture, rng: Rng, horizon: float, sun: Point, sunlight: Colour) -> None:
    """Add clouds, which lie on a plane overhead, in place; the thin ones near the sun shine brightest."""
    height, width = picture.shape[:2]
    y, x = pixel_grid(height, width)
    away = 1 / (np.maximum(horizon - y, 0) / height + 0.15)
    density = sample(fractal(rng, height, width, 1.5), (x - width / 2) * away * 0.55, away * height * 0.6)
    density = np.maximum(density - rng.uniform(0.0, 0.5), 0) * step(horizon, horizon - 0.15 * height, y)
    from_sun = np.hypot(x - sun[0], y - sun[1]) / height
    density *= step(0.005, 0.06, from_sun)  # the sun itself looks through a gap
    depth = 1.2 * density
    for i in range(1, 7):  # march towards the sun, which is a point of the picture
        shrink = np.array([[1 - 0.03 * i, 0, 0.03 * i * sun[0]], [0, 1 - 0.03 * i, 0.03 * i * sun[1]]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        depth += 0.8 * single(cv2.warpAffine(density, shrink, (width, height), flags=flags))
    rim = 1.2 + 14 * np.exp(-4 * from_sun)
    cloud = sunlight * single(np.exp(-depth) * rim)[..., None] + rgb(0.16, 0.2, 0.3)
    lay_over(picture, cloud, 1 - np.exp(-5 * density))


def _add_hills(picture: Picture, rng: Rng, horizon: float, sunlight: Colour) -> None:
    """Lay ridges of wooded hills over the horizon, in place, the far ones in haze."""
    height, width = picture.shape[:2]
    y, _ = pixel_grid(height, width)
    for layer, haze in enumerate((0.5, 0.2, 0.05)):
        ridge = 0.03 * fractal(rng, 1, width, 1.6) + 0.003 * layer * fractal(rng, 1, width, 0.7)
        top = horizon - height * np.maximum(ridge + 0.05 - 0.02 * layer, 0.004)
        forest = np.exp(0.8 * fractal(rng, height, width, 0.6))[..., None] * rgb(0.02, 0.03, 0.012)
        lay_over(picture, haze * 0.5 * sunlight + (1 - haze) * forest, np.clip(y - top + 0.5, 0, 1) * (y < horizon))


def _water(rng: Rng, picture: Picture, horizon: float) -> Picture:
    """Return water below the horizon that mirrors all above it: rippled in gusts, calm between them."""
    height, width = picture.shape[:2]
    y, x = pixel_grid(height, width)
    away = height / np.maximum(y - horizon, 0.5)
    u, v = (x - width / 2) * away * 0.15, away * height * 0.5
    gust = step(-1.2, 0.4, sample(fractal(rng, 256, 256, 1.6), u * 0.1, v * 0.1))
    slope = sample(fractal(rng, height, width, 0.9), u, v) * (0.2 + 0.8 * gust)
    mirrored = np.clip(2 * horizon - y + (slope - 0.5 * gust) * 0.1 * height, 0, horizon - 1)
    return 0.6 * sample(picture, x + slope * 0.02 * height, single(mirrored))
