"""What a format's reader hands over: pixels in the file's own primaries, and what the header said."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.color import Chromaticities
from pipeline.records import Facts, FloatImage


@dataclass(frozen=True, slots=True)
class Picture:
    """`pixels` (H, W, 3) float32, scene-linear, as displayed; `chromaticities` None where the file does not say.

    `adapt_white` says whether their white is what a neutral thing shows, or the values are colours as measured.
    """

    pixels: FloatImage
    facts: Facts
    chromaticities: Chromaticities | None = None
    adapt_white: bool = True
