"""What a candidate costs: CPU time of camera and score by stage, one thread, and the peak memory of a worker.

    python benchmarks/camera_and_score.py [HDR_FILES...] [--patches 24] [--out FILE.json]

Without files it measures on generated scenes. CPU time is that of this process (`time.process_time`), each stage on the
same patches. Peak memory is that of a fresh process that ingests and scores one generated frame of 8 megapixels.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pipeline.bank import BankWriter
from pipeline.camera import CameraSettings, cut, develop, draw_camera, expose, resolve_exposure
from pipeline.config import Settings, resolve
from pipeline.crops import CropSettings, draw_windows
from pipeline.frames import read_frame
from pipeline.records import FloatImage
from pipeline.scenes import SCENES, render_scene, write_exr
from pipeline.score import score_patch
from pipeline.versions import versions
from pipeline.work import Place, find, ingest_source, single_threaded

T = TypeVar("T")
FRAME = (2448, 3264)  # height and width of an 8 megapixel frame


def main() -> None:
    """Measure, print a table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--patches", type=int, default=24, help="patches a frame")
    parser.add_argument("--out", type=Path, help="where the figures go as JSON")
    parser.add_argument("--one-worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one_worker is not None:
        _work_on_one_frame(options.one_worker)
        return
    single_threaded()
    costs = _stage_costs(options.files, options.patches)
    idle, busy = _worker_memory()
    figures = {
        "cpu_ms_a_patch": {stage: round(1000 * seconds, 2) for stage, seconds in costs.items()},
        "patches_a_cpu_second": {
            "camera": round(1 / (costs["resolve exposure"] + costs["camera: hdr"] + costs["camera: ldr"]), 1),
            "score": round(1 / costs["score"], 1),
            "camera and score": round(1 / sum(costs.values()), 2),
        },
        "worker_peak_mb": {"idle": idle, "ingest and score of an 8 MP frame": busy},
        "measured_on": [path.name for path in options.files] or [f"generated: {name}" for name in SCENES],
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "platform": platform.platform()},
        "versions": versions(),
        "commit": _commit(),
    }
    print(json.dumps(figures, indent=2))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(figures, indent=2) + "\n")


def _stage_costs(files: list[Path], patches: int) -> dict[str, float]:
    """Return CPU seconds a patch by stage."""
    frames = [read_frame(path).pixels for path in files] or [render_scene(name, 0, 768, 1024) for name in SCENES]
    spent: dict[str, float] = defaultdict(float)
    for number, frame in enumerate(frames):
        _measure_frame(frame, number, patches, spent)
    return {stage: seconds / (patches * len(frames)) for stage, seconds in spent.items()}


def _measure_frame(frame: FloatImage, number: int, patches: int, spent: dict[str, float]) -> None:
    def timed(stage: str, work: Callable[..., T], *arguments: Any) -> T:
        start = time.process_time()
        result = work(*arguments)
        spent[stage] += time.process_time() - start
        return result

    height, width = frame.shape[:2]
    windows = draw_windows(height, width, CropSettings(patches=patches), 0, str(number), 0)
    for k, window in enumerate(windows):
        camera = draw_camera(CameraSettings(), 0, str(number), 0, k)
        # In a run a window is cut twice: once to find the exposure, once to render.
        exposure = timed(
            "resolve exposure", lambda w, c: resolve_exposure(cut(frame, w), c), window, camera.clip_fraction
        )
        camera = replace(camera, exposure=exposure)
        hdr = timed("camera: hdr", lambda w, c: expose(cut(frame, w), c), window, camera)
        ldr = timed("camera: ldr", develop, hdr, camera)
        timed("score", score_patch, hdr, ldr)


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


def _cpu() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.processor())


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]  # from the checkout that is measured
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return result.stdout.strip()


if __name__ == "__main__":
    main()
