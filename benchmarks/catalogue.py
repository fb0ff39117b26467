"""What the tables cost at the paper's size: a made-up bank of 2,000 frames x 250 patches, no pixels.

    python benchmarks/catalogue.py [--frames 2000] [--patches 250] [--out FILE.json]

Each step runs in a process of its own. `seconds` is its wall-clock time from start to end, imports included, `cpu` the
time that it and its workers kept a core busy, `within` the wall-clock time of the step alone where it is no whole
command, and `peak_mb` the largest resident set of that process. Wall-clock times are of use on an idle machine only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, it sees the packages beside it

from benchmarks.conditions import conditions  # noqa: E402
from pipeline.bank import PATCHES_SCHEMA, SOURCES_SCHEMA, BankReader, BankWriter, PatchArrays, write_commit  # noqa: E402
from pipeline.bank.schema import complete  # noqa: E402
from pipeline.config import Settings, resolve  # noqa: E402
from pipeline.driver import FOLD_INTERVAL, FOLD_SHARE  # noqa: E402
from pipeline.records import patch_id  # noqa: E402
from pipeline.rows import relabel  # noqa: E402
from pipeline.run import Pipeline  # noqa: E402
from pipeline.split import split_patches, split_sources  # noqa: E402
from pipeline.versions import versions  # noqa: E402
from pipeline.workers import Task, Workers  # noqa: E402

STILLS = 400  # of the frames; the others belong to
FILMS = 8  # sequences and videos
HDRPREP = ("-m", "pipeline.cli")


def main() -> None:
    """Measure, print a table and write the figures; or do one step for the process that measures it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--patches", type=int, default=250, help="a frame")
    parser.add_argument("--out", type=Path, help="where the figures go as JSON")
    parser.add_argument("--make", type=Path, metavar="BANK", help=argparse.SUPPRESS)
    parser.add_argument("--step", nargs=2, metavar=("NAME", "BANK"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make is not None:
        make_bank(options.make, options.frames, options.patches)
        return
    if options.step is not None:
        name, bank = options.step
        print(STEPS[name](Path(bank)))
        return
    known = conditions()
    with tempfile.TemporaryDirectory() as folder:
        figures = _measure_all(Path(folder), options.frames, options.patches)
    print(f"{'step':<34} {'seconds':>8} {'cpu':>8} {'within':>8} {'peak MB':>8}")
    for step, figure in figures["steps"].items():
        within = f"{figure['within']:>8.2f}" if "within" in figure else " " * 8
        print(f"{step:<34} {figure['seconds']:>8.2f} {figure['cpu']:>8.2f} {within} {figure['peak_mb']:>8.0f}")
    print(*(f"{name}: {value}" for name, value in figures.items() if name != "steps"), sep="\n")
    report = {**figures, **known, "versions": versions()}
    if options.out is not None:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


def _measure_all(folder: Path, frames: int, patches: int) -> dict[str, Any]:
    bank, found = folder / "bank.zarr", folder / "found"
    # In a process of its own like all others: a child's peak begins with what its parent holds.
    _measure(__file__, "--make", bank, "--frames", str(frames), "--patches", str(patches))
    steps = {
        "export, to its first task": _own_step("plan", bank),
        "export --limit, to its first task": _own_step("limit", bank),
        "5,000 tasks that do nothing": _own_step("tasks", bank),
        "all kept ones marked as exported": _own_step("mark", bank),
        "status": (*HDRPREP, "status", "--bank", bank),
        "status --json": (*HDRPREP, "status", "--json", "--bank", bank),
        "report": (*HDRPREP, "report", "--bank", bank, "--out", folder / "report", "--workers", "2"),
        "failures": (*HDRPREP, "failures", "--bank", bank),
        "score --threshold 0.9": (*HDRPREP, "score", "--bank", bank, "--threshold", "0.9"),
        "score, another split": (*HDRPREP, "score", "--bank", bank, "--set", "split.validation=0.2"),
        "score, nothing changes": (*HDRPREP, "score", "--bank", bank),
        "ingest, nothing new, its tables": _own_step("ingest", bank),
        "ingest, nothing new": (*HDRPREP, "ingest", found, "--bank", bank, "--workers", "1"),
        "training index": _own_step("index", bank),
        "fold of 20 more frames": _own_step("fold", bank),
    }
    figures = {name: _measure(*command) for name, command in steps.items()}
    fold = figures["fold of 20 more frames"]["within"]
    page = {"report_bytes": (folder / "report" / "index.html").stat().st_size}
    costs = {**_fold_costs(fold), **_task_sizes(bank), **page}
    return {"frames": frames, "patches_a_frame": patches, "steps": figures, **costs}


def _own_step(name: str, bank: Path) -> tuple[str | Path, ...]:
    return (__file__, "--step", name, bank)


def _measure(*command: str | Path) -> dict[str, float]:
    """Run a command of Python in a process of its own; `within` is what it prints itself."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    start = time.monotonic()
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen([sys.executable, *map(str, command)], stdout=told, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - start
        assert os.waitstatus_to_exitcode(status) == 0, command
        told.seek(0)
        words = told.read().split()
    cpu = round(usage.ru_utime + usage.ru_stime, 2)
    figure = {"seconds": round(seconds, 2), "cpu": cpu, "peak_mb": round(usage.ru_maxrss / 1024)}
    return figure | ({"within": round(float(words[0]), 3)} if len(words) == 1 else {})


# The bank


def make_bank(bank: Path, frames: int, patches: int) -> None:
    """Make a bank whose numbers are spread as real ones are, and small files of the stills' content beside it."""
    settings = resolve([{"crops": {"patches": patches}}])
    attributes = {"seed": 0, "config": settings.stored(), "versions": versions()}
    sources = _sources(bank.parent / "found", frames)
    used = [(row["source_id"], frame) for row in sources for frame in range(0, row["frames"], settings.ingest.every)]
    table = _patches(sorted(used), patches, settings)
    with BankWriter.create(bank, attributes) as writer:
        rows = split_sources(pa.Table.from_pylist(sorted(sources, key=_identity), SOURCES_SCHEMA), settings.split)
        writer.replace(rows, split_patches(table, rows))


def _identity(row: dict[str, Any]) -> str:
    return str(row["source_id"])


def _sources(folder: Path, frames: int) -> list[dict[str, Any]]:
    stills = min(STILLS, frames // 2)
    of_films = [part.size for part in np.array_split(np.arange(frames - stills), FILMS)]
    rows = []
    for number in range(stills + FILMS):
        film = number >= stills
        path = folder / f"shoot{number % 40:02}" / f"{number:04}.{'mov' if film else 'exr'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content {number}")
        rows.append(
            {
                "source_id": hashlib.sha256(path.read_bytes()).hexdigest(),
                "path": str(path),
                "also_at": [],
                "bytes": path.stat().st_size,
                "kind": "video" if film else "still",
                "width": 4000,
                "height": 3000,
                "frames": 10 * of_films[number - stills] if film else 1,
                "frames_used": of_films[number - stills] if film else 1,
                "transfer": "pq" if film else "linear",
                "scale": "cd/m2" if film else "relative",
                "nonfinite_pixels": 0,
                "negative_pixels": 0,
                "status": "ok",
            }
        )
    return rows


def _patches(used: list[tuple[str, int]], patches: int, settings: Settings) -> pa.Table:
    rng, count = np.random.default_rng(0), len(used) * patches
    names = [(source, frame, k) for source, frame in used for k in range(patches)]
    columns = {
        "patch_id": [patch_id(*name) for name in names],
        "source_id": [source for source, _, _ in names],
        "frame": [frame for _, frame, _ in names],
        "k": [k for _, _, k in names],
        "y": rng.integers(0, 2488, count),
        "x": rng.integers(0, 3488, count),
        "height": np.full(count, 512),
        "width": np.full(count, 512),
        "patch_size": np.full(count, 512),
        "flip": rng.random(count) < 0.5,
        "frame_nonfinite_pixels": np.zeros(count, int),
        "frame_negative_pixels": np.zeros(count, int),
        "clip_fraction": rng.uniform(0.85, 0.95, count),
        "exposure": rng.lognormal(0, 1, count),
        "noise_sigma": rng.uniform(0, 0.01, count),
        "hue_shift": rng.normal(0, 7, count),
        "saturation_shift": rng.normal(0, 0.1, count),
        "curve_n": rng.normal(0.9, 0.1, count),
        "curve_sigma": rng.normal(0.6, 0.1, count),
        "jpeg_quality": rng.integers(30, 101, count),
        "seed": rng.integers(0, 2**63, count),
        "saturated_fraction": rng.uniform(0.005, 0.2, count),
        "score_saturated": rng.lognormal(-0.8, 0.8, count),
        "score_patch": rng.lognormal(-3.0, 0.8, count),
    }
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    return relabel(complete(table, PATCHES_SCHEMA), settings.score)


# Steps that are no whole command, each in a process of its own: what they return is their time in seconds


class _Inside(Workers):
    """Works in this process, so that the tables' part of a command is measured alone."""

    def map(
        self, function: Callable[..., Any], tasks: Iterable[Task], crashed: Callable[[Task, str], Any]
    ) -> Iterator[tuple[Task, Any]]:
        for task in tasks:
            yield task, function(*task.arguments)


class _FirstTask(Exception):
    """The first task was handed out."""


class _Idle(Workers):
    """Does nothing, and says so when it gets its first task."""

    def map(
        self, function: Callable[..., Any], tasks: Iterable[Task], crashed: Callable[[Task, str], Any]
    ) -> Iterator[tuple[Task, Any]]:
        for _ in tasks:
            raise _FirstTask
        return iter(())


@contextmanager
def _pipeline(bank: Path, workers: type[Workers], more: dict[str, dict[str, Any]] | None = None) -> Iterator[Pipeline]:
    settings = resolve([BankReader(bank).attributes["config"], more or {}])
    with BankWriter.open(bank) as writer, workers(settings.run) as crew:
        yield Pipeline(writer, crew, settings)


def _mark(bank: Path) -> float:
    start = time.monotonic()
    with BankWriter.open(bank) as writer:
        table = writer.patches
        kept = np.array(table["verdict"].to_pylist()) == "kept"
        for name, values in (("row", np.cumsum(kept) - 1), ("clipped_values", np.zeros(table.num_rows, int))):
            column = pa.array(values, pa.int64(), mask=~kept)
            table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
        writer.replace_patches(table)
    return time.monotonic() - start


def _nothing(_number: int) -> None:
    """Do what a task does that has nothing to do."""


def _tasks(_bank: Path) -> float:
    with Workers(resolve([{"run": {"workers": 2}}]).run) as workers:
        tasks = (Task((number,), str(number)) for number in range(5001))
        results = workers.map(_nothing, tasks, lambda _, message: message)
        next(results)  # the workers are there
        start = time.monotonic()
        assert all(result is None for _, result in results)
        return time.monotonic() - start


def _ingest(bank: Path) -> float:
    with _pipeline(bank, _Inside) as pipeline:
        files = sorted(path for path in (bank.parent / "found").rglob("*") if path.is_file())
        start = time.monotonic()
        assert pipeline.ingest(files).patches == 0
        return time.monotonic() - start


def _index(bank: Path) -> float:
    from model.data import split_bank  # torch is needed for this step alone

    start = time.monotonic()
    sides = split_bank(BankReader(bank), 256)
    assert len(sides.train) > 0
    return time.monotonic() - start


def _fold(bank: Path) -> float:
    with BankWriter.open(bank) as writer:
        changed = pc.add(writer.patches["frame_negative_pixels"], 1)
        index = writer.patches.schema.get_field_index("frame_negative_pixels")
        patches = writer.patches.set_column(index, writer.patches.schema.field(index), changed)
        turn = writer.begin()
        for number in range(20):
            write_commit(turn, str(number), patches.slice(number * patches.num_rows // 20, 250))
        start = time.monotonic()
        assert writer.fold() == 20
        return time.monotonic() - start


def _plan(bank: Path, more: dict[str, dict[str, Any]] | None = None) -> float:
    with _pipeline(bank, _Idle, more) as pipeline:
        if not PatchArrays.exist(pipeline.writer.storage):
            PatchArrays.create(pipeline.writer.storage, 512, pipeline.settings.export)
        start = time.monotonic()
        try:
            pipeline.export()
        except _FirstTask:
            return time.monotonic() - start
    raise AssertionError("there was nothing to export")


def _limit(bank: Path) -> float:
    return _plan(bank, {"export": {"limit": 1000}})


STEPS: dict[str, Callable[[Path], float]] = {
    "mark": _mark,
    "tasks": _tasks,
    "ingest": _ingest,
    "index": _index,
    "fold": _fold,
    "plan": _plan,
    "limit": _limit,
}

# What is worked out from the figures


def _fold_costs(seconds: float) -> dict[str, Any]:
    """Return how often a run folds at this size, and the largest share of its time that this takes."""
    pause = max(FOLD_INTERVAL, FOLD_SHARE * seconds)
    return {
        "seconds_between_folds": round(pause),
        "share_of_folds_percent": round(100 * seconds / (pause + seconds), 2),
    }


def _task_sizes(bank: Path) -> dict[str, int]:
    """Return the pickled bytes of the rows of 250 patches, as they travel to a worker."""
    reader = BankReader(bank)
    return {"task_bytes": len(pickle.dumps(reader.patches().slice(0, 250).to_pylist()))}


if __name__ == "__main__":
    main()
