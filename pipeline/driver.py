"""What all stages do to get work done: hand out tasks, fold what workers commit, report what failed."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from pipeline import work
from pipeline.bank import BankWriter
from pipeline.config import Settings
from pipeline.logs import log
from pipeline.workers import Task, Workers

FRAMES = 8  # of a sequence or video, at most, that one task decodes
FOLD_INTERVAL = 30.0  # seconds between two replacements of the tables, at least
FOLD_SHARE = 150  # nor sooner than so many times as long as the last one took: less than 1 % of a run

T = TypeVar("T")


@dataclass(slots=True)
class Report:
    """What a command did: `patches` finished, `failures` with their reasons, `seconds` of wall-clock time.

    `lines` tell more of it, for people to read.
    """

    patches: int = 0
    failures: list[work.Outcome] = field(default_factory=list)
    seconds: float = 0.0
    lines: list[str] = field(default_factory=list)

    def count(self, outcome: work.Outcome, name: str) -> None:
        """Count in what became of one task, and log it."""
        self.patches += outcome.patches
        if outcome.reason is not None:
            self.failures.append(outcome)
            log.warning("%s: %s", outcome.path, outcome.reason)
        else:
            log.info("%s, %d patches", name, outcome.patches)

    def add(self, other: Report) -> None:
        """Count in what another stage did; a patch that went through several stages is counted by its last."""
        self.patches = other.patches or self.patches
        self.failures += other.failures
        self.seconds += other.seconds
        self.lines += other.lines


class Driver:
    """The process that owns a bank, and the workers that it sends to work."""

    def __init__(self, writer: BankWriter, workers: Workers, settings: Settings) -> None:
        self.writer, self.workers, self.settings = writer, workers, settings
        self._command = uuid.uuid4().hex
        work.forget_timeouts(writer.storage, self._command)

    def map(self, function: Callable[[Path], T], paths: Sequence[Path], crashed: Callable[[Path, str], T]) -> list[T]:
        """Return what a worker makes of each path, in the order of the paths."""
        tasks = [Task((path,), str(path)) for path in paths]
        outcomes = self.workers.map(function, tasks, lambda task, message: crashed(task.arguments[0], message))
        results = {task.arguments[0]: result for task, result in outcomes}
        return [results[path] for path in paths]

    def collect(
        self,
        title: str,
        function: Callable[..., work.Outcome],
        tasks: Iterable[Task],
        total: int,
        crashed: Callable[[work.Place, Task, str], work.Outcome] | None = None,
        fold: Callable[[], object] | None = None,
    ) -> Report:
        """Run tasks of `total` patches together, fold their commits at intervals and at the end, and report.

        The function is called with the place where it may commit, then the task's arguments. All is one turn: what is
        still at work when this returns or raises changes nothing any more. `fold` takes in what the tasks commit; by
        default, the bank does.
        """
        report, start = Report(), time.monotonic()
        place = work.Place(self.writer.begin(), self.settings.run.source_timeout, self._command)
        placed = (replace(task, arguments=(place, *task.arguments)) for task in tasks)
        fold_at = start + FOLD_INTERVAL
        fold = fold or self.writer.fold

        def failed(task: Task, message: str) -> work.Outcome:
            return work.Outcome(task.name, reason=message) if crashed is None else crashed(place, task, message)

        # The bar shows on a terminal only (disable=None).
        bar = tqdm(total=total, desc=title, unit=" patches", disable=None, leave=False)
        try:
            with bar:
                for task, outcome in self.workers.map(function, placed, failed):
                    bar.update(task.patches)
                    report.count(outcome, f"{outcome.path or task.name}: {title}")
                    if time.monotonic() > fold_at:
                        fold_at = _timed(fold)
        finally:
            try:
                fold()
            finally:
                self.writer.end()
        report.seconds = time.monotonic() - start
        return report


def _timed(fold: Callable[[], object]) -> float:
    """Fold, and return when to do so again."""
    start = time.monotonic()
    fold()
    now = time.monotonic()
    return now + max(FOLD_INTERVAL, FOLD_SHARE * (now - start))
