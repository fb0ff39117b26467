"""Colour profiles (ICC.1:2022) of photographs: from the values of a profile's space to T, sRGB and display-encoded.

Legend: T (H, W, 3) float32 display-encoded RGB in [0, 1].

A profile of curves and a matrix (sRGB, Display P3, Adobe RGB, ProPhoto), or of a grey curve, is evaluated here, in
double precision, for 8 and 16 bits alike. One that works by tables is asked by Little CMS, through Pillow, at the nodes
of a lattice, between which is interpolated. Little CMS itself would squash 16 bits to 8 on the way.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from model.encoding import Curve, Encoding, Floats, power, unless_same
from pipeline.color import Chromaticities, to_bt709_matrix
from pipeline.errors import SourceError
from pipeline.records import FloatImage, row_blocks

NODES = 33  # of a lattice in each direction
MAX_TAGS = 100
MAX_BYTES = 2**24  # of a profile
RELATIVE = ImageCms.Intent.RELATIVE_COLORIMETRIC

# Terms of a parametric curve by its type (ICC.1:2022, 10.18): which of g, a, b, c, d, e, f it lists.
_PARAMETERS = ("g", "gab", "gabc", "gabcd", "gabcdef")


class ProfileError(ValueError):
    """A profile cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """The colours of `NODES` evenly spaced values in each of three directions: nodes (N, N, N, 3) float32 T."""

    nodes: FloatImage

    def convert(self, T: FloatImage) -> FloatImage:
        """Turn values of the profile into T by trilinear interpolation, in place, and return it."""
        for rows in row_blocks(T):
            at = rows * np.float32(NODES - 1)
            low = np.minimum(at.astype(np.intp), NODES - 2)  # (h, W, 3)
            part = at - low
            total = np.zeros_like(rows)
            for corner in np.ndindex(2, 2, 2):
                weight = np.prod(np.where(corner, part, 1 - part), axis=-1, keepdims=True)
                r, g, b = (low[..., i] + corner[i] for i in range(3))
                total += weight * self.nodes[r, g, b]
            rows[...] = total
        return T


@lru_cache(maxsize=8)  # a folder's photographs mostly share one
def read_profile(profile: bytes, channels: int) -> Encoding | Lattice | None:
    """Return how values of a profile become T, None where they are T already.

    `channels` of colour the picture has, 1 or 3. Raises ProfileError for a profile that is damaged or of another kind.
    """
    tags = _tags(profile)
    space = profile[16:20].decode("latin-1").strip()
    if space != {1: "GRAY", 3: "RGB"}[channels]:
        raise ProfileError(f"it is for {space} and the picture is {'grey' if channels == 1 else 'RGB'}")
    if not {b"A2B0", b"A2B1"}.isdisjoint(tags):
        return unless_same(_lattice(profile, channels))
    names = [b"kTRC"] * 3 if channels == 1 else [b"rTRC", b"gTRC", b"bTRC"]
    if missing := [name for name in names if name not in tags]:
        raise ProfileError(f"it has no {missing[0].decode()}")
    red, green, blue = (_curve(tags[name]) for name in names)
    matrix = np.eye(3) if channels == 1 else _matrix(tags)
    return unless_same(Encoding((red, green, blue), matrix))


def _tags(profile: bytes) -> dict[bytes, memoryview]:
    """Return the contents of a profile by name: a header of 128 bytes, a count, then (name, offset, size) of each.

    They are views of it: a damaged one may name the same bytes a hundred times.
    """
    if len(profile) < 132 or profile[36:40] != b"acsp" or len(profile) > MAX_BYTES:
        raise ProfileError("it is damaged: it does not begin like a profile")
    count = int.from_bytes(profile[128:132], "big")
    if count > MAX_TAGS or len(profile) < 132 + 12 * count:
        raise ProfileError("it is damaged: its list of contents is cut off")
    tags, content = {}, memoryview(profile)
    for at in range(132, 132 + 12 * count, 12):
        name, offset, size = struct.unpack_from(">4sII", profile, at)
        if offset + size > len(profile):
            raise ProfileError(f"it is truncated: {name.decode('latin-1')} lies beyond its end")
        tags[name] = content[offset : offset + size]
    return tags


