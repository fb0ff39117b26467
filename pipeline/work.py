"""What one worker does with one source, a stretch of its frames, or one shard.

Plain functions; who calls them, and where, is not known here. Each ends in a commit to the bank and returns a small
`Outcome`. A source that cannot be used is an outcome, not an exception.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import pyarrow as pa
import zarr

from pipeline.bank import PATCHES_SCHEMA, LocalStorage, Storage, Turn, commit_key, write_commit
from pipeline.bank.arrays import to_half
from pipeline.bank.drafts import ShardDraft
from pipeline.camera import render
from pipeline.config import Settings
from pipeline.crops import check_size
from pipeline.errors import BankDamaged, SourceError
from pipeline.frames import probe, read_frames
from pipeline.frames.sequence import sequence_files, shape_of
from pipeline.guard import time_limit
from pipeline.records import Facts, FloatImage, Frame, Recipe
from pipeline.remote import access, local_file, path_of
from pipeline.rows import (
    Found,
    Row,
    patch_table,
    score_rows,
    simulate_rows,
    source_row,
    used_frames,
    window_rows,
)
from pipeline.sources import identify


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a unit of work: how many `patches` were finished, or the `reason` why none were."""

    path: str
    patches: int = 0
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker works: the turn it may commit in, the seconds it has to decode a frame, and its `command`.

    In a bank that is `read_only` nothing is noted.
    """

    turn: Turn
    timeout: float
    command: str = ""
    read_only: bool = False

    def limit(self, source_id: str | None, path: Path) -> AbstractContextManager[None]:
        """Return the time limit on one step of decoding a source."""
        if self.turn.bank.in_process:  # the limit would end the process that holds the bank
            return nullcontext()
        notes = _notes(self.turn.bank, self.command, self.read_only)
        return time_limit(notes / commit_key(source_id or path), self.timeout)


def forget_timeouts(bank: Storage, command: str, read_only: bool = False) -> None:
    """Let sources that took too long be tried again: what a run decided on them stands in the tables."""
    shutil.rmtree(_notes(bank, command, read_only), ignore_errors=True)


def _notes(bank: Storage, command: str, read_only: bool = False) -> Path:
    """Return where it is noted what took too long: beside the bank, else on each machine for this command."""
    if isinstance(bank, LocalStorage) and not read_only:
        return bank.path / "_work" / "timeouts"
    return Path(tempfile.gettempdir()) / f"hdrprep-{os.getuid()}" / command


def single_threaded() -> None:
    """Keep this process on one core: the workers are many, and each library would start threads of its own."""
    cv2.setNumThreads(1)
    zarr.config.set({"async.concurrency": 1, "threading.max_workers": 1})
    pa.set_cpu_count(1)


def find(path: Path) -> Found:
    """Tell who a file or a sequence is, by its content."""
    try:
        source_id, size = identify(sequence_files(path) or [path])
    except SourceError as error:
        return Found(path, None, None, str(error))
    return Found(path, source_id, size)


def shape(path: Path) -> Any:
    """Return what the frames of a sequence have in common, None where the header cannot be read."""
    return shape_of(path)


def ingest_source(place: Place, found: Found, settings: Settings, also_score: bool = False) -> Outcome:
    """Register a source: verify a still by decoding it, draw its windows and commit both.

    With `also_score` the cameras and scores are made while the frame is at hand, and are part of the commit. Of a
    sequence or a video only the row is committed: its frames are work of their own (`ingest_frames`).
    """
    single_threaded()
    limit, facts = partial(place.limit, found.source_id, found.path), None
    try:
        if found.source_id is None:
            raise SourceError(found.reason or "it cannot be opened")
        with limit():
            facts = probe(found.path, settings.ingest.transfer)
        check_size(facts.height, facts.width, settings.crops)  # before the cost of decoding
        used = used_frames(facts, settings.ingest.every)
        if facts.kind != "still":
            source = source_row(found, facts, len(used))
            write_commit(place.turn, ingest_key(found), PATCHES_SCHEMA.empty_table(), source)
            return Outcome(str(found.path))
        (_, frame), *_ = decode(found.path, used, settings.ingest.transfer, limit)
    except SourceError as error:
        return reject_source(place, found, str(error), facts)
    rows = _ingest_rows(found.source_id, 0, frame, settings, also_score)
    write_commit(place.turn, ingest_key(found), patch_table(rows), source_row(found, facts, 1))
    return Outcome(str(found.path), len(rows))


def ingest_frames(
    place: Place, source: Row, frames: Sequence[int], settings: Settings, also_score: bool = False
) -> Outcome:
    """Verify frames of a sequence or video by decoding them, draw their windows, commit each frame's patches."""
    single_threaded()
    source_id, patches = source["source_id"], 0
    try:
        # The ingest that is resumed may lie long back: the content must still be that of the source.
        for number, frame in reopen(place, source, frames):
            rows = _ingest_rows(source_id, number, frame, settings, also_score)
            write_commit(place.turn, commit_key("frame", source_id, number), patch_table(rows))
            patches += len(rows)
    except SourceError as error:
        return Outcome(source["path"], reason=str(error))
    return Outcome(source["path"], patches)


def simulate_frames(place: Place, source: Row, rows: Sequence[Row], settings: Settings) -> Outcome:
    """Draw the cameras of some frames' patches, resolve them against the pixels, commit the rows."""
    return _rework(place, source, rows, lambda pixels, some: simulate_rows(pixels, some, settings))


