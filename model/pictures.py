"""Photographs on disk as the network sees them: upright, three channels, sRGB and display-encoded.

Legend: H, W height and width in pixels, C channels; T (H, W, 3) float32 display-encoded RGB in [0, 1].

What a file says of its colours is applied in this order: an Ultra HDR photograph is taken without its gain map; the
code points of a PNG's cICP chunk or of an AVIF; an embedded ICC profile; EXIF's word for Adobe RGB; the chunks gAMA and
cHRM of a PNG; else it is sRGB. A profile that cannot be used is told, and sRGB assumed.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import OpenImageIO as oiio

from model.command import say
from model.encoding import HLG, PQ, UNSAID, Encoding, adobe_rgb, encoding, from_code_points, power, unless_same
from model.errors import PictureError
from model.exif import about_the_shot, decode_with_pillow, exif_of, says_adobe_rgb, shot_by_exif
from model.planes import to_display
from model.profiles import Lattice, ProfileError, cmyk_to_rgb, read_profile
from pipeline.color import BT709
from pipeline.errors import SourceError
from pipeline.frames.avif import as_displayed, avif_tags, decode_avif
from pipeline.frames.jpeg import split_jpegs
from pipeline.frames.limits import check_dimensions
from pipeline.frames.png import MAX_HEADER_BYTES, PNG_MAGIC, read_chunks
from pipeline.records import FloatImage
from pipeline.transfer import srgb_to_linear

STILL_SUFFIXES = frozenset({".avif", ".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
LARGEST = {"uint8": 255.0, "uint16": 65535.0}  # code value of T = 1
MAX_CHANNELS = 8  # colour, alpha and a few masks; each takes memory before the first three are taken out
CMYK = {"CMYK", "YCCK"}
DISPLAY_GAMMA = 1 / 2.2  # of a gAMA chunk that stands for sRGB, within GAMMA_TOLERANCE
GAMMA_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class Photograph:
    """A picture, what its file tells of how it was taken, and what is to be said about how it was read."""

    T: FloatImage
    metadata: dict[str, Any] = field(default_factory=dict)  # by OpenImageIO's names
    notices: tuple[str, ...] = ()


def read_ldr(file: Path) -> FloatImage:
    """Read T (H, W, 3) as `read_photograph` does; what is to be said about the file is said, once, on stderr."""
    photograph = read_photograph(file)
    for notice in photograph.notices:
        _say_once(f"{file}: {notice}")
    return photograph.T


def read_photograph(file: Path) -> Photograph:
    """Read a photograph of 8 or 16 bits: turned by its EXIF orientation, grey as RGB, alpha ignored.

    Raises PictureError with one sentence for what is damaged, HDR, or not read.
    """
    if not file.is_file():
        raise PictureError("there is no such file")
    try:
        return _read_avif(file) if _is_avif(file) else _read_with_openimageio(file)
    except SourceError as error:
        raise PictureError(str(error)) from error


def read_size(file: Path) -> tuple[int, int]:
    """Read (height, width) of a picture from its header, before it is turned."""
    with quiet_libraries():
        source = oiio.ImageInput.open(str(file))
    if source is None:
        raise PictureError(f"it cannot be read ({' '.join(oiio.geterror().split())})")
    return int(source.spec().height), int(source.spec().width)


def _read_with_openimageio(file: Path) -> Photograph:
    hint = oiio.ImageSpec()
    hint["oiio:UnassociatedAlpha"] = 1  # or transparent pixels would be darkened
    with quiet_libraries():
        source = oiio.ImageInput.open(str(file), hint)
        if source is None:
            raise PictureError(f"it cannot be read ({' '.join(oiio.geterror().split())})")
        spec = source.spec()
        check_dimensions(spec.width, spec.height)
        orientation, metadata = int(spec.getattribute("Orientation") or 1), about_the_shot(spec)
        if str(spec.format) == "half" and source.format_name() == "jpeg":
            T, notices = _colours(_base_of_ultra_hdr(file), spec, file, 3)
            return Photograph(turn(T, orientation), metadata, notices)
        _check_kind(spec)
        if _colour_space(spec) in CMYK:
            upright = source.format_name() == "tiff"  # as Pillow decodes TIFF, and no other format
            return Photograph(turn(_read_cmyk(file, spec), 1 if upright else orientation), metadata)
        pixels = source.read_image("unknown")  # (H, W, C) or (H, W), in the file's type
        problem = source.geterror()
    if pixels is None or problem:  # a JPEG that was cut off gives pixels and a problem
        raise PictureError(f"it cannot be read ({' '.join(problem.split())})")
    T, notices = _colours(_scaled(pixels, spec), spec, file, 1 if spec.nchannels < 3 else 3)
    return Photograph(turn(T, orientation), metadata, notices)


def _check_kind(spec: oiio.ImageSpec) -> None:
    if str(spec.format) not in LARGEST:
        raise PictureError(f"it has {spec.format} samples, and an 8- or 16-bit picture is asked for")
    if _colour_space(spec).endswith("LAB"):
        raise PictureError("its colours are L*a*b*: convert it to RGB")
    if spec.nchannels > MAX_CHANNELS:
        raise PictureError(f"it has {spec.nchannels} channels: convert it to RGB")
    if spec.depth > 1:
        raise PictureError(f"it is a volume of {spec.depth} slices, and no picture")


def _colour_space(spec: oiio.ImageSpec) -> str:
    return str(spec.getattribute("jpeg:ColorSpace") or spec.getattribute("tiff:ColorSpace") or "")


def _scaled(pixels: npt.NDArray[np.generic], spec: oiio.ImageSpec) -> FloatImage:
    """Return values in [0, 1], (H, W, 3): straight colours, as if nothing were transparent."""
    T = rgb(pixels).astype(np.float32)
    T /= np.float32(LARGEST[str(spec.format)])
    premultiplied = spec.alpha_channel > 0 and "tiff:Compression" in spec and "oiio:UnassociatedAlpha" not in spec
    if premultiplied:
        alpha = np.asarray(pixels)[..., spec.alpha_channel, None] / np.float32(LARGEST[str(spec.format)])
        T = np.divide(T, alpha, out=T, where=alpha > 0).clip(0.0, 1.0, out=T)
    return T


def _colours(T: FloatImage, spec: oiio.ImageSpec, file: Path, channels: int) -> tuple[FloatImage, tuple[str, ...]]:
    """Return T of values as the file means them, in place, and what is to be said about that."""
    notices: tuple[str, ...] = ()
    meant: Encoding | Lattice | None = None
    cicp, profile = spec.getattribute("CICP"), spec.getattribute("ICCProfile")
    if cicp is not None:
        meant = from_code_points(int(cicp[0]), int(cicp[1]))
    elif profile is not None:
        meant, notices = _by_profile(bytes(np.asarray(profile, np.uint8)), channels)
    elif _begins_with(file, PNG_MAGIC):
        meant, notices = _by_chunks(file)
    elif spec.getattribute("Exif:ColorSpace") is not None:
        meant = adobe_rgb() if says_adobe_rgb(file) else None
    return (T if meant is None else meant.convert(T)), notices


def _by_profile(profile: bytes, channels: int) -> tuple[Encoding | Lattice | None, tuple[str, ...]]:
    try:
        return read_profile(profile, channels), ()
    except ProfileError as error:
        return None, (f"its colour profile cannot be used ({error}); sRGB is assumed",)


def _by_chunks(file: Path) -> tuple[Encoding | None, tuple[str, ...]]:
    """Return what the chunks gAMA and cHRM of a PNG tell; sRGB says that they do not count."""
    with file.open("rb") as stream:
        chunks = read_chunks(stream.read(MAX_HEADER_BYTES))
    if b"iCCP" in chunks:  # libpng keeps a profile to itself that it finds damaged
        return None, ("its colour profile cannot be used (it is damaged); sRGB is assumed",)
    gamma, points = chunks.get(b"gAMA", b""), chunks.get(b"cHRM", b"")
    if b"sRGB" in chunks or len(gamma) != 4 or not any(gamma):
        return None, ()
    exponent = int.from_bytes(gamma, "big") / 100_000
    curve = srgb_to_linear if abs(exponent - DISPLAY_GAMMA) < GAMMA_TOLERANCE else power(1 / exponent)
    chromaticities = BT709
    if len(points) == 32:
        wx, wy, rx, ry, gx, gy, bx, by = (value / 100_000 for value in struct.unpack(">8I", points))
        chromaticities = (rx, ry, gx, gy, bx, by, wx, wy)
    return unless_same(encoding(curve, chromaticities)), ()


def _read_cmyk(file: Path, spec: oiio.ImageSpec) -> FloatImage:
    """Return T (H, W, 3) of a CMYK picture, through its profile, without which inks say no colour."""
    profile = spec.getattribute("ICCProfile")
    if profile is None:
        raise PictureError("it is CMYK without a colour profile: convert it to RGB")
    try:
        return cmyk_to_rgb(decode_with_pillow(file.read_bytes()), bytes(np.asarray(profile, np.uint8)))
    except ProfileError as error:
        raise PictureError(f"it is CMYK, and its colour profile cannot be used ({error}): convert it to RGB") from error


def _base_of_ultra_hdr(file: Path) -> FloatImage:
    """Return (H, W, 3) of a phone's JPEG with a gain map: the photograph that every other program shows.

    OpenImageIO applies the map and has no way to leave it.
    """
    base, _ = split_jpegs(file.read_bytes())
    T = np.asarray(decode_with_pillow(base.plain()).convert("RGB")).astype(np.float32)
    T /= np.float32(255)
    return T


def _is_avif(file: Path) -> bool:
    with file.open("rb") as stream:
        head = stream.read(12)
    return head[4:8] == b"ftyp"


def _begins_with(file: Path, magic: bytes) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(magic)) == magic


def _read_avif(file: Path) -> Photograph:
    """Read an AVIF. A profile counts more than code points (ISO/IEC 23000-22), but for those of HDR."""
    item, frame = decode_avif(file)
    tags = avif_tags(item, frame)
    notices: tuple[str, ...] = ()
    if item.icc is not None and tags.transfer not in (PQ, HLG):
        tags = replace(tags, primaries=UNSAID, transfer=UNSAID)
    T = to_display(frame, tags, still=True)
    if item.icc is not None:
        meant, notices = _by_profile(item.icc, 1 if frame.format.name.startswith("gray") else 3)
        T = T if meant is None else meant.convert(T)
    return Photograph(np.ascontiguousarray(as_displayed(T, item)), shot_by_exif(exif_of(file)), notices)


def rgb(pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Return the three colour channels of grey, grey with alpha, RGB or RGBA samples, (H, W, 3)."""
    channels = np.atleast_3d(pixels)
    return channels[..., :3] if channels.shape[2] >= 3 else np.repeat(channels[..., :1], 3, axis=2)


def turn(T: FloatImage, orientation: int) -> FloatImage:
    """Turn a picture as EXIF's Orientation (1 to 8) says it is to be displayed."""
    if orientation >= 5:  # 5 to 8 are 1, 4, 2, 3 of the transposed picture
        T, orientation = T.swapaxes(0, 1), {5: 1, 6: 2, 7: 3, 8: 4}.get(orientation, 1)
    rows, columns = {2: (1, -1), 3: (-1, -1), 4: (-1, 1)}.get(orientation, (1, 1))
    return np.ascontiguousarray(T[::rows, ::columns])


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep libpng and libjpeg from writing to stderr: what they have to say comes back as an error."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@lru_cache(maxsize=1024)  # a photograph is read anew at each visit of a training run
def _say_once(text: str) -> None:
    say(text)
