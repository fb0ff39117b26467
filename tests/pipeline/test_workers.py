"""The worker processes: bounded, and none of them takes the run with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.config import RunSettings
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


def test_no_work_starts_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a cluster was started")

    monkeypatch.setattr("pipeline.workers._local_cluster", refuse)
    with Workers(RunSettings()) as workers:
        assert list(workers.map(_square, [], lambda _, message: message)) == []
