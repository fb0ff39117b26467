"""JPEG XL stills: float, half and whole numbers of more than 8 bits, lossless and lossy, by OpenImageIO.

A codestream says its colour space itself, and the decoder applies its orientation. OpenImageIO decodes the picture
when it opens the file, so the size is read here, before any memory is taken.
"""

from __future__ import annotations

from pathlib import Path

import OpenImageIO as oiio

from pipeline.errors import SourceError
from pipeline.frames.boxes import boxes
from pipeline.frames.coding import Coding, from_code_points, icc_chromaticities, stated, to_linear
from pipeline.frames.limits import check_dimensions
from pipeline.frames.opening import opened, read_channels, read_head
from pipeline.frames.picture import Picture
from pipeline.records import Facts, Transfer

MAX_HEADER_BYTES = 2**22  # metadata that may lie before the picture

_CODESTREAM = b"\xff\x0a"  # ISO/IEC 18181-1, Annex D
_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"  # ISO/IEC 18181-2, 9.1
_PICTURE_BOXES = {b"jxlc", b"jxlp"}
_FLOATS = {oiio.HALF, oiio.FLOAT}
_SIZE_BYTES = 9  # 68 bits at most
# ISO/IEC 18181-1, Table D.3: width over height
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


def probe_jxl(path: Path, transfer: Transfer | None = None) -> Facts:
    """Return what the header says; `transfer` is what the user states for files that do not say it."""
    check_dimensions(*read_size(path))
    with opened(path, "JPEG XL", (_CODESTREAM, _CONTAINER)) as source:
        return _coding(source.spec(), transfer).facts(source.spec().width, source.spec().height)


def read_jxl(path: Path, transfer: Transfer | None = None) -> Picture:
    """Decode a JPEG XL still, in the primaries of its colour space."""
    check_dimensions(*read_size(path))
    with opened(path, "JPEG XL", (_CODESTREAM, _CONTAINER)) as source:
        spec = source.spec()
        coding = _coding(spec, transfer)
        values = read_channels(source, "float" if spec.format.basetype in _FLOATS else "uint16")
        facts = coding.facts(spec.width, spec.height)
        return Picture(to_linear(values, coding.transfer), facts, coding.chromaticities)


def read_size(path: Path) -> tuple[int, int]:
    """Return width and height as stored, from the first bits of the codestream (ISO/IEC 18181-1, D.2)."""
    head = _codestream(read_head(path, MAX_HEADER_BYTES))[2:24]
    if len(head) < _SIZE_BYTES:
        raise SourceError("its header is truncated: it ends before its size")
    bits = _Bits(head)
    small = bits.take(1)
    height = _length(bits, small)
    ratio = bits.take(3)
    if ratio:
        times, over = _RATIOS[ratio]
        return height * times // over, height
    return _length(bits, small), height


def _coding(spec: oiio.ImageSpec, transfer: Transfer | None) -> Coding:
    if spec.format.basetype not in {*_FLOATS, oiio.UINT16}:
        raise SourceError("it is 8-bit: not HDR")
    points = spec.getattribute("CICP")
    if isinstance(points, tuple) and len(points) == 4:
        # Of a grey picture no primaries are given, and any of the same white do.
        return from_code_points(points[0] if spec.nchannels >= 3 else 1, points[1])
    return stated(transfer, "a JPEG XL file with a colour profile of its own", icc_chromaticities(spec))


def _codestream(head: bytes) -> bytes:
    """Return the beginning of the codestream, bare or from the boxes that hold its parts."""
    if head.startswith(_CODESTREAM):
        return head
    if not head.startswith(_CONTAINER):
        raise SourceError("it is not a JPEG XL file, whatever its name says")
    # A partial box begins with its number, and may end anywhere.
    parts = [content[4:] if name == b"jxlp" else content for name, content in boxes(head) if name in _PICTURE_BOXES]
    stream = b"".join(parts)
    if stream.startswith(_CODESTREAM):
        return stream
    raise SourceError("its header is truncated or damaged: no picture follows")


class _Bits:
    """Bits of a codestream, each byte from its lowest."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        return value


def _length(bits: _Bits, small: int) -> int:
    return (bits.take(5) + 1) * 8 if small else bits.take((9, 13, 18, 30)[bits.take(2)]) + 1
