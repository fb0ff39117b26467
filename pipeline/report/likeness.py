"""Which sources look alike: a perceptual hash of a frame, and how many of its bits differ.

A bit of the hash says whether one of the 63 lowest frequencies (DCT, 8x8 without the mean) of the log luminance,
shrunk to 32x32 pixels, lies above their median: neither exposure nor size nor file format changes that much (Zauner
2010, "Implementation and benchmarking of perceptual image hash functions").
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import cv2
import numpy as np

from pipeline.records import FloatImage

SIDE, KEPT = 32, 8  # pixels that a frame is shrunk to; frequencies along each side
NEAR = 8  # bits of 63 that may differ; of unlike pictures half of them do
_FLAT = 0.05  # stops: standard deviation of the log luminance under which a picture has no structure to compare


def likeness_hash(picture: FloatImage) -> int | None:
    """Return the hash of a picture (H, W, 3) float32, scene-linear; None for one without structure."""
    gray = cv2.cvtColor(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    level = float(np.mean(gray))
    stops = np.log2(np.asarray(gray, np.float32) + np.float32(max(1e-3 * level, 1e-20)))
    if float(stops.std()) < _FLAT:
        return None
    frequencies = np.asarray(cv2.dct(stops.astype(np.float32)))[:KEPT, :KEPT].ravel()[1:]
    bits = frequencies > np.median(frequencies)
    return int("".join("1" if bit else "0" for bit in bits), 2)


def differing_bits(one: int, other: int) -> int:
    """Return in how many bits two hashes differ."""
    return (one ^ other).bit_count()


def alike(hashes: Mapping[int, int]) -> list[tuple[int, int, int]]:
    """Return the pairs of sources that look alike, the likest first: both indices, and the bits that differ."""
    pairs = [(a, b, differing_bits(hashes[a], hashes[b])) for a, b in combinations(sorted(hashes), 2)]
    return sorted((pair for pair in pairs if pair[2] <= NEAR), key=lambda pair: pair[2])