def _matrix(tags: dict[bytes, memoryview]) -> Floats:
    """Return the matrix from a profile's light to that of BT.709: its colorants, adapted to D50, are adapted to D65."""
    columns = []
    for name in (b"rXYZ", b"gXYZ", b"bXYZ"):
        content = tags.get(name, memoryview(b""))
        if len(content) < 20:
            raise ProfileError(f"it has no {name.decode()}")
        columns.append([value / 65536 for value in struct.unpack_from(">3i", content, 8)])
    points = [*columns, [sum(values) for values in zip(*columns, strict=True)]]
    if not all(sum(point) > 0 for point in points):
        raise ProfileError("its primaries span no colour space")
    rx, ry, gx, gy, bx, by, wx, wy = (value / sum(point) for point in points for value in point[:2])
    chromaticities: Chromaticities = (rx, ry, gx, gy, bx, by, wx, wy)
    try:
        return to_bt709_matrix(chromaticities)
    except SourceError as error:
        raise ProfileError("its primaries span no colour space") from error


def _curve(content: memoryview) -> Curve:
    """Return a curve, sampled (10.6) or parametric (10.18)."""
    kind, count = bytes(content[:4]), int.from_bytes(content[8:12], "big")
    if kind == b"curv" and count <= 2**16 and len(content) >= 12 + 2 * count:
        return _sampled(np.frombuffer(content, ">u2", count, 12).astype(np.float64))
    if kind == b"para" and len(content) >= 12:
        number = int.from_bytes(content[8:10], "big")
        if number < len(_PARAMETERS) and len(content) >= 12 + 4 * len(_PARAMETERS[number]):
            values = np.frombuffer(content, ">i4", len(_PARAMETERS[number]), 12) / 65536
            return _checked(_parametric(number, dict(zip(_PARAMETERS[number], values.tolist(), strict=True))))
    raise ProfileError("a curve of it is damaged")


def _checked(curve: Curve) -> Curve:
    with np.errstate(all="ignore"):
        light = curve(np.linspace(0.0, 1.0, 1024))
    if not np.isfinite(light).all():
        raise ProfileError("a curve of it is damaged")
    return curve


def _sampled(values: Floats) -> Curve:
    if len(values) < 2:
        return power(float(values[0]) / 256 if len(values) else 1.0)
    places = np.linspace(0.0, 1.0, len(values))
    return lambda code: np.asarray(np.interp(code, places, values / 65535), np.float64)


def _parametric(number: int, p: dict[str, float]) -> Curve:
    """Return one of the five functions: Y = (a X + b)^g + e where X >= d, else c X + f; the first ones have no e, f."""
    g, a, b = p["g"], p.get("a", 1.0), p.get("b", 0.0)
    if not a:
        raise ProfileError("a curve of it is damaged")
    if number < 3:  # what lies below the zero of a X + b is the constant c, 0 where there is none
        start, slope, below, above = -b / a, 0.0, p.get("c", 0.0), p.get("c", 0.0)
    else:
        start, slope, below, above = p["d"], p["c"], p.get("f", 0.0), p.get("e", 0.0)

    def curve(code: Floats) -> Floats:
        bent = np.power(np.maximum(a * code + b, 0.0), g) + above
        return np.where(code >= start, bent, slope * code + below)

    return curve


def _lattice(profile: bytes, channels: int) -> Lattice:
    """Ask Little CMS for the colours of a lattice: 8 bits at each node, with smooth steps between."""
    codes = np.rint(np.linspace(0, 255, NODES)).astype(np.uint8)
    if channels == 1:
        grey = _through(profile, Image.fromarray(codes[None]), "L")  # (1, N, 3)
        return Lattice(np.broadcast_to(grey[0][:, None, None], (NODES, NODES, NODES, 3)).copy())
    grid = np.stack(np.meshgrid(codes, codes, codes, indexing="ij"), axis=-1).reshape(NODES, -1, 3)
    nodes = _through(profile, Image.fromarray(grid), "RGB")
    return Lattice(nodes.reshape(NODES, NODES, NODES, 3))


def cmyk_to_rgb(picture: Image.Image, profile: bytes) -> FloatImage:
    """Return T of a CMYK picture of 8 bits, through its profile. Raises ProfileError where that cannot be used."""
    return _through(profile, picture, "CMYK")


def _through(profile: bytes, picture: Image.Image, mode: str) -> FloatImage:
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), mode, "RGB", RELATIVE
        )
        converted = ImageCms.applyTransform(picture, transform)
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        raise ProfileError(f"Little CMS cannot use it ({error})") from error
    codes: npt.NDArray[np.uint8] = np.asarray(converted, np.uint8)
    return codes.astype(np.float32) / np.float32(255)
