"""From a picture in its file's primaries to a frame: the stated rule for pixels that no light can have.

NaN and minus infinity become 0, plus infinity the largest finite value of the picture, before the primaries are
changed: the matrix would spread them over the channels. Negative values become 0 after it: colours outside of BT.709
are negative there, and not in the file. Pixels, not values, are counted.
"""

from __future__ import annotations

import numpy as np

from pipeline.color import to_bt709
from pipeline.errors import SourceError
from pipeline.frames.picture import Picture
from pipeline.records import FloatImage, Frame

MAX_NONFINITE_SHARE = 0.01  # a source with more NaN or infinite pixels is broken, not blemished


def repair(picture: Picture) -> Frame:
    """Return a frame of finite, non-negative BT.709 pixels (H, W, 3), with the counts of what was repaired.

    Raises SourceError where more than 1 % of the pixels are not finite, or none holds any light.
    """
    pixels, nonfinite = _make_finite(picture.pixels)
    pixels = to_bt709(pixels, picture.chromaticities, picture.adapt_white)
    dark = pixels < 0
    negative = int(np.count_nonzero(dark.any(axis=2))) if dark.any() else 0
    if negative:
        pixels = np.maximum(pixels, np.float32(0.0))
    if not pixels.any():
        raise SourceError("it holds no light: no pixel is above 0")
    return Frame(np.ascontiguousarray(pixels, dtype=np.float32), picture.facts, nonfinite, negative)


def _make_finite(pixels: FloatImage) -> tuple[FloatImage, int]:
    finite = np.isfinite(pixels)
    if finite.all():
        return pixels, 0
    count, total = int(np.count_nonzero(~finite.all(axis=2))), pixels.shape[0] * pixels.shape[1]
    if count > MAX_NONFINITE_SHARE * total:
        raise SourceError(f"{count} of its {total} pixels are NaN or infinite")
    largest = float(pixels.max(where=finite, initial=0.0))
    return np.nan_to_num(pixels, nan=0.0, posinf=largest, neginf=0.0), count
