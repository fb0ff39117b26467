"""From a file to scene-linear frames: one reading interface over all formats.

`probe` reads a header, `read_frame` decodes one picture. A reader that knows a format returns pixels in the file's own
primaries; the conversion to BT.709 and the repair of impossible pixels are the same for all and happen here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.color import XYZ, Chromaticities, name_primaries
from pipeline.errors import SourceError
from pipeline.frames.exr import probe_exr, read_exr
from pipeline.frames.pfm import read_header as read_pfm_header
from pipeline.frames.pfm import read_pfm
from pipeline.frames.picture import Picture
from pipeline.frames.radiance import RadianceHeader, read_radiance
from pipeline.frames.radiance import read_header as read_radiance_header
from pipeline.frames.repair import repair
from pipeline.records import Facts, Frame

__all__ = ["READABLE", "UNREADABLE", "Picture", "probe", "read_frame"]


@dataclass(frozen=True, slots=True)
class _Format:
    probe: Callable[[Path], Facts]
    read: Callable[[Path], Picture]


def _radiance_facts(header: RadianceHeader) -> Facts:
    primaries = name_primaries(_radiance_chromaticities(header))
    return Facts(width=header.width, height=header.height, primaries=primaries)


def _radiance_chromaticities(header: RadianceHeader) -> Chromaticities | None:
    return XYZ if header.format == "xyze" else header.primaries


def _probe_radiance(path: Path) -> Facts:
    return _radiance_facts(read_radiance_header(path))


def _read_radiance(path: Path) -> Picture:
    pixels, header = read_radiance(path)
    return Picture(pixels, _radiance_facts(header), _radiance_chromaticities(header))


def _probe_pfm(path: Path) -> Facts:
    header = read_pfm_header(path)
    return Facts(width=header.width, height=header.height)


def _read_pfm(path: Path) -> Picture:
    return Picture(read_pfm(path), _probe_pfm(path))


_RADIANCE = _Format(_probe_radiance, _read_radiance)
_FORMATS = {
    ".exr": _Format(probe_exr, read_exr),
    ".hdr": _RADIANCE,
    ".pic": _RADIANCE,
    ".pfm": _Format(_probe_pfm, _read_pfm),
}

READABLE = frozenset(_FORMATS)
# Suffixes of HDR sources that other tools write and this version does not read: listed with a reason, never ignored.
UNREADABLE = frozenset({".tif", ".tiff", ".jxl", ".mp4", ".mov", ".mkv", ".webm"})


def probe(path: Path) -> Facts:
    """Return what the header of a source says. Raises SourceError if it cannot be used."""
    return _format(path).probe(path)


def read_frame(path: Path, frame: int = 0) -> Frame:
    """Decode one frame of a source: (H, W, 3) float32, scene-linear, BT.709. Raises SourceError if that fails.

    A still has frame 0 only.
    """
    if frame != 0:
        raise SourceError(f"a still has no frame {frame}")
    return repair(_format(path).read(path))


def _format(path: Path) -> _Format:
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        readable = ", ".join(sorted(READABLE))
        raise SourceError(
            f"{path.suffix} files are not read by this version; convert it to one of {readable}"
        ) from None
