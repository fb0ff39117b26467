"""What a gain map's numbers mean: the metadata of Ultra HDR photographs, in XMP (Android) or binary (ISO 21496-1).

Gains are base-2 logarithms, offsets are light with 1.0 the white of the 8-bit picture; one number a channel.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, fields

from pipeline.errors import SourceError
from pipeline.frames.jpeg import ISO_GAIN_MAP, XMP, Jpeg

Triple = tuple[float, float, float]

MAX_STOPS = 64.0  # of gain, up or down: float32 holds 127

_MANY_CHANNELS, _BASE_PRIMARIES, _COMMON_DENOMINATOR, _BASE_IS_HDR = 0x80, 0x40, 0x08, 0x04
_DAMAGED = "the metadata of its gain map are damaged"
_HDR_BASE = "its 8-bit picture is the HDR one and its gain map leads down from it, which is not read"


@dataclass(frozen=True, slots=True)
class GainMetadata:
    """How to apply a gain map; `in_base_primaries` says in whose primaries, else in those of the map's profile."""

    minimum: Triple
    maximum: Triple
    gamma: Triple
    offset_sdr: Triple
    offset_hdr: Triple
    in_base_primaries: bool = True

    def __post_init__(self) -> None:
        """Refuse what no writer means: such numbers would make infinite light."""
        numbers = [getattr(self, field.name) for field in fields(self) if field.name != "in_base_primaries"]
        sane = all(math.isfinite(value) and abs(value) <= MAX_STOPS for triple in numbers for value in triple)
        if not sane or any(value < 1 / MAX_STOPS for value in self.gamma):
            raise SourceError(_DAMAGED)
        if any(high < low for low, high in zip(self.minimum, self.maximum, strict=True)):
            raise SourceError(_DAMAGED)


def signals_gain_map(base: Jpeg) -> bool:
    """Say whether the first picture of a file announces a gain map."""
    return bool(base.tagged(ISO_GAIN_MAP)) or any(b"hdrgm:Version" in xmp for xmp in base.tagged(XMP))


def parse_gain_metadata(gain: Jpeg) -> GainMetadata:
    """Return the metadata in the gain map's own picture; the ISO form counts where both are there."""
    for body in gain.tagged(ISO_GAIN_MAP):
        return _parse_iso(body)
    for xmp in gain.tagged(XMP):
        if b"hdrgm:GainMapMax" in xmp:
            return _parse_xmp(xmp.decode("utf-8", "replace"))
    raise SourceError("the second picture of the file has no gain map's metadata")


def _parse_xmp(text: str) -> GainMetadata:
    if re.search(r"hdrgm:BaseRenditionIsHDR\s*(=\s*[\"']|>)\s*True", text):
        raise SourceError(_HDR_BASE)
    # Defaults: Android, "Ultra HDR Image Format", table of the gain map metadata
    return GainMetadata(
        minimum=_numbers(text, "GainMapMin", 0.0),
        maximum=_numbers(text, "GainMapMax", None),
        gamma=_numbers(text, "Gamma", 1.0),
        offset_sdr=_numbers(text, "OffsetSDR", 1 / 64),
        offset_hdr=_numbers(text, "OffsetHDR", 1 / 64),
    )


def _numbers(text: str, name: str, default: float | None) -> Triple:
    """Return one or three numbers of an attribute, or of an element with or without a list."""
    match = re.search(rf"hdrgm:{name}\s*=\s*[\"']([^\"']*)|<hdrgm:{name}\b[^>]*>(.*?)</hdrgm:{name}>", text, re.DOTALL)
    if match is None:
        values = [] if default is None else [default]
    else:
        words = [match[1]] if match[1] is not None else re.findall(r"<rdf:li>(.*?)</rdf:li>", match[2], re.DOTALL)
        try:
            values = [float(word) for word in words or [match[2]]]
        except ValueError:
            values = []
    if len(values) not in {1, 3}:
        raise SourceError(_DAMAGED)
    return _triple(values)


def _triple(values: Sequence[float]) -> Triple:
    red, green, blue = (values[0],) * 3 if len(values) == 1 else values
    return red, green, blue


def _parse_iso(body: bytes) -> GainMetadata:
    """Read two versions, flags, the two headrooms, then five fractions a channel (ISO 21496-1, Annex C)."""
    try:
        _check_version(*struct.unpack_from(">H", body))
        flags = body[4]
        channels = 3 if flags & _MANY_CHANNELS else 1
        rows = _common_fractions(body, channels) if flags & _COMMON_DENOMINATOR else _fractions(body, channels)
    except (struct.error, IndexError, ZeroDivisionError):
        raise SourceError(_DAMAGED) from None
    if flags & _BASE_IS_HDR:
        raise SourceError(_HDR_BASE)
    minimum, maximum, gamma, offset_sdr, offset_hdr = (_triple(values) for values in zip(*rows, strict=True))
    return GainMetadata(minimum, maximum, gamma, offset_sdr, offset_hdr, bool(flags & _BASE_PRIMARIES))


def _check_version(version: int) -> None:
    if version != 0:
        raise SourceError(f"the metadata of its gain map need a reader of version {version} of ISO 21496-1")


def _common_fractions(body: bytes, channels: int) -> list[tuple[float, ...]]:
    (denominator,) = struct.unpack_from(">I", body, 5)
    rows = [struct.unpack_from(">iiIii", body, 17 + 20 * channel) for channel in range(channels)]
    return [tuple(value / denominator for value in row) for row in rows]


def _fractions(body: bytes, channels: int) -> list[tuple[float, ...]]:
    rows = [struct.unpack_from(">iIiIIIiIiI", body, 21 + 40 * channel) for channel in range(channels)]
    return [tuple(row[k] / row[k + 1] for k in range(0, 10, 2)) for row in rows]
