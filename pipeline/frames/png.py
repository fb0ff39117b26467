"""16-bit PNG stills whose transfer function is known: from their cICP chunk (PNG third edition, 11.3.2.6), or stated.

The chunks sRGB, gAMA and iCCP do not count: many programs write them around values of any kind.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import OpenImageIO as oiio

from pipeline.errors import SourceError
from pipeline.frames.coding import Coding, from_code_points, icc_chromaticities, stated, to_linear
from pipeline.frames.limits import check_dimensions
from pipeline.frames.opening import open_bytes, opened, read_channels, read_head
from pipeline.frames.orientation import displayed_size, orientation_of, turn
from pipeline.frames.picture import Picture
from pipeline.records import Facts, Transfer

MAX_HEADER_BYTES = 2**22  # profiles and text before the pixels

_PIECE = 2**20  # bytes read at once
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class PngHeader:
    """What the chunks before the pixels say; `cicp` is primaries, transfer, matrix and full-range flag."""

    width: int
    height: int
    bits: int
    cicp: tuple[int, int, int, int] | None


def probe_png(path: Path, transfer: Transfer | None = None) -> Facts:
    """Return what the header says; `transfer` is what the user states for files that do not say it."""
    header = read_header(path)
    with opened(path, "PNG", (PNG_MAGIC,)) as source:
        return _facts(source.spec(), _coding(header, source.spec(), transfer))


def read_png(path: Path, transfer: Transfer | None = None) -> Picture:
    """Decode a 16-bit PNG still."""
    header = read_header(path)
    _check_whole(path)
    with opened(path, "PNG", (PNG_MAGIC,)) as source:
        spec = source.spec()
        coding = _coding(header, spec, transfer)
        codes = turn(read_channels(source, "uint16"), orientation_of(spec))
        return Picture(to_linear(codes, coding.transfer), _facts(spec, coding), coding.chromaticities)


def read_header(path: Path) -> PngHeader:
    """Return what the chunks before the pixels say; raises SourceError where they are damaged, or it is 8-bit."""
    head = read_head(path, MAX_HEADER_BYTES)
    if not head.startswith(PNG_MAGIC):
        raise SourceError("it is not a PNG file, whatever its name says")
    chunks = read_chunks(head)
    size = chunks.get(b"IHDR", b"")
    if len(size) != 13:
        raise SourceError("its header is damaged: it does not begin with a size")
    width, height, bits = int.from_bytes(size[:4], "big"), int.from_bytes(size[4:8], "big"), size[8]
    check_dimensions(width, height)
    if bits != 16:
        raise SourceError(f"it is {bits}-bit: not HDR")
    return PngHeader(width, height, bits, _cicp(chunks.get(b"cICP")))


def read_chunks(head: bytes) -> dict[bytes, bytes]:
    """Return the contents of the chunks before the pixels: each is a length, a name, the content and a CRC.

    Raises SourceError where one is damaged or no pixels follow.
    """
    chunks: dict[bytes, bytes] = {}
    at = len(PNG_MAGIC)
    while head[at + 4 : at + 8] != b"IDAT":
        length, name = int.from_bytes(head[at : at + 4], "big"), head[at + 4 : at + 8]
        end = at + 8 + length
        if end + 4 > len(head) or name == b"IEND":
            raise SourceError("its header is truncated or damaged: no pixels follow")
        if zlib.crc32(head[at + 4 : end]) != int.from_bytes(head[end : end + 4], "big"):
            raise SourceError("its header is damaged: the checksum of a chunk is wrong")
        chunks.setdefault(name, head[at + 8 : end])
        at = end + 4
    return chunks


def _check_whole(path: Path) -> None:
    """Refuse a file that ends too early, or a chunk whose CRC is wrong: the decoder would write about it on stderr."""
    with open_bytes(path) as stream:
        stream.seek(len(PNG_MAGIC))
        name = b""
        while name != b"IEND":
            length, name = int.from_bytes(stream.read(4), "big"), stream.read(4)
            checksum = zlib.crc32(name)
            while length and (piece := stream.read(min(length, _PIECE))):
                checksum = zlib.crc32(piece, checksum)
                length -= len(piece)
            if length or stream.read(4) != checksum.to_bytes(4, "big"):
                raise SourceError("its pixels are truncated or damaged: the checksum of a chunk is wrong or missing")


def _cicp(content: bytes | None) -> tuple[int, int, int, int] | None:
    if content is None:
        return None
    if len(content) != 4:
        raise SourceError("its header is damaged: the chunk cICP has not four bytes")
    primaries, transfer, matrix, full_range = content
    if matrix != 0 or full_range != 1:
        raise SourceError("its cICP chunk tells of another matrix than RGB, or of limited range, which is not read")
    return primaries, transfer, matrix, full_range


def _facts(spec: oiio.ImageSpec, coding: Coding) -> Facts:
    return coding.facts(*displayed_size(spec.width, spec.height, orientation_of(spec)))


def _coding(header: PngHeader, spec: oiio.ImageSpec, transfer: Transfer | None) -> Coding:
    if header.cicp is not None:
        return from_code_points(header.cicp[0], header.cicp[1])
    return stated(transfer, "a 16-bit PNG without a cICP chunk", icc_chromaticities(spec))
