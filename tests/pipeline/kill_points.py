"""SIGKILL before each step by which commands change a bank, then the same command again: all files as if uninterrupted.

    python -m tests.pipeline.kill_points FOLDER [--all | --stride 3]

Driver and workers are one process here, so that a kill is a power cut, and cheap: each run is a fork of this process.
Steps of the same kind (same call, same sort of file) are tried at their first and their last occurrence. `--all` tries
every step, `--stride N` one in N. A FOLDER in memory (/dev/shm) is quickest.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow.compute as pc

from pipeline import cli, driver, opening
from pipeline.bank import BankReader
from pipeline.config import RunSettings, Settings
from pipeline.errors import BankMissing
from pipeline.sample import compile_loops
from pipeline.scenes import render_scene, write_exr
from pipeline.work import single_threaded
from pipeline.workers import Task
from tests.pipeline.banks import array, assert_same_bank
from tests.pipeline.killing import arm, kill_at, site

SETTINGS = ("--patch-size", "64", "--patches", "3", "--every", "2", "--set", "export.shard_rows=2", "--seed", "5")


@dataclass(frozen=True)
class Step:
    """One command of a bank's life; `before` prepares the sources for it."""

    words: tuple[str, ...]
    status: int = 0
    before: Callable[[], object] = bool


class Inline:
    """Workers that are the driver itself."""

    def __init__(self, _settings: RunSettings, in_process: bool = False) -> None: ...

    def map(self, function: Callable[..., Any], tasks: Iterable[Task], _crashed: object) -> Iterator[tuple[Task, Any]]:
        for task in tasks:
            yield task, function(*task.arguments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


def lives(folder: Path) -> dict[str, list[Step]]:
    """Make sources, and return what is done to one bank after another."""
    write_exr(folder / "in" / "a.exr", render_scene("lamps", 1, 80, 96))
    for number in range(1, 6):
        write_exr(folder / "in" / f"s.{number:04d}.exr", render_scene("window", number, 72, 80))
    write_exr(folder / "b.exr", render_scene("sky", 2, 80, 96))
    whole = (folder / "b.exr").read_bytes()
    (folder / "in" / "c.exr").write_bytes(whole[:200])
    sources, more = str(folder / "in"), str(folder / "b.exr")
    run = ("run", sources, *SETTINGS)
    return {
        "run": [
            Step(run, status=3),
            Step(("run", sources, more, "--patches", "5"), status=3),
            Step(("score", "--threshold", "0.1")),
            Step(("export",)),
            Step(
                ("failures", "--retry"),
                before=lambda: write_exr(folder / "in" / "c.exr", render_scene("sky", 3, 72, 72)),
            ),
        ],
        "stages": [
            Step(("ingest", more, *SETTINGS)),
            Step(("simulate-ldr",)),
            Step(("score", "--threshold", "0.1")),
            Step(("export", "--limit", "1")),
            Step(("export",)),
        ],
    }


def in_a_fork(work: Callable[[], object], told: Path) -> int:
    """Return how a fork of this process ends that does some work: an exit status, or minus a signal."""
    child = os.fork()
    if child == 0:
        output = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        faulthandler.dump_traceback_later(100, exit=True)
        try:
            work()
            sys.stdout.flush()
            os._exit(0)
        except SystemExit as end:
            sys.stdout.flush()
            os._exit(end.code if isinstance(end.code, int) else 1)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def files(bank: Path) -> dict[str, bytes]:
    """Return every file of a bank, the lock apart."""
    found = (path for path in bank.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(bank)): path.read_bytes() for path in found}


def check_reader(bank: Path) -> None:
    """Raise where a bank, in whatever state, shows a row whose source is unknown, or one whose pixels are not there."""
    try:
        reader = BankReader(bank)
    except BankMissing:
        return
    patches, sources = reader.patches(), reader.sources()
    assert set(patches["source_id"].to_pylist()) <= set(sources["source_id"].to_pylist())
    exported = patches.filter(pc.is_valid(patches["row"]))
    for row, identity in zip(exported["row"].to_pylist(), exported["patch_id"].to_pylist(), strict=True):
        reader.pair(row)
        assert array(bank, "patch_id")[row] == identity


