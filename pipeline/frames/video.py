"""HDR video (.mp4, .mov, .mkv, .webm): any codec that FFmpeg decodes, 10 and 12 bits, PQ, HLG or as the user says.

PQ gives luminance in cd/m2, HLG scene light in [0, 1]; pixels are in the file's own primaries, rotated as displayed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import SideData

from pipeline.color import name_primaries
from pipeline.errors import SourceError
from pipeline.frames.limits import check_dimensions
from pipeline.frames.picture import Picture
from pipeline.frames.planes import frame_to_light
from pipeline.frames.tags import Tags, chromaticities_of, coding_of, merge_tags, read_tags
from pipeline.frames.track import Index, Track, index_of
from pipeline.records import Facts, FloatImage, Transfer
from pipeline.transfer import scale_of

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".webm"})


def probe_video(path: Path, transfer: Transfer | None = None) -> Facts:
    """Return the facts of a video: its packets are read, its first frame is decoded.

    `transfer` is the user's word for a video that does not state its own. Raises SourceError where the video cannot be
    used: SDR, untagged without `transfer`, truncated.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise SourceError(f"it cannot be opened: {error.strerror or error}") from None
    return _probe(path, transfer, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _probe(path: Path, transfer: Transfer | None, size: int, changed: int) -> Facts:
    with Track(path) as track:
        container_tags = _check_header(track)
        index = index_of(path)
        _, frame = next(track.decode_from(index, 0), (0, None))
        if frame is None:
            raise SourceError("it is damaged: no frame of it can be decoded")
        return _facts(frame, container_tags, transfer, len(index.times))


def read_video(path: Path, frames: Sequence[int], transfer: Transfer | None = None) -> Iterator[tuple[int, Picture]]:
    """Yield the frames of these ascending numbers, each with its number, decoding from the key frame before each.

    One frame is held at a time, whatever the length. Raises SourceError at the first frame that is missing or damaged.
    """
    if list(frames) != sorted(set(frames)):
        raise ValueError("the numbers of frames must ascend")
    facts, index = probe_video(path, transfer), index_of(path)
    if frames and not 0 <= frames[0] <= frames[-1] < facts.frames:
        raise SourceError(f"it has {facts.frames} frames, and none of number {frames[-1]}")
    with Track(path) as track:
        container_tags = _check_header(track)
        for key, numbers in index.groups(frames):
            decoded = track.decode_from(index, key)
            for number in numbers:
                picture = _picture(_find(decoded, index, number), container_tags, transfer, facts.frames)
                if picture.facts != facts:
                    raise SourceError(f"from frame {number} or before it has another size or coding; split it there")
                yield number, picture


def _check_header(track: Track) -> Tags:
    context = track.stream.codec_context
    check_dimensions(context.width, context.height)
    return read_tags(context)


def _find(decoded: Iterator[tuple[int, av.VideoFrame]], index: Index, number: int) -> av.VideoFrame:
    wanted = int(index.times[number])
    for time, frame in decoded:
        if time == wanted:
            return frame
        if time > wanted:
            break
    raise SourceError(f"it is damaged: frame {number} is missing")


def _picture(frame: av.VideoFrame, container: Tags, transfer: Transfer | None, count: int) -> Picture:
    facts = _facts(frame, container, transfer, count)
    tags = merge_tags(read_tags(frame), container)
    coding = coding_of(tags, frame.format.name, _bits(frame), transfer)
    pixels = as_displayed(frame_to_light(frame, coding), display_matrix(frame))
    return Picture(pixels, facts, chromaticities_of(tags, coding.transfer))


def _facts(frame: av.VideoFrame, container: Tags, transfer: Transfer | None, count: int) -> Facts:
    tags = merge_tags(read_tags(frame), container)
    coding = coding_of(tags, frame.format.name, _bits(frame), transfer)
    is_upright = display_matrix(frame)[0] != 0
    span = "full" if coding.full_range else "limited"
    width, height = (frame.width, frame.height) if is_upright else (frame.height, frame.width)
    return Facts(
        width=width,
        height=height,
        transfer=coding.transfer,
        primaries=name_primaries(chromaticities_of(tags, coding.transfer)),
        scale=scale_of(coding.transfer),
        kind="video",
        frames=count,
        details=(("samples", f"{frame.format.name}, {span} range, matrix {coding.matrix}"),),
    )


def _bits(frame: av.VideoFrame) -> int:
    return max(component.bits for component in frame.format.components)


def display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """Return the signs of (a, b, c, d): a stored point (x, y) is shown at (a x + c y, b x + d y) (ISO/IEC 14496-12)."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(data, SideData):
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(memoryview(data), np.dtype("<i4"), 5).tolist()
    signs = int(np.sign(a)), int(np.sign(b)), int(np.sign(c)), int(np.sign(d))
    if abs(signs[0] * signs[3]) + abs(signs[1] * signs[2]) != 1 or sum(map(abs, signs)) != 2:
        raise SourceError("it is shown rotated by an angle that is no multiple of 90 degrees; convert it upright")
    return signs


def as_displayed(pixels: FloatImage, matrix: tuple[int, int, int, int]) -> FloatImage:
    """Return a picture as its display matrix has it shown: a view."""
    a, b, c, d = matrix
    if not a:
        pixels = pixels.swapaxes(0, 1)
    return pixels[:: d or b, :: a or c]
