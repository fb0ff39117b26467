"""Rows of the tables: labels given to all at once are those that each would get alone."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bank import PATCHES_SCHEMA
from pipeline.rows import relabel
from pipeline.score import ScoreSettings, judge

# Few values, so that they often lie on a bound exactly.
numbers = st.sampled_from([0.0, 0.01, 0.05, 0.85, 1.0, 4.0]) | st.floats(0, 5)
measured = st.none() | st.tuples(numbers, numbers, numbers.map(lambda number: min(number, 1.0)))
NAMES = ("score_saturated", "score_patch", "saturated_fraction")


@given(
    st.lists(measured, max_size=30),
    st.builds(
        ScoreSettings,
        threshold=numbers,
        min_saturated_fraction=st.sampled_from([0.0, 0.01, 0.05, 1.0]),
        average=st.sampled_from(["saturated", "patch"]),
    ),
    st.integers(0, 30),
)
def test_all_patches_get_the_labels_that_each_would_get(
    rows: list[tuple[float, float, float] | None], settings: ScoreSettings, cut: int
) -> None:
    patches = [{"k": k, **dict(zip(NAMES, row or (None,) * 3, strict=True))} for k, row in enumerate(rows)]
    table = pa.Table.from_pylist(patches, PATCHES_SCHEMA)
    labelled = relabel(pa.concat_tables([table.slice(0, cut), table.slice(cut)]), settings)
    assert labelled.schema == PATCHES_SCHEMA
    for row, patch in zip(labelled.to_pylist(), rows, strict=True):
        if patch is None:
            assert (row["score"], row["verdict"], row["verdict_reason"]) == (None, None, None)
        else:
            score = patch[0 if settings.average == "saturated" else 1]
            assert (row["score"], row["verdict"], row["verdict_reason"]) == (score, *judge(score, patch[2], settings))
    unchanged = ["score", "verdict", "verdict_reason"]
    assert labelled.drop_columns(unchanged).equals(table.drop_columns(unchanged))
