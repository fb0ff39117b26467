"""The boxes of ISO/IEC 14496-12, 4.2, in which JPEG XL and AVIF files wrap their pictures."""

from __future__ import annotations

from collections.abc import Iterator


def boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of each box: a size, a name, and a longer size where the first one is 1.

    The last box may be cut off; size 0 is one that goes to the end.
    """
    at = 0
    while at + 8 <= len(content):
        size, name, begin = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8], at + 8
        if size == 1:
            size, begin = int.from_bytes(content[at + 8 : at + 16], "big"), at + 16
        end = at + size if size else len(content)
        if end < begin:
            return
        yield name, content[begin:end]
        at = end


def find_box(content: bytes, name: bytes) -> bytes | None:
    """Return the content of the first box of this name, None where there is none."""
    return next((inner for found, inner in boxes(content) if found == name), None)
