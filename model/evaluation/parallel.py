"""Jobs on several processes, which an interruption ends at once: what each finished is on disk already."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

import cv2
import torch

from model.errors import EvaluationError

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
        with _ignoring_interrupts():  # what the workers inherit, before they have imported anything
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


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Start processes to which Ctrl-C means nothing: it reaches all of the terminal, and this one ends the others."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _begin() -> None:
    """Keep a worker on one core."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
