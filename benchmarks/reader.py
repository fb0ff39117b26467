"""Reading pairs at random for training: ours beside Zarr's own reader, by codec and by patches a shard.

    python benchmarks/reader.py [FOLDER] [--files 6] [--patches 40] [--pairs 400] [--out benchmarks/results/reader.json]

Every patch of some HDR stills of FOLDER (generated scenes without one) is exported once, whatever its score, and then
stored anew in each way. Wanted: at least 200 pairs a CPU second from a bank of default settings.

written     CPU ms a pair of writing whole shards: encoding, checksums, the file and its fsync
read        pairs a CPU second, rows drawn at random, each with its patch_id, one thread, the files in the page cache,
            freed memory kept as in a reading process: `ours` is BankReader.pair, `zarr` the same through Zarr's own
            reader (the slow twin of the tests)
training    CPU ms a pair of what lies around it, default settings: a batch of 4 read and stacked; brought into memory
            that processes share, as a reading process does; and made to float32 tensors T, H, M on the CPU

CPU is user and system time of the whole process. The largest of the repetitions counts for reading, the least for
the others; all ways take turns, so that a machine that grows slower meanwhile treats them alike.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, it sees the packages beside it

from benchmarks.conditions import conditions  # noqa: E402
from model.data import BankDataset, Batch, PatchIndex, collate, keep_freed_memory, to_example  # noqa: E402
from model.order import Draw  # noqa: E402
from pipeline.bank import BankReader, BankWriter, ExportSettings, PatchArrays, open_storage  # noqa: E402
from pipeline.bank.drafts import write_patches  # noqa: E402
from pipeline.bank.pairs import PairArrays, Pairs, open_pairs  # noqa: E402
from pipeline.scenes import write_demo_set  # noqa: E402
from pipeline.work import single_threaded  # noqa: E402

WAYS = [("none", 32), ("lz4", 32), ("zstd", 32), ("lz4", 8), ("lz4", 128)]
BATCH = 4


def main() -> None:
    """Measure each way, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="of HDR stills")
    parser.add_argument("--files", type=int, default=6, help="of the folder, at most, or generated scenes")
    parser.add_argument("--patches", type=int, default=40, help="a file")
    parser.add_argument("--patch-size", type=int, default=512)
    parser.add_argument("--pairs", type=int, default=400, help="read at random, each time")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path, help="where the figures go as JSON")
    options = parser.parse_args()
    single_threaded()
    torch.set_num_threads(1)
    keep_freed_memory()
    known = conditions("zarr", "numcodecs", "google-crc32c", "numpy", "torch")
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(export(options, Path(folder)), Path(folder), options)
    report = {**figures, "workload": workload(options), **known}
    print(json.dumps(report, indent=2))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=2) + "\n")


def workload(options: argparse.Namespace) -> dict[str, Any]:
    """Say what was read."""
    return {
        "sources": str(options.folder.name if options.folder else "generated scenes"),
        "pairs stored": options.files * options.patches,
        "pairs read each time": options.pairs,
        "patch size": options.patch_size,
    }


