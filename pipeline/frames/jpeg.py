"""The outside of JPEG files (ITU-T T.81, Annex B): the pictures that follow each other in one file, and their segments.

Decoders fill up with grey what is missing of a picture; here it is noticed by the mark that ends it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.errors import SourceError

XMP = b"http://ns.adobe.com/xap/1.0/\0"
EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
ISO_GAIN_MAP = b"urn:iso:std:iso:ts:21496:-1\0"
MULTI_PICTURE = b"MPF\0"

_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_APP1, _APP2 = 0xE1, 0xE2
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame: it holds the size
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
# In the coded data FF is followed by 0, or is one of the marks between which decoding can start anew.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_FILLED_MARKER = re.compile(rb"\xff*" + _MARKER.pattern, re.DOTALL)  # searched for, it would take quadratic time


@dataclass(frozen=True, slots=True)
class Jpeg:
    """One picture: `content` from its start to its end; `segments` (marker, start, end) until the first scan."""

    content: bytes
    segments: list[tuple[int, int, int]]
    width: int
    height: int

    def tagged(self, tag: bytes) -> list[bytes]:
        """Return what follows a tag in the segments APP1 and APP2 that begin with it."""
        bodies = [self.content[start + 4 : end] for marker, start, end in self.segments if marker in {_APP1, _APP2}]
        return [body[len(tag) :] for body in bodies if body.startswith(tag)]

    def plain(self) -> bytes:
        """Return the picture as a file of its own, without the segments that tell of others."""
        others = (XMP, EXTENDED_XMP, ISO_GAIN_MAP, MULTI_PICTURE)
        kept, at = [], 0
        for _, start, end in self.segments:
            if self.content[start + 4 : end].startswith(others):
                kept.append(self.content[at:start])
                at = end
        return b"".join([*kept, self.content[at:]])


def split_jpegs(content: bytes) -> tuple[Jpeg, Jpeg | None]:
    """Return the first picture of a file and the second, None where there is none.

    Raises SourceError where one of them is truncated.
    """
    if not content.startswith(b"\xff\xd8"):
        raise SourceError("it is not a JPEG file, whatever its name says")
    first = _picture(content, 0)
    second = content.find(b"\xff\xd8\xff", len(first.content))
    return first, None if second < 0 else _picture(content, second)


def _picture(content: bytes, begin: int) -> Jpeg:
    segments: list[tuple[int, int, int]] = []
    width = height = 0
    at, scanned = begin + 2, False
    while True:
        marker, at = _next_marker(content, at, scanned)
        if marker == _END:
            break
        if marker == _START:
            raise SourceError("its pixels are truncated: another picture begins before the end of the first")
        if marker in _STANDALONE:
            continue
        end = _segment_end(content, at)
        if marker in _FRAMES and not width:
            height, width = (int.from_bytes(content[at + k : at + k + 2], "big") for k in (3, 5))
        if not scanned:
            segments.append((marker, at - 2 - begin, end - begin))
        scanned = scanned or marker == _SCAN
        at = end
    if not scanned:
        raise SourceError("its header is damaged: it ends before its pixels")
    return Jpeg(content[begin:at], segments, width, height)


def _next_marker(content: bytes, at: int, scanned: bool) -> tuple[int, int]:
    """Return the next marker and the offset behind it; in coded data it may be far, elsewhere it is here."""
    match = _MARKER.search(content, at) if scanned else _FILLED_MARKER.match(content, at)
    if match is None:
        what = "pixels are truncated" if scanned else "header is truncated or damaged"
        raise SourceError(f"its {what}: the file holds no end of the picture")
    return match[0][-1], match.end()


def _segment_end(content: bytes, at: int) -> int:
    length = int.from_bytes(content[at : at + 2], "big")
    if length < 2 or at + length > len(content):
        raise SourceError("its header is truncated or damaged: a segment goes beyond the end of the file")
    return at + length
