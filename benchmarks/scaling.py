"""What distribution costs: the overhead of Dask and commits, and how two workers share the work.

    python benchmarks/scaling.py [FOLDER] [--frames 6] [--patches 250] [--patch-size 512] [--repeat 3]
                                 [--out benchmarks/results/scaling.json]

Without FOLDER it measures on generated scenes of 1024x1536 pixels. Wanted: an overhead below 5 % of the work, CPU
seconds a candidate with two workers at most 1.1 times those with one, both workers at least 85 % busy.

work        the stage functions on each frame in a plain loop in one process that has one thread, without Dask and
            without a bank: decode, windows, cameras, scores; then decode, render and encode what is kept, and write it
            to plain files, a shard each
run         the whole command `run` from an empty bank, on a local cluster with one and with two workers

two loops   the loop in two processes at once, each on all of the frames: what the machine itself makes of two cores at
            work, which share caches and memory, and with hyper-threading the core as well

CPU is user and system time of the driver and its workers between the first and the last task, read off /proc, so that
what a process costs before it works (interpreter, imports, machine code) does not count; `started` says what that was.
Overhead is what CPU of driver and worker is above that of the loop, and what wall-clock time with one worker is above
the loop's.
A worker is busy while it computes: the times that it notes itself for its tasks (Dask's task stream), over the time
between the first task of all to begin and the last to end, of the scoring pass and of the export. The least of the
repetitions counts; the machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from distributed import Client

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, it sees the packages beside it

from benchmarks.conditions import conditions  # noqa: E402
from pipeline.bank import BankReader, BankWriter  # noqa: E402
from pipeline.bank.arrays import new_layouts, to_half  # noqa: E402
from pipeline.camera import render  # noqa: E402
from pipeline.config import Settings, resolve  # noqa: E402
from pipeline.frames import READABLE, probe, read_frames  # noqa: E402
from pipeline.records import Recipe  # noqa: E402
from pipeline.rows import Row, patch_table, score_rows, simulate_rows, used_frames, window_rows  # noqa: E402
from pipeline.run import Pipeline  # noqa: E402
from pipeline.sample import compile_loops  # noqa: E402
from pipeline.scenes import write_demo_set  # noqa: E402
from pipeline.sources import discover, identify  # noqa: E402
from pipeline.versions import versions  # noqa: E402
from pipeline.work import single_threaded  # noqa: E402
from pipeline.workers import Workers  # noqa: E402

Figures = dict[str, Any]
WAYS = ("loop", "1", "2", "loops")
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure each way in a process of its own, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="of HDR stills")
    parser.add_argument("--frames", type=int, default=6, help="generated scenes, or stills of the folder, at most")
    parser.add_argument("--patches", type=int, default=250, help="a frame")
    parser.add_argument("--patch-size", type=int, default=512)
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 1536), help="of generated scenes: height, width")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path, help="where the figures go as JSON")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        _one(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        sources = options.folder or _generate(Path(folder), options.frames, *options.size)
        figures = _figures(sources, options)
    print(json.dumps(figures, indent=2))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(figures, indent=2) + "\n")


def _generate(folder: Path, frames: int, height: int, width: int) -> Path:
    write_demo_set(folder, frames, 0, height, width)
    return folder


def _figures(sources: Path, options: argparse.Namespace) -> Figures:
    known = conditions()
    # In turn, so that a machine that grows slower meanwhile treats all alike.
    rounds = [{way: _measure(way, sources, options) for way in WAYS} for _ in range(options.repeat)]
    loop, one, two, loops = (min((r[way] for r in rounds), key=lambda figures: figures["cpu"]) for way in WAYS)
    assert loop["candidates"] == one["candidates"] == two["candidates"]
    assert loop["kept"] == one["kept"] == two["kept"]
    return {
        "overhead": {
            "cpu": round(one["cpu"] / loop["cpu"] - 1, 4),
            "wall": round(one["wall"] / loop["wall"] - 1, 4),
            "wanted": "at most 0.05",
        },
        "two workers": {
            "cpu a candidate, of that with one": round(two["cpu"] / one["cpu"], 4),
            "cpu wanted": "at most 1.1",
            "cpu of two loops at once, of two after each other": round(loops["cpu"] / (2 * loop["cpu"]), 4),
            "busy": two["busy"],
            "busy wanted": "at least 0.85",
            "speed, of that with one": round(one["wall"] / two["wall"], 3),
        },
        "loop": loop,
        "one worker": one,
        "two workers in full": two,
        "two loops": loops,
        "all rounds": rounds,
        "workload": {
            "sources": str(options.folder or f"generated, {options.size[0]}x{options.size[1]}"),
            "frames": loop["frames"],
            "patches a frame": options.patches,
            "patch size": options.patch_size,
        },
        **known,
        "versions": versions(),
    }


def _measure(way: str, sources: Path, options: argparse.Namespace) -> Figures:
    """Return the figures of one way, measured in a fresh process; of two loops, in two at once, added up."""
    if way == "loops":
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(lambda way: _measure(way, sources, options), ("loop", "loop"))
        return first | {"cpu": round(first["cpu"] + second["cpu"], 3), "wall": max(first["wall"], second["wall"])}
    words = ["--one", way, "--patches", options.patches, "--patch-size", options.patch_size, "--frames", options.frames]
    command = [sys.executable, __file__, sources, *words]
    told = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True).stdout
    figures: Figures = json.loads(told.splitlines()[-1])
    return figures


def _one(options: argparse.Namespace) -> None:
    settings = resolve([{"crops": {"patches": options.patches, "patch_size": options.patch_size}}])
    files = discover([options.folder], READABLE).files[: options.frames]
    figures = _loop(files, settings) if options.one == "loop" else _run(files, settings, int(options.one))
    print(json.dumps(figures))


def _loop(files: Sequence[Path], settings: Settings) -> Figures:
    """Do the work of `run` on stills in this process, and no more than the work."""
    single_threaded()
    compile_loops(settings)
    cpu, wall = time.process_time(), time.monotonic()
    rows: list[Row] = []
    places: dict[str, Path] = {}
    for file in files:
        source_id, _ = identify([file])
        frames = used_frames(probe(file), settings.ingest.every)
        for number, frame in read_frames(file, frames):
            drawn = window_rows(source_id, number, frame, settings)
            rows += score_rows(frame.pixels, simulate_rows(frame.pixels, drawn, settings), settings)
        places[source_id] = file
    patch_table(rows)
    kept = [row for row in sorted(rows, key=lambda row: (row["source_id"], row["k"])) if row["verdict"] == "kept"]
    with tempfile.TemporaryDirectory() as folder:
        for start in range(0, len(kept), settings.export.shard_rows):
            _store(kept[start : start + settings.export.shard_rows], places, settings, Path(folder) / str(start))
    return {
        "frames": len(files), "candidates": len(rows), "kept": len(kept),
        "cpu": round(time.process_time() - cpu, 3), "wall": round(time.monotonic() - wall, 3),
    }  # fmt: skip


def _store(rows: Sequence[Row], places: dict[str, Path], settings: Settings, file: Path) -> None:
    """Render and encode patches as a bank's arrays hold them, and write them to plain files."""
    layouts, stored = new_layouts(rows[0]["patch_size"], settings.export), list[list[Any]]()
    for source_id, group in groupby(rows, key=lambda row: str(row["source_id"])):
        ((_, frame),) = read_frames(places[source_id], [0])
        for row in group:
            truth, ldr = render(frame.pixels, Recipe.from_row(row))
            stored.append(layouts[0].encode(to_half(truth)[0]) + layouts[1].encode(ldr))
    with file.open("wb") as written:
        for parts in stored:
            written.writelines(parts)