class Points:
    """The life of one bank in a folder, and what a kill at any of its steps leads to."""

    def __init__(self, folder: Path, every: bool, stride: int) -> None:
        self.folder, self.every, self.stride = folder, every, stride
        self.bank, self.counter, self.told = folder / "bank.zarr", folder / "counter", folder / "told"
        self.kills = 0

    def live(self, steps: Sequence[Step]) -> None:
        """Take a bank through its life, killing each command at its points."""
        for number, step in enumerate(steps):
            step.before()
            start, end = self.folder / f"{number}.zarr", self.folder / f"{number + 1}.zarr"
            points = self._points(step, start, end)
            print(f"{step.words[0]}: {len(points)} points", flush=True)
            for point, what in points.items():
                self._kill(step, point, what, start, end)

    def _points(self, step: Step, start: Path, end: Path) -> dict[int, str]:
        """Run a command uninterrupted, keep the bank as `end`, and return the steps to kill at."""
        self._put(start)
        self._expect(self._command(step, 0), step.status, "uninterrupted")
        shutil.copytree(self.bank, end)
        steps = self.counter.read_text().splitlines()
        first, last = dict[str, int](), dict[str, int]()
        for number, name in enumerate(steps, 1):
            first.setdefault(site(name), number)
            last[site(name)] = number
        chosen = range(1, len(steps) + 1) if self.every else sorted({*first.values(), *last.values()})
        return {number: steps[number - 1] for number in chosen[:: self.stride]}

    def _kill(self, step: Step, point: int, what: str, start: Path, end: Path) -> None:
        self._put(start)
        where = f"{step.words[0]}, killed at step {point}: {what}"
        self._expect(self._command(step, point), -signal.SIGKILL, where)
        self._expect(in_a_fork(lambda: self._repeat(step, end), self.told), 0, f"again after {where}")
        self.kills += 1

    def _repeat(self, step: Step, end: Path) -> None:
        """Look at a bank as a reader does, then give the command again and compare all files."""
        check_reader(self.bank)
        status = 0
        try:
            cli.main([*step.words, "--bank", str(self.bank)])
        except SystemExit as ended:
            status = int(ended.code or 0)
        assert status == step.status, status
        self._compare(end)

    def _compare(self, end: Path) -> None:
        if (end / "patch_id").exists():
            assert_same_bank(self.bank, end)
        ours, theirs = files(self.bank), files(end)
        assert sorted(ours) == sorted(theirs)
        assert ours == theirs, [name for name in ours if ours[name] != theirs[name]]

    def _put(self, start: Path) -> None:
        shutil.rmtree(self.bank, ignore_errors=True)
        if start.exists():
            shutil.copytree(start, self.bank)

    def _command(self, step: Step, point: int) -> int:
        self.counter.unlink(missing_ok=True)

        def work() -> None:
            arm(self.bank, kill_at(point, self.counter))
            cli.main([*step.words, "--bank", str(self.bank)])

        return in_a_fork(work, self.told)

    def _expect(self, status: int, wanted: int, where: str) -> None:
        if status != wanted:
            sys.exit(f"{where}: status {status}, not {wanted}\n{self.told.read_text()}")


def main() -> None:
    """Kill, repeat, compare; end with status 1 and a sentence at the first difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="an empty folder to work in")
    parser.add_argument("--all", action="store_true", help="kill before every step")
    parser.add_argument("--stride", type=int, default=1, help="of the points that are left, kill at one in so many")
    options = parser.parse_args()
    single_threaded()  # before OpenCV starts threads, which a fork would miss
    compile_loops(Settings())  # once for all forks
    vars(opening)["Workers"] = Inline
    driver.FOLD_INTERVAL = driver.FOLD_SHARE = 0  # fold after each task
    kills = 0
    (options.folder / "in").mkdir(parents=True)
    for name, steps in lives(options.folder).items():
        (options.folder / name).mkdir()
        points = Points(options.folder / name, options.all, options.stride)
        points.live(steps)
        kills += points.kills
    print(f"{kills} kills, each followed by the same command: every bank as if uninterrupted")


if __name__ == "__main__":
    main()
