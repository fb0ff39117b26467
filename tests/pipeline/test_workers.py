"""The worker processes: bounded, and none of them takes the run with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from distributed import Future
from distributed.comm.core import CommClosedError

from pipeline.config import RunSettings
from pipeline.errors import ClusterError
from pipeline.workers import WINDOW, Task, Workers


def _die_on_three(number: int) -> int:
    if number == 3:
        os._exit(9)
    return number * number


def test_a_worker_that_dies_costs_its_task_only() -> None:
    with Workers(RunSettings(workers=1)) as workers:
        tasks = (Task((number,), str(number)) for number in range(8))
        results = {task.name: result for task, result in workers.map(_die_on_three, tasks, lambda _, message: message)}
    died = results.pop("3")
    assert "died" in died
    # Those that waited at the same worker are innocent.
    assert results == {str(number): number * number for number in range(8) if number != 3}


def _square(number: int) -> int:
    return number * number


def test_tasks_are_drawn_as_they_are_needed(scheduler: str) -> None:
    drawn = 0

    def tasks() -> Iterator[Task]:
        nonlocal drawn
        for number in range(100):
            drawn += 1
            yield Task((number,), str(number))

    ahead: list[int] = []
    with Workers(RunSettings(scheduler=scheduler)) as workers:
        for done, _ in enumerate(workers.map(_square, tasks(), lambda _, message: message)):
            ahead.append(drawn - done)
    assert len(ahead) == 100
    assert max(ahead) <= 2 * WINDOW + 1


def _refuse(number: int) -> int:
    raise ConnectionResetError(f"of task {number}")


def test_a_connection_lost_while_a_result_is_fetched_is_the_schedulers_end(
    scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: Any, **__: Any) -> None:
        raise CommClosedError("in <TCP>: Stream is closed")

    with Workers(RunSettings(scheduler=scheduler)) as workers:
        task = Task((3,), "3")
        # What a task raises is the task's, also where it looks the same.
        told = [result for _, result in workers.map(_refuse, [task], lambda _, message: message)]
        assert told == ["it could not be processed (ConnectionResetError: of task 3)"]
        monkeypatch.setattr(Future, "result", lose)
        with pytest.raises(ClusterError, match=f"the Dask scheduler at {scheduler} is gone; start it again"):
            list(workers.map(_square, [task], lambda _, message: message))


def test_a_scheduler_lost_between_two_stages_is_the_same_sentence(scheduler: str) -> None:
    with Workers(RunSettings(scheduler=scheduler)) as workers:
        assert [result for _, result in workers.map(_square, [Task((3,), "3")], lambda _, message: message)] == [9]
        client = workers._client
        assert client
        client.sync(client._close)  # as it does by itself where it finds its scheduler no more
        with pytest.raises(ClusterError, match=f"the Dask scheduler at {scheduler} is gone; start it again"):
            list(workers.map(_square, [Task((3,), "3")], lambda _, message: message))


def test_a_scheduler_that_does_not_let_go_in_time_is_left(scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Workers(RunSettings(scheduler=scheduler)) as workers:
        assert [result for _, result in workers.map(_square, [Task((3,), "3")], lambda _, message: message)] == [9]
        monkeypatch.setattr("pipeline.workers.CONNECTING", 0.0)
    assert workers._client is None


def test_no_work_starts_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a cluster was started")

    monkeypatch.setattr("pipeline.localcluster.OwnWorkers.processes", refuse)
    with Workers(RunSettings()) as workers:
        assert list(workers.map(_square, [], lambda _, message: message)) == []
