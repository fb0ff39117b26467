"""Dropping what was exported and is no longer kept: patches at the end of the arrays move into the rows that it leaves.

No pixel is rendered. A patch lies where the table says at any moment: it is copied, its new shard is on the disk, then
the table says so. The rows at the end are cut off when no patch lies there any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import shardwork, work
from pipeline.bank import PatchArrays, writing
from pipeline.bank.check import sort_files
from pipeline.driver import Driver
from pipeline.rows import Row
from pipeline.status import no_longer_kept
from pipeline.workers import Task


@dataclass(frozen=True, slots=True)
class Compaction:
    """What became of a bank: patches in its arrays and bytes of all its files, before and after, and what failed."""

    patches: tuple[int, int]
    bytes: tuple[int, int]
    failures: list[work.Outcome]


def compact(driver: Driver) -> Compaction:
    """Drop the exported patches that are no longer kept from the arrays. Where it was interrupted, it goes on."""
    writer = driver.writer
    before, bytes_before = _exported(writer.patches), writer.storage.total()
    failures: list[work.Outcome] = []
    if PatchArrays.exist(writer.storage):
        writer.replace_patches(without_dropped(writer.patches))
        arrays = writer.arrays()
        tasks = list(_moves(driver, arrays.shard_rows))
        report = driver.collect("compact", shardwork.move_patches, tasks, sum(task.patches for task in tasks))
        failures = report.failures + _cut(driver, arrays)
    return Compaction((before, _exported(writer.patches)), (bytes_before, writer.storage.total()), failures)


def without_dropped(patches: pa.Table) -> pa.Table:
    """Return the table without the rows of patches that are no longer kept."""
    mask = no_longer_kept(patches)
    for name in ("row", "clipped_values"):
        column = pc.if_else(mask, pa.scalar(None, pa.int64()), patches[name])
        patches = patches.set_column(patches.schema.get_field_index(name), patches.schema.field(name), column)
    return patches


def plan_moves(rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[tuple[int, int]]:
    """Return which rows move where, so that the given ones become 0 .. len(rows) - 1.

    Those at the end move into the free ones, both in ascending order: a plan of which any part is done leads on to the
    rest of the same plan.
    """
    total = rows.size
    leaving = np.sort(rows[rows >= total])
    free = np.setdiff1d(np.arange(total, dtype=np.int64), rows)
    return list(zip(leaving.tolist(), free.tolist(), strict=True))


def _moves(driver: Driver, shard_rows: int) -> Iterator[Task]:
    """Yield the work on each shard that patches move into."""
    lying = _lying(driver.writer.patches)
    staying = _by_shard(lying, shard_rows)
    moves: dict[int, list[tuple[Row, int]]] = {}
    for row, target in plan_moves(np.array(sorted(lying), np.int64)):
        moves.setdefault(target // shard_rows, []).append((lying[row], target))
    for shard, some in moves.items():
        yield Task((staying.get(shard, {}), some), f"shard {shard}", len(some))


def _cut(driver: Driver, arrays: PatchArrays) -> list[work.Outcome]:
    """Cut off the rows behind the last patch, and return what failed."""
    lying, bank = _lying(driver.writer.patches), driver.writer.storage
    end, size = max(lying, default=-1) + 1, arrays.shard_rows
    if any(array.shape[0] != end for array in (arrays.hdr, arrays.ldr, arrays.patch_id)):
        if end % size:  # the last shard is not full, and holds what is cut off from it
            task = Task((_by_shard(lying, size)[end // size], []), f"shard {end // size}")
            failures = driver.collect("compact", shardwork.move_patches, [task], 0).failures
            if failures:
                return failures
        arrays.resize(end)
    with writing(bank):
        for key in sort_files(bank.keys(), end, size).orphans:
            bank.delete(key)
    return []


def _lying(patches: pa.Table) -> dict[int, Row]:
    """Return what lies in the arrays, by row."""
    return {row["row"]: row for row in patches.filter(pc.is_valid(patches["row"])).to_pylist()}


def _by_shard(lying: dict[int, Row], shard_rows: int) -> dict[int, dict[int, int]]:
    """Return the patch_ids by array row, shard by shard."""
    shards: dict[int, dict[int, int]] = {}
    for row, patch in lying.items():
        shards.setdefault(row // shard_rows, {})[row] = patch["patch_id"]
    return shards


def _exported(patches: pa.Table) -> int:
    return int(patches.num_rows - patches["row"].null_count)
