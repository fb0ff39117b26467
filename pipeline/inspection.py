"""What the reader sees of one file, for people to read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.frames import probe, read_frame
from pipeline.records import Facts, FloatImage, Frame, Transfer

BT709_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)  # ITU-R BT.709-6, Section 3.2
PERCENTILES = (0.1, 1.0, 50.0, 99.0, 99.9)
BLOCK_PIXELS = 2**22  # of luminance at a time, so that a large frame is not doubled in memory


def inspect(path: Path, transfer: Transfer | None = None) -> list[tuple[str, str]]:
    """Decode the first frame of a source and return what is known of it: name and value, in the order to print.

    Raises SourceError where the file cannot be used.
    """
    facts = probe(path, transfer)
    return [*_facts_lines(facts), *_frame_lines(read_frame(path, 0, transfer))]


def _facts_lines(facts: Facts) -> list[tuple[str, str]]:
    frames = [] if facts.kind == "still" else [("frames", str(facts.frames))]
    return [
        ("kind", facts.kind),
        ("size", f"{facts.width}x{facts.height} pixels"),
        *frames,
        *facts.details,
        ("transfer", facts.transfer),
        ("primaries", facts.primaries or "not stated, taken for bt709"),
        ("scale", _SCALES.get(facts.scale, facts.scale)),
    ]


_SCALES = {
    "relative": "relative: 1.0 is what the maker of the file chose",
    "cd/m2": "absolute, cd/m2",
    "HLG scene": "scene light of HLG, its peak is 1.0",
}


def _frame_lines(frame: Frame) -> list[tuple[str, str]]:
    luminance = _luminance(frame.pixels)
    low, *between, high = np.percentile(luminance, PERCENTILES).tolist()
    values = [low, *between, high]
    lines = [(f"luminance {p:g} %", f"{value:.4g}") for p, value in zip(PERCENTILES, values, strict=True)]
    lines.append(("luminance maximum", f"{float(luminance.max()):.4g}"))
    # Of what is brighter than black: a range down to zero has no end.
    lit = luminance[luminance > 0]
    bottom = float(np.percentile(lit, PERCENTILES[0]))
    lines.append(("dynamic range", f"{np.log2(max(high, bottom) / bottom):.1f} stops between 0.1 % and 99.9 %"))
    lines.append(("repaired", f"{frame.nonfinite} pixels not finite, {frame.negative} negative"))
    return lines


def _luminance(pixels: FloatImage) -> FloatImage:
    """Return the BT.709 luminance (H, W) of a frame."""
    rows = max(1, BLOCK_PIXELS // pixels.shape[1])
    blocks = [pixels[start : start + rows] @ BT709_LUMINANCE for start in range(0, pixels.shape[0], rows)]
    return np.concatenate(blocks)