def _run(files: Sequence[Path], settings: Settings, count: int) -> Figures:
    """Run all four stages on a local cluster; its workers stand ready before the clock starts."""
    settings = settings.model_copy(update={"run": settings.run.model_copy(update={"workers": count})})
    attributes: Figures = {"seed": 0, "config": settings.stored(), "versions": versions()}
    with tempfile.TemporaryDirectory() as folder:
        bank = Path(folder) / "bank.zarr"
        with BankWriter.create(bank, attributes) as writer, Workers(settings.run) as workers:
            client = workers._connect()
            client.wait_for_workers(count)
            client.run(compile_loops, settings)  # with it, all that a worker imports
            client.run(single_threaded)
            client.get_task_stream()
            pids = [os.getpid(), *client.run(os.getpid).values()]
            started, wall = sum(map(_cpu_seconds, pids)), time.monotonic()
            Pipeline(writer, workers, settings).everything(files)
            cpu, wall = sum(map(_cpu_seconds, pids)) - started, time.monotonic() - wall
            busy = _busy(client, count)
        patches = BankReader(bank).patches(["verdict"])
    return {
        "frames": len(files), "candidates": patches.num_rows,
        "kept": pc.sum(pc.equal(patches["verdict"], "kept")).as_py(),
        "cpu": round(cpu, 3), "wall": round(wall, 3), "busy": busy, "started": round(started, 3),
    }  # fmt: skip


def _cpu_seconds(pid: int) -> float:
    """Return user and system time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _busy(client: Client, count: int) -> dict[str, float]:
    """Return the share of its time that a worker computed, by pass, on average over the workers."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for task in client.get_task_stream(start=0):
        name = str(task["key"]).partition("-")[0]
        spans.setdefault(name, []).extend(_computing(task["startstops"]))
    return {name: round(_share(spans[name], count), 4) for name in ("ingest_source", "export_shard") if name in spans}


def _computing(phases: Sequence[dict[str, Any]]) -> Iterator[tuple[float, float]]:
    return ((phase["start"], phase["stop"]) for phase in phases if phase["action"] == "compute")


def _share(spans: Sequence[tuple[float, float]], count: int) -> float:
    whole = max(stop for _, stop in spans) - min(start for start, _ in spans)
    return sum(stop - start for start, stop in spans) / (count * whole)


if __name__ == "__main__":
    main()
