"""Jobs on several processes: all are done, and none goes on once nobody waits for it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from model.errors import EvaluationError
from model.evaluation.parallel import run_jobs


def write_after(job: tuple[Path, float]) -> str:
    """Write a file after some seconds; a file called `die` ends the process instead."""
    file, seconds = job
    time.sleep(seconds)
    if file.name == "die":
        os._exit(9)
    file.touch()
    return file.name


def test_what_still_works_is_ended_with_the_run(tmp_path: Path) -> None:
    jobs = [(tmp_path / "quick", 0.0), (tmp_path / "slow", 15.0)]
    outcomes = run_jobs(write_after, jobs, 2)
    assert next(outcomes) == "quick"
    outcomes.close()  # type: ignore[attr-defined] # it is a generator, and this is what an interruption does
    assert not (tmp_path / "slow").exists()


def test_a_worker_that_the_system_ends_is_told(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="fewer --workers, it goes on where it stopped"):
        list(run_jobs(write_after, [(tmp_path / "die", 0.0), (tmp_path / "other", 0.0)], 2))


def test_one_worker_is_this_process(tmp_path: Path) -> None:
    assert list(run_jobs(lambda _: os.getpid(), [1, 2], 1)) == [os.getpid()] * 2
    assert list(run_jobs(write_after, [], 4)) == []