def score_frames(place: Place, source: Row, rows: Sequence[Row], settings: Settings) -> Outcome:
    """Render and score some frames' patches, commit the rows."""
    return _rework(place, source, rows, lambda pixels, some: score_rows(pixels, some, settings))


def export_shard(
    place: Place, sources: Mapping[str, Row], rows: Sequence[Row], array_rows: Sequence[int], fresh: bool
) -> Outcome:
    """Render patches into rows of the arrays, all of one shard, and commit where they are.

    `rows` are in the order (source_id, frame, k), so that each frame is decoded once; `sources` holds the row of each
    source by identity. In a shard that is `fresh` lies no other patch.
    """
    single_threaded()
    place.turn.check()
    done: list[Row] = []
    try:
        draft = ShardDraft(place.turn.storage, array_rows[0], empty=fresh)
    except BankDamaged as error:
        return Outcome(str(place.turn.bank), reason=str(error))
    for source_id, group in groupby(rows, key=lambda row: str(row["source_id"])):
        source = sources[source_id]
        try:
            for pixels, some in reopen_with_rows(place, source, list(group)):
                for row in some:
                    truth, ldr = render(pixels, Recipe.from_row(row))
                    hdr, clipped = to_half(truth)
                    target = array_rows[len(done)]
                    draft.put(target, row["patch_id"], hdr, ldr)
                    done.append({**row, "row": target, "clipped_values": clipped})
        except SourceError as error:
            return Outcome(source["path"], reason=str(error))
    place.turn.check()
    draft.write()
    write_commit(place.turn, commit_key("shard", array_rows[0]), patch_table(done))
    return Outcome("", len(done))


def reject_source(place: Place, found: Found, reason: str, facts: Facts | None = None) -> Outcome:
    """Commit a source as rejected, with the reason."""
    source = source_row(found, facts, 0, reason)
    write_commit(place.turn, ingest_key(found), PATCHES_SCHEMA.empty_table(), source)
    return Outcome(str(found.path), reason=reason)


def reopen(place: Place, source: Row, frames: Sequence[int]) -> Iterator[tuple[int, Frame]]:
    """Decode frames of a source again, in ascending order. Its content must be what was ingested.

    Raises SourceError where no file with that content is found at any of its places, or decoding fails.
    """
    reasons = []
    for name in [source["path"], *(source["also_at"] or [])]:
        path = path_of(name)
        try:
            if _identity(path) == source["source_id"]:
                return decode(path, frames, source["transfer"], partial(place.limit, source["source_id"], path))
            reasons.append(f"{path} has another content than when it was ingested")
        except SourceError as error:
            reasons.append(f"{path}: {error}")
    raise SourceError(f"{'; '.join(reasons)}; put the file back and repeat the command")


def ingest_key(found: Found) -> str:
    """Return the name of the commit that registers a source."""
    return commit_key("ingest", found.source_id or found.path)


def decode(
    path: Path, frames: Sequence[int], transfer: Any, limit: Callable[[], AbstractContextManager[None]] = nullcontext
) -> Iterator[tuple[int, Frame]]:
    """Decode frames of a file, each within a limit. Raises SourceError, also where fewer come than asked for."""
    decoder = read_frames(path, frames, transfer)
    for wanted in frames:
        with limit():
            item = next(decoder, None)
        if item is None:
            raise SourceError(f"it ends before frame {wanted}: the file is truncated or damaged")
        yield item


def _ingest_rows(source_id: str, number: int, frame: Frame, settings: Settings, also_score: bool) -> list[Row]:
    rows = window_rows(source_id, number, frame, settings)
    if also_score:
        rows = score_rows(frame.pixels, simulate_rows(frame.pixels, rows, settings), settings)
    return rows


def _rework(
    place: Place, source: Row, rows: Sequence[Row], stage: Callable[[FloatImage, list[Row]], list[Row]]
) -> Outcome:
    """Put the rows of some frames of a source through a stage, and commit them frame by frame."""
    single_threaded()
    try:
        for pixels, some in reopen_with_rows(place, source, rows):
            key = commit_key("frame", source["source_id"], some[0]["frame"])
            write_commit(place.turn, key, patch_table(stage(pixels, some)))
    except SourceError as error:
        return Outcome(source["path"], reason=str(error))
    return Outcome(source["path"], len(rows))


def reopen_with_rows(place: Place, source: Row, rows: Iterable[Row]) -> Iterator[tuple[FloatImage, list[Row]]]:
    """Yield the pixels of each frame of a source with the rows that are cut from it."""
    by_frame = {number: list(some) for number, some in groupby(rows, key=lambda row: int(row["frame"]))}
    for number, frame in reopen(place, source, sorted(by_frame)):
        yield frame.pixels, by_frame[number]


def _identity(path: Path) -> str:
    """Return the identity of a source; read once a process as long as its files look the same."""
    files = tuple(sequence_files(path) or [path])
    try:
        with access(str(path)):
            looks = tuple((status.st_size, status.st_mtime_ns) for status in (file.stat() for file in files))
    except OSError as error:
        raise SourceError(f"it cannot be opened: {error.strerror or error}") from error
    return _identity_of(files, looks)


@lru_cache(maxsize=64)
def _identity_of(files: tuple[Path, ...], _looks: tuple[tuple[int, int], ...]) -> str:
    return identify(map(local_file, files))[0]  # the copy of a remote file is what will be decoded
