"""A family of damaged TIFF, PNG, JPEG XL, AVIF and Ultra HDR files, made from good ones, and what becomes of them.

Run as a module with a folder: it writes each damaged file there, reads it, and prints one JSON line of what came out.
A test runs it in one process of its own: a decoder that crashes ends that process, and not the tests.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import SourceError
from pipeline.frames import probe, read_frame
from tests.pipeline.still_files import (
    avif_planes,
    iso,
    picture,
    smooth,
    write_avif,
    write_jxl,
    write_png,
    write_tiff,
    write_ultra_hdr,
)

CUTS = 20  # truncations of each good file
FLIPS = 24  # seeded changes of bytes of each good file
LIES = [0, 1, 2, 47, 65, 4800, 2**15 - 1, 2**16 - 1, 2**24, 2**31 - 1, 2**32 - 1]


def good_files(folder: Path) -> Iterator[Path]:
    """Write good files, small ones."""
    pixels, codes = smooth(48, 64), np.rint(smooth(48, 64) * 65535).astype(np.uint16)
    gain = np.rint(smooth(12, 16)[..., 0] * 255).astype(np.uint8)
    yield write_tiff(folder / "strips.tif", pixels)
    yield write_tiff(folder / "deflate.tif", pixels, deflate=True, predictor=3)
    yield write_tiff(folder / "planes.tif", pixels.astype(np.float16), order=">", planar=True)
    yield write_png(folder / "pq.png", codes, {b"cICP": bytes([9, 16, 0, 1])})
    yield write_jxl(folder / "float.jxl", picture(48, 64), (1, 8))
    yield write_jxl(folder / "lossy.jxl", codes, (9, 16), quality=90)
    yield write_avif(folder / "pq.avif", avif_planes(64, 80))
    metadata = iso(0x40, [[(0, 1), (3, 1), (1, 1), (0, 1), (0, 1)]])
    photograph = np.rint(pixels ** (1 / 2.2) * 255).astype(np.uint8)
    yield write_ultra_hdr(folder / "photo.jpg", photograph, gain, metadata)
    yield write_ultra_hdr(folder / "progressive.jpg", photograph, gain, metadata, progressive=True)


def damaged(good: Path, seed: int) -> Iterator[tuple[str, bytes]]:
    """Return the damaged contents of a good file, each with what was done."""
    content = good.read_bytes()
    rng = np.random.default_rng(seed)
    for cut in np.linspace(0, len(content) - 1, CUTS).astype(int).tolist():
        yield f"cut {cut}", content[:cut]
    for k in range(FLIPS):
        flipped = bytearray(content)
        high = min(len(content), 300) if k % 2 else len(content)
        for position in rng.integers(4, high, 1 + k // 4).tolist():
            flipped[position] ^= int(rng.integers(1, 256))
        yield f"flip {k}", bytes(flipped)
    for at, size, order in size_fields(good.suffix, content):
        for value in LIES:
            if value < 256**size:
                yield f"size {value} at {at}", content[:at] + value.to_bytes(size, order) + content[at + size :]


def size_fields(suffix: str, content: bytes) -> Iterator[tuple[int, int, Any]]:
    """Yield position, bytes and byte order of the numbers that say how large a picture is."""
    if suffix == ".png":
        yield from ((16, 4, "big"), (20, 4, "big"))
    elif suffix == ".tif":
        order: Any = "little" if content[:2] == b"II" else "big"
        start = int.from_bytes(content[4:8], order)
        for at in range(start + 2, start + 2 + 12 * int.from_bytes(content[start : start + 2], order), 12):
            if int.from_bytes(content[at : at + 2], order) in {256, 257, 277, 278}:
                yield at + 8, 2, order
    elif suffix == ".jpg":
        for marker in (b"\xff\xc0", b"\xff\xc2"):
            at = content.find(marker)
            if at >= 0:
                yield from ((at + 5, 2, "big"), (at + 7, 2, "big"))
    elif suffix == ".avif":
        at = content.index(b"ispe") + 8
        yield from ((at, 4, "big"), (at + 4, 4, "big"))
        yield from ((content.index(b"iloc") + at, 2, "big") for at in (8, 10, 12, 16, 18, 22))
    else:
        at = content.index(b"\xff\x0a") + 2
        yield from ((at, 2, "little"), (at + 1, 4, "little"))


def outcome(path: Path) -> dict[str, Any]:
    """Read a file: the digest of its pixels or the reason against it."""
    result: dict[str, Any] = {}
    try:
        facts = probe(path)
        frame = read_frame(path)
    except SourceError as error:
        result["reason"] = str(error)
    else:
        result["shape_is_right"] = frame.pixels.shape == (facts.height, facts.width, 3) and frame.facts == facts
        result["digest"] = hashlib.sha256(frame.pixels.tobytes()).hexdigest()
    return result


def main(folder: Path) -> None:
    """Print what becomes of every file of the family, the good ones first."""

    def tell(fact: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(fact) + "\n")
        sys.stdout.flush()

    for seed, good in enumerate(list(good_files(folder))):
        path = folder / f"damaged{good.suffix}"
        tell({"file": good.name, "damage": "none", **outcome(good)})
        for damage, content in damaged(good, seed):
            path.write_bytes(content)
            tell({"file": good.name, "damage": damage, **outcome(path)})
    status = Path("/proc/self/status")  # of Linux
    if status.exists():
        tell({"peak": int(status.read_text().split("VmHWM:")[1].split()[0])})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
