"""Taking in sources: who they are, which files belong together, what is new, what cannot be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import work
from pipeline.driver import FRAMES, Driver, Report
from pipeline.frames.sequence import group_sequences, is_numbered, sequence_files
from pipeline.licence import NO_LICENCES, Licence, Licences
from pipeline.logs import log
from pipeline.rows import Found
from pipeline.workers import Task


class Intake:
    """Ingest over a bank; `named` are the sources that were named so far, by identity, unreadable ones by path."""

    def __init__(self, driver: Driver) -> None:
        self.driver, self.writer, self.settings = driver, driver.writer, driver.settings
        self.named: set[str] = set()
        self._anew: set[str] = set()  # those of the bank that are taken in as if they were not there

    def ingest(self, paths: Sequence[Path], licences: Licences = NO_LICENCES, also_score: bool = False) -> Report:
        """Take in the files whose content is not yet in the bank, and note the further places of known content.

        With `also_score` the cameras and scores are made in the same task, each frame decoded once.
        """
        new, further = self._identify(paths)
        new = [_with_licence(found, licences) for found in new]
        title = "score" if also_score else "ingest"
        count = self.settings.crops.patches
        tasks = [Task((found, self.settings, also_score), str(found.path), count) for found in new]

        def crashed(place: work.Place, task: Task, message: str) -> work.Outcome:
            return work.reject_source(place, task.arguments[1], message)

        report = self.driver.collect(title, work.ingest_source, tasks, count * len(tasks), crashed)
        frames = list(self._missing_frames(also_score))
        total = sum(task.patches for task in frames)
        # The tables are cleared of rejected sources before anything else can fail.
        of_frames = self.driver.collect(title, work.ingest_frames, frames, total)
        self._reject({outcome.path: outcome.reason for outcome in of_frames.failures})
        self._finish_sources(further)
        report.patches += of_frames.patches
        report.seconds += of_frames.seconds
        # A rejected source is no failed task: it stands in the sources table, and counts on a repeated run as well.
        report.failures.clear()
        return report

    def retry(self, word: str | None) -> Report:
        """Take in anew the rejected sources, or those whose reason contains a word."""
        rejected = [row for row in self.writer.sources.to_pylist() if row["status"] == "rejected"]
        again = [row for row in rejected if word is None or word.lower() in row["reason"].lower()]
        places = [Path(place) for row in again for place in (row["path"], *row["also_at"])]
        # What was said of their licence holds on; a table names files without the leading slash.
        table = {"/".join(Path(row["path"]).parts[1:]): Licence(row["licence"], row["attribution"]) for row in again}
        files = [file for place in places for file in (sequence_files(place) or [place])]
        # Their rows are replaced one by one, never dropped first: a retry that is killed still knows them.
        self._anew = {row["source_id"] or row["path"] for row in again}
        report = self.ingest(files, Licences(table))
        forgotten = self._anew - self.named  # another content lies there by now, and has a row of its own
        rows = self.writer.sources.to_pylist()
        rows = [row for row in rows if row["status"] == "ok" or (row["source_id"] or row["path"]) not in forgotten]
        self.writer.replace_sources(pa.Table.from_pylist(rows, schema=self.writer.sources.schema))
        return report

    def rejected(self) -> int:
        """Count the rejected ones among the sources that were named, also where an earlier command rejected them."""
        rows = self.writer.sources.filter(pc.equal(self.writer.sources["status"], "rejected")).to_pylist()
        return sum((row["source_id"] or row["path"]) in self.named for row in rows)

    def _identify(self, paths: Sequence[Path]) -> tuple[list[Found], dict[str, list[str]]]:
        """Return the sources of new content, in their order, and the further places of known content by identity."""
        stills, sequences = list(paths), list[Path]()
        if self.settings.ingest.sequences:
            stills, sequences = self._group(paths)
        found = self.driver.map(
            work.find, [*stills, *sequences], lambda path, message: Found(path, None, None, message)
        )
        self.named |= {entry.source_id or str(entry.path) for entry in found}
        known = set(self.writer.sources["source_id"].drop_null().to_pylist()) - self._anew
        unreadable = set(self.writer.sources.filter(pc.is_null(self.writer.sources["source_id"]))["path"].to_pylist())
        unreadable -= self._anew
        new: list[Found] = []
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

    def _group(self, paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
        """Return the stills and the sequences among files; the headers that decide it are read by workers."""
        candidates = [path for path in paths if is_numbered(path)]
        shapes = dict(zip(candidates, self.driver.map(work.shape, candidates, lambda *_: None), strict=True))
        stills, sequences = group_sequences(paths, shapes.get)
        # A sequence is all that lies between its ends: of some frames named one by one, each is a still.
        whole = [sequence for sequence in sequences if sequence_files(sequence.path) == list(sequence.files)]
        stills += [file for sequence in sequences if sequence not in whole for file in sequence.files]
        sequences = whole
        for sequence in sequences:
            if sequence.missing:
                log.warning(
                    "%s: %d frames are missing: %s", sequence.path, len(sequence.missing), _few(sequence.missing)
                )
        return stills, [sequence.path for sequence in sequences]

    def _missing_frames(self, also_score: bool) -> Iterator[Task]:
        """Yield the work on frames of sequences and videos that have no patches yet."""
        patches = self.writer.patches.select(["source_id", "frame"])
        for source in self.writer.sources.filter(pc.not_equal(self.writer.sources["kind"], "still")).to_pylist():
            if source["status"] != "ok":
                continue
            there = patches.filter(pc.equal(patches["source_id"], source["source_id"]))["frame"].to_pylist()
            missing = sorted(set(range(0, source["frames"], self.settings.ingest.every)) - set(there))
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

    def _finish_sources(self, further: Mapping[str, list[str]]) -> None:
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


def _with_licence(found: Found, licences: Licences) -> Found:
    licence = licences.of(found.path)
    return replace(found, licence=licence.licence, attribution=licence.attribution)


def _few(numbers: Sequence[int], most: int = 8) -> str:
    """Return the first of some numbers as text."""
    more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
    return ", ".join(map(str, numbers[:most])) + more
