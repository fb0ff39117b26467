"""Jobs on several processes: all are done, and none goes on once nobody waits for it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model.errors import EvaluationError
from model.evaluation.parallel import run_jobs
from tests.patience import HANGS


def write_after(job: tuple[Path, float]) -> str:
    """Write a file after some seconds; a file called `die` ends the process instead."""
    file, seconds = job
    time.sleep(seconds)
    if file.name == "die":
        os._exit(9)
    file.touch()
    return file.name


def test_what_still_works_is_ended_with_the_run(tmp_path: Path) -> None:
    jobs = [(tmp_path / "quick", 0.0), (tmp_path / "slow", 2 * HANGS)]
    others = set(multiprocessing.active_children())
    outcomes = run_jobs(write_after, jobs, 2)
    assert next(outcomes) == "quick"
    started = set(multiprocessing.active_children()) - others
    assert len(started) == 2
    outcomes.close()  # type: ignore[attr-defined] # it is a generator, and this is what an interruption does
    # The pool's own thread waits for them as well, and only one of the two learns of the end from the system.
    until = time.monotonic() + HANGS
    while any(Path(f"/proc/{process.pid}").exists() for process in started) and time.monotonic() < until:
        time.sleep(0.02)
    assert not [process for process in started if Path(f"/proc/{process.pid}").exists()]
    assert not (tmp_path / "slow").exists()


IMPORTING = """
import os, sys, time
from pathlib import Path

if __name__ != "__main__":  # a worker
    Path(f"importing-{os.getpid()}").touch()
    time.sleep(60)

from model.command import run_command
from model.evaluation.parallel import run_jobs

sys.exit(run_command(lambda: len(list(run_jobs(os.path.exists, ["a", "b"], 2)))))
"""


def holds_interrupts(process: int) -> bool:
    status = Path(f"/proc/{process}/status").read_text()
    held = next(line for line in status.splitlines() if line.startswith("SigBlk"))
    return bool(int(held.split()[1], 16) >> (signal.SIGINT - 1) & 1)


def test_an_interruption_while_workers_start_is_silent(tmp_path: Path) -> None:
    """Ctrl-C in a terminal reaches the workers too, here in the midst of their imports."""
    (tmp_path / "importing.py").write_text(IMPORTING)
    process = subprocess.Popen(
        [sys.executable, "importing.py"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
    )
    while process.poll() is None and len(list(tmp_path.glob("importing-*"))) < 2:
        time.sleep(0.02)
    while process.poll() is None and holds_interrupts(process.pid):  # it does while it starts them
        time.sleep(0.02)
    # First to the workers alone: a first process that is quick to end them would hide what they say to it.
    for file in tmp_path.glob("importing-*"):
        os.kill(int(file.name.removeprefix("importing-")), signal.SIGINT)
    time.sleep(1.0)
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=HANGS)
    assert (process.returncode, stderr) == (130, "Interrupted\n")


def test_a_worker_that_the_system_ends_is_told(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="fewer --workers, it goes on where it stopped"):
        list(run_jobs(write_after, [(tmp_path / "die", 0.0), (tmp_path / "other", 0.0)], 2))


def test_one_worker_is_this_process(tmp_path: Path) -> None:
    assert list(run_jobs(lambda _: os.getpid(), [1, 2], 1)) == [os.getpid()] * 2
    assert list(run_jobs(write_after, [], 4)) == []
