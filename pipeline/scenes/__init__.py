"""Procedural HDR scenes: what the demonstration and the tests take for photographs.

Four kinds, each with bright surfaces full of texture, smooth ones beside them, and deep shadow: a street in low sun,
the sun over a lake, a window seen from a dark room, lamps at night. Radiance is relative to a white surface in the
scene's ordinary light: a filament reaches some thousand, the sun some ten thousand.

Legend: H, W height and width in pixels; positions (x, y) are in pixels, y points down. A plane is (H, W) float32, a
picture (H, W, 3) float32, scene-linear BT.709, and a colour (3,) float32.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.records import FloatImage, derive_seed, generator
from pipeline.scenes.drawing import BRIGHTEST, Picture, Rng
from pipeline.scenes.files import write_exr, write_hdr
from pipeline.scenes.lake import sky
from pipeline.scenes.night import lamps
from pipeline.scenes.room import window
from pipeline.scenes.street import textured_highlights

__all__ = ["SCENES", "render_scene", "write_demo_set", "write_exr", "write_hdr"]

SCENES: dict[str, Callable[[Rng, int, int], Picture]] = {
    "textured_highlights": textured_highlights,
    "sky": sky,
    "window": window,
    "lamps": lamps,
}


def render_scene(name: str, seed: int, height: int, width: int) -> FloatImage:
    """Return a scene (H, W, 3) float32, scene-linear BT.709, finite and not negative: a function of its arguments.

    `name` is one of SCENES. Another size is another picture of the same kind, not the same one resized.
    """
    if name not in SCENES:
        raise ValueError(f"no scene is called {name!r}: there are {', '.join(SCENES)}")
    rng = generator(derive_seed(seed, name, 0, 0, "scene"))
    return np.minimum(SCENES[name](rng, height, width), np.float32(BRIGHTEST)).astype(np.float32)


def write_demo_set(directory: Path, count: int, seed: int, height: int, width: int) -> list[Path]:
    """Write `count` scenes, the kinds in turn, as .exr and .hdr; return their paths. `count` changes no scene."""
    directory.mkdir(parents=True, exist_ok=True)
    names = list(SCENES)
    paths = []
    for i in range(count):
        turn, kind = divmod(i, len(names))
        write, suffix = ((write_exr, ".exr"), (write_hdr, ".hdr"))[(kind + turn) % 2]
        paths.append(directory / f"{i:03d}_{names[kind]}{suffix}")
        write(paths[-1], render_scene(names[kind], seed + turn, height, width))
    return paths
