"""The workers of a command: as many as were asked for, from the start to the end."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline import localcluster
from pipeline.config import RunSettings
from pipeline.errors import ClusterError
from pipeline.localcluster import STARTS
from pipeline.logs import log
from pipeline.workers import Task, Workers
from tests.patience import HANGS
from tests.pipeline.killing import workers_of


def _square(number: int) -> int:
    return number * number


@contextmanager
def _killing_newborns(most: float, spared: Iterable[int] | None = None) -> Iterator[list[int]]:
    """Kill worker processes of this one as soon as they are there, `most` of them; those of other tests are spared."""
    killed, over = list[int](), threading.Event()
    others = set(workers_of(os.getpid()) if spared is None else spared)

    def kill() -> None:
        while not over.is_set() and len(killed) < most:
            for child in set(workers_of(os.getpid())) - others - set(killed):
                os.kill(child, signal.SIGKILL)
                killed.append(child)
            time.sleep(0.002)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def test_workers_killed_while_they_start_are_started_again() -> None:
    with _killing_newborns(1) as killed, Workers(RunSettings(workers=1)) as workers:
        tasks = [Task((number,), str(number)) for number in range(3)]
        results = [result for _, result in workers.map(_square, tasks, lambda _, message: message)]
    assert killed
    assert sorted(results) == [0, 1, 4]


def test_workers_that_always_die_while_they_start_are_told_in_a_sentence() -> None:
    with (
        _killing_newborns(float("inf")) as killed,
        Workers(RunSettings(workers=1)) as workers,
        pytest.raises(ClusterError, match="a worker process died while it started, 3 times in a row"),
    ):
        list(workers.map(_square, [Task((1,), "1")], lambda _, message: message))
    assert len(killed) >= STARTS


def _work(mark: Path) -> int:
    """Return the process that works, which dies at it where there is no mark yet."""
    time.sleep(0.05)
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return os.getpid()
    os._exit(9)


def _end_one(own: Workers) -> None:
    """End a worker as one ends whose restart fails: with the nanny that would start it again."""
    cluster: Any = own._own._cluster  # type: ignore[union-attr]

    async def end() -> None:
        await next(iter(cluster.workers.values())).close()

    cluster.sync(end)


def _pids(own: Workers, mark: Path, most: int) -> Iterator[int]:
    for _, pid in own.map(_work, (Task((mark,), "some work") for _ in range(most)), lambda _, message: message):
        assert isinstance(pid, int), pid
        yield pid


def test_a_worker_that_dies_comes_back(tmp_path: Path) -> None:
    with Workers(RunSettings(workers=1)) as own:
        assert len(list(_pids(own, tmp_path / "died", most=1))) == 1
    assert (tmp_path / "died").exists()


@contextmanager
def _stopping_newborn(seconds: float) -> Iterator[list[int]]:
    """Let the next worker process of this one stand still for a while, as a busy machine does."""
    stopped, others = list[int](), set(workers_of(os.getpid()))

    def stop() -> None:
        until = time.monotonic() + HANGS
        while not stopped and time.monotonic() < until:
            for child in set(workers_of(os.getpid())) - others:
                os.kill(child, signal.SIGSTOP)
                time.sleep(seconds)
                os.kill(child, signal.SIGCONT)
                stopped.append(child)
            time.sleep(0.002)

    thread = threading.Thread(target=stop)
    thread.start()
    yield stopped
    thread.join()


def test_a_worker_that_takes_long_to_come_back_is_waited_for(tmp_path: Path) -> None:
    with Workers(RunSettings(workers=1)) as own:
        (first,) = _pids(own, tmp_path, most=1)
        with _stopping_newborn(20.0) as stopped:  # after fifteen Dask would give it up and start no other
            (second,) = _pids(own, tmp_path / "died", most=1)
        assert [second] == stopped
        assert second != first


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_whose_restart_failed_is_replaced(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.workers.PATIENCE", 0.5)
    with Workers(RunSettings(workers=workers)) as own:
        before = set[int]()
        for pid in _pids(own, tmp_path, most=6_000):
            if len(before) == workers and pid not in before:
                break
            if len(before) < workers:
                before.add(pid)
                if len(before) == workers:
                    _end_one(own)
        else:
            pytest.fail("no other process has come")
        assert own._client is not None
        names = {worker["name"] for worker in own._client.scheduler_info()["workers"].values()}
        assert len(names) == workers
        assert len(names - set(range(workers))) == 1, "the old name may still be known to the scheduler"


@pytest.fixture
def said() -> Iterator[list[tuple[str, str]]]:
    """What a user reads: who logs it, and the message. Dask silences the handlers that pytest has for this."""
    heard = list[tuple[str, str]]()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.WARNING:
                heard.append((record.name, record.getMessage()))

    ear = Ear()
    for logger in (logging.getLogger(), *([] if log.propagate else [log])):
        logger.addHandler(ear)
    yield heard
    for logger in (logging.getLogger(), log):
        logger.removeHandler(ear)


def test_one_that_dies_while_it_starts_in_the_place_of_another_is_replaced_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[tuple[str, str]]
) -> None:
    monkeypatch.setattr("pipeline.workers.PATIENCE", 0.5)
    with Workers(RunSettings(workers=1)) as own:
        assert len(list(_pids(own, tmp_path, most=1))) == 1
        with _killing_newborns(2, workers_of(os.getpid())) as killed:
            _end_one(own)
            assert len(list(_pids(own, tmp_path, most=1))) == 1
        assert len(killed) == 2
    assert ("hdrprep", "a worker process died while it started") in said
    assert {name for name, _ in said} == {"hdrprep"}, "a user reads sentences, no traceback of Dask"


def test_workers_that_never_come_back_are_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[tuple[str, str]]
) -> None:
    monkeypatch.setattr("pipeline.workers.PATIENCE", 0.5)
    monkeypatch.setattr(localcluster, "RETURN", 4.0)
    others = workers_of(os.getpid())
    with Workers(RunSettings(workers=1)) as own:
        assert len(list(_pids(own, tmp_path, most=1))) == 1
        with _killing_newborns(float("inf"), others) as killed:
            while not killed:
                time.sleep(0.01)
            with pytest.raises(ClusterError, match="no worker process has come back for"):
                list(_pids(own, tmp_path, most=1))
    assert {name for name, _ in said} == {"hdrprep"}, "a user reads sentences, no traceback of Dask"


LATE = """
import os
from pipeline import localcluster
from tests.pipeline.killing import workers_of

if __name__ == "__main__":
    localcluster.ENDING = 0.001
    own = localcluster.OwnWorkers.processes(1)
    print(*workers_of(os.getpid()))
    own.close()
"""


def test_workers_that_do_not_end_in_time_end_with_the_command(tmp_path: Path) -> None:
    script = tmp_path / "late.py"
    script.write_text(LATE)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=HANGS)
    assert done.returncode == 0, done.stderr
    assert "they end with the command" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.split()
    assert not [pid for pid in done.stdout.split() if Path(f"/proc/{pid}").exists()]
