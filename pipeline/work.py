"""What one worker does with one source, one frame or one shard.

Plain functions; who calls them, and where, is not known here. Each ends in a commit to the bank and returns a small
`Outcome`. A source that cannot be used is an outcome, not an exception.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import zarr

from pipeline.bank import PATCHES_SCHEMA, PatchArrays, commit_key, write_commit
from pipeline.bank.arrays import to_half
from pipeline.camera import cut, draw_camera, render, resolve_exposure
from pipeline.config import Settings
from pipeline.crops import check_size, draw_windows
from pipeline.errors import SourceError
from pipeline.frames import probe, read_frame
from pipeline.records import Facts, FloatImage, Frame, Recipe, Window, patch_id
from pipeline.score import ScoreSettings, chosen_average, judge, score_patch
from pipeline.sources import identify

Row = dict[str, Any]  # one row of a table, by column


@dataclass(frozen=True, slots=True)
class Found:
    """A file that is to become a source: where it lies, who it is and its size; or why it cannot be opened."""

    path: Path
    source_id: str | None
    bytes: int | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a unit of work: how many `patches` were finished, or the `reason` why none were."""

    path: str
    patches: int = 0
    reason: str | None = None


def single_threaded() -> None:
    """Keep this process on one core: the workers are many, and each library would start threads of its own."""
    cv2.setNumThreads(1)
    zarr.config.set({"async.concurrency": 1, "threading.max_workers": 1})
    pa.set_cpu_count(1)


def find(path: Path) -> Found:
    """Tell who a file is, by its content."""
    try:
        source_id, size = identify(path)
    except SourceError as error:
        return Found(path, None, None, str(error))
    return Found(path, source_id, size)


def ingest_source(bank: Path, found: Found, settings: Settings, also_score: bool = False) -> Outcome:
    """Verify a source by decoding it, draw its windows and commit both.

    With `also_score` its cameras and scores are made while the frame is at hand, and are part of the commit.
    """
    single_threaded()
    try:
        if found.source_id is None:
            raise SourceError(found.reason or "it cannot be opened")
        frame = _decode_new(found.path, settings)
        rows = _window_rows(found.source_id, frame, settings)
    except SourceError as error:
        source = _source_row(found, _try_probe(found.path), reason=str(error))
        write_commit(bank, _ingest_key(found), PATCHES_SCHEMA.empty_table(), source)
        return Outcome(str(found.path), reason=str(error))
    if also_score:
        rows = _score_rows(frame.pixels, _simulate_rows(frame.pixels, rows, settings), settings)
    write_commit(bank, _ingest_key(found), _table(rows), _source_row(found, frame.facts, frame))
    return Outcome(str(found.path), len(rows))


def simulate_frame(bank: Path, source: Row, rows: Sequence[Row], settings: Settings) -> Outcome:
    """Draw the cameras of one frame's patches, resolve them against the pixels, commit the rows."""
    return _rework(bank, source, rows, lambda pixels: _simulate_rows(pixels, rows, settings))


def score_frame(bank: Path, source: Row, rows: Sequence[Row], settings: Settings) -> Outcome:
    """Render and score one frame's patches, commit the rows."""
    return _rework(bank, source, rows, lambda pixels: _score_rows(pixels, rows, settings))


def export_shard(bank: Path, sources: Mapping[str, Row], rows: Sequence[Row], array_rows: Sequence[int]) -> Outcome:
    """Render patches into rows of the arrays, all of one shard, and commit where they are.

    Each frame is decoded once; `sources` holds the row of each source by identity.
    """
    single_threaded()
    arrays = PatchArrays(bank, "r+")
    size = rows[0]["patch_size"]
    hdr = np.empty((len(rows), size, size, 3), np.float16)
    ldr = np.empty((len(rows), size, size, 3), np.uint8)
    done: list[Row] = []
    pixels, held = None, None
    for index, row in enumerate(rows):
        wanted = (row["source_id"], row["frame"])
        if pixels is None or held != wanted:
            try:
                pixels, held = reopen(sources[row["source_id"]], row["frame"]), wanted
            except SourceError as error:
                return Outcome(sources[row["source_id"]]["path"], reason=str(error))
        truth, ldr[index] = render(pixels, Recipe.from_row(row))
        hdr[index], clipped = to_half(truth)
        done.append({**row, "row": array_rows[index], "clipped_values": clipped})
    arrays.write(array_rows, hdr, ldr, [row["patch_id"] for row in rows])
    write_commit(bank, commit_key("shard", array_rows[0]), _table(done))
    return Outcome("", len(done))


def reopen(source: Mapping[str, Any], frame: int) -> FloatImage:
    """Decode a frame of a source again: (H, W, 3) float32. Its content must be what was ingested.

    Raises SourceError where no file with that content is found at any of its places.
    """
    reasons = []
    for place in [source["path"], *(source["also_at"] or [])]:
        path = Path(place)
        try:
            if identify(path)[0] == source["source_id"]:
                return read_frame(path, frame).pixels
            reasons.append(f"{path} has another content than when it was ingested")
        except SourceError as error:
            reasons.append(f"{path}: {error}")
    raise SourceError(f"{'; '.join(reasons)}; put the file back and repeat the command")


