"""What must hold of the tables: a sound bank passes, and each thing that is wrong is told of the patch that has it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.bank import PATCHES_SCHEMA, SOURCES_SCHEMA
from pipeline.config import Settings, resolve
from pipeline.invariants import (
    frames_without_patches,
    is_ordered,
    mislabelled,
    on_wrong_side,
    patch_faults,
    source_faults,
)
from pipeline.records import patch_id
from pipeline.rows import relabel
from pipeline.split import split_patches, split_sources

SETTINGS: Settings = resolve([{"crops": {"patch_size": 64}}])
STILL, VIDEO = "a" * 64, "b" * 64


def sources(**values: Any) -> pa.Table:
    common = {"also_at": [], "width": 200, "height": 100, "status": "ok"}
    rows = [
        {"source_id": STILL, "path": "/still.exr", "kind": "still", "frames": 1, **common, **values},
        {"source_id": VIDEO, "path": "/video.mp4", "kind": "video", "frames": 25, **common},
        {"source_id": None, "path": "/none.exr", "kind": "still", "status": "rejected", "reason": "it is empty"},
    ]
    return pa.Table.from_pylist(rows, schema=SOURCES_SCHEMA)


def rows() -> list[dict[str, Any]]:
    """Two patches of each frame: one of a still, frames 0, 10 and 20 of a video. Kept, smooth, kept, ..."""
    frames = [(STILL, 0), (VIDEO, 0), (VIDEO, 10), (VIDEO, 20)]
    return [_row(source, frame, k) for source, frame in frames for k in (0, 1)]


def _row(source: str, frame: int, k: int) -> dict[str, Any]:
    numbers = ("clip_fraction", "exposure", "hue_shift", "saturation_shift", "curve_n", "curve_sigma", "noise_sigma")
    return {
        "patch_id": patch_id(source, frame, k),
        "source_id": source,
        "frame": frame,
        "k": k,
        "y": 36,
        "x": 136,
        "height": 64,
        "width": 64,
        "patch_size": 64,
        "flip": False,
        **dict.fromkeys(numbers, 0.5),
        "jpeg_quality": 90,
        "seed": 5,
        "saturated_fraction": 0.1,
        "score_saturated": 1.0 - 0.5 * k,
        "score_patch": 0.1,
    }


def table(changed: list[dict[str, Any]]) -> pa.Table:
    return relabel(pa.Table.from_pylist(changed, schema=PATCHES_SCHEMA), SETTINGS.score)


def test_a_sound_bank_has_no_fault() -> None:
    assert source_faults(sources()) == []
    assert patch_faults(sources(), table(rows()), SETTINGS) == []
    assert is_ordered(table(rows()))
    assert not mislabelled(table(rows()), SETTINGS).any()
    assert list(frames_without_patches(sources(), table(rows()), 10)) == []
    empty = PATCHES_SCHEMA.empty_table()
    assert patch_faults(sources(), empty, SETTINGS) == []
    assert is_ordered(empty)
    assert mislabelled(empty, SETTINGS).size == 0


def test_a_patch_on_another_side_than_its_source_is_found() -> None:
    patches = split_patches(table(rows()), split_sources(sources(), SETTINGS.split))
    assert not on_wrong_side(sources(), patches, SETTINGS).any()
    sides = patches["split"].to_pylist()
    sides[1] = "test" if sides[1] != "test" else "train"
    moved = patches.set_column(patches.schema.get_field_index("split"), "split", pa.array(sides, pa.string()))
    assert np.flatnonzero(on_wrong_side(sources(), moved, SETTINGS)).tolist() == [1]
    assert not on_wrong_side(sources(), table(rows()), SETTINGS).any()  # not put on sides yet


def test_patches_on_their_way_have_no_fault() -> None:
    windows = ("patch_id", "source_id", "frame", "k", "y", "x", "height", "width", "patch_size", "flip")
    early = [{name: row[name] for name in windows} for row in rows()]
    assert patch_faults(sources(), table(early), SETTINGS) == []
    scores = {"saturated_fraction", "score_saturated", "score_patch"}
    unscored = [{name: value for name, value in row.items() if name not in scores} for row in rows()]
    assert patch_faults(sources(), table(unscored), SETTINGS) == []
    assert not mislabelled(table(early), SETTINGS).any()


@pytest.mark.parametrize(
    ("values", "text", "remedy"),
    [
        ({"patch_id": 12}, "patch_id is not the hash", "drop"),
        ({"source_id": "c" * 64, "patch_id": patch_id("c" * 64, 10, 0)}, "not in the sources table", "ingest"),
        ({"frame": 11, "patch_id": patch_id(VIDEO, 11, 0)}, "not one that is used", "drop"),
        ({"frame": 30, "patch_id": patch_id(VIDEO, 30, 0)}, "not one that is used", "drop"),
        ({"k": 2, "patch_id": patch_id(VIDEO, 10, 2)}, "lacks patches", "redo"),
        ({"y": 37}, "does not lie in its frame", "redo"),
        ({"x": -1}, "does not lie in its frame", "redo"),
        ({"width": 0}, "does not lie in its frame", "redo"),
        ({"patch_size": 32}, "is not the bank's", "redo"),
        ({"exposure": math.inf}, "not finite", "redo"),
        ({"hue_shift": math.nan}, "not finite", "redo"),
        ({"score_patch": math.nan}, "not finite", "redo"),
        ({"exposure": 0.0}, "not positive", "redo"),
        ({"curve_n": None}, "camera is incomplete", "redo"),
        ({"score_patch": None}, "score is incomplete", "redo"),
        ({"saturated_fraction": 1.5}, "not within 0 and 1", "redo"),
    ],
)
def test_what_is_wrong_with_a_patch_is_told(values: dict[str, Any], text: str, remedy: str) -> None:
    changed = rows()
    changed[4] |= values
    faults = patch_faults(sources(), table(changed), SETTINGS)
    (fault,) = [fault for fault in faults if fault.position == 4]
    assert text in fault.text
    assert fault.remedy == remedy
    assert {fault.position for fault in faults} <= {4, 5}  # 5 is of the same frame


def test_a_patch_that_stands_twice_and_one_of_a_rejected_source_are_told() -> None:
    twice = [*rows(), rows()[7]]
    assert [fault.position for fault in patch_faults(sources(), table(twice), SETTINGS)] == [8]
    faults = patch_faults(sources(status="rejected", reason="it is empty"), table(rows()), SETTINGS)
    assert [(fault.position, fault.text) for fault in faults] == [
        (position, "its source is not one that is used") for position in (0, 1)
    ]


def test_order_and_labels() -> None:
    assert not is_ordered(table(rows()[::-1]))
    other = resolve([{"crops": {"patch_size": 64}, "score": {"threshold": 0.4}}])
    assert mislabelled(table(rows()), other).tolist() == [False, True] * 4
    assert np.array_equal(mislabelled(relabel(table(rows()), other.score), other), np.zeros(8, bool))


def test_frames_without_patches_are_found() -> None:
    there = [row for row in rows() if (row["source_id"], row["frame"]) not in {(STILL, 0), (VIDEO, 10)}]
    lacking = [(row["source_id"], frames) for row, frames in frames_without_patches(sources(), table(there), 10)]
    assert lacking == [(STILL, [0]), (VIDEO, [10])]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"status": "fine"}, "has no path or no status"),
        ({"width": None}, "has no identity, size or frames"),
        ({"status": "rejected"}, "rejected without a reason"),
        ({"source_id": VIDEO}, "stands in it twice"),
        ({"source_id": "f" * 64}, "out of order"),
    ],
)
def test_what_is_wrong_with_the_sources_table_is_told(values: dict[str, Any], text: str) -> None:
    assert any(text in fault for fault in source_faults(sources(**values)))
