"""The workers of a command: as many as were asked for, from the start to the end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dask
import pytest

from pipeline import localcluster, workers
from pipeline.config import RunSettings
from pipeline.errors import ClusterError
from pipeline.localcluster import STARTS
from pipeline.workers import Task, Workers
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


@pytest.fixture
def soon_given_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let Dask give up a worker that died before another could be there, as on a busy machine."""
    with monkeypatch.context() as patch:
        patch.setitem(localcluster.LOCAL_DASK, "distributed.deploy.lost-worker-timeout", "50ms")
        yield
    dask.config.set(localcluster.LOCAL_DASK)


def _die_once(mark: Path) -> int:
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return os.getpid()
    os._exit(9)


def test_the_only_worker_is_replaced_where_dask_gave_it_up(
    soon_given_up: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 0.5)
    monkeypatch.setattr(localcluster, "RETURN", 60.0)
    with Workers(RunSettings(workers=1)) as own:
        task = Task((tmp_path / "died",), "dies once")
        ((_, result),) = own.map(_die_once, [task], lambda _, message: message)
    assert isinstance(result, int), result
    assert (tmp_path / "died").exists()


def _work(mark: Path) -> int:
    time.sleep(0.05)
    return _die_once(mark)


def test_one_of_two_workers_is_replaced_while_the_other_works(soon_given_up: None, tmp_path: Path) -> None:
    seen, until = set[int](), time.monotonic() + 120

    def tasks() -> Iterator[Task]:
        while len(seen) < 3 and time.monotonic() < until:
            # At first both do their work, then one of them dies.
            yield Task((tmp_path if len(seen) < 2 else tmp_path / "died",), "some work")

    with Workers(RunSettings(workers=2)) as own:
        for _, result in own.map(_work, tasks(), lambda _, message: message):
            seen.add(result)
    assert len(seen) >= 3


def test_workers_that_never_come_back_are_told_in_a_sentence(
    soon_given_up: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 0.5)
    monkeypatch.setattr(localcluster, "RETURN", 4.0)
    others = workers_of(os.getpid())
    with Workers(RunSettings(workers=1)) as own:
        assert [result for _, result in own.map(_square, [Task((3,), "3")], lambda _, message: message)] == [9]
        with (
            _killing_newborns(float("inf"), others),
            pytest.raises(ClusterError, match="no worker process has come back for"),
        ):
            list(own.map(_square, [Task((3,), "3")], lambda _, message: message))
    assert "Traceback" not in capfd.readouterr().err
