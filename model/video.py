"""SDR video as a source of pictures: its frames in order, one held at a time.

Legend: T (H, W, 3) float32 display-encoded RGB in [0, 1], as displayed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import av
import numpy as np

from model.errors import PictureError
from model.planes import to_display
from pipeline.errors import SourceError
from pipeline.frames.limits import check_dimensions
from pipeline.frames.tags import Tags, merge_tags, read_tags
from pipeline.frames.track import Track, index_of
from pipeline.frames.video import VIDEO_SUFFIXES, as_displayed, display_matrix
from pipeline.records import FloatImage

__all__ = ["VIDEO_SUFFIXES", "count_frames", "read_frames"]


def count_frames(file: Path) -> int:
    """Return how many frames a video has; its packets are read. Raises PictureError where it cannot be used."""
    try:
        return len(index_of(file).times)
    except SourceError as error:
        raise PictureError(str(error)) from error


def read_frames(file: Path, wanted: Iterator[int]) -> Generator[tuple[int, FloatImage], None, None]:
    """Yield number and T of the frames of these ascending numbers, counted from 0; those between are decoded, too.

    Raises PictureError where the video is HDR, damaged, or of a kind that is not read, at the frame where that shows.
    """
    try:
        index = index_of(file)
        with Track(file) as track:
            context = track.stream.codec_context
            check_dimensions(context.width, context.height)
            container = read_tags(context)
            numbers = {int(time): number for number, time in enumerate(index.times)}
            number = next(wanted, None)
            for time, frame in track.decode_from(index, 0):
                if number is None:
                    return
                if numbers.get(time) == number:
                    yield number, _picture(frame, merge_tags(read_tags(frame), container))
                    number = next(wanted, None)
        if number is not None:
            raise PictureError(f"it is damaged: frame {number + 1} is missing")
    except SourceError as error:
        raise PictureError(str(error)) from error


def _picture(frame: av.VideoFrame, tags: Tags) -> FloatImage:
    return np.ascontiguousarray(as_displayed(to_display(frame, tags), display_matrix(frame)))
