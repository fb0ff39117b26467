"""Ultra HDR: JPEG photographs with a gain map (Android "Ultra HDR Image Format" 1.1; ISO 21496-1).

A file holds two JPEG pictures, one after the other: the photograph as any viewer shows it, and the gain map, whose
metadata say by how much each pixel is brighter than that. OpenImageIO decodes both; the map is applied here, since
its own way takes chroma from the nearest sample and falls back to the 8-bit picture where the map is damaged.

Light is relative: 1.0 is the white of the 8-bit picture.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np
import OpenImageIO as oiio

from pipeline.color import BT709, Chromaticities, name_primaries, to_bt709_matrix
from pipeline.errors import SourceError
from pipeline.frames.coding import icc_chromaticities, to_linear
from pipeline.frames.gainmetadata import GainMetadata, parse_gain_metadata, signals_gain_map
from pipeline.frames.jpeg import Jpeg, split_jpegs
from pipeline.frames.limits import check_dimensions
from pipeline.frames.opening import opened, read_channels, read_head
from pipeline.frames.orientation import displayed_size, orientation_of, turn
from pipeline.frames.picture import Picture
from pipeline.records import ByteImage, Facts, FloatImage, Transfer

MAX_BYTES = 2**28  # of a file; the largest phone photographs have some 2**25

_MAGIC = b"\xff\xd8"


def probe_gainmap(path: Path, transfer: Transfer | None = None) -> Facts:
    """Return what the header says; raises SourceError where this is no Ultra HDR photograph.

    `transfer` is of no use here: the format knows no other way to code light.
    """
    base, gain = _split(path)
    parse_gain_metadata(gain)
    with tempfile.TemporaryDirectory() as folder, opened(_write(folder, base), "JPEG", (_MAGIC,)) as source:
        return _facts(source.spec())


def read_gainmap(path: Path, transfer: Transfer | None = None) -> Picture:
    """Decode an Ultra HDR photograph at its full brightness, in the primaries of its ICC profile."""
    base, gain = _split(path)
    metadata = parse_gain_metadata(gain)
    with tempfile.TemporaryDirectory() as folder:
        with opened(_write(folder, gain), "JPEG", (_MAGIC,)) as source:
            gains = read_channels(source, "uint8")
            alternate = _chromaticities(source.spec())
        with opened(_write(folder, base), "JPEG", (_MAGIC,)) as source:
            spec = source.spec()
            light = to_linear(read_channels(source, "uint8"), "srgb")
            own = _chromaticities(spec)
            facts, orientation = _facts(spec), orientation_of(spec)
    if not metadata.in_base_primaries and alternate != own:
        light = light @ np.linalg.solve(to_bt709_matrix(alternate), to_bt709_matrix(own)).astype(np.float32).T
        own = alternate
    return Picture(turn(apply_gain(light, gains, metadata), orientation), facts, own)


def apply_gain(light: FloatImage, gains: ByteImage, metadata: GainMetadata) -> FloatImage:
    """Return (H, W, 3) light times its gain; `light` is overwritten.

    HDR = (SDR + offset_sdr) * 2^(min + (max - min) * map^(1 / gamma)) - offset_hdr, never below 0 (ISO 21496-1, 6.3);
    the map (h, w, 3) is enlarged linearly before its codes are looked at.
    """
    height, width = light.shape[:2]
    for channel in range(3):
        codes = cv2.resize(gains[..., channel].astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        weight = (codes / 255) ** np.float32(1 / metadata.gamma[channel])
        low, high = metadata.minimum[channel], metadata.maximum[channel]
        boost = np.exp2(np.float32(low) + np.float32(high - low) * weight)
        sdr = light[..., channel] + np.float32(metadata.offset_sdr[channel])
        light[..., channel] = np.maximum(sdr * boost - np.float32(metadata.offset_hdr[channel]), 0)
    return light


def _split(path: Path) -> tuple[Jpeg, Jpeg]:
    """Return the photograph and the gain map of a file, their sizes checked."""
    content = read_head(path, MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise SourceError(f"it has more than the {MAX_BYTES} bytes that are accepted of a JPEG file")
    base, gain = split_jpegs(content)
    if not signals_gain_map(base):
        raise SourceError("it is an ordinary 8-bit JPEG, not HDR: it has no gain map")
    if gain is None:
        raise SourceError("its gain map is missing, the file is truncated or was edited by a program that drops it")
    for picture in (base, gain):
        check_dimensions(picture.width, picture.height)
    if gain.width > base.width or gain.height > base.height:
        raise SourceError("its gain map is larger than its picture, the file is damaged")
    return base, gain


def _write(folder: str, picture: Jpeg) -> Path:
    """Write a picture alone, as an ordinary JPEG file: OpenImageIO's Python bindings read from files only."""
    path = Path(folder) / "picture.jpg"
    path.write_bytes(picture.plain())
    return path


def _chromaticities(spec: oiio.ImageSpec) -> Chromaticities:
    return icc_chromaticities(spec) or BT709  # a photograph without a profile is sRGB


def _facts(spec: oiio.ImageSpec) -> Facts:
    width, height = displayed_size(spec.width, spec.height, orientation_of(spec))
    return Facts(width, height, primaries=name_primaries(_chromaticities(spec)))
