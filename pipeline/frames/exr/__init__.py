"""OpenEXR stills: every compression, scanlines and tiles, one part or many, RGB, grey and luminance-chroma.

The frame is the data window, all pixels that the file holds and no others: what the display window adds is empty, and
what it cuts off is picture. Of mip and rip maps the full size is read, and alpha is left out. With a whiteLuminance
attribute, the luminance of RGB (1, 1, 1) in cd/m2, pixels are multiplied by it and the scale is `cd/m2`.

OpenImageIO decodes, by blocks of rows: it reports damaged and missing pixels as errors, where OpenEXR's own bindings
drop them with a warning. Those read subsampled chroma alone, which OpenImageIO refuses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.color import name_primaries
from pipeline.frames.exr.choice import Choice, choose
from pipeline.frames.exr.chroma import luminance_weights, read_subsampled, to_rgb
from pipeline.frames.exr.chunks import check_chunks
from pipeline.frames.exr.decode import open_part, read_channels
from pipeline.frames.exr.header import Header, read_header
from pipeline.frames.limits import check_dimensions
from pipeline.frames.picture import Picture
from pipeline.records import Facts, FloatImage, row_blocks

__all__ = ["probe_exr", "read_exr"]


def probe_exr(path: Path) -> Facts:
    """Return what the header says; raises SourceError where this is no EXR picture that can be used."""
    header, choice = _choose(path)
    if choice.subsampled:
        check_chunks(path, header, choice.part)
    else:
        with open_part(path, choice.part):
            pass
    return _facts(header, choice)


def read_exr(path: Path) -> Picture:
    """Decode an EXR still: the data window of its picture, in the primaries of its chromaticities attribute.

    Which channels are the picture is told in `choice`. No more is held than the frame, a block of rows, and the chroma
    planes of a subsampled file.
    """
    header, choice = _choose(path)
    part, facts = choice.part, _facts(header, choice)
    pixels = _read(path, header, choice)
    if facts.scale == "cd/m2":
        with np.errstate(over="ignore"):
            for rows in row_blocks(pixels):
                rows *= np.float32(part.white_luminance or 1.0)
    # OpenEXR's XYZ are colours as measured, the white of its chromaticities a formality (Rec709.exr beside XYZ.exr of
    # its test images); Radiance's XYZE are relative to an equal-energy white.
    return Picture(pixels, facts, part.chromaticities, adapt_white=facts.primaries != "xyz")


def _choose(path: Path) -> tuple[Header, Choice]:
    header = read_header(path)
    choice = choose(header)
    check_dimensions(choice.part.width, choice.part.height)
    return header, choice


def _facts(header: Header, choice: Choice) -> Facts:
    part, white = choice.part, choice.part.white_luminance
    return Facts(
        width=part.width,
        height=part.height,
        primaries=name_primaries(part.chromaticities),
        scale="cd/m2" if white is not None and math.isfinite(white) and white > 0 else "relative",
        details=tuple(_details(header, choice)),
    )


def _details(header: Header, choice: Choice) -> Iterator[tuple[str, str]]:
    part = choice.part
    yield "format", f"OpenEXR, {_COMPRESSIONS.get(part.compression, f'compression {part.compression}')}"
    if len(header.parts) > 1:
        yield "part", f"{part.index + 1} of {len(header.parts)}{f', {part.name}' if part.name else ''}"
    for name, window in (("data window", part.window), ("display window", part.display)):
        if window is not None:
            left, top, right, bottom = window
            yield name, f"x {left} to {right}, y {top} to {bottom}"
    used = {channel.name for channel in choice.channels}
    others = [channel.name for channel in part.channels if channel.name not in used]
    yield "channels", ", ".join(channel.name for channel in choice.channels)
    if others:
        yield "unused channels", ", ".join(others[:16]) + (", ..." if len(others) > 16 else "")


# OpenEXR file layout, attribute type "compression"
_COMPRESSIONS = dict(enumerate(("uncompressed", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "B44A", "DWAA", "DWAB")))


def _read(path: Path, header: Header, choice: Choice) -> FloatImage:
    names = tuple(channel.name for channel in choice.channels)
    if choice.kind != "chroma":
        return read_channels(path, choice.part, names)
    weights = luminance_weights(choice.part.chromaticities)
    if choice.subsampled:
        check_chunks(path, header, choice.part)
        return read_subsampled(path, header, choice, weights)
    pixels = read_channels(path, choice.part, names)
    for rows in row_blocks(pixels):
        to_rgb(rows, weights)
    return pixels
