"""Bounds on what a header may ask for, checked before any memory is taken."""

from __future__ import annotations

from pipeline.errors import SourceError

MAX_PIXELS = 2**28  # 16384x16384: 3.2 GB as float32 RGB
MAX_CHANNELS = 1024  # of one EXR part
MAX_PARTS = 1024  # of one EXR file


def check_dimensions(width: int, height: int) -> None:
    """Raise SourceError unless a picture of this many pixels can be held."""
    if width <= 0 or height <= 0:
        raise SourceError(f"its header gives an impossible size of {width}x{height}")
    if width * height > MAX_PIXELS:
        raise SourceError(f"its header gives {width}x{height} pixels, more than the {MAX_PIXELS} that are accepted")