def export(options: argparse.Namespace, folder: Path) -> BankReader:
    """Return a bank that has every patch of the stills, made by the command in a process of its own."""
    if options.folder is None:
        write_demo_set(folder / "scenes", options.files, 0, 1024, 1536)
    files = sorted(path for path in (options.folder or folder / "scenes").iterdir() if path.suffix in (".exr", ".hdr"))
    words = ["run", *files[: options.files], "--bank", folder / "all.zarr", "--patches", options.patches]
    words += ["--patch-size", options.patch_size, "--threshold", 0, "--workers", 1, "--max-failures", "100%"]
    command = [sys.executable, "-m", "pipeline.cli", *map(str, words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return BankReader(folder / "all.zarr")


def measure(source: BankReader, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of every way, and those of the loader on a bank of default settings."""
    chosen = source.patches(["row", "patch_id"]).to_pylist()
    ids = [row["patch_id"] for row in sorted(chosen, key=lambda row: row["row"]) if row["row"] is not None]
    banks: dict[str, Path] = {}
    figures: dict[str, Any] = {}
    for compression, rows in WAYS:
        name = f"{compression}, {rows} a shard"
        banks[name] = folder / f"{compression}-{rows}.zarr"
        settings = ExportSettings(compression=compression, shard_rows=rows)
        figures[name] = {"written: CPU ms a pair": store(source, ids, banks[name], settings)}
        size = open_storage(banks[name]).total()
        figures[name]["MB a pair"] = round(size / len(ids) / 1e6, 3)
    rounds = [{name: reading(bank, ids, options.pairs) for name, bank in banks.items()} for _ in range(options.repeat)]
    for name in banks:
        figures[name]["read: pairs a CPU second"] = {
            way: round(max(speeds[name][way] for speeds in rounds)) for way in ("ours", "zarr")
        }
    default = ExportSettings()
    return {
        "ways": figures,
        "default": f"{default.compression}, {default.shard_rows} a shard",
        "training: CPU ms a pair": training(source, ids, options),
    }


def store(source: BankReader, ids: list[int], place: Path, settings: ExportSettings) -> float:
    """Write every pair into a bank of other settings, and return CPU ms a pair of the writing alone."""
    BankWriter.create(place, {"seed": 0, "config": {}, "versions": {}}).close()
    size, spent = source.pair(0)[0].shape[0], Spent()
    PatchArrays.create(open_storage(place), size, settings)
    PatchArrays(open_storage(place), "r+").resize(len(ids))
    for first in range(0, len(ids), settings.shard_rows):
        rows = range(first, min(first + settings.shard_rows, len(ids)))
        pairs = [source.pair(row) for row in rows]
        with spent:
            write_patches(open_storage(place), ((row, ids[row], *pair) for row, pair in zip(rows, pairs, strict=True)))
    return round(1000 * spent.seconds / len(ids), 2)


class Spent:
    """CPU seconds of what is done within it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self.seconds -= time.process_time()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.process_time()


def reading(bank: Path, ids: list[int], count: int) -> dict[str, float]:
    """Return pairs a CPU second by both readers, of the same rows in the same order."""
    storage = open_storage(bank)
    readers: dict[str, Pairs] = {
        "ours": open_pairs(storage), "zarr": PairArrays(storage, PatchArrays(storage))
    }  # fmt: skip
    rows = np.random.default_rng(0).integers(0, len(ids), count).tolist()
    speeds = {}
    for way, pairs in readers.items():
        reader = BankReader(bank)
        reader._pairs = pairs
        for row in rows[: count // 4]:  # brings the files into the page cache
            reader.pair(row, ids[row])
        start = time.process_time()
        for row in rows:
            reader.pair(row, ids[row])
        speeds[way] = count / (time.process_time() - start)
    return speeds


def training(source: BankReader, ids: list[int], options: argparse.Namespace) -> dict[str, float]:
    """Return CPU ms a pair of each step from a bank of default settings to float tensors."""
    places = np.arange(len(ids), dtype=np.int64)
    dataset = BankDataset(source.storage.name, PatchIndex(np.asarray(ids, np.int64), places, "", places))
    draws = np.random.default_rng(1).integers(0, len(ids), (options.pairs // BATCH, BATCH)).tolist()

    def batches() -> Iterator[Batch]:
        for batch in draws:
            read = collate([dataset[Draw(place, 0)] for place in batch])
            assert isinstance(read, Batch)
            yield read

    def shared(batch: Batch) -> None:
        for part in (batch.hdr, batch.ldr):
            part.share_memory_()  # type: ignore[no-untyped-call]

    steps: dict[str, Callable[[Batch], object]] = {
        "read and stacked": lambda batch: None,
        "read, stacked and shared": shared,
        "read, stacked and made to tensors": lambda batch: to_example(batch, torch.device("cpu"), 0.96),
    }
    spent = {name: min(_cpu(batches, step) for _ in range(options.repeat)) for name, step in steps.items()}
    return {name: round(1000 * seconds / (len(draws) * BATCH), 2) for name, seconds in spent.items()}


def _cpu(batches: Callable[[], Iterator[Batch]], step: Callable[[Batch], object]) -> float:
    start = time.process_time()
    for batch in batches():
        step(batch)
    return time.process_time() - start


if __name__ == "__main__":
    main()
