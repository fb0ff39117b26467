"""Kill a run at random moments until it is through, and compare its bank with that of an uninterrupted run.

    python tests/fuzz/kill_bank.py FOLDER SOURCES... [--kills 50] [--patches 25] [--patch-size 512] [--seed 0]

Real processes: a driver and its local workers. A third of the kills are of the whole process group (a power cut), a
third of the driver alone, a third of one worker. What is killed is started again, after so many kills it may finish;
where it finishes before, its bank is compared, deleted and made anew. A reader looks at the bank all the while. Not
part of the suite: it takes as long as the kills take.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.pipeline.banks import assert_same_bank, table  # noqa: E402
from tests.pipeline.kill_points import check_reader  # noqa: E402
from tests.pipeline.killing import workers_of  # noqa: E402


class Killing:
    """A run that is killed again and again, beside the bank of one that was not."""

    def __init__(self, folder: Path, words: list[str], seed: int) -> None:
        self.bank, self.whole, self.log = folder / "bank.zarr", folder / "whole.zarr", folder / "log"
        self.words, self.dice = words, random.Random(seed)  # noqa: S311
        self.done: Counter[str] = Counter()
        start = time.monotonic()
        assert self._start(self.whole).wait() in {0, 3}, self.log.read_text()
        self.seconds = time.monotonic() - start

    def _start(self, bank: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "pipeline.cli", "run", "--bank", str(bank), *self.words]
        with self.log.open("wb") as log:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=environment)

    def kill_one(self) -> None:
        """Start the run, kill something of it at a random moment."""
        process, what = self._start(self.bank), self.dice.choice(("group", "driver", "worker"))
        # Most of the time a process starts; the moments that count are those of the work.
        while not list(self.bank.glob("_work/turns/*")) and process.poll() is None:
            time.sleep(0.01)
        deadline = time.monotonic() + self.dice.uniform(0, max(1.0, self.seconds / 3))
        while time.monotonic() < deadline and process.poll() is None:
            check_reader(self.bank)
            self.done["looks"] += 1
            time.sleep(0.02)
        if process.poll() is None:
            self.done[what] += self._kill(process, what)
        if what == "worker":  # the run goes on
            self.done["runs that went on"] += 1
        elif process.poll() is None or process.wait() < 0:
            process.wait()
            check_reader(self.bank)
            return
        assert process.wait() in {0, 3}, self.log.read_text()
        self.compare()

    def _kill(self, process: subprocess.Popen[bytes], what: str) -> int:
        if what == "group":
            os.killpg(process.pid, signal.SIGKILL)
        elif what == "driver":
            os.kill(process.pid, signal.SIGKILL)
        else:
            workers = workers_of(process.pid)
            if not workers:
                return 0
            os.kill(self.dice.choice(workers), signal.SIGKILL)
        return 1

    def finish(self) -> None:
        """Let the run come to its end."""
        assert self._start(self.bank).wait() in {0, 3}, self.log.read_text()
        self.compare()

    def compare(self) -> None:
        """Compare with the uninterrupted run, and begin anew."""
        assert_same_bank(self.bank, self.whole)
        assert not list(self.bank.glob("_work/turns/*"))
        self.done["banks compared"] += 1
        shutil.rmtree(self.bank)

    @property
    def kills(self) -> int:
        """How many there were."""
        return self.done["group"] + self.done["driver"] + self.done["worker"]


def main() -> None:
    """Kill as often as asked, and say what was done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="an empty folder to work in")
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--patches", default="25")
    parser.add_argument("--patch-size", default="512")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    words = [*options.sources, "--patches", options.patches, "--patch-size", options.patch_size, "--workers", "2"]
    killing = Killing(options.folder, [*words, "--set", "export.shard_rows=4"], options.seed)
    print(f"uninterrupted: {killing.seconds:.0f} s, {table(killing.whole, 'patches').num_rows} candidates", flush=True)
    while killing.kills < options.kills:
        killing.kill_one()
        print(f"{killing.kills} kills: {dict(killing.done)}", flush=True)
    killing.finish()
    print(f"{killing.kills} kills, {dict(killing.done)}: every bank as if uninterrupted")


if __name__ == "__main__":
    main()
