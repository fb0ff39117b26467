"""Where a repair puts patches: what is damaged and how it comes back stands in test_verify.py."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bank import PATCHES_SCHEMA, SOURCES_SCHEMA
from pipeline.repair import place
from pipeline.verify import Audit

PATCHES = 8
ROWS = 10


def audit(patches: pa.Table, ids: list[int], faults: Collection[int] = (), unread: Collection[int] = ()) -> Audit:
    found = Audit(SOURCES_SCHEMA.empty_table(), patches)
    found.ids, found.at_limit = np.array(ids, np.int64), np.zeros(len(ids), np.int64)
    found.faults, found.unread_ids = dict.fromkeys(faults, "damaged"), set(unread)
    return found


def patch_table(rows: list[int | None], **values: Any) -> pa.Table:
    entries = [
        {"patch_id": number, "row": row, "clipped_values": None if row is None else 0, "verdict": "kept", **values}
        for number, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(entries, schema=PATCHES_SCHEMA)


@given(
    rows=st.lists(st.none() | st.integers(-3, 14), min_size=PATCHES, max_size=PATCHES),
    ids=st.lists(st.integers(-1, PATCHES + 2), min_size=ROWS, max_size=ROWS),
    faults=st.sets(st.integers(0, ROWS - 1)),
    unread=st.sets(st.integers(0, ROWS - 1)),
)
def test_every_exported_patch_gets_a_row_of_its_own_and_keeps_intact_pixels(
    rows: list[int | None], ids: list[int], faults: set[int], unread: set[int]
) -> None:
    ids = [-1 if row in unread else identity for row, identity in enumerate(ids)]
    patches = patch_table(rows)
    placement = place(patches, audit(patches, ids, faults, unread))
    placed = [row for row in placement.rows.values() if row is not None]
    assert len(placed) == len(set(placed))
    assert all(row >= 0 for row in placed)
    for position, row in enumerate(rows):
        intact = [place for place, identity in enumerate(ids) if identity == position and place not in faults]
        if row is not None:
            assert placement.rows[position] is not None
        chosen = placement.rows.get(position)
        if row in intact:
            assert chosen == row
        elif intact and not (row is not None and 0 <= row < ROWS and ids[row] == position):
            assert chosen == intact[0]
        if chosen is not None and chosen not in placement.render:
            # What is not rendered anew is there: as its own id says, or the table where the id alone is lost.
            assert chosen not in faults
            assert ids[chosen] == position or (chosen in unread and chosen == row)


def test_a_bank_without_damage_stays_as_it_is() -> None:
    patches = patch_table([0, 1, None, 2])
    placement = place(patches, audit(patches, [0, 1, 3]))
    assert placement.rows == {0: 0, 1: 1, 3: 2}
    assert placement.render == {}


def test_an_unknown_number_of_clipped_values_is_counted_by_rendering() -> None:
    patches = patch_table([None, None])
    found = audit(patches, [0, 1])
    found.at_limit[1] = 3
    placement = place(patches, found)
    assert placement.rows == {0: 0, 1: 1}
    assert placement.render == {1: 1}
