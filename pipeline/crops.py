"""Seeded choice of the windows that patches are cut from (Santos et al. 2020, Section 4: 250 of 512x512 a frame)."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.errors import SourceError
from pipeline.records import Window, derive_seed, generator

Share = Annotated[float, Field(gt=0, le=1)]


class CropSettings(BaseModel):
    """How windows are chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patches: int = Field(250, ge=1, le=1_000_000)  # windows a frame (Section 4)
    patch_size: int = Field(512, ge=16, le=8192)  # S, pixels (Section 4)
    # Null cuts S x S pixels at native resolution, as the paper does. [0.2, 0.6] cuts a square whose side is that share
    # of the frame's width and resizes it to S (Eilertsen et al. 2017).
    width_fraction: tuple[Share, Share] | None = None
    flip_probability: float = Field(0.5, ge=0, le=1)  # of mirroring left to right (Eilertsen et al. 2017)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.width_fraction is not None and self.width_fraction[0] > self.width_fraction[1]:
            raise ValueError(f"the range of width_fraction {list(self.width_fraction)} is empty")
        return self


def check_size(height: int, width: int, settings: CropSettings) -> None:
    """Raise SourceError if a frame of this size holds no window."""
    size = settings.patch_size
    if settings.width_fraction is None and min(height, width) < size:
        raise SourceError(
            f"{width}x{height} pixels are smaller than a patch of {size}x{size}; choose a smaller --patch-size"
        )


def draw_windows(
    height: int, width: int, settings: CropSettings, seed: int, source_id: str, frame: int
) -> list[Window]:
    """Draw the windows of one frame of (height, width) pixels, k = 0 .. patches - 1.

    Window k depends on k and not on how many there are, so that more patches later keep the first ones as they are.
    """
    check_size(height, width, settings)
    return [_draw_window(height, width, settings, derive_seed(seed, source_id, frame, k, "window"))
            for k in range(settings.patches)]  # fmt: skip


def _draw_window(height: int, width: int, settings: CropSettings, seed: int) -> Window:
    rng = generator(seed)
    side = settings.patch_size
    if settings.width_fraction is not None:
        share = rng.uniform(*settings.width_fraction)
        side = max(1, min(round(share * width), height, width))
    y = int(rng.integers(0, height - side, endpoint=True))
    x = int(rng.integers(0, width - side, endpoint=True))
    flip = bool(rng.random() < settings.flip_probability)
    return Window(y=y, x=x, height=side, width=side, patch_size=settings.patch_size, flip=flip)
