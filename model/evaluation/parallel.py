"""Jobs on several processes, which an interruption ends at once: what each finished is on disk already."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2
import torch

from model.errors import EvaluationError
from pipeline.interrupts import holding

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")


def run_jobs(work: Callable[[Job], Outcome], jobs: Sequence[Job], workers: int) -> Iterator[Outcome]:
    """Yield what `work` returns for each job, in the order in which they end.

    With one worker it is this process that works. Of several each has one thread: threads of all of them would wait for
    each other. Raises EvaluationError where the system ended a worker.
    """
    if min(workers, len(jobs)) <= 1:
        yield from map(work, jobs)
        return
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(min(workers, len(jobs)), multiprocessing.get_context("spawn"), initializer=_begin)
    try:
        with holding(signal.SIGINT):
            waiting = [pool.submit(work, job) for job in jobs]
        for done in as_completed(waiting):
            yield done.result()
    except BrokenProcessPool as error:
        raise EvaluationError(
            "the system ended a worker, most likely for want of memory; repeat the command with fewer --workers, "
            "it goes on where it stopped"
        ) from error
    finally:
        processes = set(multiprocessing.active_children()) - others
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:  # idle ones, or after an interruption those that still work
            process.terminate()
        for process in processes:
            process.join()


def _begin() -> None:
    """Keep a worker on one core."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
