"""The four stages over a bank: one task a source, a stretch of frames or a shard; commits; resume.

The driver owns the bank and folds what the workers commit. What is still to do is read off the tables: a source that
has no row, a frame that has no patches, a patch that has no camera, no score or no row in the arrays. So every command
resumes by being repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import work
from pipeline.bank import BankWriter, PatchArrays, ShardPlan, plan_shards
from pipeline.config import Settings
from pipeline.driver import FRAMES, Driver, Report
from pipeline.errors import UsageError
from pipeline.intake import Intake
from pipeline.licence import NO_LICENCES, Licences
from pipeline.records import derive_seed
from pipeline.rows import Row, relabel
from pipeline.workers import Task, Workers


class Pipeline:
    """The four stages over a bank that this process owns."""

    def __init__(self, writer: BankWriter, workers: Workers, settings: Settings) -> None:
        self.driver = Driver(writer, workers, settings)
        self.intake = Intake(self.driver)
        self.writer, self.settings = writer, settings

    def ingest(self, paths: Sequence[Path], licences: Licences = NO_LICENCES) -> Report:
        """Take in the files whose content is not yet in the bank, and draw their windows."""
        return self.intake.ingest(paths, licences)

    def retry(self, word: str | None) -> Report:
        """Take in the rejected sources anew, or those whose reason contains a word."""
        return self.intake.retry(word)

    def simulate(self) -> Report:
        """Give a camera to every patch that has none."""
        pending = self.writer.patches.filter(pc.is_null(self.writer.patches["clip_fraction"]))
        return self.driver.collect("simulate-ldr", work.simulate_frames, self._frame_tasks(pending), pending.num_rows)

    def score(self) -> Report:
        """Score every patch that has no score, and label all by the present threshold and average."""
        patches = self.writer.patches
        pending = patches.filter(pc.is_null(patches["score_saturated"]))
        without_camera = pending["clip_fraction"].null_count
        if without_camera:
            raise UsageError(f"{without_camera} patches have no camera yet; run hdrprep simulate-ldr first")
        report = self.driver.collect("score", work.score_frames, self._frame_tasks(pending), pending.num_rows)
        self.writer.replace_patches(relabel(self.writer.patches, self.settings.score))
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
        if not PatchArrays.exist(self.writer.path):
            if not pending:
                return Report()
            self.writer.create_arrays(self.settings.crops.patch_size, self.settings.export)
        arrays = self.writer.arrays()
        arrays.resize(max(total, arrays.hdr.shape[0]))
        plans = plan_shards(exported[exported < total], pending, arrays.shard_rows)
        report = self.driver.collect("export", work.export_shard, self._shard_tasks(patches, plans), len(pending))
        # A patch that could not be moved keeps its place, and the rows up to it stay.
        arrays.resize(max(total, 1 + (pc.max(self.writer.patches["row"]).as_py() or 0) if total else 0))
        return report

    def everything(self, paths: Sequence[Path], licences: Licences = NO_LICENCES) -> Report:
        """Run all four stages; what new sources need is done in one pass over each frame."""
        report = self.intake.ingest(paths, licences, also_score=True)
        report.add(self.simulate())
        report.add(self.score())
        exported = self.export()
        report.failures += exported.failures
        report.seconds += exported.seconds
        return report

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
        for rows in _by_frames(pending, FRAMES):
            source = sources[rows["source_id"][0].as_py()]
            yield Task((source, rows.to_pylist(), self.settings), source["path"], rows.num_rows)

    def _shard_tasks(self, patches: pa.Table, plans: Sequence[ShardPlan]) -> Iterator[Task]:
        sources = self._sources_by_id()
        for plan in plans:
            rows = patches.take(pa.array(plan.positions)).to_pylist()
            needed = {row["source_id"]: sources[row["source_id"]] for row in rows}
            yield Task((needed, rows, plan.rows), needed[rows[0]["source_id"]]["path"], len(rows))

    def _sources_by_id(self) -> dict[str, Row]:
        return {row["source_id"]: row for row in self.writer.sources.to_pylist() if row["source_id"] is not None}


def _by_frames(patches: pa.Table, most: int) -> Iterator[pa.Table]:
    """Cut a table in the order (source_id, frame, k) into slices of at most so many frames of one source."""
    if patches.num_rows == 0:
        return
    sources = patches["source_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    frames = patches["frame"].to_numpy()
    new_source = np.concatenate([[True], np.diff(sources) != 0])
    new_frame = new_source | np.concatenate([[True], np.diff(frames) != 0])
    # The number of each row's frame within its source: a slice begins at every `most`-th.
    count = np.cumsum(new_frame) - 1
    within = count - np.maximum.accumulate(np.where(new_source, count, 0))
    bounds = [*np.flatnonzero(new_frame & (within % most == 0)).tolist(), patches.num_rows]
    for start, stop in pairwise(bounds):
        yield patches.slice(start, stop - start)
