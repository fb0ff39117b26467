"""What a candidate costs, beside the literal method: CPU time by stage, equality of scores, growth, a worker's memory.

    python benchmarks/camera_and_score.py [HDR_FILES...] [--patches 24] [--size 512] [--growth 100 1000]
                                          [--out benchmarks/results/camera_and_score.json]

Without files it measures on generated scenes. The literal method is that of tests/pipeline/literal.py: the virtual
camera in numpy and OpenCV calls, OpenCV's bilateral filter, one thread, float32. Both work on the same windows with the
same cameras in one process, turn by turn, so that whatever else the machine does falls on both. CPU time is that of the
process (`time.process_time`). Compilation is apart: `start_up` is the first patch of a process whose machine code was
kept by an earlier one, and of one that has none.

Scores are compared on the literal camera's pixels, where they may differ by 1e-4 of themselves; `verdicts` counts those
that change though the score is farther than that from the threshold. `end_to_end` compares with our camera's pixels.
`whole run` is `benchmarks/scaling.py` on two generated frames: decoding, Dask, commits and stored pixels included.
Peak memory is that of a fresh process that ingests and scores one generated frame of 8 megapixels, above one that only
imports.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for the literal twin, which lies among the tests

from benchmarks.conditions import conditions  # noqa: E402
from pipeline.bank import BankWriter  # noqa: E402
from pipeline.camera import (  # noqa: E402
    CameraSettings,
    cut,
    decode_jpeg,
    draw_camera,
    encode_jpeg,
    expose,
    photograph,
    resolve_exposure,
)
from pipeline.config import Settings, resolve  # noqa: E402
from pipeline.crops import CropSettings, draw_windows  # noqa: E402
from pipeline.errors import SourceError  # noqa: E402
from pipeline.frames import read_frame  # noqa: E402
from pipeline.records import Camera, FloatImage, Window  # noqa: E402
from pipeline.scenes import SCENES, render_scene, write_exr  # noqa: E402
from pipeline.score import ScoreSettings, judge, score_patch  # noqa: E402
from pipeline.versions import versions  # noqa: E402
from pipeline.work import Place, find, ingest_source, single_threaded  # noqa: E402
from tests.pipeline import literal  # noqa: E402

T = TypeVar("T")
Candidate = tuple[FloatImage, Window, Camera]
FRAME = (2448, 3264)  # height and width of an 8 megapixel frame
TOLERANCE = 1e-4  # of the score


def main() -> None:
    """Measure, print and write the figures."""
    options = _parse()
    if options.one_worker is not None:
        _work_on_one_frame(options.one_worker)
    elif options.start_up:
        _start_up()
    else:
        figures = _figures(options)
        print(json.dumps(figures, indent=2))
        if options.out is not None:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(figures, indent=2) + "\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--patches", type=int, default=24, help="patches a frame")
    parser.add_argument("--size", type=int, default=512, help="of a patch")
    parser.add_argument("--growth", type=int, nargs="*", default=(100, 1000), help="candidates in one go, ours alone")
    parser.add_argument("--out", type=Path, help="where the figures go as JSON")
    parser.add_argument("--one-worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--start-up", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _figures(options: argparse.Namespace) -> dict[str, Any]:
    single_threaded()
    frames, names = _frames(options.files, options.size)
    comparison = Comparison()
    for frame, window, camera in candidates(frames, options.patches, options.size):
        comparison.add(frame, window, camera)
    idle, busy = _worker_memory()
    return {
        **comparison.figures(),
        "growth: cpu ms a candidate": {
            str(count): _in_one_go(candidates(frames, count // len(frames) + 1, options.size), count)
            for count in options.growth
        },
        "start_up: cpu s of the first patch": _start_ups(),
        "worker_peak_mb": {
            "idle": idle,
            "above idle and frame of 8 MP": round(busy - idle - np.prod(FRAME) * 12e-6),
        },
        "whole run: cpu ms a candidate": _whole_run(options.size),
        "workload": {"files": names, "patches": comparison.count, "size": options.size},
        **conditions(),
        "versions": versions(),
    }


def _whole_run(size: int) -> dict[str, float]:
    """Return what a candidate costs from the source to the stored patch, with workers and in a plain loop."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "scaling.json"
        command = [sys.executable, ROOT / "benchmarks" / "scaling.py", "--frames", 2, "--repeat", 1]
        command += ["--patch-size", size, "--out", out]
        subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
        told = json.loads(out.read_text())
    ways = {"plain loop": "loop", "one worker": "one worker", "two workers": "two workers in full"}
    return {name: round(1000 * told[key]["cpu"] / told[key]["candidates"], 2) for name, key in ways.items()}


def _frames(files: Sequence[Path], size: int) -> tuple[list[FloatImage], list[str]]:
    """Return the frames that hold a patch, and their names."""
    if not files:
        return [render_scene(name, 0, 768, 1024) for name in SCENES], [f"generated: {name}" for name in SCENES]
    frames, names = list[FloatImage](), list[str]()
    for path in files:
        try:
            pixels = read_frame(path).pixels
        except SourceError:
            continue
        if min(pixels.shape[:2]) >= size:
            frames.append(pixels)
            names.append(path.name)
    return frames, names


def candidates(frames: Sequence[FloatImage], patches: int, size: int) -> Iterator[Candidate]:
    """Yield windows and cameras of frames, as a bank of seed 0 would draw them."""
    for number, frame in enumerate(frames):
        settings = CropSettings(patches=patches, patch_size=size)
        for k, window in enumerate(draw_windows(frame.shape[0], frame.shape[1], settings, 0, str(number), 0)):
            yield frame, window, draw_camera(CameraSettings(), 0, str(number), 0, k)


