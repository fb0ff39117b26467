"""Leaves, branches and trees."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.scenes.drawing import Colour, Mask, Picture, Plane, Point, Rng, draw_line, lay_over, rgb, single


def add_leaves(picture: Picture, rng: Rng, density: Plane, size: float, count: int, light: Picture) -> None:
    """Hang leaves over a picture, in place: `density` (H, W) says where, `size` is in pixels, `light` their colour.

    They are drawn at twice the size, back to front, each as two halves that face the light differently.
    """
    height, width = density.shape
    chance = np.cumsum(density, dtype=np.float64)
    place = np.searchsorted(chance, rng.random(count) * chance[-1])
    centre = np.stack([place % width, place // width], axis=1) + rng.random((count, 2))
    angle, facing = rng.uniform(0, 2 * np.pi, count), rng.uniform(0.3, 1, count)
    along = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (size * rng.uniform(0.6, 1.3, count))[:, None]
    across = along[:, ::-1] * (-0.45, 0.45) * facing[:, None]
    half = np.array([(-0.5, 0), (-0.2, 0.5), (0.15, 0.45), (0.5, 0)])
    outlines = np.stack([half[:, :1] * along[:, None] + half[:, 1:] * side * across[:, None] for side in (1, -1)], 1)
    corners = np.round((centre[:, None, None] + outlines) * 32).reshape(-1, 4, 2).astype(np.int32)
    index = np.zeros((2 * height, 2 * width), np.int32)
    for i, corner in enumerate(corners, 1):
        cv2.fillConvexPoly(index, corner, i, cv2.LINE_8, 4)
    colours = np.concatenate([np.zeros((1, 4), np.float32), _leaf_colours(rng, count)])
    leaves = cv2.resize(colours[index], (width, height), interpolation=cv2.INTER_AREA)
    picture *= 1 - leaves[..., 3:]
    picture += leaves[..., :3] * light


def _leaf_colours(rng: Rng, count: int) -> Picture:
    """Return (2 * count, 4), the hindmost and darkest halves of leaves first: radiance, and 1 for coverage."""
    depth = np.linspace(0, 1, count)[:, None]
    sunlit = rng.random((count, 1)) < depth**1.5
    glint = (rng.random((count, 2)) < 0.03) * rng.uniform(1, 6, (count, 2))
    light = 0.004 + 0.06 * depth + sunlit * (np.clip(rng.normal(0.5, 0.25, (count, 2)), 0.02, 1) + glint)
    tone = rng.lognormal(0, 0.25, (count, 1)) * rng.lognormal(0, 0.12, (count, 3))
    radiance = (light[:, :, None] * tone[:, None]).reshape(-1, 3)
    return np.concatenate([radiance, np.ones((2 * count, 1))], axis=1).astype(np.float32)


def _branch(rng: Rng, mask: Mask, root: Point, angle: float, length: float, width: float) -> None:
    """Draw a bare branch and all that grows from it; `angle` 0 is upwards, lengths are in pixels."""
    tip = (root[0] + length * np.sin(angle), root[1] - length * np.cos(angle))
    draw_line(mask, root, tip, width)
    if width > 0.7:
        for turn in rng.uniform(0.2, 0.7, 2) * (1, -1):
            _branch(rng, mask, tip, angle + turn, length * rng.uniform(0.65, 0.85), width * 0.68)


def add_tree(picture: Picture, rng: Rng, root: Point, size: float, light: Colour) -> None:
    """Grow a tree, `size` pixels high, in place."""
    mask = np.zeros(picture.shape[:2], np.uint8)
    _branch(rng, mask, root, rng.normal(0, 0.08), size * 0.25, size * 0.03)
    lay_over(picture, rgb(0.012, 0.01, 0.008), single(mask) / 255)
    crown = single(cv2.GaussianBlur(mask, (0, 0), size * 0.03)) + 1e-6
    crown *= np.arange(len(mask))[:, None] < root[1] - 0.22 * size
    add_leaves(picture, rng, crown, size * 0.021, 4500, light)
