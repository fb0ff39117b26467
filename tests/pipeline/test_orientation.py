"""Turning pictures as their tag says, against Pillow."""

from __future__ import annotations

import numpy as np
import OpenImageIO as oiio
import pytest
from PIL import Image, ImageOps

from pipeline.frames.orientation import displayed_size, orientation_of, turn


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations_are_those_of_pillow(orientation: int) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)
    image = Image.fromarray(stored)
    image.getexif()[274] = orientation
    shown = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(turn(stored, orientation), shown)
    assert displayed_size(31, 20, orientation) == shown.shape[1::-1]


@pytest.mark.parametrize(("value", "orientation"), [(None, 1), (0, 1), (9, 1), (6, 6), (-3, 1)])
def test_a_tag_that_makes_no_sense_turns_nothing(value: int | None, orientation: int) -> None:
    spec = oiio.ImageSpec(1, 1, 3, "float")
    if value is not None:
        spec.attribute("Orientation", value)
    assert orientation_of(spec) == orientation
