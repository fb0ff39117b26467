"""Small HDR stills for tests, written by other means than those that read them, as far as there are any.

Legend: H, W height and width; a picture is (H, W) or (H, W, channels).
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import numpy.typing as npt
import OpenImageIO as oiio
from PIL import Image

from pipeline.frames.planes import Plane
from pipeline.records import FloatImage
from tests.pipeline.video_files import PQ_TAGS, make_frame

os.environ.setdefault("SVT_LOG", "0")  # SVT-AV1 talks on stderr

Pixels = npt.NDArray[Any]
Fraction = tuple[int, int]

ISO_NAME = b"urn:iso:std:iso:ts:21496:-1\0"
XMP_NAME = b"http://ns.adobe.com/xap/1.0/\0"


def picture(height: int = 37, width: int = 53, channels: int = 3, seed: int = 0) -> FloatImage:
    """Values over many stops, exact as half and as float."""
    values = np.random.default_rng(seed).lognormal(0, 2, (height, width, channels))
    return values.astype(np.float16).astype(np.float32)


def codes(height: int = 37, width: int = 53, channels: int = 3, seed: int = 0) -> npt.NDArray[np.uint16]:
    """Code values over the whole range of 16 bits, both ends included."""
    values = np.random.default_rng(seed).integers(0, 2**16, (height, width, channels), dtype=np.uint16)
    values.reshape(-1)[:2] = 0, 65535
    return values


def smooth(height: int, width: int) -> FloatImage:
    """Light from 0.01 to 1.0 that changes slowly, as JPEG likes it, (H, W, 3)."""
    y, x = np.mgrid[:height, :width]
    planes = [0.505 + 0.495 * np.sin(x / width * 5 + y / height * 3 + c) for c in range(3)]
    return np.stack(planes, axis=2).astype(np.float32)


# TIFF 6.0, by hand: no library here writes all of it


def write_tiff(
    path: Path,
    pixels: Pixels,
    *,
    order: Literal["<", ">"] = "<",
    planar: bool = False,
    deflate: bool = False,
    predictor: Literal[1, 3] = 1,
    rows: int = 5,
    tags: Mapping[int, int] | None = None,
) -> Path:
    """Write strips of `rows` rows; `tags` replaces or adds short values."""
    pixels = np.atleast_3d(pixels)
    height, width, channels = pixels.shape
    planes = [pixels[..., c : c + 1] for c in range(channels)] if planar else [pixels]
    strips = [
        _strip(plane[top : top + rows], order, predictor, deflate) for plane in planes for top in range(0, height, rows)
    ]
    kind = {"f": 3, "u": 1, "i": 2}[pixels.dtype.kind]
    shorts = {
        256: [width], 257: [height], 258: [8 * pixels.dtype.itemsize] * channels, 259: [8 if deflate else 1],
        262: [2 if channels >= 3 else 1], 277: [channels], 278: [rows], 284: [2 if planar else 1], 317: [predictor],
        339: [kind] * channels,
    }  # fmt: skip
    if channels in {2, 4}:
        shorts[338] = [2]  # alpha that colours are not multiplied by
    for tag, value in (tags or {}).items():
        shorts[tag] = [value]
    path.write_bytes(_assemble(order, shorts, strips))
    return path


def _strip(pixels: Pixels, order: Literal["<", ">"], predictor: int, deflate: bool) -> bytes:
    big = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder(">")))
    if predictor == 3:
        size, channels = pixels.dtype.itemsize, pixels.shape[2]
        rows = big.view(np.uint8).reshape(len(pixels), -1, size).transpose(0, 2, 1).reshape(len(pixels), -1)
        rows[:, channels:] = rows[:, channels:] - rows[:, :-channels].copy()
        data = rows.tobytes()
    else:
        data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    return zlib.compress(data) if deflate else data


def _assemble(order: str, shorts: dict[int, list[int]], strips: list[bytes]) -> bytes:
    offsets = np.cumsum([8, *map(len, strips)])[:-1]
    entries = {tag: ("H", 3, values) for tag, values in shorts.items()}
    entries[273] = ("I", 4, [int(offset) for offset in offsets])
    entries[279] = ("I", 4, [len(strip) for strip in strips])
    start = 8 + sum(map(len, strips))
    start += start % 2
    extra = b""
    table = struct.pack(order + "H", len(entries))
    for tag, (letter, kind, values) in sorted(entries.items()):
        data = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(data) > 4:
            where = start + 2 + 12 * len(entries) + 4 + len(extra)
            extra += data + b"\0" * (len(data) % 2)
            data = struct.pack(order + "I", where)
        table += struct.pack(order + "HHI", tag, kind, len(values)) + data.ljust(4, b"\0")
    header = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, start)
    body = header + b"".join(strips)
    return body.ljust(start, b"\0") + table + b"\0\0\0\0" + extra


# PNG, by hand: few libraries write cICP


def write_png(path: Path, pixels: Pixels, chunks: Mapping[bytes, bytes] | None = None) -> Path:
    """Write 8-bit or 16-bit pixels, grey, grey and alpha, RGB or RGBA, with more chunks before them."""
    pixels = np.atleast_3d(pixels)
    height, width, channels = pixels.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    size = struct.pack(">IIBBBBB", width, height, 8 * pixels.dtype.itemsize, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(pixels.dtype.newbyteorder(">")).tobytes() for row in pixels)
    parts = [(b"IHDR", size), *(chunks or {}).items(), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(name, content) for name, content in parts))
    return path


def png_chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk with its length and its CRC."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


# JPEG XL: OpenImageIO has the only writer here


def write_jxl(path: Path, pixels: Pixels, points: tuple[int, int] | None = None, quality: int = 100) -> Path:
    """Write a JPEG XL file of these code points (primaries, transfer), lossless at quality 100."""
    sample = {"f2": "half", "f4": "float", "u2": "uint16", "u1": "uint8"}[pixels.dtype.str[1:]]
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], sample)
    spec.attribute("compression", f"jpegxl:{quality}")
    if quality == 100:
        spec.attribute("jpegxl:distance", 0.0)
    if points is not None:
        spec.attribute("CICP", "int[4]", (*points, 0, 1))
    output = oiio.ImageOutput.create(str(path))
    assert output is not None
    assert output.open(str(path), spec), output.geterror()
    assert output.write_image(pixels), output.geterror()
    output.close()
    return path


# AVIF: FFmpeg's writer with SVT-AV1, which knows 4:2:0 of 10 bits


def avif_planes(height: int, width: int, seed: int = 0) -> list[Plane]:
    """Y, Cb and Cr of 10 bits and limited range that change slowly, with some noise."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(seed).integers(-8, 8, (height, width))
    luma = np.rint(500 + 400 * np.sin(x / width * 4 + y / height * 3)) + noise
    chroma = np.rint(512 + 100 * np.cos(x / width * 3 + y / height * 2))[::2, ::2]
    return [luma.astype(np.uint16), chroma.astype(np.uint16), (1024 - chroma).astype(np.uint16)]


