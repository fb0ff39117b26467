"""OpenEXR stills, read by OpenImageIO: RGB(A) and Y, half and float, scanlines and tiles, every compression.

OpenImageIO reports damaged and missing pixels as errors, where OpenEXR's own bindings drop them with a warning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio

from pipeline.color import Chromaticities, name_primaries
from pipeline.errors import SourceError
from pipeline.frames.limits import MAX_CHANNELS, check_dimensions
from pipeline.frames.picture import Picture
from pipeline.records import Facts, FloatImage

# A worker is one process among many: it decodes on its own thread only.
oiio.attribute("threads", 1)
oiio.attribute("exr_threads", -1)

_MAGIC = b"\x76\x2f\x31\x01"  # OpenEXR file layout, "Magic Number"
_LUMINANCE_CHROMA = "it is a luminance-chroma EXR (Y, RY, BY), which this version does not read; convert it to RGB"


def probe_exr(path: Path) -> Facts:
    """Return what the header says; raises SourceError where this is no EXR picture that can be used."""
    source = _open(path)
    try:
        return _facts(source.spec(), _chromaticities(source.spec()))
    finally:
        source.close()


def read_exr(path: Path) -> Picture:
    """Decode an EXR still: its data window, in the primaries of its chromaticities attribute."""
    source = _open(path)
    try:
        spec = source.spec()
        chromaticities = _chromaticities(spec)
        facts = _facts(spec, chromaticities)
        # OpenEXR's XYZ are colours as measured, the white of its chromaticities a formality (Rec709.exr beside XYZ.exr
        # of its test images); Radiance's XYZE are relative to an equal-energy white.
        return Picture(_read_channels(source, spec), facts, chromaticities, adapt_white=facts.primaries != "xyz")
    finally:
        source.close()


def _open(path: Path) -> oiio.ImageInput:
    try:
        with path.open("rb") as stream:
            magic = stream.read(len(_MAGIC))
    except OSError as error:
        raise SourceError(f"it cannot be opened: {error.strerror or error}") from error
    if magic != _MAGIC:
        raise SourceError("it is not an OpenEXR file, whatever its name says")
    source = oiio.ImageInput.open(str(path))
    if source is None:
        raise SourceError(_refusal(_message(oiio)))
    try:
        _check(source.spec())
    except SourceError:
        source.close()
        raise
    return source


def _check(spec: oiio.ImageSpec) -> None:
    check_dimensions(spec.width, spec.height)
    if spec.nchannels > MAX_CHANNELS:
        raise SourceError(f"its header gives {spec.nchannels} channels, more than the {MAX_CHANNELS} that are accepted")
    if spec.deep:
        raise SourceError("it is a deep EXR, which holds samples and no picture; flatten it first")
    _channel_range(spec)


def _channel_range(spec: oiio.ImageSpec) -> tuple[int, list[int]]:
    """Return the first channel to read and the positions of R, G, B (or Y) counted from it."""
    names = list(spec.channelnames)
    wanted = ["R", "G", "B"] if {"R", "G", "B"} <= set(names) else ["Y"]
    if not set(wanted) <= set(names):
        raise SourceError(f"it has no channels R, G, B or Y, only {', '.join(names[:8])!a}")
    if wanted == ["Y"] and {"RY", "BY"} & set(names):
        raise SourceError(_LUMINANCE_CHROMA)
    if any(spec.channelformat(names.index(name)).basetype == oiio.UINT for name in wanted):
        raise SourceError("its channels hold whole numbers, whose scale is unknown; convert it to half or float")
    positions = [names.index(name) for name in wanted]
    return min(positions), [position - min(positions) for position in positions]


def _read_channels(source: oiio.ImageInput, spec: oiio.ImageSpec) -> FloatImage:
    first, positions = _channel_range(spec)
    pixels = source.read_image(0, 0, first, first + max(positions) + 1, "float")
    if pixels is None:
        raise SourceError(_damage(_message(source)))
    pixels = pixels.reshape(spec.height, spec.width, -1)
    if len(positions) == 1:
        return np.repeat(pixels[..., positions], 3, axis=2)
    return np.asarray(pixels if positions == [0, 1, 2] else pixels[..., positions], dtype=np.float32)


def _facts(spec: oiio.ImageSpec, chromaticities: Chromaticities | None) -> Facts:
    return Facts(width=spec.width, height=spec.height, primaries=name_primaries(chromaticities))


def _chromaticities(spec: oiio.ImageSpec) -> Chromaticities | None:
    values = spec.getattribute("chromaticities")
    if not isinstance(values, tuple) or len(values) != 8:
        return None
    rx, ry, gx, gy, bx, by, wx, wy = map(float, values)
    return rx, ry, gx, gy, bx, by, wx, wy


def _message(reporter: Any) -> str:
    try:
        return str(reporter.geterror())
    except UnicodeDecodeError:  # it quotes the damaged bytes
        return ""


def _refusal(message: str) -> str:
    if "ubsampled" in message:
        return _LUMINANCE_CHROMA
    return f"its header cannot be read, the file is damaged ({_first_line(message)})"


def _damage(message: str) -> str:
    return f"its pixels cannot be read, the file is truncated or damaged ({_first_line(message)})"


def _first_line(message: str) -> str:
    # OpenImageIO repeats the path, which the sources table has in a column of its own.
    line = message.strip().splitlines()[0] if message.strip() else "no further detail"
    return line.split("): ", 1)[-1][:160]
