"""How long a Matroska or WebM file says it is: FFmpeg reads one that was cut short to its end without a word.

A file is an EBML header and a Segment, each an identifier, a size and its content (RFC 8794, RFC 9559).
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from pipeline.errors import SourceError

_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067  # RFC 8794, Section 11.2.1; RFC 9559, Section 5.1
MAX_HEADER_BYTES = 2**20


def check_segment(path: Path) -> None:
    """Raise SourceError where a file is shorter than its Segment says; a Segment of unknown size passes."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        while True:
            element = _element(stream)
            if element is None:
                return  # not Matroska, or damaged: what reads it says so
            identifier, length = element
            if identifier == _SEGMENT:
                break
            if identifier != _EBML or length is None or length > MAX_HEADER_BYTES:
                return
            stream.seek(length, 1)
        if length is not None and stream.tell() + length > size:
            missing = stream.tell() + length - size
            raise SourceError(f"it is truncated: the last {missing} of its {stream.tell() + length} bytes are missing")


def _element(stream: BinaryIO) -> tuple[int, int | None] | None:
    """Return the identifier and the size (None: unknown) of the next element; None at the end and in garbage."""
    identifier = _variable(stream, keep_marker=True)
    length = _variable(stream, keep_marker=False)
    if identifier is None or length is None:
        return None
    return identifier[0], None if length[1] else length[0]


def _variable(stream: BinaryIO, keep_marker: bool) -> tuple[int, bool] | None:
    """Return a number of variable length and whether all its bits are set (RFC 8794, Section 4)."""
    first = stream.read(1)
    if not first or first[0] == 0:
        return None
    more = 8 - first[0].bit_length()
    rest = stream.read(more)
    if len(rest) < more:
        return None
    bits = 7 * (more + 1)
    value = int.from_bytes(first + rest, "big")
    number = value & ((1 << bits) - 1)
    return (value if keep_marker else number), number == (1 << bits) - 1
