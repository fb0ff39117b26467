"""The worker processes that a command starts itself, on this machine, and keeps in number."""

from __future__ import annotations

import logging
from itertools import count
from typing import Any, Self

import dask
from distributed import LocalCluster, Status

from pipeline.errors import ClusterError
from pipeline.logs import log

STARTS = 3  # of the workers, where one dies at it
ENDING = 60.0  # seconds in which they end: a nanny asks, after four it kills, and a busy machine takes its time
RETURN = 600.0  # seconds without any worker, after which it is no use to wait

LOCAL_DASK: dict[str, Any] = {
    # A source whose decoder kills its worker is tried once more and then given up; the default is four workers.
    "distributed.scheduler.allowed-failures": 1,
    "distributed.worker.multiprocessing-method": "spawn",
    "distributed.nanny.pre-spawn-environ": {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        # Freed memory stays with the process: a worker that renders patches would ask for the same pages again and
        # again. 32 MB is the most that glibc takes for the first, and it has one arena, as there is one working thread.
        "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
        "MALLOC_ARENA_MAX": "1",
    },
    # Ctrl-C reaches every process of the terminal; the driver alone answers it and stops the workers.
    "distributed.worker.preload": ["import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"],
    # A worker that died is started again by the nanny that watches it, which on a busy machine takes its time. Dask
    # would end the nanny after 15 s, start no other, and while the old one ends its name is not free: so never.
    "distributed.deploy.lost-worker-timeout": "8760h",
    # Dask looks at itself up to a hundred times a second, which costs 8 % of the work; here tasks take seconds.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "2s",
    "distributed.worker.memory.monitor-interval": "500ms",
    # A worker has one task; one that is paused would wait for memory that it keeps itself.
    "distributed.worker.memory.pause": False,
}


class OwnWorkers:
    """Workers of one command: processes of this machine, or one thread of this process."""

    def __init__(self, cluster: LocalCluster, workers: int) -> None:
        self._cluster, self._names = cluster, count(workers)

    @classmethod
    def processes(cls, workers: int) -> Self:
        """Start so many, each with one thread. Raises ClusterError where they die at it."""
        dask.config.set(LOCAL_DASK)
        failure: RuntimeError | None = None
        for _ in range(STARTS):
            try:
                return cls(_cluster(workers, processes=True), workers)
            except RuntimeError as error:  # so says Dask where a process is killed before it has reported for work
                log.warning("a worker process died while it started")
                failure = error
        raise ClusterError(
            f"a worker process died while it started, {STARTS} times in a row; is memory short? try fewer --workers"
        ) from failure

    @classmethod
    def thread(cls) -> Self:
        """Start one that sees the memory of this process: one thread, as a process has."""
        with dask.config.set({"distributed.worker.preload": []}):  # it is for processes; no thread may set handlers
            return cls(_cluster(1, processes=False), 1)

    @property
    def address(self) -> str:
        """Where their scheduler listens."""
        return str(self._cluster.scheduler_address)

    def replace_lost(self, alone: float = 0.0) -> None:
        """Start others in the place of those that do not come back by themselves; does not wait for them.

        Raises ClusterError where there has been none for `alone` seconds, and that is too long.
        """
        if alone > RETURN:
            raise ClusterError(
                f"no worker process has come back for {alone:.0f} s; is memory short? repeat the command, which "
                "resumes, with fewer --workers"
            )
        loop: Any = self._cluster.loop  # there is one from its start to its close
        loop.add_callback(self._replace_lost)

    async def _replace_lost(self) -> None:
        """Replace each worker whose nanny has ended, which Dask does not; on the event loop of the cluster."""
        cluster = self._cluster
        lost = [name for name, nanny in cluster.workers.items() if nanny.status in (Status.closed, Status.failed)]
        for name in lost:
            del cluster.workers[name]
            # Under a name that nobody had: the scheduler may still know the old one.
            cluster.worker_spec[next(self._names)] = cluster.worker_spec.pop(name)
        try:
            if lost:
                await cluster
        except RuntimeError:  # it ended while it started, and is replaced the next time
            log.warning("a worker process died while it started")

    def close(self) -> None:
        """Stop them and their scheduler, at the latest with this process."""
        try:
            self._cluster.close(timeout=ENDING)
        except TimeoutError:  # they are daemons: none outlives this process
            log.warning("the worker processes have not ended within %.0f s; they end with the command", ENDING)


def _cluster(workers: int, processes: bool) -> LocalCluster:
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=processes,
        dashboard_address="127.0.0.1:0",  # any free port: None stands for a fixed one, which another run may have taken
        silence_logs=logging.CRITICAL,
    )
