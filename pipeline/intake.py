"""Taking in sources: who they are, which files belong together, what is new, what cannot be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import work
from pipeline.driver import FRAMES, Driver, Report
from pipeline.frames.sequence import sequence_files
from pipeline.identification import identify_sources
from pipeline.licence import NO_LICENCES, Licence, Licences, listed_name
from pipeline.pending import frames_to_ingest
from pipeline.remote import path_of
from pipeline.rows import Found, Row
from pipeline.workers import Task


class Intake:
    """Ingest over a bank; `named` are the sources that were named so far, by identity, unreadable ones by path."""

    def __init__(self, driver: Driver) -> None:
        self.driver, self.writer, self.settings = driver, driver.writer, driver.settings
        self.named: set[str] = set()

    def ingest(
        self,
        paths: Sequence[Path],
        licences: Licences = NO_LICENCES,
        also_score: bool = False,
        known: pa.Table | None = None,
    ) -> Report:
        """Take in the files whose content is not yet in the bank, and note the further places of known content.

        With `also_score` the cameras and scores are made in the same task, each frame decoded once. `known` are the
        sources that count as taken in: all of the bank without it.
        """
        sequences = self.settings.ingest.sequences
        identified = identify_sources(
            paths, self.writer.sources if known is None else known, sequences, self.driver.map
        )
        self.named |= identified.named
        new = [_with_licence(found, licences) for found in identified.new]
        title = "score" if also_score else "ingest"
        count = self.settings.crops.patches
        tasks = [Task((found, self.settings, also_score), str(found.path), count) for found in new]
        report = self.driver.collect(title, work.ingest_source, tasks, count * len(tasks), _reject_crashed)
        frames = list(self._missing_frames(also_score))
        total = sum(task.patches for task in frames)
        # The tables are cleared of rejected sources before anything else can fail.
        of_frames = self.driver.collect(title, work.ingest_frames, frames, total)
        self._reject({outcome.path: outcome.reason for outcome in of_frames.failures})
        self.finish_sources(identified.further)
        report.patches += of_frames.patches
        report.seconds += of_frames.seconds
        # A rejected source is no failed task: it stands in the sources table, and counts on a repeated run as well.
        report.failures.clear()
        return report

    def retry(self, word: str | None) -> Report:
        """Take in anew the rejected sources, or those whose reason contains a word."""

        def is_meant(row: Row) -> bool:
            return row["status"] == "rejected" and (word is None or word.lower() in row["reason"].lower())

        rows = self.writer.sources.to_pylist()
        again, kept = [row for row in rows if is_meant(row)], [row for row in rows if not is_meant(row)]
        places = [path_of(place) for row in again for place in (row["path"], *row["also_at"])]
        # What was said of their licence holds on.
        table = {listed_name(row["path"]): Licence(row["licence"], row["attribution"]) for row in again}
        files = [file for place in places for file in (sequence_files(place) or [place])]
        # Their rows are replaced one by one, never dropped first: a retry that is killed still knows them.
        report = self.ingest(
            files, Licences(table), known=pa.Table.from_pylist(kept, schema=self.writer.sources.schema)
        )
        # Where another content lies by now, it has a row of its own.
        forgotten = {row["source_id"] or row["path"] for row in again} - self.named
        rows = self.writer.sources.to_pylist()
        rows = [row for row in rows if not (is_meant(row) and (row["source_id"] or row["path"]) in forgotten)]
        self.writer.replace_sources(pa.Table.from_pylist(rows, schema=self.writer.sources.schema))
        return report

    def rejected(self) -> int:
        """Count the rejected ones among the sources that were named, also where an earlier command rejected them."""
        rows = self.writer.sources.filter(pc.equal(self.writer.sources["status"], "rejected")).to_pylist()
        return sum((row["source_id"] or row["path"]) in self.named for row in rows)

    def _missing_frames(self, also_score: bool) -> Iterator[Task]:
        """Yield the work on frames of sequences and videos that have no patches yet."""
        every = self.settings.ingest.every
        for source, missing in frames_to_ingest(self.writer.sources, self.writer.patches, every):
            for start in range(0, len(missing), FRAMES):
                some = missing[start : start + FRAMES]
                arguments = (source, some, self.settings, also_score)
                yield Task(arguments, source["path"], len(some) * self.settings.crops.patches)

    def _reject(self, reasons: Mapping[str, str | None]) -> None:
        """Turn sources that were registered into rejected ones, and drop their patches."""
        if not reasons:
            return
        rows = self.writer.sources.to_pylist()
        rejected = [row for row in rows if row["status"] == "ok" and row["path"] in reasons]
        for row in rejected:
            row |= {"status": "rejected", "reason": reasons[row["path"]], "frames_used": 0}
        gone = pa.array([row["source_id"] for row in rejected], pa.string())
        patches = self.writer.patches
        self.writer.replace_patches(patches.filter(pc.invert(pc.is_in(patches["source_id"], value_set=gone))))
        self.writer.replace_sources(pa.Table.from_pylist(rows, schema=self.writer.sources.schema))

    def finish_sources(self, further: Mapping[str, list[str]]) -> None:
        """Note the further places of known sources, and what was repaired in the frames of each."""
        frames = self.writer.patches.group_by(["source_id", "frame"]).aggregate(
            [("frame_nonfinite_pixels", "max"), ("frame_negative_pixels", "max")]
        )
        sums = frames.group_by("source_id").aggregate(
            [("frame_nonfinite_pixels_max", "sum"), ("frame_negative_pixels_max", "sum")]
        )
        repaired = {row["source_id"]: row for row in sums.to_pylist()}
        rows = self.writer.sources.to_pylist()
        # Content that was rejected and is now replaced by usable content is no failure any more.
        mended = {row["path"] for row in rows if row["status"] == "ok"}
        rows = [row for row in rows if row["status"] == "ok" or row["path"] not in mended]
        for row in rows:
            places = further.get(row["source_id"], [])
            row["also_at"] = sorted({*(row["also_at"] or []), *places} - {row["path"]})
            counted = repaired.get(row["source_id"], {})
            row["nonfinite_pixels"] = counted.get("frame_nonfinite_pixels_max_sum")
            row["negative_pixels"] = counted.get("frame_negative_pixels_max_sum")
        self.writer.replace_sources(pa.Table.from_pylist(rows, schema=self.writer.sources.schema))


def _reject_crashed(place: work.Place, task: Task, message: str) -> work.Outcome:
    """Commit a source whose worker died, or that could not be worked on, as rejected."""
    return work.reject_source(place, task.arguments[1], message)


def _with_licence(found: Found, licences: Licences) -> Found:
    licence = licences.of(found.path)
    return replace(found, licence=licence.licence, attribution=licence.attribution)
