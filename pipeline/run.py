"""The four stages over a bank: one task a source, frame or shard, commits, resume.

The driver owns the bank and folds what the workers commit. What is still to do is read off the tables: a source that
has no row, a patch that has no camera, no score or no row in the arrays. So every command resumes by being repeated.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from pipeline import work
from pipeline.bank import BankWriter, PatchArrays, ShardPlan, plan_shards
from pipeline.config import Settings
from pipeline.errors import UsageError
from pipeline.records import derive_seed
from pipeline.workers import Task, Workers

log = logging.getLogger("hdrprep")

FOLD_INTERVAL = 30.0  # seconds between two replacements of the tables, at least
FOLD_SHARE = 20  # nor sooner than so many times as long as the last one took

Row = dict[str, Any]


@dataclass(slots=True)
class Report:
    """What a command did: `patches` finished, `failures` with their reasons, `seconds` of wall-clock time."""

    patches: int = 0
    failures: list[work.Outcome] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, other: Report) -> None:
        """Count in what another stage did; a patch that went through several stages is counted by its last."""
        self.patches = other.patches or self.patches
        self.failures += other.failures
        self.seconds += other.seconds


class Pipeline:
    """The four stages over a bank that this process owns."""

    def __init__(self, writer: BankWriter, workers: Workers, settings: Settings) -> None:
        self.writer, self.workers, self.settings = writer, workers, settings

    def ingest(self, paths: Sequence[Path], also_score: bool = False) -> Report:
        """Take in the files whose content is not yet in the bank, and note the further places of known content.

        With `also_score` the cameras and scores are made in the same task, each frame decoded once.
        """
        new, further = self._identify(paths)
        count = self.settings.crops.patches
        tasks = [Task((self.writer.path, found, self.settings, also_score), str(found.path), count) for found in new]

        def crashed(task: Task, message: str) -> work.Outcome:
            return work.reject_source(self.writer.path, task.arguments[1], message)

        title, total = "score" if also_score else "ingest", count * len(tasks)
        report = self._collect(title, work.ingest_source, tasks, total, crashed)
        self._note_further_places(further)
        # A rejected source is no failed task: it stands in the sources table, and counts on a repeated run as well.
        report.failures.clear()
        return report

    def simulate(self) -> Report:
        """Give a camera to every patch that has none."""
        pending = self.writer.patches.filter(pc.is_null(self.writer.patches["clip_fraction"]))
        return self._collect("simulate-ldr", work.simulate_frame, self._frame_tasks(pending), pending.num_rows)

    def score(self) -> Report:
        """Score every patch that has no score, and label all by the present threshold and average."""
        patches = self.writer.patches
        pending = patches.filter(pc.is_null(patches["score_saturated"]))
        without_camera = pending["clip_fraction"].null_count
        if without_camera:
            raise UsageError(f"{without_camera} patches have no camera yet; run hdrprep simulate-ldr first")
        report = self._collect("score", work.score_frame, self._frame_tasks(pending), pending.num_rows)
        self.writer.replace_patches(work.relabel(self.writer.patches, self.settings.score))
        return report

    def export(self) -> Report:
        """Render the kept patches that are not yet exported into the bank's arrays."""
        patches = self.writer.patches
        unscored = patches["score"].null_count
        if unscored:
            raise UsageError(f"{unscored} patches have no score yet; run hdrprep score first")
        pending = self._to_export(patches)
        exported = patches["row"].drop_null().to_numpy()
        # Rows beyond the number of patches stand behind holes of an interrupted export: they move into these.
        total = exported.size + len(pending)
        moved = pc.indices_nonzero(pc.fill_null(pc.greater_equal(patches["row"], total), False)).to_pylist()
        pending = sorted({*pending, *moved})
        if not pending:
            return Report()
        if not PatchArrays.exist(self.writer.path):
            PatchArrays.create(self.writer.path, self.settings.crops.patch_size, self.settings.export)
        arrays = PatchArrays(self.writer.path, "r+")
        arrays.resize(max(total, arrays.hdr.shape[0]))
        plans = plan_shards(exported[exported < total], pending, arrays.shard_rows)
        report = self._collect("export", work.export_shard, self._shard_tasks(patches, plans), len(pending))
        arrays.resize(total)
        return report

    def everything(self, paths: Sequence[Path]) -> Report:
        """Run all four stages; what new sources need is done in one pass over each frame."""
        report = self.ingest(paths, also_score=True)
        report.add(self.simulate())
        report.add(self.score())
        exported = self.export()
        report.failures += exported.failures
        report.seconds += exported.seconds
        return report

    def _identify(self, paths: Sequence[Path]) -> tuple[list[work.Found], dict[str, list[str]]]:
        """Return the files of new content, in their order, and the further places of known content by identity."""
        tasks = [Task((path,), str(path)) for path in paths]
        outcomes = self.workers.map(
            work.find, tasks, lambda task, message: work.Found(task.arguments[0], None, None, message)
        )
        order = {path: index for index, path in enumerate(paths)}
        found = sorted((result for _, result in outcomes), key=lambda entry: order[entry.path])
        known = set(self.writer.sources["source_id"].drop_null().to_pylist())
        unreadable = set(self.writer.sources.filter(pc.is_null(self.writer.sources["source_id"]))["path"].to_pylist())
        new: list[work.Found] = []
        further: dict[str, list[str]] = {}
        for entry in found:
            if entry.source_id is None:
                if str(entry.path) not in unreadable:
                    new.append(entry)
            elif entry.source_id in known:
                further.setdefault(entry.source_id, []).append(str(entry.path))
            else:
                known.add(entry.source_id)
                new.append(entry)
        return new, further

    def _note_further_places(self, further: dict[str, list[str]]) -> None:
        rows = self.writer.sources.to_pylist()
        for row in rows:
            places = further.get(row["source_id"], [])
            row["also_at"] = sorted({*(row["also_at"] or []), *places} - {row["path"]})
        self.writer.replace_sources(pa.Table.from_pylist(rows, schema=self.writer.sources.schema))

    def _to_export(self, patches: pa.Table) -> list[int]:
        """Return the positions of the patches to export now, ascending."""
        kept = pc.equal(patches["verdict"], "kept")
        pending = pc.indices_nonzero(pc.and_(kept, pc.is_null(patches["row"]))).to_pylist()
        limit = self.settings.export.limit
        if limit is None:
            return list(pending)
        # A seeded subset: patches are ranked by a hash of their identity, so that a larger limit adds to a smaller one.
        room = max(0, limit - len(patches) + patches["row"].null_count)
        identities = patches["patch_id"].to_numpy()
        seed = self.settings.ingest.seed
        ranked = sorted(pending, key=lambda position: derive_seed(seed, str(identities[position]), 0, 0, "limit"))
        return sorted(ranked[:room])

    def _frame_tasks(self, pending: pa.Table) -> Iterator[Task]:
        sources = self._sources_by_id()
        for rows in _by_frame(pending):
            source = sources[rows["source_id"][0].as_py()]
            yield Task((self.writer.path, source, rows.to_pylist(), self.settings), source["path"], rows.num_rows)

    def _shard_tasks(self, patches: pa.Table, plans: Sequence[ShardPlan]) -> Iterator[Task]:
        sources = self._sources_by_id()
        for plan in plans:
            rows = patches.take(pa.array(plan.positions)).to_pylist()
            needed = {row["source_id"]: sources[row["source_id"]] for row in rows}
            yield Task((self.writer.path, needed, rows, plan.rows), needed[rows[0]["source_id"]]["path"], len(rows))

    def _sources_by_id(self) -> dict[str, Row]:
        return {row["source_id"]: row for row in self.writer.sources.to_pylist() if row["source_id"] is not None}

    def _collect(
        self,
        title: str,
        function: Callable[..., work.Outcome],
        tasks: Iterable[Task],
        total: int,
        crashed: Callable[[Task, str], work.Outcome] | None = None,
    ) -> Report:
        """Run tasks of `total` patches together, fold their commits at intervals and at the end, and report."""
        report, start = Report(), time.monotonic()
        fold_at = start + FOLD_INTERVAL
        crashed = crashed or (lambda task, message: work.Outcome(task.name, reason=message))
        # The bar shows on a terminal only (disable=None).
        bar = tqdm(total=total, desc=title, unit=" patches", disable=None, leave=False)
        try:
            with bar:
                for task, outcome in self.workers.map(function, tasks, crashed):
                    bar.update(task.patches)
                    report.patches += outcome.patches
                    if outcome.reason is not None:
                        report.failures.append(outcome)
                        log.warning("%s: %s", outcome.path, outcome.reason)
                    else:
                        log.info("%s: %s, %d patches", outcome.path or task.name, title, outcome.patches)
                    if time.monotonic() > fold_at:
                        fold_at = self._timed_fold()
        finally:
            self.writer.fold()
        report.seconds = time.monotonic() - start
        return report

    def _timed_fold(self) -> float:
        """Fold, and return when to do so again."""
        start = time.monotonic()
        self.writer.fold()
        now = time.monotonic()
        return now + max(FOLD_INTERVAL, FOLD_SHARE * (now - start))


def _by_frame(patches: pa.Table) -> Iterator[pa.Table]:
    """Cut a table in the order (source_id, frame, k) into one slice a frame."""
    if patches.num_rows == 0:
        return
    sources = patches["source_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    frames = patches["frame"].to_numpy()
    changes = np.flatnonzero((np.diff(sources) != 0) | (np.diff(frames) != 0)) + 1
    bounds = [0, *changes.tolist(), patches.num_rows]
    for start, stop in pairwise(bounds):
        yield patches.slice(start, stop - start)
