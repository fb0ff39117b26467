"""What flows through the pipeline: a source's facts, a frame, a patch's recipe, and the numbers that name them.

Legend: H, W height and width of a frame, S the patch size, all in pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

FloatImage = npt.NDArray[np.float32]  # (H, W, 3) or (H, W)
ByteImage = npt.NDArray[np.uint8]  # (H, W, 3)

BLOCK_BYTES = 4 * 2**20  # of a frame, as much as is worked on at a time

Transfer = Literal["linear", "pq", "hlg", "srgb"]
Primaries = Literal["bt709", "bt2020", "p3", "xyz", "other"]
Verdict = Literal["kept", "smooth", "unsaturated"]
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a reader found out about a source.

    `width` and `height` are as displayed, orientation applied. `scale` says what 1.0 means: `relative` (arbitrary
    exposure), `cd/m2` (absolute luminance) or `HLG scene`. `details` are further things that the header says, for
    people to read: name and value.
    """

    width: int
    height: int
    transfer: Transfer = "linear"
    primaries: Primaries | None = None
    scale: str = "relative"
    kind: Literal["still", "sequence", "video"] = "still"
    frames: int = 1
    details: tuple[tuple[str, str], ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded picture: `pixels` (H, W, 3) float32, scene-linear, BT.709 primaries, finite, never negative.

    `nonfinite` and `negative` count the pixels that were repaired.
    """

    pixels: FloatImage
    facts: Facts
    nonfinite: int = 0
    negative: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """Where a patch lies in its frame, in pixels: rows y to y + height, columns x to x + width.

    The window is resized to S x S pixels (`patch_size`) if it has another size, then mirrored left to right if `flip`.
    """

    y: int
    x: int
    height: int
    width: int
    patch_size: int
    flip: bool


@dataclass(frozen=True, slots=True)
class Camera:
    """One virtual camera (Eilertsen et al. 2017).

    clip_fraction     the quantile of all channel values that is scaled to the sensor's clipping level 1.0
    exposure          the factor that does so: 1 / that quantile, per unit of scene-linear radiance
    noise_sigma       standard deviation of the sensor noise, in units of the clipping level
    hue_shift         degrees
    saturation_shift  added to the HSV saturation in [0, 1]
    curve_n, curve_sigma  response f(H) = (1 + s) H^n / (H^n + s)
    jpeg_quality      1..100; 0 stands for no JPEG compression
    seed              of the sensor noise, 63 bits
    """

    clip_fraction: float
    exposure: float
    noise_sigma: float
    hue_shift: float
    saturation_shift: float
    curve_n: float
    curve_sigma: float
    jpeg_quality: int
    seed: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """A patch: the numbers that fully determine its pixels, given its frame."""

    window: Window
    camera: Camera

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Take a recipe from one row of the patches table."""
        window = Window(**{field.name: row[field.name] for field in fields(Window)})
        camera = Camera(**{field.name: row[field.name] for field in fields(Camera)})
        return cls(window, camera)


def row_blocks(pixels: FloatImage) -> Iterator[FloatImage]:
    """Return views of whole rows, `BLOCK_BYTES` or one row each: a frame may be 3 GB, and so may be any copy of it."""
    rows = max(1, BLOCK_BYTES // max(1, pixels[:1].nbytes))
    return (pixels[top : top + rows] for top in range(0, len(pixels), rows))


def patch_id(source_id: str, frame: int, k: int) -> int:
    """Return the first 63 bits of SHA-256 of `source_id/frame/k`."""
    return _first_63_bits(f"{source_id}/{frame}/{k}")


def derive_seed(seed: int, source_id: str, frame: int, k: int, purpose: str) -> int:
    """Return the 63-bit seed of one random draw, a function of nothing but what the draw is for.

    Each purpose has its own stream, so that another number of patches, or another distribution of one camera
    parameter, changes no other number.
    """
    return _first_63_bits(f"{seed}/{source_id}/{frame}/{k}/{purpose}")


def generator(seed: int) -> np.random.Generator:
    """Return the random generator that all draws of this project use (PCG64, seeded)."""
    return np.random.Generator(np.random.PCG64(seed))


def split_of(source_id: str, validation: float, test: float) -> Split:
    """Say on which side of the data split a source lies, by its content hash alone.

    `validation` and `test` are the shares of sources, in [0, 1]. The side of a source never depends on which other
    sources there are, so that a grown bank moves no scene from one side to another.
    """
    position = int(source_id[:16], 16) / 2**64
    if position < test:
        return "test"
    return "validation" if position < test + validation else "train"


def _first_63_bits(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
