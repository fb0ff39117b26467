"""A family of damaged EXR files, made from good ones, and what the reader makes of them.

Run as a module with a folder: it writes each damaged file there, reads it, and prints one JSON line of what came out.
A test runs it in one process of its own: a decoder that crashes ends that process, and not the tests.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR

from pipeline.errors import SourceError
from pipeline.frames.exr import probe_exr, read_exr
from pipeline.records import FloatImage
from tests.pipeline.exr_files import SCANLINES, lie_about_size, luminance_chroma, save, smooth_picture, tiled

CUTS = 20  # truncations of each good file
FLIPS = 12  # seeded changes of bytes of each good file
SIZES = [(48, 64), (64, 47), (63, 48), (65, 48), (64, 4800), (6400, 48), (16_384, 16_384), (0, 0), (-5, 3), (2**30, 1)]
COMPRESSIONS = ["NO", "ZIP", "PIZ", "DWAA", "B44"]


def good_files(folder: Path) -> Iterator[Path]:
    """Write a good file of each compression, by scanlines, tiles, parts and with subsampled chroma: 64x48 pixels."""
    pixels = smooth_picture(48, 64)
    chroma = luminance_chroma(pixels)
    for letters in COMPRESSIONS:
        compression = getattr(OpenEXR, f"{letters}_COMPRESSION")
        for kind, layout in {"scan": SCANLINES, "tile": tiled(32, 16)}.items():
            rgb = {"RGB": pixels.astype(np.float16)}
            yield save(folder / f"{letters}-{kind}.exr", rgb, compression=compression, **layout)
        yield save(folder / f"{letters}-chroma.exr", dict(chroma), compression=compression)
        yield write_parts(folder / f"{letters}-parts.exr", compression, pixels)


def write_parts(path: Path, compression: Any, pixels: FloatImage) -> Path:
    """Write a file of two parts, the second of them the picture."""
    header = {**SCANLINES, "compression": compression}
    depth = OpenEXR.Part(dict(header), {"Z": pixels[..., 0].copy()}, "depth")
    OpenEXR.File([depth, OpenEXR.Part(dict(header), {"RGB": pixels.astype(np.float16)}, "rgb")]).write(str(path))
    return path


def damaged(good: Path, seed: int) -> Iterator[tuple[str, bytes]]:
    """Return the damaged contents of a good file, each with what was done."""
    content = good.read_bytes()
    start = first_chunk(content)
    rng = np.random.default_rng(seed)
    for cut in np.linspace(start, len(content) - 1, CUTS).astype(int).tolist():
        yield f"cut {cut}", content[:cut]
    table = end_of_header(content)  # a writer fills it in last
    for cut in np.linspace(start, len(content) - 1, CUTS // 4).astype(int).tolist():
        yield f"cut {cut} without table", content[:table] + bytes(start - table) + content[start:cut]
    for k in range(FLIPS):
        flipped = bytearray(content)
        low = 4 if k % 2 else start  # everywhere, or in the pixels alone
        for position in rng.integers(low, len(content), 1 + k // 2).tolist():
            flipped[position] ^= int(rng.integers(1, 256))
        yield f"flip {k}", bytes(flipped)
    scratch = good.with_suffix(".size")
    for width, height in SIZES:
        scratch.write_bytes(content)
        lie_about_size(scratch, width, height)
        yield f"size {width}x{height}", scratch.read_bytes()
    yield from lies(content)


def lies(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Return contents whose header names another codec, sampling, type or position than the pixels have."""
    mark = b"compression\0compression\0\x01\0\0\0"
    codec = content.index(mark) + len(mark)
    for other in (0, 1, 3, 4, 6, 8, 9, 42, 255):
        if other != content[codec]:
            yield f"lie codec {other}", content[:codec] + bytes([other]) + content[codec + 1 :]
    channels = content.index(b"chlist\0") + len(b"chlist\0") + 4
    sample = content.index(b"\0", channels) + 1
    for name, at, value in (
        ("type", 0, 0),
        ("type", 0, 7),
        ("sampling", 8, 0),
        ("sampling", 8, 3),
        ("sampling", 8, -1),
    ):
        yield f"lie {name} {value}", content[: sample + at] + struct.pack("<i", value) + content[sample + at + 4 :]
    yield "lie channels", content[: channels - 4] + struct.pack("<i", 2**31 - 1) + content[channels:]
    table = end_of_header(content)
    for offset in (0, 1, 2**62, 2**63 + 5, len(content) - 2):
        yield f"lie offset {offset}", content[:table] + struct.pack("<Q", offset) + content[table + 8 :]
    for flags in (0x1000, 0x800, 0x200, 0x1A00, 1):
        yield f"lie flags {flags}", content[:4] + struct.pack("<I", 2 ^ flags) + content[8:]


def end_of_header(content: bytes) -> int:
    """Return where the table of chunks begins."""
    position, parts = 8, struct.unpack_from("<I", content, 4)[0] & 0x1000
    while True:
        while content[position]:
            for _ in range(2):
                position = content.index(b"\0", position) + 1
            position += 4 + int(struct.unpack_from("<i", content, position)[0])
        position += 1
        if not parts:
            return position
        if not content[position]:
            return position + 1


def first_chunk(content: bytes) -> int:
    """Return where the pixels begin: at the first offset of the table, of files that were written in order."""
    return int(struct.unpack_from("<Q", content, end_of_header(content))[0])


def outcome(path: Path) -> dict[str, Any]:
    """Read a file: the digest of its pixels or the reason against it."""
    result: dict[str, Any] = {}
    try:
        probe_exr(path)
        picture = read_exr(path)
    except SourceError as error:
        result["reason"] = str(error)
    else:
        expected = (picture.facts.height, picture.facts.width, 3)
        result["shape_is_right"] = picture.pixels.shape == expected and picture.pixels.dtype == np.float32
        result["digest"] = digest(picture.pixels)
    return result


def digest(pixels: FloatImage) -> str:
    """Return a name for exactly these pixels."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def main(folder: Path) -> None:
    """Print what becomes of every file of the family, the good ones first."""

    def tell(fact: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(fact) + "\n")
        sys.stdout.flush()

    path = folder / "damaged.exr"
    for seed, good in enumerate(list(good_files(folder))):
        tell({"file": good.stem, "damage": "none", **outcome(good)})
        for damage, content in damaged(good, seed):
            path.write_bytes(content)
            tell({"file": good.stem, "damage": damage, **outcome(path)})
    status = Path("/proc/self/status")  # of Linux
    if status.exists():
        tell({"peak": int(status.read_text().split("VmHWM:")[1].split()[0])})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
