"""The rows of the two tables, stage by stage: what each stage adds to a patch, and what is known of a source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.bank import PATCHES_SCHEMA
from pipeline.camera import cut, draw_camera, render, resolve_exposure
from pipeline.config import Settings
from pipeline.crops import draw_windows
from pipeline.frames import kind_of
from pipeline.records import Facts, FloatImage, Frame, Recipe, Window, patch_id
from pipeline.score import ScoreSettings, chosen_average, judge, reasons, score_patch

Row = dict[str, Any]  # one row of a table, by column


@dataclass(frozen=True, slots=True)
class Found:
    """A file, or a sequence, that is to become a source: where it lies, who it is, its size in bytes.

    `reason` says why it cannot be opened, and then it is nobody. `licence` and `attribution` are what came with it.
    """

    path: Path
    source_id: str | None
    bytes: int | None
    reason: str | None = None
    licence: str | None = None
    attribution: str | None = None


def used_frames(facts: Facts, every: int) -> range:
    """Return the frames that patches are cut from: the only one of a still, else 0, every, 2 every, ..."""
    return range(1) if facts.kind == "still" else range(0, facts.frames, every)


def source_row(found: Found, facts: Facts | None, used: int, reason: str | None = None) -> Row:
    """Return a source's row; `facts` are None where not even its header could be read."""
    return {
        "source_id": found.source_id,
        "path": str(found.path),
        "also_at": [],
        "bytes": found.bytes,
        "kind": facts.kind if facts else kind_of(found.path),
        "width": facts.width if facts else None,
        "height": facts.height if facts else None,
        "frames": facts.frames if facts else None,
        "frames_used": used,
        "transfer": facts.transfer if facts else None,
        "primaries": facts.primaries if facts else None,
        "scale": facts.scale if facts else None,
        "nonfinite_pixels": None,
        "negative_pixels": None,
        "status": "rejected" if reason else "ok",
        "reason": reason,
        "licence": found.licence,
        "attribution": found.attribution,
    }


def window_rows(source_id: str, number: int, frame: Frame, settings: Settings) -> list[Row]:
    """Return the rows of one frame's patches: identity, window, and what was repaired in the frame."""
    height, width = frame.pixels.shape[:2]
    windows = draw_windows(height, width, settings.crops, settings.ingest.seed, source_id, number)
    repaired = {"frame_nonfinite_pixels": frame.nonfinite, "frame_negative_pixels": frame.negative}
    return [
        {"patch_id": patch_id(source_id, number, k), "source_id": source_id, "frame": number, "k": k}
        | asdict(window)
        | repaired
        for k, window in enumerate(windows)
    ]


def simulate_rows(pixels: FloatImage, rows: Sequence[Row], settings: Settings) -> list[Row]:
    """Draw the cameras of one frame's patches and resolve their exposure against its pixels (H, W, 3)."""
    done = []
    for row in rows:
        camera = draw_camera(settings.camera, settings.ingest.seed, row["source_id"], row["frame"], row["k"])
        window = Window(**{field.name: row[field.name] for field in fields(Window)})
        exposure = resolve_exposure(cut(pixels, window), camera.clip_fraction)
        done.append({**row, **asdict(replace(camera, exposure=exposure))})
    return done


def score_rows(pixels: FloatImage, rows: Sequence[Row], settings: Settings) -> list[Row]:
    """Render and score one frame's patches, and give verdicts."""
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


def relabel(patches: pa.Table, settings: ScoreSettings) -> pa.Table:
    """Give scored patches the score and verdict of these settings, from what was measured; no pixel is touched.

    `score.judge` for all rows at once.
    """
    scores = patches["score_saturated" if settings.average == "saturated" else "score_patch"]
    fractions = patches["saturated_fraction"]
    unscored = pc.or_(pc.is_null(scores), pc.is_null(fractions))
    unsaturated = pc.less(fractions, settings.min_saturated_fraction)
    smooth = pc.less(scores, settings.threshold)
    # A condition that is null, as where nothing was measured yet, counts as false: the first true one decides.
    conditions = pa.StructArray.from_arrays(
        [pc.fill_null(case, False).combine_chunks() for case in (unscored, unsaturated, smooth)], ["0", "1", "2"]
    )
    said = reasons(settings)
    null = pa.scalar(None, pa.string())
    columns = {
        "score": scores,
        "verdict": pc.case_when(conditions, null, "unsaturated", "smooth", "kept"),
        "verdict_reason": pc.case_when(conditions, null, said["unsaturated"], said["smooth"], null),
    }
    for name, values in columns.items():
        index = patches.schema.get_field_index(name)
        patches = patches.set_column(index, patches.schema.field(name), values)
    return patches


def patch_table(rows: Iterable[Row]) -> pa.Table:
    """Return rows as a table of the bank."""
    return pa.Table.from_pylist(list(rows), schema=PATCHES_SCHEMA)
