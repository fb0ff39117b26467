"""The processes that do the work: a bounded window of tasks."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self

from distributed import Client, Future, KilledWorker
from distributed.client import ClosedClientError

from pipeline.config import RunSettings
from pipeline.errors import BankError, ClusterError, OutputError, UsageError, describe
from pipeline.interrupts import holding
from pipeline.localcluster import OwnWorkers
from pipeline.logs import log
from pipeline.versions import versions

WINDOW = 3  # tasks a worker thread that run or wait
CONNECTING = 10.0  # seconds in which a scheduler answers, or one that was lost comes back
PATIENCE = 5.0  # seconds without a result, after which it is said that there is no worker


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
        self._own: OwnWorkers | None = None
        self._checked: set[str] = set()  # addresses of workers whose versions were compared

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
        window = self._window(client)
        running: dict[Any, tuple[Future[Any], Task]] = {}  # a future that nobody holds is cancelled
        finished: SimpleQueue[Future[Any]] = SimpleQueue()

        def submit(batch: Iterable[Task]) -> None:
            for task in batch:
                try:
                    future = client.submit(function, *task.arguments, pure=False)
                except ClosedClientError as error:
                    raise self._gone() from error
                running[future.key] = future, task
                future.add_done_callback(finished.put)

        submit([first])
        submit(islice(waiting, window - 1))
        while running:
            future = self._next(client, finished)
            submit(islice(waiting, max(0, self._window(client) - len(running) + 1)))
            _, task = running.pop(future.key)
            result, error = self._take(future)
            if isinstance(error, BankError | OutputError):  # no fault of the task, and no use in the others
                raise error
            yield task, result, error

    def _take(self, future: Future[Any]) -> tuple[Any, BaseException | None]:
        """Return the result of a finished future, or the error that it ended in. Raises ClusterError.

        What the task raised is returned, also where it is an OSError; what is raised here comes of the connection.
        """
        try:
            error = future.exception()
            if isinstance(error, CancelledError):
                raise error
            return (future.result() if error is None else None), error
        except (CancelledError, OSError) as lost:  # the scheduler went away before it handed the result over
            raise self._gone() from lost

    def _gone(self) -> ClusterError:
        return ClusterError(
            f"the Dask scheduler at {self._address} is gone; start it again and repeat the command, which resumes"
        )

    def _next(self, client: Client, finished: SimpleQueue[Future[Any]]) -> Future[Any]:
        """Wait for a future to finish, and say so where there is nobody to work on it. Raises ClusterError."""
        alone = 0  # times in a row that nobody was there
        while True:
            try:
                future = finished.get(timeout=PATIENCE)
            except Empty:
                alone = alone + 1 if client.status == "running" and not _threads(client) else 0
                if alone == 1:
                    log.warning("no worker is connected to %s; waiting for one", self._address)
                if self._own is not None:
                    self._own.replace_lost(alone * PATIENCE)
                continue
            if future.cancelled():
                raise self._gone()
            return future

    def close(self) -> None:
        """Stop the local cluster, or leave the running one."""
        if self._client is not None:
            with suppress(TimeoutError):  # a scheduler elsewhere that does not answer is left all the same
                self._client.close(timeout=CONNECTING)
        if self._own is not None:
            self._own.close()
        self._client = self._own = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connect(self) -> Client:
        if self._client is None:
            if self._settings.scheduler is not None and self._in_process:
                raise UsageError(
                    "the workers of a scheduler do not see the memory of this process; leave --scheduler out"
                )
            if self._settings.scheduler is None:
                workers = self._settings.workers or os.cpu_count() or 1
                with holding(signal.SIGINT):  # until there is something to close
                    self._own = OwnWorkers.thread() if self._in_process else OwnWorkers.processes(workers)
            else:  # what happens to it is told by us, in a sentence
                for name in ("distributed", "distributed.client"):
                    logging.getLogger(name).setLevel(logging.CRITICAL)
            try:
                self._client = Client(self._address, set_as_default=False, timeout=CONNECTING)
            except (OSError, ValueError, TimeoutError) as error:
                raise UsageError(f"no Dask scheduler answers at {self._address}; check --scheduler") from error
        return self._client

    @property
    def _address(self) -> str:
        """Where the scheduler listens."""
        return str(self._settings.scheduler if self._own is None else self._own.address)

    def _window(self, client: Client) -> int:
        """Return how many tasks may run or wait; workers that were not there before are looked at.

        Raises ClusterError where the scheduler is gone for good.
        """
        if client.status == "closed":  # so it ends where its scheduler does not come back
            raise self._gone()
        threads = _threads(client)
        new = threads.keys() - self._checked
        if self._own is not None:
            self._own.replace_lost()
        elif new:
            _check_workers(client, {address: threads[address] for address in new})
        self._checked |= new
        return WINDOW * max(1, sum(threads.values()))


def _threads(client: Client) -> dict[str, int]:
    """Return the threads of each worker by address, none where the scheduler does not answer."""
    try:
        return dict(client.ncores())
    except (OSError, TimeoutError, RuntimeError, CancelledError):
        return {}  # the futures say it next


def _check_workers(client: Client, threads: dict[str, int]) -> None:
    """Warn where workers differ from this process in what a bank's numbers depend on. Raises UsageError."""
    ours = versions()
    try:
        found = client.run(versions, workers=list(threads), on_error="return")
    except (OSError, TimeoutError, RuntimeError, CancelledError):  # they left again, or the scheduler did
        return
    for address, theirs in sorted(found.items()):
        if isinstance(theirs, (OSError, TimeoutError)):  # it left again
            continue
        if isinstance(theirs, BaseException):
            raise UsageError(f"the worker {address} cannot run hdrprep ({theirs}); install {ours['hdrprep']} there")
        names = sorted(ours.keys() | theirs.keys())
        other = [
            f"{name} {theirs.get(name)}, here {ours.get(name)}" for name in names if theirs.get(name) != ours.get(name)
        ]
        if other:
            log.warning("the worker %s has other versions, its patches may differ: %s", address, "; ".join(other))
        if threads[address] > 1:
            log.warning("the worker %s has %d threads; start it with --nthreads 1", address, threads[address])


def _describe(error: BaseException) -> str:
    if isinstance(error, KilledWorker):
        return "the worker process died on it, twice; the file may be damaged or need more memory than there is"
    return describe(error)