def relabel(rows: pa.Table, settings: ScoreSettings) -> pa.Table:
    """Give scored rows the score and verdict of these settings, from what was measured; no pixel is touched."""
    measured = rows.select(["score_saturated", "score_patch", "saturated_fraction"]).to_pydict()
    over_saturated, over_patch = measured["score_saturated"], measured["score_patch"]
    scores = over_saturated if settings.average == "saturated" else over_patch
    labels = [_label(*pair, settings) for pair in zip(scores, measured["saturated_fraction"], strict=True)]
    columns = {
        "score": scores,
        "verdict": [verdict for verdict, _ in labels],
        "verdict_reason": [reason for _, reason in labels],
    }
    for name, values in columns.items():
        index = rows.schema.get_field_index(name)
        rows = rows.set_column(index, rows.schema.field(name), pa.array(values, rows.schema.field(name).type))
    return rows


def _label(score: float | None, saturated_fraction: float | None, settings: ScoreSettings) -> tuple[str | None, ...]:
    if score is None or saturated_fraction is None:
        return None, None
    return judge(score, saturated_fraction, settings)


def reject_source(bank: Path, found: Found, reason: str) -> Outcome:
    """Commit a source as rejected, with the reason."""
    write_commit(bank, _ingest_key(found), PATCHES_SCHEMA.empty_table(), _source_row(found, reason=reason))
    return Outcome(str(found.path), reason=reason)


def _decode_new(path: Path, settings: Settings) -> Frame:
    facts = probe(path)
    check_size(facts.height, facts.width, settings.crops)  # before the cost of decoding
    return read_frame(path)


def _rework(bank: Path, source: Row, rows: Sequence[Row], stage: Callable[[FloatImage], list[Row]]) -> Outcome:
    """Put rows of one frame through a stage and commit them."""
    single_threaded()
    frame = rows[0]["frame"]
    try:
        pixels = reopen(source, frame)
    except SourceError as error:
        return Outcome(source["path"], reason=str(error))
    write_commit(bank, commit_key("frame", source["source_id"], frame), _table(stage(pixels)))
    return Outcome(source["path"], len(rows))


def _window_rows(source_id: str, frame: Frame, settings: Settings) -> list[Row]:
    height, width = frame.pixels.shape[:2]
    windows = draw_windows(height, width, settings.crops, settings.ingest.seed, source_id, frame=0)
    return [
        {"patch_id": patch_id(source_id, 0, k), "source_id": source_id, "frame": 0, "k": k, **asdict(window)}
        for k, window in enumerate(windows)
    ]


def _simulate_rows(pixels: FloatImage, rows: Sequence[Row], settings: Settings) -> list[Row]:
    done = []
    for row in rows:
        camera = draw_camera(settings.camera, settings.ingest.seed, row["source_id"], row["frame"], row["k"])
        window = Window(**{field.name: row[field.name] for field in fields(Window)})
        exposure = resolve_exposure(cut(pixels, window), camera.clip_fraction)
        done.append({**row, **asdict(replace(camera, exposure=exposure))})
    return done


def _score_rows(pixels: FloatImage, rows: Sequence[Row], settings: Settings) -> list[Row]:
    done = []
    for row in rows:
        score = score_patch(*render(pixels, Recipe.from_row(row)), settings.score)
        chosen = chosen_average(score, settings.score.average)
        verdict, reason = judge(chosen, score.saturated_fraction, settings.score)
        done.append(
            {
                **row,
                "saturated_fraction": score.saturated_fraction,
                "score_saturated": score.over_saturated,
                "score_patch": score.over_patch,
                "score": chosen,
                "verdict": verdict,
                "verdict_reason": reason,
            }
        )
    return done


def _source_row(found: Found, facts: Facts | None = None, frame: Frame | None = None, reason: str | None = None) -> Row:
    return {
        "source_id": found.source_id,
        "path": str(found.path),
        "also_at": [],
        "bytes": found.bytes,
        "kind": facts.kind if facts else "still",
        "width": facts.width if facts else None,
        "height": facts.height if facts else None,
        "frames": facts.frames if facts else None,
        "frames_used": frame.facts.frames if frame else 0,
        "transfer": facts.transfer if facts else None,
        "primaries": facts.primaries if facts else None,
        "scale": facts.scale if facts else None,
        "nonfinite_pixels": frame.nonfinite if frame else None,
        "negative_pixels": frame.negative if frame else None,
        "status": "rejected" if reason else "ok",
        "reason": reason,
        "licence": None,
        "attribution": None,
    }


def _try_probe(path: Path) -> Facts | None:
    try:
        return probe(path)
    except SourceError:
        return None


def _ingest_key(found: Found) -> str:
    return commit_key("ingest", found.source_id or found.path)


def _table(rows: Iterable[Row]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=PATCHES_SCHEMA)
