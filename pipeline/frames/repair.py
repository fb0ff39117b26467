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
from pipeline.records import FloatImage, Frame, row_blocks

MAX_NONFINITE_SHARE = 0.01  # a source with more NaN or infinite pixels is broken, not blemished


def repair(picture: Picture) -> Frame:
    """Return a frame of finite, non-negative BT.709 pixels (H, W, 3), with the counts of what was repaired.

    The pixels are changed in place, by blocks of rows, unless they are read-only or not plain float32 rows.
    Raises SourceError where more than 1 % of the pixels are not finite, or none holds any light.
    """
    pixels = np.require(picture.pixels, np.float32, ["C", "W"])
    nonfinite = _make_finite(pixels)
    to_bt709(pixels, picture.chromaticities, picture.adapt_white)
    negative = _clip_negative(pixels)
    if not any(rows.any() for rows in row_blocks(pixels)):
        raise SourceError("it holds no light: no pixel is above 0")
    return Frame(pixels, picture.facts, nonfinite, negative)


def _make_finite(pixels: FloatImage) -> int:
    count, largest = 0, 0.0
    for rows in row_blocks(pixels):
        finite = np.isfinite(rows)
        if not finite.all():
            count += int(np.count_nonzero(~finite.all(axis=2)))
        largest = max(largest, float(rows.max(where=finite, initial=0.0)))
    total = pixels.shape[0] * pixels.shape[1]
    if count > MAX_NONFINITE_SHARE * total:
        raise SourceError(f"{count} of its {total} pixels are NaN or infinite")
    if count:
        for rows in row_blocks(pixels):
            np.nan_to_num(rows, copy=False, nan=0.0, posinf=largest, neginf=0.0)
    return count


def _clip_negative(pixels: FloatImage) -> int:
    count = 0
    for rows in row_blocks(pixels):
        dark = rows < 0
        if dark.any():
            count += int(np.count_nonzero(dark.any(axis=2)))
            np.maximum(rows, np.float32(0.0), out=rows)
    return count
