"""AVIF stills of 10 and 12 bits: PQ, HLG, or as the user says.

FFmpeg decodes the picture; its planes become light as those of HDR video do.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import av
import numpy as np

from pipeline.color import name_primaries
from pipeline.errors import SourceError
from pipeline.frames.avifitem import AvifItem, parse_avif
from pipeline.frames.limits import MAX_PIXELS, check_dimensions
from pipeline.frames.opening import open_bytes, read_head
from pipeline.frames.picture import Picture
from pipeline.frames.planes import frame_to_light
from pipeline.frames.tags import Tags, chromaticities_of, coding_of, merge_tags, read_tags
from pipeline.records import Facts, FloatImage, Transfer
from pipeline.transfer import scale_of

MAX_HEADER_BYTES = 2**22
MAX_CODED_BYTES = 2**28

_FULL_RANGE, _LIMITED_RANGE = 2, 1  # FFmpeg's numbers
_UNSAID = Tags(2, 2, 2, 0)


def probe_avif(path: Path, transfer: Transfer | None = None) -> Facts:
    """Return the facts of a still; it is decoded, since its coded bytes alone say how many bits it has."""
    item, frame = decode_avif(path)
    return _facts(item, avif_tags(item, frame), transfer, frame)


def read_avif(path: Path, transfer: Transfer | None = None) -> Picture:
    """Decode an AVIF still, in its own primaries; `transfer` is the user's word for a file that does not say it."""
    item, frame = decode_avif(path)
    tags = avif_tags(item, frame)
    facts = _facts(item, tags, transfer, frame)
    coding = coding_of(tags, frame.format.name, _bits(frame), transfer)
    pixels = as_displayed(frame_to_light(frame, coding), item)
    return Picture(pixels, facts, chromaticities_of(tags, coding.transfer))


def as_displayed(pixels: FloatImage, item: AvifItem) -> FloatImage:
    """Return a picture turned and mirrored as its properties say (ISO/IEC 23008-12, 6.5.10 and 6.5.12)."""
    pixels = np.rot90(pixels, item.quarter_turns)
    if item.mirror is None:
        return pixels
    return pixels[:, ::-1] if item.mirror else pixels[::-1]


def _facts(item: AvifItem, tags: Tags, transfer: Transfer | None, frame: av.VideoFrame) -> Facts:
    coding = coding_of(tags, frame.format.name, _bits(frame), transfer)
    primaries = name_primaries(chromaticities_of(tags, coding.transfer))
    width, height = (item.height, item.width) if item.quarter_turns % 2 else (item.width, item.height)
    return Facts(width, height, coding.transfer, primaries, scale_of(coding.transfer))


def avif_tags(item: AvifItem, frame: av.VideoFrame) -> Tags:
    """Return what the file says of the colours, and what the picture itself says where the file is silent."""
    said = _UNSAID
    if item.nclx is not None:
        primaries, transfer, matrix, full = item.nclx
        said = Tags(transfer, primaries, matrix, _FULL_RANGE if full else _LIMITED_RANGE)
    return merge_tags(said, read_tags(frame))


def _bits(frame: av.VideoFrame) -> int:
    return max(component.bits for component in frame.format.components)


def decode_avif(path: Path) -> tuple[AvifItem, av.VideoFrame]:
    """Return what the file says of its primary picture, and that picture as coded. Raises SourceError."""
    item = parse_avif(read_head(path, MAX_HEADER_BYTES))
    check_dimensions(item.width, item.height)
    decoder = cast(av.VideoCodecContext, av.CodecContext.create("libdav1d", "r"))
    # A worker is one process among many; and what is coded may be larger than the file says.
    decoder.thread_count, decoder.options = 1, {"max_pixels": str(MAX_PIXELS)}
    try:
        frames = [*decoder.decode(av.Packet(_coded_bytes(path, item))), *decoder.decode(None)]
    except av.FFmpegError as error:
        raise SourceError(f"its pixels cannot be read, the file is damaged ({error.strerror})") from None
    if not frames:
        raise SourceError("its pixels cannot be read, the file is damaged")
    if (frames[0].width, frames[0].height) != (item.width, item.height):
        raise SourceError(f"its picture has not the {item.width}x{item.height} pixels of its header, it is damaged")
    return item, frames[0]


def _coded_bytes(path: Path, item: AvifItem) -> bytes:
    if sum(max(end - begin, 0) for begin, end in item.extents) > MAX_CODED_BYTES:
        raise SourceError(f"its header gives its picture more than the {MAX_CODED_BYTES} bytes that are accepted")
    pieces = []
    with open_bytes(path) as stream:
        for begin, end in item.extents:
            stream.seek(begin)
            pieces.append(stream.read(end - begin))
            if len(pieces[-1]) != end - begin:
                raise SourceError("its pixels are truncated: the file ends before they do")
    return b"".join(pieces)
