"""What a video frame costs: CPU time of decoding and of making light of it, one thread, beside plain numpy.

    python benchmarks/video.py FILES... [--frames 12] [--out FILE.json]

CPU time is that of this process (`time.process_time`). The first frame pays for tables and caches and is left out.
Plain numpy is the same arithmetic on whole frames, the transfer function worked out for each value.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, it sees the packages beside it

from benchmarks.conditions import conditions  # noqa: E402
from pipeline.frames.planes import Coding, frame_to_light, layout_of, raw_planes, table_matrix  # noqa: E402
from pipeline.frames.tags import coding_of, read_tags  # noqa: E402
from pipeline.frames.track import Track, index_of  # noqa: E402
from pipeline.records import FloatImage  # noqa: E402
from pipeline.transfer import to_light  # noqa: E402
from pipeline.versions import versions  # noqa: E402


def main() -> None:
    """Measure, print a table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--out", type=Path, help="where the figures go as JSON")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    known = conditions()
    figures = {path.name: measure(path, options.frames) for path in options.files}
    for name, costs in figures.items():
        print(name, *(f"{stage} {milliseconds:.1f} ms" for stage, milliseconds in costs.items()), sep=", ")
    report = {"cpu_ms_a_frame": figures, **known, "versions": versions()}
    if options.out is not None:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


def measure(path: Path, count: int) -> dict[str, float]:
    """Return the CPU milliseconds a frame of each stage."""
    costs = {"decode": 0.0, "light": 0.0, "plain numpy": 0.0}
    done = 0
    with Track(path) as track:
        decoded = track.decode_from(index_of(path), 0)
        _, frame = next(decoded)
        coding = coding_of(read_tags(frame), frame.format.name, 10, None)
        frame_to_light(frame, coding)
        before = time.process_time()
        for _, frame in decoded:
            after_decoding = time.process_time()
            light = frame_to_light(frame, coding)
            after_light = time.process_time()
            slow = plain_light(frame, coding)
            after_plain = time.process_time()
            assert np.median(np.abs(light - slow)) < 0.01 * np.median(slow)
            for stage, seconds in zip(
                costs,
                (after_decoding - before, after_light - after_decoding, after_plain - after_light),
                strict=True,
            ):
                costs[stage] += 1000 * seconds
            done += 1
            if done == count:
                break
            before = time.process_time()
    return {stage: round(total / max(done, 1), 2) for stage, total in costs.items()}


def plain_light(frame: av.VideoFrame, coding: Coding) -> FloatImage:
    """Make light of a frame as one would write it down first; chroma is repeated, not interpolated."""
    layout = layout_of(frame.format.name)
    planes = [plane.astype(np.float32) for plane in raw_planes(frame, layout)]
    size = planes[0].shape
    chroma = [
        plane.repeat(1 + layout.halve_y, 0).repeat(1 + layout.halve_x, 1)[: size[0], : size[1]] for plane in planes[1:]
    ]
    black = 0 if coding.full_range else 16 << layout.bits - 8
    samples = np.stack([planes[0] - black, *(plane - (1 << layout.bits - 1) for plane in chroma)], axis=-1)
    codes = samples @ (table_matrix(layout, coding).T / 65535).astype(np.float32)
    return to_light(codes, coding.transfer).astype(np.float32)


if __name__ == "__main__":
    main()
