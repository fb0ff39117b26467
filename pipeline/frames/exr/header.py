"""The headers of an OpenEXR file, read without a library: what each part holds, before any memory is taken for it.

OpenImageIO opens no file that has subsampled channels in its first part, and OpenEXR's own bindings decode whole files;
so which picture to read, and by which of them, is decided here. File layout: OpenEXR, "OpenEXR File Layout".

Legend: W, H width and height of a data window in pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.color import Chromaticities
from pipeline.errors import SourceError
from pipeline.frames.limits import MAX_CHANNELS, MAX_PARTS

MAX_ATTRIBUTES = 1024  # of one part; real files have tens
MAX_ALL_CHANNELS = 2**16  # of all parts
MAX_VALUE_BYTES = 2**19  # of an attribute that is kept: 1024 channels of the longest names take 2.8e5

# Rows of a chunk by compression (OpenEXR, "OpenEXR File Layout"): none, RLE, ZIPS, ZIP, PIZ, PXR24, B44, B44A, DWAA,
# DWAB, HTJ2K256, HTJ2K32, LJ2K, ZSTD (the last four as OpenEXR 3.5 writes them).
CHUNK_ROWS = (1, 1, 1, 16, 32, 16, 32, 32, 32, 256, 256, 32, 256, 1)

_MAGIC = b"\x76\x2f\x31\x01"
_TILED, _DEEP, _MULTI_PART = 0x200, 0x800, 0x1000  # flags beside the version number
_UINT = 0  # pixel type

Value = tuple[str, bytes]  # type and content of an attribute


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel; it has a sample wherever x and y are multiples of `sampling` (x, y)."""

    name: str
    uint: bool
    sampling: tuple[int, int]
    bytes: int  # of one sample: 2 or 4


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a file. `window` is its data window (left, top, right, bottom), inclusive; `display` the other one.

    `views` are the names of the multiView attribute, the default view first; `view` is the part's own or "".
    `white_luminance` is that of RGB (1, 1, 1) in cd/m2, None where the file does not say. `chunks` is the number of
    chunks where the header states it.
    """

    index: int
    name: str
    view: str
    views: tuple[str, ...]
    deep: bool
    channels: tuple[Channel, ...]
    window: tuple[int, int, int, int]
    display: tuple[int, int, int, int] | None
    compression: int
    chromaticities: Chromaticities | None
    white_luminance: float | None
    chunks: int | None

    @property
    def width(self) -> int:
        """The width of the data window in pixels."""
        return self.window[2] - self.window[0] + 1

    @property
    def height(self) -> int:
        """The height of the data window in pixels."""
        return self.window[3] - self.window[1] + 1

    @property
    def chunk_rows(self) -> int | None:
        """The rows of one chunk where the part is stored by scanlines, None for an unknown compression."""
        return CHUNK_ROWS[self.compression] if self.compression < len(CHUNK_ROWS) else None


@dataclass(frozen=True, slots=True)
class Header:
    """All parts of a file; `end` is the position of the first chunk offset table."""

    parts: tuple[Part, ...]
    multi_part: bool
    end: int


def read_header(path: Path) -> Header:
    """Return the headers of an EXR file; raises SourceError where it is none, is cut short or asks for too much."""
    try:
        with path.open("rb") as stream:
            return _read_header(stream)
    except OSError as error:
        raise SourceError(f"it cannot be opened: {error.strerror or error}") from error


def damaged_header(what: str) -> SourceError:
    """Return the error for a header that cannot be understood."""
    return SourceError(f"its header cannot be read, the file is damaged ({what})")


def _read_header(stream: BinaryIO) -> Header:
    if stream.read(len(_MAGIC)) != _MAGIC:
        raise SourceError("it is not an OpenEXR file, whatever its name says")
    (version,) = struct.unpack("<I", _take(stream, 4))
    if version & 0xFF != 2:
        raise damaged_header(f"it names version {version & 0xFF} of the format")
    multi_part = bool(version & _MULTI_PART)
    parts: list[Part] = []
    while attributes := _attributes(stream):
        if len(parts) == MAX_PARTS:
            raise SourceError(f"it has more parts than the {MAX_PARTS} that are accepted")
        parts.append(_part(len(parts), attributes, version))
        if sum(len(part.channels) for part in parts) > MAX_ALL_CHANNELS:
            raise SourceError(f"its parts have more channels than the {MAX_ALL_CHANNELS} that are accepted")
        if not multi_part:
            break
    if not parts:
        raise damaged_header("it is empty")
    return Header(tuple(parts), multi_part, stream.tell())


def _attributes(stream: BinaryIO) -> dict[str, Value]:
    attributes: dict[str, Value] = {}
    for _ in range(MAX_ATTRIBUTES):
        name = _text(stream)
        if not name:
            return attributes
        kind = _text(stream)
        (size,) = struct.unpack("<i", _take(stream, 4))
        if size < 0:
            raise damaged_header(f"the attribute {name!a} has {size} bytes")
        if name in _KEPT:
            if size > MAX_VALUE_BYTES:
                raise damaged_header(f"the attribute {name!a} has {size} bytes")
            attributes[name] = kind, _take(stream, size)
        else:
            stream.seek(size, 1)
            attributes.setdefault(name, (kind, b""))
    raise damaged_header(f"it has more than {MAX_ATTRIBUTES} attributes")


def _text(stream: BinaryIO) -> str:
    letters = bytearray()
    while (letter := _take(stream, 1)) != b"\0":
        letters += letter
        if len(letters) > 255:
            raise damaged_header("a name has more than 255 letters")
    return letters.decode("utf-8", "replace")


def _take(stream: BinaryIO, size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise damaged_header("it is cut short")
    return content


_KEPT = {
    "channels", "chromaticities", "chunkCount", "compression", "dataWindow", "displayWindow", "multiView", "name",
    "type", "view", "whiteLuminance",
}  # fmt: skip


def _part(index: int, attributes: dict[str, Value], version: int) -> Part:
    def string(name: str) -> str:
        kind, content = attributes.get(name, ("", b""))
        return content.decode("utf-8", "replace") if kind == "string" else ""

    required = {"channels": "chlist", "compression": "compression", "dataWindow": "box2i"}
    for name, kind in required.items():
        if attributes.get(name, ("", b""))[0] != kind:
            raise damaged_header(f"it has no attribute {name} of type {kind}")
    compression = attributes["compression"][1]
    if len(compression) != 1:
        raise damaged_header("its compression is not one byte")
    window = _box(attributes, "dataWindow") or (0, 0, -1, -1)
    luminance = _numbers(attributes, "whiteLuminance", "float", "<f")
    chunks = _numbers(attributes, "chunkCount", "int", "<i")
    return Part(
        index=index,
        name=string("name"),
        view=string("view"),
        views=tuple(_string_vector(attributes)),
        deep=string("type").startswith("deep") or bool(version & _DEEP and not string("type")),
        channels=_channels(attributes["channels"][1]),
        window=window,
        display=_box(attributes, "displayWindow"),
        compression=compression[0],
        chromaticities=_chromaticities(attributes),
        white_luminance=luminance[0] if luminance else None,
        chunks=int(chunks[0]) if chunks else None,
    )


def _box(attributes: dict[str, Value], name: str) -> tuple[int, int, int, int] | None:
    values = _numbers(attributes, name, "box2i", "<4i")
    if values is None:
        return None
    left, top, right, bottom = map(int, values)
    return left, top, right, bottom


def _numbers(attributes: dict[str, Value], name: str, kind: str, layout: str) -> tuple[float, ...] | None:
    found, content = attributes.get(name, ("", b""))
    if found != kind or len(content) != struct.calcsize(layout):
        return None
    return struct.unpack(layout, content)


def _chromaticities(attributes: dict[str, Value]) -> Chromaticities | None:
    values = _numbers(attributes, "chromaticities", "chromaticities", "<8f")
    if values is None:
        return None
    rx, ry, gx, gy, bx, by, wx, wy = values
    return rx, ry, gx, gy, bx, by, wx, wy


def _string_vector(attributes: dict[str, Value]) -> Iterator[str]:
    kind, content = attributes.get("multiView", ("", b""))
    while kind == "stringvector" and len(content) >= 4:
        length = struct.unpack("<i", content[:4])[0]
        if not 0 <= length <= len(content) - 4:
            return
        yield content[4 : 4 + length].decode("utf-8", "replace")
        content = content[4 + length :]


def _channels(content: bytes) -> tuple[Channel, ...]:
    channels: list[Channel] = []
    position = 0
    while position < len(content) and content[position] != 0:
        end = content.find(b"\0", position)
        if end < 0 or end + 17 > len(content):
            raise damaged_header("its list of channels is cut short")
        kind, _, x, y = struct.unpack("<iIii", content[end + 1 : end + 17])
        if kind not in (0, 1, 2) or x < 1 or y < 1:
            raise damaged_header("its list of channels makes no sense")
        name = content[position:end].decode("utf-8", "replace")
        channels.append(Channel(name, kind == _UINT, (x, y), 2 if kind == 1 else 4))
        if len(channels) > MAX_CHANNELS:
            raise SourceError(f"its header gives more channels than the {MAX_CHANNELS} that are accepted")
        position = end + 17
    return tuple(channels)