def write_avif(path: Path, planes: list[Plane], tags: tuple[int, int, int, int] = PQ_TAGS) -> Path:
    """Write a lossless AVIF still; `tags` are transfer, primaries, matrix and FFmpeg's number of the range."""
    with av.open(str(path), "w", format="avif") as container:
        stream = container.add_stream("libsvtav1", rate=1)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = planes[0].shape
        stream.pix_fmt = "yuv420p10le"
        context = stream.codec_context
        context.options = {"preset": "8", "svtav1-params": "lossless=1"}
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = tags
        frame = make_frame(planes, "yuv420p10le")
        frame.color_trc, frame.color_primaries, frame.colorspace, frame.color_range = tags
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


# Ultra HDR: two JPEG pictures by Pillow, and the segments that tie them


def jpeg(pixels: npt.NDArray[np.uint8], segments: bytes = b"", **options: Any) -> bytes:
    """Return a JPEG picture, with more segments at its beginning."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=98, subsampling=0, **options)
    content = stream.getvalue()
    return content[:2] + segments + content[2:]


def segment(marker: int, content: bytes) -> bytes:
    """Return one segment of a JPEG file."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def xmp(text: str) -> bytes:
    """Return a segment of XMP with these attributes or elements."""
    return segment(0xE1, XMP_NAME + f'<x:xmpmeta><rdf:Description hdrgm:Version="1.0" {text}'.encode())


def iso(flags: int, channels: list[list[Fraction]]) -> bytes:
    """Return the segment of ISO 21496-1; a channel is minimum, maximum, gamma, offset of SDR and of HDR."""
    body = struct.pack(">HHB4I", 0, 0, flags, 0, 1, 3, 1)
    body += b"".join(struct.pack(">iIiIIIiIiI", *(part for value in row for part in value)) for row in channels)
    return segment(0xE2, ISO_NAME + body)


def write_ultra_hdr(
    path: Path, base: npt.NDArray[np.uint8], gain: npt.NDArray[np.uint8], metadata: bytes, **options: Any
) -> Path:
    """Write a picture and its gain map, `metadata` the segment that belongs to the map."""
    signal = segment(0xE2, ISO_NAME + b"\0\0\0\0") if ISO_NAME in metadata else xmp("/>")
    path.write_bytes(jpeg(base, signal, **options) + jpeg(gain, metadata))
    return path
