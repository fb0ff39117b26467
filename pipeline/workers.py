"""The processes that do the work: a bounded window of tasks. The only module that knows Dask."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, Self

import dask
from distributed import Client, KilledWorker, LocalCluster, as_completed

from pipeline.config import RunSettings
from pipeline.errors import BankError, OutputError, UsageError, describe

WINDOW = 3  # tasks a worker thread that run or wait


@dataclass(frozen=True, slots=True)
class Task:
    """One call for a worker: its arguments, and how a failure of the worker itself is told."""

    arguments: tuple[Any, ...]
    name: str
    patches: int = 0


class Workers:
    """The processes that do the work: a local cluster, started when there is something to do, or a running one.

    `in_process` keeps the work in this process, for a bank that no other one sees.
    """

    def __init__(self, settings: RunSettings, in_process: bool = False) -> None:
        self._settings, self._in_process = settings, in_process
        self._client: Client | None = None
        self._cluster: LocalCluster | None = None

    def map(
        self, function: Callable[..., Any], tasks: Iterable[Task], crashed: Callable[[Task, str], Any]
    ) -> Iterator[tuple[Task, Any]]:
        """Yield each task with its result, as they finish, never more than a window of them under way.

        A task whose worker died, or that raised, yields what `crashed` makes of it and of the message. Dask blames the
        death of a worker on all tasks that it held, so these are tried again at the end, one at a time: only what kills
        a worker that holds nothing else is to blame. A bank or a folder that cannot be written ends it all: BankError,
        OutputError.
        """
        suspects: list[Task] = []
        for task, result, error in self._map(function, tasks):
            if isinstance(error, KilledWorker):
                suspects.append(task)
            else:
                yield task, result if error is None else crashed(task, _describe(error))
        for suspect in suspects:
            for task, result, error in self._map(function, [suspect]):
                yield task, result if error is None else crashed(task, _describe(error))

    def _map(
        self, function: Callable[..., Any], tasks: Iterable[Task]
    ) -> Iterator[tuple[Task, Any, BaseException | None]]:
        """Yield each task with its result, or with the error that it ended in."""
        waiting = iter(tasks)
        first = next(waiting, None)
        if first is None:
            return
        client = self._connect()
        running: dict[Any, Task] = {}
        finished = as_completed(loop=client.loop)

        def submit(batch: Iterable[Task]) -> None:
            for task in batch:
                future = client.submit(function, *task.arguments, pure=False)
                running[future.key] = task
                finished.add(future)

        submit([first])
        submit(islice(waiting, self._window(client) - 1))
        for future in finished:
            submit(islice(waiting, max(0, self._window(client) - len(running) + 1)))
            task = running.pop(future.key)
            error = future.exception()
            if isinstance(error, BankError | OutputError):  # no fault of the task, and no use in the others
                raise error
            yield task, future.result() if error is None else None, error

    def close(self) -> None:
        """Stop the local cluster, or leave the running one."""
        if self._client is not None:
            self._client.close(timeout=2)
        if self._cluster is not None:
            self._cluster.close(timeout=5)
        self._client = self._cluster = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connect(self) -> Client:
        if self._client is None:
            address = self._settings.scheduler
            if address is not None and self._in_process:
                raise UsageError(
                    "the workers of a scheduler do not see the memory of this process; leave --scheduler out"
                )
            if address is None:
                workers = self._settings.workers or os.cpu_count() or 1
                self._cluster = _thread_of_this_process() if self._in_process else _local_cluster(workers)
                address = self._cluster.scheduler_address
            try:
                self._client = Client(address, set_as_default=False, timeout=10)
            except (OSError, ValueError, TimeoutError) as error:
                raise UsageError(f"no Dask scheduler answers at {address}; check --scheduler") from error
        return self._client

    @staticmethod
    def _window(client: Client) -> int:
        return WINDOW * max(1, int(sum(client.ncores().values())))


def _local_cluster(workers: int) -> LocalCluster:
    dask.config.set(
        {
            # A source whose decoder kills its worker is tried once more and then given up; the default is four workers.
            "distributed.scheduler.allowed-failures": 1,
            "distributed.worker.multiprocessing-method": "spawn",
            # Ctrl-C reaches every process of the terminal; the driver alone answers it and stops the workers.
            "distributed.worker.preload": ["import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"],
        }
    )
    with _ignoring_interrupts():  # what the workers inherit, before they can say so themselves
        # Port 0: any free one, so that two runs on one machine do not get in each other's way.
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        )


def _thread_of_this_process() -> LocalCluster:
    """Return a cluster that sees the memory of this process: one thread, as a worker has."""
    with dask.config.set({"distributed.worker.preload": []}):  # it is for processes, and no thread may set handlers
        return LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            dashboard_address="127.0.0.1:0",  # None stands for a fixed port, which another run may have taken
            silence_logs=logging.CRITICAL,
        )


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _describe(error: BaseException) -> str:
    if isinstance(error, KilledWorker):
        return "the worker process died on it, twice; the file may be damaged or need more memory than there is"
    return describe(error)
