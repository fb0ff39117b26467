"""The four stages over a bank: one task a source, a stretch of frames or a shard; commits; resume.

The driver owns the bank and folds what the workers commit. What is still to do is read off the tables: a source that
has no row, a frame that has no patches, a patch that has no camera, no score or no row in the arrays. So every command
resumes by being repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import work
from pipeline.bank import BankWriter, PatchArrays, ShardPlan, plan_shards
from pipeline.config import Settings
from pipeline.delivery import Delivery, Destination, describe_bank
from pipeline.driver import FRAMES, Driver, Report
from pipeline.intake import Intake
from pipeline.licence import NO_LICENCES, Licences
from pipeline.logs import log
from pipeline.pending import (
    by_frames,
    check_scored,
    patches_to_export,
    patches_to_score,
    patches_to_simulate,
)
from pipeline.rows import Row, relabel
from pipeline.split import count_moved, split_patches, split_sources
from pipeline.workers import Task, Workers


class Pipeline:
    """The four stages over a bank that this process owns."""

    def __init__(self, writer: BankWriter, workers: Workers, settings: Settings) -> None:
        self.driver = Driver(writer, workers, settings)
        self.intake = Intake(self.driver)
        self.writer, self.settings = writer, settings

    def ingest(self, paths: Sequence[Path], licences: Licences = NO_LICENCES) -> Report:
        """Take in the files whose content is not yet in the bank, and draw their windows."""
        report = self.intake.ingest(paths, licences)
        self.put_on_sides(self.writer.patches)
        return report

    def retry(self, word: str | None) -> Report:
        """Take in the rejected sources anew, or those whose reason contains a word."""
        report = self.intake.retry(word)
        self.put_on_sides(self.writer.patches)
        return report

    def simulate(self) -> Report:
        """Give a camera to every patch that has none."""
        self.put_on_sides(self.writer.patches)
        pending = patches_to_simulate(self.writer.patches)
        return self.driver.collect("simulate-ldr", work.simulate_frames, self._frame_tasks(pending), pending.num_rows)

    def score(self) -> Report:
        """Score every patch that has no score, and label all by the present threshold and average."""
        pending = patches_to_score(self.writer.patches)
        report = self.driver.collect("score", work.score_frames, self._frame_tasks(pending), pending.num_rows)
        self.put_on_sides(relabel(self.writer.patches, self.settings.score))
        return report

    def export(self, destination: Destination | None = None) -> Report:
        """Render the kept patches into a folder, or those not yet exported into the bank's own arrays."""
        check_scored(self.writer.patches)
        self.put_on_sides(self.writer.patches)
        return self._export_arrays() if destination is None else Delivery(self.driver, destination).export()

    def _export_arrays(self) -> Report:
        patches = self.writer.patches
        pending = patches_to_export(patches, self.settings)
        if not PatchArrays.exist(self.writer.storage):
            if not pending.positions:
                return Report()
            self.writer.create_arrays(self.settings.crops.patch_size, self.settings.export)
        arrays = self.writer.arrays()
        arrays.resize(max(pending.total, arrays.hdr.shape[0]))
        plans = plan_shards(pending.exported, pending.positions, arrays.shard_rows)
        tasks = self._shard_tasks(patches, plans)
        report = self.driver.collect("export", work.export_shard, tasks, len(pending.positions))
        # A patch that could not be moved keeps its place, and the rows up to it stay.
        last = pc.max(self.writer.patches["row"]).as_py()
        arrays.resize(max(pending.total, 0 if last is None else last + 1))
        return report

    def everything(
        self, paths: Sequence[Path], licences: Licences = NO_LICENCES, destination: Destination | None = None
    ) -> Report:
        """Run all four stages; what new sources need is done in one pass over each frame."""
        report = self.intake.ingest(paths, licences, also_score=True)
        report.add(self.simulate())
        report.add(self.score())
        exported = self.export(destination)
        report.failures += exported.failures
        report.seconds += exported.seconds
        report.lines += exported.lines
        return report

    def describe(self) -> None:
        """Write the dataset card of the bank's arrays anew, if anything was exported into them."""
        describe_bank(self.writer, self.settings)

    def put_on_sides(self, patches: pa.Table) -> None:
        """Write the patches, each of them and each source on the side of the split that the present settings say."""
        before = self.writer.sources
        sources = split_sources(before, self.settings.split)
        moved = count_moved(before, sources)
        if moved:
            log.warning("the split has changed: %d of %d sources are on another side now", moved, sources.num_rows)
        self.writer.replace(sources, split_patches(patches, sources))

    def _frame_tasks(self, pending: pa.Table) -> Iterator[Task]:
        sources = self._sources_by_id()
        for rows in by_frames(pending, FRAMES):
            source = sources[rows["source_id"][0].as_py()]
            yield Task((source, rows.to_pylist(), self.settings), source["path"], rows.num_rows)

    def _shard_tasks(self, patches: pa.Table, plans: Sequence[ShardPlan]) -> Iterator[Task]:
        sources = self._sources_by_id()
        for plan in plans:
            rows = patches.take(pa.array(plan.positions)).to_pylist()
            needed = {row["source_id"]: sources[row["source_id"]] for row in rows}
            yield Task((needed, rows, plan.rows, plan.fresh), needed[rows[0]["source_id"]]["path"], len(rows))

    def _sources_by_id(self) -> dict[str, Row]:
        return {row["source_id"]: row for row in self.writer.sources.to_pylist() if row["source_id"] is not None}
