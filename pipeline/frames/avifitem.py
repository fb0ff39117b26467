"""The primary picture of an AVIF file (ISO/IEC 23008-12; AV1 Image File Format): its coded bytes and its properties."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.errors import SourceError
from pipeline.frames.boxes import boxes, find_box

_DAMAGED = "its header is truncated or damaged"
_PROFILE = b"colr prof"


@dataclass(frozen=True, slots=True)
class AvifItem:
    """What the file says of its primary picture.

    width, height  as coded, in pixels
    extents        (begin, end) of its coded bytes, from the beginning of the file
    nclx           primaries, transfer, matrix (ITU-T H.273) and full-range flag; None where not given
    quarter_turns  to be turned counterclockwise, before it is mirrored
    mirror         0 top and bottom are exchanged, 1 left and right; None neither
    icc            its colour profile; None where there is none
    """

    width: int
    height: int
    extents: list[tuple[int, int]]
    nclx: tuple[int, int, int, bool] | None
    quarter_turns: int
    mirror: int | None
    icc: bytes | None = None


def parse_avif(head: bytes) -> AvifItem:
    """Return the primary picture of a file by its boxes `ftyp` and `meta`."""
    kind = find_box(head, b"ftyp")
    if kind is None or not {b"avif", b"avis"} & {kind[at : at + 4] for at in range(0, len(kind), 4)}:
        raise SourceError("it is not an AVIF file, whatever its name says")
    meta = find_box(head, b"meta")
    if meta is None:
        raise SourceError(f"{_DAMAGED}: it describes no picture")
    try:
        return _parse_meta(meta[4:])
    except (struct.error, IndexError):
        raise SourceError(_DAMAGED) from None


def _parse_meta(meta: bytes) -> AvifItem:
    primary = find_box(meta, b"pitm") or b""
    number = _Reader(primary).version_and(lambda reader, version: reader.take(2 if version == 0 else 4))
    kind = _item_types(find_box(meta, b"iinf") or b"").get(number)
    if kind != b"av01":
        raise SourceError(f"its picture is of kind {kind or b'none'!r}, not one AV1 picture; convert it to one")
    properties = dict(_properties(find_box(meta, b"iprp") or b"", number))
    if b"clap" in properties:
        raise SourceError("it is to be cropped for display, which is not read; crop it")
    width, height = struct.unpack_from(">II", properties.get(b"ispe", b""), 4)
    turns, mirror = properties.get(b"irot", b"\0"), properties.get(b"imir")
    return AvifItem(
        width,
        height,
        _extents(find_box(meta, b"iloc") or b"", number),
        _nclx(properties.get(b"colr", b"")),
        turns[0] & 3,
        None if mirror is None else mirror[0] & 1,
        properties.get(_PROFILE),
    )


def _nclx(content: bytes) -> tuple[int, int, int, bool] | None:
    if content[:4] != b"nclx":
        return None
    primaries, transfer, matrix, flags = struct.unpack_from(">HHHB", content, 4)
    return primaries, transfer, matrix, bool(flags & 0x80)


def _item_types(content: bytes) -> dict[int, bytes]:
    """Return the kind of each item (`iinf`): a count, then boxes `infe` of version 2 (short numbers) or 3."""
    types = {}
    for name, entry in boxes(content[6 if content[0] == 0 else 8 :]):
        if name == b"infe" and entry[0] >= 2:
            size = 2 if entry[0] == 2 else 4
            types[int.from_bytes(entry[4 : 4 + size], "big")] = entry[6 + size : 10 + size]
    return types


def _properties(content: bytes, number: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of the properties that `ipma` assigns to an item, out of those that `ipco` lists.

    A colour box holds code points, or a profile, which is named `_PROFILE` here; a picture may have both.
    """
    known = list(boxes(find_box(content, b"ipco") or b""))
    for index in _associations(find_box(content, b"ipma") or b"", number):
        if 1 <= index <= len(known):
            name, inner = known[index - 1]
            if name == b"colr" and inner[:4] in {b"prof", b"rICC"}:
                yield _PROFILE, inner[4:]
            elif name != b"colr" or inner[:4] == b"nclx":
                yield name, inner


def _associations(content: bytes, number: int) -> list[int]:
    reader = _Reader(content)
    version, flags = reader.take(1), reader.take(3)
    found: list[int] = []
    for _ in range(reader.take(4)):
        item = reader.take(4 if version else 2)
        wide = flags & 1
        indices = [reader.take(2 if wide else 1) & (0x7FFF if wide else 0x7F) for _ in range(reader.take(1))]
        if item == number:
            found += indices
    return found


def _extents(content: bytes, number: int) -> list[tuple[int, int]]:
    """Return where the bytes of an item lie (`iloc`); only those in the file itself are read."""
    reader = _Reader(content)
    version, _ = reader.take(1), reader.take(3)
    sizes = reader.take(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    for _ in range(reader.take(4 if version == 2 else 2)):
        item = reader.take(4 if version == 2 else 2)
        method = reader.take(2) & 15 if version else 0
        reader.take(2)  # of other files: none is read
        base = reader.take(base_size)
        extents = []
        for _ in range(reader.take(2)):
            reader.take(index_size if version else 0)
            begin = base + reader.take(offset_size)
            extents.append((begin, begin + reader.take(length_size)))
        if item == number:
            if method != 0:
                raise SourceError("its picture lies within its header, which is not read; convert it")
            return extents
    raise SourceError(f"{_DAMAGED}: it does not say where its picture lies")


class _Reader:
    """Big-endian whole numbers, one after the other."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def take(self, size: int) -> int:
        if self._at + size > len(self._content):
            raise IndexError
        self._at += size
        return int.from_bytes(self._content[self._at - size : self._at], "big")

    def version_and(self, read: Callable[[_Reader, int], int]) -> int:
        version, _ = self.take(1), self.take(3)
        return read(self, version)
