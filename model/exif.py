"""What a file tells of how its picture was taken (EXIF 2.32), by OpenImageIO's names; and what only Pillow decodes."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import OpenImageIO as oiio
from PIL import Image

from model.errors import PictureError

ADOBE_RGB_COLOR_SPACE = 2  # of tag ColorSpace, by DCF's extension; EXIF itself knows 1, sRGB, and 65535, uncalibrated
ADOBE_RGB_INTEROPERABILITY = "R03"  # what cameras write beside 65535, with no profile (DCF 2.0)
_EXIF_IFD, _INTEROPERABILITY_IFD, _COLOR_SPACE, _INDEX = 0x8769, 0xA005, 0xA001, 1

_OF_THE_CODING = {"Exif:ColorSpace", "Exif:PixelXDimension", "Exif:PixelYDimension", "Exif:YCbCrSubsampling"}
_TAGS = {  # of the first directory
    0x010E: "ImageDescription",
    0x010F: "Make",
    0x0110: "Model",
    0x0132: "DateTime",
    0x013B: "Artist",
    0x8298: "Copyright",
}
_EXIF_TAGS = {
    0x829A: "ExposureTime",
    0x829D: "FNumber",
    0x8827: "Exif:PhotographicSensitivity",
    0x9003: "Exif:DateTimeOriginal",
    0x9204: "Exif:ExposureBiasValue",
    0x920A: "Exif:FocalLength",
    0xA405: "Exif:FocalLengthIn35mmFilm",
    0xA433: "Exif:LensMake",
    0xA434: "Exif:LensModel",
}
_OF_THE_SHOT = {*_TAGS.values(), *_EXIF_TAGS.values(), "aux:Lens", "aux:LensInfo", "aux:SerialNumber"}


def about_the_shot(spec: oiio.ImageSpec) -> dict[str, Any]:
    """Return how, when, where and by whom a picture was taken; not what tells of pixels and coding left behind."""
    return {found.name: found.value for found in spec.extra_attribs if is_about_the_shot(found.name)}


def is_about_the_shot(name: str) -> bool:
    """Say whether an attribute of a picture still holds for what is made of it."""
    return name not in _OF_THE_CODING and (name.startswith(("Exif:", "GPS:")) or name in _OF_THE_SHOT)


def shot_by_exif(exif: Image.Exif) -> dict[str, Any]:
    """Return the like of EXIF data that Pillow read."""
    found = {name: exif.get(tag) for tag, name in _TAGS.items()}
    found |= {name: exif.get_ifd(_EXIF_IFD).get(tag) for tag, name in _EXIF_TAGS.items()}
    plain = {name: value if isinstance(value, str | int) else _number(value) for name, value in found.items()}
    return {name: value for name, value in plain.items() if value is not None}


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None


def says_adobe_rgb(file: Path) -> bool:
    """Say whether EXIF tells of Adobe RGB, as cameras do that embed no profile."""
    exif = exif_of(file)
    return (
        exif.get_ifd(_EXIF_IFD).get(_COLOR_SPACE) == ADOBE_RGB_COLOR_SPACE
        or str(exif.get_ifd(_INTEROPERABILITY_IFD).get(_INDEX, "")).strip("\0 ") == ADOBE_RGB_INTEROPERABILITY
    )


def exif_of(file: Path) -> Image.Exif:
    """Return the EXIF data of a file by Pillow, nothing where it cannot read them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about size, which has been checked, and damaged tags
        try:
            with Image.open(file) as picture:
                exif = picture.getexif()
                for directory in (_EXIF_IFD, _INTEROPERABILITY_IFD):
                    exif.get_ifd(directory)  # Pillow keeps it, and warns, if at all, now
                return exif
        except (OSError, ValueError, SyntaxError, RuntimeError, Image.DecompressionBombError):
            return Image.Exif()  # RuntimeError: an AVIF that Pillow cannot decode, which it does to open it


def decode_with_pillow(content: bytes) -> Image.Image:
    """Decode a file's first picture, its size checked before. Raises PictureError where it is damaged or cut off."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size has been checked
        try:
            picture = Image.open(io.BytesIO(content))
            picture.load()
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise PictureError(f"it cannot be read ({' '.join(str(error).split())})") from error
    return picture
