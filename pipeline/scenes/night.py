"""The street at night, lit by lamps."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.scenes.drawing import (
    Colour,
    Picture,
    Plane,
    Point,
    Rng,
    bloom,
    cover_polygon,
    draw_line,
    fractal,
    lay_over,
    light_of,
    pixel_grid,
    rgb,
    sample,
    single,
    step,
)
from pipeline.scenes.street import NORMALS, Street, footprint, make_street, paint_walls, place_openings


def lamps(rng: Rng, height: int, width: int) -> Picture:
    """Return a wet street at night: lanterns, strings of bulbs, lit rooms, and their reflections."""
    street = make_street(rng, height, width)
    colour = light_of(rng.uniform(1900, 3200))
    distances = np.sort(rng.uniform((1.8, 2.2, 4, 5), (2.2, 3.4, 5, 7)))[::-1].tolist()
    places = [(side * 0.72, rng.uniform(-1.1, -0.7), z) for side, z in zip((1, -1, 1, -1), distances, strict=True)]
    light = 5 * colour * _lamplight(street, places)[..., None] + rgb(0.001, 0.0015, 0.003)
    picture = np.where((street.surface == 4)[..., None], rgb(0.0008, 0.001, 0.002), paint_walls(rng, street) * light)
    _add_lit_windows(picture, rng, street)
    for x, y, z in places:
        centre = (street.eye[0] + x / z * height, street.eye[1] + y / z * height)
        _add_lantern(picture, centre, 0.34 / z * height, colour)
    for z in (5.0, 3.2):
        _add_bulbs(picture, rng, street, z)
    _add_wet_ground(picture, rng, street)
    return bloom(picture)


def _lamplight(street: Street, lamps: list[tuple[float, float, float]]) -> Plane:
    """Return the irradiance of a street's surfaces from lamps at (x, y, z): cosine law, inverse square."""
    normal = NORMALS[street.surface]
    light = np.zeros_like(street.z)
    for lamp in lamps:
        dx, dy, dz = lamp[0] - street.x, lamp[1] - street.y, lamp[2] - street.z
        distance = np.sqrt(dx * dx + dy * dy + dz * dz) + 0.05
        cosine = (normal[..., 0] * dx + normal[..., 1] * dy + normal[..., 2] * dz) / distance
        light += np.maximum(cosine, 0) / distance**2
    return light


def _add_lit_windows(picture: Picture, rng: Rng, street: Street) -> None:
    """Add windows by night, in place: dark ones, and rooms behind blinds, curtains or before shelves."""
    cover, number, s, t = place_openings(street, 0.5)
    colours = np.stack([light_of(kelvin) for kelvin in rng.uniform(2000, 5000, 64)])
    levels = single(np.where(rng.random(64) < 0.45, rng.lognormal(0.6, 0.6, 64), 0.004))
    blinds = 0.35 + 0.65 * (np.sin(t * 60) > 0.2) * np.clip(1.5 - 60 * footprint(t), 0, 1)
    folds = (0.3 + 0.7 * np.abs(np.sin(9 * s + np.sin(3 * s)))) * np.where(np.abs(s) < 0.35, 2.5, 0.5)
    shelves = np.where(np.sin(t * 12) + 0.6 * np.sin(s * 31 + number) > 0.3, 0.25, 1.4)
    room = np.choose(rng.integers(0, 3, 64)[number], [blinds, folds, shelves])
    room *= 0.5 + 3 * np.exp(-6 * (s * s + (t + 0.4) ** 2))  # its lamp
    bars = (np.abs(s) < 0.06) | (np.abs(t + 0.25) < 0.04) | (np.abs(s) > 0.9) | (np.abs(t) > 0.93)
    radiance = levels[number] * np.where(bars, 0.03, room)
    lay_over(picture, colours[number] * radiance[..., None], cover)


def _add_lantern(picture: Picture, centre: Point, size: float, colour: Colour) -> None:
    """Add a lantern, `size` pixels high, in place: glass around a filament, dark bars and a roof."""
    height, width = picture.shape[:2]
    (x, y), (rows, columns) = centre, pixel_grid(height, width)
    top, bottom, tip = y - 0.5 * size, y + 0.5 * size, y - 0.9 * size
    glass = [(x - 0.34 * size, top), (x + 0.34 * size, top), (x + 0.2 * size, bottom), (x - 0.2 * size, bottom)]
    roof = [(x - 0.5 * size, top), (x + 0.5 * size, top), (x + 0.08 * size, tip), (x - 0.08 * size, tip)]
    core = ((columns - x) * (2 / size)) ** 2 + ((rows - y) / size) ** 2
    radiance = 6 + 40 * np.exp(-8 * core) + 1500 * np.exp(-150 * core)
    lay_over(picture, colour * radiance[..., None], cover_polygon(height, width, glass))
    bars = np.zeros((height, width), np.uint8)
    for a in (-1, -0.4, 0.4, 1):
        draw_line(bars, (x + 0.34 * a * size, top), (x + 0.2 * a * size, bottom), 0.04 * size)
    dark = np.maximum(cover_polygon(height, width, roof), single(bars) / 255)
    lay_over(picture, rgb(0.002, 0.002, 0.002), dark)


def _add_bulbs(picture: Picture, rng: Rng, street: Street, z: float) -> None:
    """Hang a string of bulbs across the street, in place, at distance `z`."""
    height = len(picture)
    sag, top = rng.uniform(0.2, 0.5), rng.uniform(0.8, 1.6)
    for a in np.linspace(-1, 1, 13).tolist():
        x = round(street.eye[0] + 1.2 * a / z * height)
        y = round(street.eye[1] - (top - sag * (1 - a * a)) / z * height)
        colour = light_of(2400) if rng.random() < 0.6 else 3 * single(rng.dirichlet((0.6, 0.6, 0.6)))
        cv2.circle(picture, (x, y), round(0.03 / z * height), (40 * colour).tolist(), -1)


def _add_wet_ground(picture: Picture, rng: Rng, street: Street) -> None:
    """Mirror the street in its ground, in place: clearly in puddles, faintly between them."""
    height, width = picture.shape[:2]
    ripple = sample(fractal(rng, 512, 512, 1.0), street.x * 300, street.z * 100) * height
    puddles = step(-0.5, 0.5, sample(fractal(rng, 256, 256, 1.8), street.x * 60, street.z * 40))
    y, x = pixel_grid(height, width)
    mirrored = sample(picture, x + 0.004 * ripple, np.clip(2 * street.base - y + 0.03 * ripple, 0, height - 1))
    picture += mirrored * ((street.surface == 0) * (0.04 + 0.4 * puddles))[..., None]
