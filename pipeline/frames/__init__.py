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
from pipeline.frames.avif import probe_avif, read_avif
from pipeline.frames.exr import probe_exr, read_exr
from pipeline.frames.gainmap import probe_gainmap, read_gainmap
from pipeline.frames.jxl import probe_jxl, read_jxl
from pipeline.frames.pfm import read_header as read_pfm_header
from pipeline.frames.pfm import read_pfm
from pipeline.frames.picture import Picture
from pipeline.frames.png import probe_png, read_png
from pipeline.frames.radiance import RadianceHeader, read_radiance
from pipeline.frames.radiance import read_header as read_radiance_header
from pipeline.frames.repair import repair
from pipeline.frames.tiff import probe_tiff, read_tiff
from pipeline.records import Facts, Frame, Transfer

__all__ = ["NAMED_ONLY", "READABLE", "UNREADABLE", "Picture", "probe", "read_frame"]


@dataclass(frozen=True, slots=True)
class _Format:
    """How to read a format; the transfer function is what the user states for files that do not say it themselves."""

    probe: Callable[[Path, Transfer | None], Facts]
    read: Callable[[Path, Transfer | None], Picture]


def _radiance_facts(header: RadianceHeader) -> Facts:
    primaries = name_primaries(_radiance_chromaticities(header))
    return Facts(width=header.width, height=header.height, primaries=primaries)


def _radiance_chromaticities(header: RadianceHeader) -> Chromaticities | None:
    return XYZ if header.format == "xyze" else header.primaries


# Radiance, PFM and OpenEXR files are scene-linear by definition: nothing stated about them counts.


def _probe_radiance(path: Path, _: Transfer | None) -> Facts:
    return _radiance_facts(read_radiance_header(path))


def _read_radiance(path: Path, _: Transfer | None) -> Picture:
    pixels, header = read_radiance(path)
    return Picture(pixels, _radiance_facts(header), _radiance_chromaticities(header))


def _probe_pfm(path: Path, _: Transfer | None) -> Facts:
    header = read_pfm_header(path)
    return Facts(width=header.width, height=header.height)


def _read_pfm(path: Path, _: Transfer | None) -> Picture:
    return Picture(read_pfm(path), _probe_pfm(path, None))


_RADIANCE = _Format(_probe_radiance, _read_radiance)
_TIFF = _Format(probe_tiff, read_tiff)
_JPEG = _Format(probe_gainmap, read_gainmap)
_FORMATS = {
    ".exr": _Format(lambda path, _: probe_exr(path), lambda path, _: read_exr(path)),
    ".hdr": _RADIANCE,
    ".pic": _RADIANCE,
    ".pfm": _Format(_probe_pfm, _read_pfm),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".jxl": _Format(probe_jxl, read_jxl),
    ".avif": _Format(probe_avif, read_avif),
    ".png": _Format(probe_png, read_png),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
}

# Below a folder, files of these types are mostly ordinary pictures: they are read where they are named themselves.
NAMED_ONLY = frozenset({".png", ".jpg", ".jpeg"})
READABLE = frozenset(_FORMATS) - NAMED_ONLY
# Suffixes of HDR sources that other tools write and this version does not read: listed with a reason, never ignored.
UNREADABLE = frozenset({".mp4", ".mov", ".mkv", ".webm"})


def probe(path: Path, transfer: Transfer | None = None) -> Facts:
    """Return what the header of a source says. Raises SourceError if it cannot be used.

    `transfer` is what the user states for files that do not say it themselves; a file's own statement counts more.
    """
    return _format(path).probe(path, transfer)


def read_frame(path: Path, frame: int = 0, transfer: Transfer | None = None) -> Frame:
    """Decode one frame of a source: (H, W, 3) float32, scene-linear, BT.709. Raises SourceError if that fails.

    A still has frame 0 only; `transfer` as for `probe`.
    """
    if frame != 0:
        raise SourceError(f"a still has no frame {frame}")
    return repair(_format(path).read(path, transfer))


def _format(path: Path) -> _Format:
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        readable = ", ".join(sorted(_FORMATS))
        raise SourceError(
            f"{path.suffix} files are not read by this version; convert it to one of {readable}"
        ) from None