@dataclass
class Comparison:
    """Times of both methods, and how far their scores are apart."""

    count: int = 0
    ours: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    literal: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    differences: list[float] = field(default_factory=list)
    end_to_end: list[float] = field(default_factory=list)
    verdicts: int = 0

    def add(self, frame: FloatImage, window: Window, camera: Camera) -> None:
        """Work on one candidate with both."""
        if self.count == 0:  # compilation is apart
            _whole(frame, window, camera)
        self.count += 1
        ours = self._ours(frame, window, camera)
        hdr, ldr = timed(self.literal, "camera", literal.shoot, frame, window, camera)
        twin = timed(self.literal, "score", literal.score_patch, hdr, ldr)
        same = score_patch(hdr, ldr)
        scale = max(twin.over_saturated, 1e-9)
        self.differences.append(abs(same.over_saturated - twin.over_saturated) / scale)
        self.end_to_end.append(abs(ours - twin.over_saturated) / scale)
        threshold = ScoreSettings().threshold
        if abs(twin.over_saturated - threshold) > TOLERANCE * threshold:
            verdicts = [judge(s.over_saturated, s.saturated_fraction, ScoreSettings())[0] for s in (same, twin)]
            self.verdicts += verdicts[0] != verdicts[1]

    def _ours(self, frame: FloatImage, window: Window, camera: Camera) -> float:
        patch = timed(self.ours, "cut", cut, frame, window)
        exposure = timed(self.ours, "resolve exposure", resolve_exposure, patch, camera.clip_fraction)
        camera = replace(camera, exposure=exposure)
        hdr = timed(self.ours, "expose", expose, patch, camera, window.flip)
        taken = timed(self.ours, "8 bits", photograph, hdr, replace(camera, jpeg_quality=0))
        jpeg = timed(self.ours, "encode JPEG", encode_jpeg, taken.ldr, camera.jpeg_quality)
        ldr = timed(self.ours, "decode JPEG", decode_jpeg, jpeg)
        return timed(self.ours, "score", score_patch, hdr, ldr).over_saturated

    def figures(self) -> dict[str, Any]:
        """Return all that was seen, as JSON values."""
        ours, twin = sum(self.ours.values()), sum(self.literal.values())
        return {
            "cpu_ms_a_patch": {
                "ours": {stage: round(1000 * s / self.count, 2) for stage, s in self.ours.items()},
                "literal": {stage: round(1000 * s / self.count, 2) for stage, s in self.literal.items()},
                "ours together": round(1000 * ours / self.count, 2),
                "literal together": round(1000 * twin / self.count, 2),
            },
            "literal over ours": round(twin / ours, 2),
            "score": {
                "largest relative difference": float(f"{max(self.differences):.2g}"),
                "median relative difference": float(f"{np.median(self.differences):.2g}"),
                "verdicts changed beyond it": self.verdicts,
                "end to end, largest relative difference": float(f"{max(self.end_to_end):.2g}"),
                "end to end, median relative difference": float(f"{np.median(self.end_to_end):.2g}"),
            },
        }


def timed(spent: dict[str, float], stage: str, work: Callable[..., T], *arguments: Any) -> T:
    """Do it and add its CPU seconds."""
    start = time.process_time()
    result = work(*arguments)
    spent[stage] += time.process_time() - start
    return result


def _whole(frame: FloatImage, window: Window, camera: Camera) -> None:
    patch = cut(frame, window)
    camera = replace(camera, exposure=resolve_exposure(patch, camera.clip_fraction))
    hdr = expose(patch, camera, window.flip)
    score_patch(hdr, photograph(hdr, camera).ldr)


def _in_one_go(some: Iterator[Candidate], count: int) -> float:
    """Return CPU ms a candidate of so many, taken from all frames in turn."""
    chosen = list(islice(some, count))
    start = time.process_time()
    for frame, window, camera in islice(cycle(chosen), count):
        _whole(frame, window, camera)
    return round(1000 * (time.process_time() - start) / count, 2)


def _start_ups() -> dict[str, float]:
    """Return CPU seconds of the first patch of a process, without and with kept machine code."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        command = [sys.executable, __file__, "--start-up"]
        told = [subprocess.run(command, env=environment, check=True, capture_output=True, text=True) for _ in range(2)]
    return {"compiled": float(told[0].stdout), "kept": float(told[1].stdout)}


def _start_up() -> None:
    frame, window, camera = next(candidates([render_scene(next(iter(SCENES)), 0, 300, 300)], 1, 256))
    start = time.process_time()
    _whole(frame, window, camera)
    print(round(time.process_time() - start, 3))


def _worker_memory() -> tuple[float, float]:
    """Return the peak memory in MB of a process that only imports, and of one that works on an 8 MP frame."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "frame.exr"
        write_exr(source, np.tile(render_scene("sky", 0, FRAME[0] // 2, FRAME[1] // 2), (2, 2, 1)))
        return _peak_of("--one-worker", "/"), _peak_of("--one-worker", str(source))


def _peak_of(*arguments: str) -> float:
    command = [sys.executable, __file__, *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _work_on_one_frame(source: Path) -> None:
    """Print this process's peak memory in MB after it did a worker's task; a folder stands for no task."""
    if source.is_file():
        settings: Settings = resolve([{"crops": {"patches": 20}}])
        bank = source.parent / "bank.zarr"
        attributes: dict[str, Any] = {"seed": 0, "config": settings.stored(), "versions": {}}
        with BankWriter.create(bank, attributes) as writer:
            place = Place(writer.begin(), 300)
        outcome = ingest_source(place, find(source), settings, also_score=True)
        assert outcome.patches == 20, outcome
    # Not getrusage: its peak is inherited from the process that started this one.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(round(int(peak.split()[1]) * 1024 / 1e6, 1))


if __name__ == "__main__":
    main()
