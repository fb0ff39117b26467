"""TIFF stills: half, float and double samples, and 16-bit ones whose transfer function the user states.

Strips and tiles, contiguous and planar, every byte order, predictor and lossless compression: by OpenImageIO. The
first picture of a file counts; alpha is left out.
"""

from __future__ import annotations

from pathlib import Path

import OpenImageIO as oiio

from pipeline.errors import SourceError
from pipeline.frames.coding import Coding, icc_chromaticities, stated, to_linear
from pipeline.frames.opening import opened, read_channels
from pipeline.frames.orientation import displayed_size, orientation_of, turn
from pipeline.frames.picture import Picture
from pipeline.records import Facts, Transfer

_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF 6.0, section 2; the last two: BigTIFF
_FLOATS = {oiio.HALF, oiio.FLOAT, oiio.DOUBLE}
_GREY, _RGB = 1, 2  # TIFF 6.0, PhotometricInterpretation


def probe_tiff(path: Path, transfer: Transfer | None = None) -> Facts:
    """Return what the header says; `transfer` is what the user states for files that do not say it."""
    with opened(path, "TIFF", _MAGICS) as source:
        return _facts(source.spec(), _coding(source.spec(), transfer))


def read_tiff(path: Path, transfer: Transfer | None = None) -> Picture:
    """Decode a TIFF still: floats are scene-linear unless the user states otherwise."""
    with opened(path, "TIFF", _MAGICS) as source:
        spec = source.spec()
        coding = _coding(spec, transfer)
        values = read_channels(source, "float" if _is_float(spec) else "uint16")
        pixels = turn(to_linear(values, coding.transfer), orientation_of(spec))
        return Picture(pixels, _facts(spec, coding), coding.chromaticities)


def _facts(spec: oiio.ImageSpec, coding: Coding) -> Facts:
    return coding.facts(*displayed_size(spec.width, spec.height, orientation_of(spec)))


def _is_float(spec: oiio.ImageSpec) -> bool:
    return spec.format.basetype in _FLOATS


def _coding(spec: oiio.ImageSpec, transfer: Transfer | None) -> Coding:
    bits = spec.get_int_attribute("oiio:BitsPerSample", 8 * spec.format.size())
    if bits <= 8:
        raise SourceError(f"its samples are {bits}-bit: not HDR")
    if spec.get_int_attribute("tiff:PhotometricInterpretation", _RGB) not in {_GREY, _RGB}:
        raise SourceError("its samples are neither RGB nor grey; convert it to RGB")
    if _is_float(spec):
        return Coding(transfer or "linear", icc_chromaticities(spec))
    if spec.format.basetype != oiio.UINT16 or bits != 16:
        raise SourceError(f"its samples are whole numbers of {bits} bits, whose scale is unknown; convert it to float")
    return stated(transfer, "a 16-bit TIFF", icc_chromaticities(spec))
