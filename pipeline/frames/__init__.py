"""From a file to scene-linear frames: one reading interface over all formats.

`probe` reads a header, `read_frame` decodes one picture. A reader that knows a format returns pixels in the file's own
primaries; the conversion to BT.709 and the repair of impossible pixels are the same for all and happen here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.color import XYZ, Chromaticities, name_primaries
from pipeline.errors import SourceError
from pipeline.frames.avif import probe_avif, read_avif
from pipeline.frames.exr import probe_exr, read_exr
from pipeline.frames.gainmap import probe_gainmap, read_gainmap
from pipeline.frames.jxl import probe_jxl, read_jxl
from pipeline.frames.opening import decodable
from pipeline.frames.pfm import read_header as read_pfm_header
from pipeline.frames.pfm import read_pfm
from pipeline.frames.picture import Picture
from pipeline.frames.png import probe_png, read_png
from pipeline.frames.radiance import RadianceHeader, read_radiance
from pipeline.frames.radiance import read_header as read_radiance_header
from pipeline.frames.repair import repair
from pipeline.frames.sequence import probe_sequence, read_sequence, sequence_files
from pipeline.frames.tiff import probe_tiff, read_tiff
from pipeline.frames.video import probe_video, read_video
from pipeline.records import Facts, Frame, Transfer

__all__ = ["NAMED_ONLY", "READABLE", "Picture", "kind_of", "probe", "read_frame", "read_frames"]


@dataclass(frozen=True, slots=True)
class _Format:
    """How to read a format; the transfer function is what the user states for files that do not say it themselves."""

    probe: Callable[[Path, Transfer | None], Facts]
    read: Callable[[Path, Transfer | None], Picture]


def _radiance_facts(header: RadianceHeader) -> Facts:
    primaries = name_primaries(_radiance_chromaticities(header))
    details = (
        ("format", f"Radiance {header.format.upper()}, {header.orientation}"),
        ("exposure", f"{header.exposure:g}, divided out"),
    )
    return Facts(width=header.width, height=header.height, primaries=primaries, details=details)


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
    details = (("format", f"Portable FloatMap, {header.channels} channels"),)
    return Facts(width=header.width, height=header.height, details=details)


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

_VIDEO = frozenset({".mp4", ".mov", ".mkv", ".webm"})

# Below a folder, files of these types are mostly ordinary pictures: they are read where they are named themselves.
NAMED_ONLY = frozenset({".png", ".jpg", ".jpeg"})
READABLE = (frozenset(_FORMATS) | _VIDEO) - NAMED_ONLY


def kind_of(path: Path) -> Literal["still", "sequence", "video"]:
    """Return what a path names, by its name: a file's header may not be readable."""
    if sequence_files(path) is not None:
        return "sequence"
    return "video" if path.suffix.lower() in _VIDEO else "still"


def probe(path: Path, transfer: Transfer | None = None) -> Facts:
    """Return what the header of a source says. Raises SourceError if it cannot be used.

    `path` may name a sequence (`NAME.1001-1012.exr`), and be a remote one (`pipeline.remote`). `transfer` is what the
    user states for files that do not say it themselves; a file's own statement counts more.
    """
    if sequence_files(path) is not None:
        return probe_sequence(path)
    if path.suffix.lower() in _VIDEO:
        return probe_video(decodable(path), transfer)
    return _format(path).probe(decodable(path), transfer)


def read_frames(path: Path, frames: Sequence[int], transfer: Transfer | None = None) -> Iterator[tuple[int, Frame]]:
    """Decode frames of a source, whose numbers rise: each number with its (H, W, 3) float32, scene-linear, BT.709.

    A still has frame 0 only. `path` and `transfer` as for `probe`. Raises SourceError where decoding fails.
    """
    for number, picture in _read_pictures(path, frames, transfer):
        yield number, repair(picture)


def read_frame(path: Path, frame: int = 0, transfer: Transfer | None = None) -> Frame:
    """Decode one frame of a source, as `read_frames` does."""
    for _, decoded in read_frames(path, [frame], transfer):
        return decoded
    raise SourceError(f"it has no frame {frame}")


def _read_pictures(path: Path, frames: Sequence[int], transfer: Transfer | None) -> Iterator[tuple[int, Picture]]:
    if sequence_files(path) is not None:
        yield from read_sequence(path, frames)
    elif path.suffix.lower() in _VIDEO:
        yield from read_video(decodable(path), frames, transfer)
    else:
        for frame in frames:
            if frame != 0:
                raise SourceError(f"a still has no frame {frame}")
            yield frame, _format(path).read(decodable(path), transfer)


def _format(path: Path) -> _Format:
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        readable = ", ".join(sorted(READABLE | NAMED_ONLY))
        raise SourceError(
            f"{path.suffix} files are not read by this version; convert it to one of {readable}"
        ) from None
