"""What is still to do, against the same said in plain Python."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bank import PATCHES_SCHEMA, SOURCES_SCHEMA
from pipeline.config import resolve
from pipeline.errors import UsageError
from pipeline.pending import (
    by_frames,
    check_scored,
    export_room,
    frames_to_ingest,
    patches_to_export,
    patches_to_score,
    patches_to_simulate,
    unscored,
)

frames = st.sets(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=20)


def patches(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([{"patch_id": number, **row} for number, row in enumerate(rows)], PATCHES_SCHEMA)


@given(frames, st.integers(1, 4), st.integers(1, 3))
def test_slices_hold_whole_frames_of_one_source(named: set[tuple[str, int]], most: int, each: int) -> None:
    table = patches([{"source_id": s, "frame": f, "k": k} for s, f in sorted(named) for k in range(each)])
    slices = [part.to_pylist() for part in by_frames(table, most)]
    assert [row for part in slices for row in part] == table.to_pylist()
    expected = []
    for _, group in groupby(sorted(named), key=lambda frame: frame[0]):
        of_source = list(group)
        expected += [of_source[start : start + most] for start in range(0, len(of_source), most)]
    assert [
        [key for key, _ in groupby((row["source_id"], row["frame"]) for row in part)] for part in slices
    ] == expected


def test_stages_wait_for_the_one_before() -> None:
    table = patches([{"clip_fraction": None}, {"clip_fraction": 0.9}, {"clip_fraction": 0.9, "score_saturated": 1.0}])
    assert patches_to_simulate(table)["patch_id"].to_pylist() == [0]
    assert unscored(table)["patch_id"].to_pylist() == [0, 1]
    with pytest.raises(UsageError, match="1 patches have no camera"):
        patches_to_score(table)
    assert patches_to_score(table.slice(1))["patch_id"].to_pylist() == [1]
    with pytest.raises(UsageError, match="3 patches have no score"):
        check_scored(table)


@given(st.lists(st.tuples(st.sampled_from(["kept", "smooth", None]), st.booleans()), max_size=30), st.integers(0, 30))
def test_a_limit_takes_a_part_and_a_larger_one_adds_to_it(labels: list[tuple[str | None, bool]], limit: int) -> None:
    table = patches([{"verdict": verdict, "row": i if has else None} for i, (verdict, has) in enumerate(labels)])
    rows = [i for i, (_, has) in enumerate(labels) if has]
    waiting = [i for i, (verdict, has) in enumerate(labels) if verdict == "kept" and not has]
    everything = patches_to_export(table, resolve([]))
    assert set(everything.positions) >= set(waiting)
    assert everything.total == len(rows) + len(waiting)
    # The others are those whose row lies beyond the end.
    assert set(everything.positions) - set(waiting) == {row for row in rows if row >= everything.total}
    assert export_room(table, limit + 1) == max(0, limit + 1 - len(rows))
    smaller, larger = (patches_to_export(table, resolve([{"export": {"limit": limit + n}}])) for n in (1, 2))
    assert smaller.total == len(rows) + min(len(waiting), max(0, limit + 1 - len(rows)))
    assert set(smaller.positions) & set(waiting) <= set(larger.positions)


def test_frames_that_have_no_patches_are_to_be_ingested() -> None:
    rows = [
        {"source_id": "a", "kind": "sequence", "status": "ok", "frames": 9},
        {"source_id": "b", "kind": "video", "status": "rejected", "frames": 9},
        {"source_id": "c", "kind": "still", "status": "ok", "frames": 1},
    ]
    table = patches([{"source_id": "a", "frame": 4}])
    found = list(frames_to_ingest(pa.Table.from_pylist(rows, SOURCES_SCHEMA), table, 2))
    assert [(source["source_id"], numbers) for source, numbers in found] == [("a", [0, 2, 6, 8])]
