"""Joining banks of equal settings into one, without rendering anything: tables are united, pixels are copied.

What was done of an interrupted merge stands in the bank that it fills; the rest is read off its tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import shardwork
from pipeline.bank import BankReader, PatchArrays, ShardPlan, Storage, plan_shards
from pipeline.bank.lock import refuse_writers
from pipeline.bank.writer import merge_patches, merge_sources, read_folded
from pipeline.config import Layer, check_against_bank, resolve
from pipeline.driver import Driver, Report
from pipeline.errors import BankMismatch, UsageError
from pipeline.rows import Row, relabel
from pipeline.run import Pipeline
from pipeline.workers import Task

# Of two rows of one patch these may differ: where it lies, and what another threshold makes of the same measurements.
_VARYING = {"row", "clipped_values", "score", "verdict", "verdict_reason"}
_MEASURED = ("score_saturated", "clip_fraction")  # the further down a patch is, the more complete is its row
# Of two rows of one source: where it lies, and what is counted or decided when all of it is there.
_OF_A_PLACE = {"path", "also_at", "licence", "attribution", "nonfinite_pixels", "negative_pixels", "group", "split"}


Held = dict[int, tuple[int, Row]]  # patch_id -> which bank has its pixels, and its `row` and `clipped_values` there


@dataclass(frozen=True, slots=True)
class Part:
    """A bank that goes into another one."""

    bank: Storage
    attributes: dict[str, Any]
    sources: pa.Table
    patches: pa.Table

    @property
    def config(self) -> Layer:
        """Return the settings that it was made with."""
        return dict(self.attributes["config"])


def open_part(bank: Storage) -> Part:
    """Read a bank that is to go into another one. Raises BankLocked where somebody writes to it."""
    refuse_writers(bank)
    attributes = BankReader(bank).attributes
    return Part(bank, attributes, *read_folded(bank))


def check_equal(parts: Sequence[Part], config: Layer) -> None:
    """Raise BankMismatch where a bank has another setting, that its patches depend on, than `config`."""
    wanted = {section: dict(keys) for section, keys in config.items()}
    for part in parts:
        # How pixels are stored is no property of the patches: they are encoded anew.
        stored = {section: dict(keys) for section, keys in part.config.items()}
        stored["export"] = dict(wanted.get("export", {}))
        try:
            check_against_bank(resolve([wanted]), stored, exported=True)
        except BankMismatch as error:
            told = str(error).partition("; leave")[0].replace("the bank was made", f"{part.bank} was made")
            raise BankMismatch(f"{told}; only banks of equal settings can be merged") from None


def check_places(parts: Sequence[Storage], bank: Storage) -> None:
    """Raise UsageError where a bank is named twice."""
    names = [str(part) for part in parts]
    twice = next((name for name in names if names.count(name) > 1 or name == str(bank)), None)
    if twice is not None:
        raise UsageError(f"{twice} is named twice; name each bank once, and as --bank the one that they go into")


def unite(parts: Sequence[Part], pipeline: Pipeline) -> None:
    """Write the united tables of the bank and of all parts; where pixels lie in these is left out."""
    writer = pipeline.writer
    sources, patches = writer.sources, writer.patches
    for part in parts:
        theirs = _with_nulls(part.patches, ("row", "clipped_values"))
        patches = unite_patches(patches, theirs, part.bank)
        sources = unite_sources(sources, part.sources, part.bank)
    used = sources.filter(pc.equal(sources["status"], "ok"))["source_id"].combine_chunks()
    patches = patches.filter(pc.is_in(patches["source_id"], value_set=used))
    writer.replace_patches(relabel(patches, pipeline.settings.score))
    writer.replace_sources(sources)
    pipeline.intake.finish_sources({})
    pipeline.put_on_sides(writer.patches)


def unite_sources(ours: pa.Table, theirs: pa.Table, bank: Storage) -> pa.Table:
    """Return the sources of both tables; of one that stands in both the used row stays, or else ours.

    Raises BankMismatch where they say something different of the same content.
    """
    merged = {row["source_id"]: row for row in ours.to_pylist() if row["source_id"] is not None}
    unreadable = {row["path"]: row for row in ours.to_pylist() if row["source_id"] is None}
    for row in theirs.to_pylist():
        if row["source_id"] is None:
            unreadable.setdefault(row["path"], row)
            continue
        known = merged.get(row["source_id"])
        merged[row["source_id"]] = row if known is None else _join(known, row, bank)
    return merge_sources(ours.schema.empty_table(), [*merged.values(), *unreadable.values()])


def unite_patches(ours: pa.Table, theirs: pa.Table, bank: Storage) -> pa.Table:
    """Return the patches of both tables; of one that stands in both the more complete row stays, or else ours.

    Raises BankMismatch where both have numbers for it and these are not equal.
    """
    shared = pc.is_in(theirs["patch_id"], value_set=ours["patch_id"].combine_chunks())
    mine = ours.take(pc.index_in(theirs.filter(shared)["patch_id"], value_set=ours["patch_id"].combine_chunks()))
    other = theirs.filter(shared)
    for name in ours.column_names:
        if name in _VARYING or name not in other.column_names:
            continue
        differ = pc.fill_null(pc.not_equal(mine[name], other[name]), False)  # null: not known yet in one of them
        if pc.any(differ).as_py():
            row = other.filter(differ).slice(0, 1).to_pylist()[0]
            raise BankMismatch(
                f"patch {row['patch_id']} has another {name} in {bank}: the banks were made by other versions or "
                "on other machines; take its source in again in one of them"
            )
    further = np.zeros(mine.num_rows, np.bool_)
    for name in _MEASURED:
        further |= pc.and_(pc.is_null(mine[name]), pc.is_valid(other[name])).to_numpy()
    # A row of ours that is less complete has no pixels either: only what is scored is exported.
    new = pa.concat_tables([theirs.filter(pc.invert(shared)), other.filter(pa.array(further, pa.bool_()))])
    return merge_patches(ours, new) if new.num_rows else ours


def copy_pixels(parts: Sequence[Part], driver: Driver) -> Report:
    """Copy the kept patches that another bank holds and this one does not, into the free rows in their order."""
    writer = driver.writer
    patches = writer.patches
    held = _held(parts)
    pending = _to_copy(patches, held)
    exported = patches["row"].drop_null().to_numpy()
    if not pending and not PatchArrays.exist(writer.storage):
        return Report()
    if not PatchArrays.exist(writer.storage):
        writer.create_arrays(driver.settings.crops.patch_size, driver.settings.export)
    arrays = writer.arrays()
    plans = plan_shards(exported, pending, arrays.shard_rows)
    last = max([-1, *exported.tolist(), *(row for plan in plans for row in plan.rows)])
    arrays.resize(max(last + 1, int(arrays.hdr.shape[0])))
    tasks = _copies(plans, patches, [part.bank for part in parts], held)
    report = driver.collect("merge", shardwork.copy_patches, tasks, len(pending))
    arrays.resize(last + 1)
    return report


def _to_copy(patches: pa.Table, held: Held) -> list[int]:
    """Return the positions of the kept patches without pixels that another bank holds."""
    missing = pc.and_(pc.fill_null(pc.equal(patches["verdict"], "kept"), False), pc.is_null(patches["row"]))
    there = pc.is_in(patches["patch_id"], value_set=pa.array(held, pa.int64()))
    return [int(position) for position in pc.indices_nonzero(pc.and_(missing, there)).to_pylist()]


def _copies(plans: Sequence[ShardPlan], patches: pa.Table, banks: Sequence[Storage], held: Held) -> Iterator[Task]:
    """Yield the work on each shard."""
    for plan in plans:
        rows = patches.take(pa.array(plan.positions)).to_pylist()
        places = [held[row["patch_id"]] for row in rows]
        copies = [
            (number, row | lying, target) for row, (number, lying), target in zip(rows, places, plan.rows, strict=True)
        ]
        yield Task((banks, copies, plan.fresh), f"row {plan.rows[0]}", len(copies))


def other_versions(parts: Sequence[Part], ours: Mapping[str, str]) -> list[str]:
    """Return which banks were made with other libraries than the bank that they go into, one sentence a library."""
    return [
        f"{part.bank}: {name} {part.attributes['versions'].get(name)} instead of {number}"
        for part in parts
        for name, number in ours.items()
        if part.attributes["versions"].get(name) != number
    ]


def _held(parts: Sequence[Part]) -> Held:
    """Return of each patch which bank holds its pixels, the first one, and where: its `row` and `clipped_values`."""
    held: Held = {}
    for number, part in enumerate(parts):
        exported = part.patches.filter(pc.is_valid(part.patches["row"])).select(["patch_id", "row", "clipped_values"])
        for row in exported.to_pylist():
            held.setdefault(row.pop("patch_id"), (number, row))
    return held


def _join(ours: Row, theirs: Row, bank: Storage) -> Row:
    """Return one row for a source that stands in two tables."""
    used = [row for row in (ours, theirs) if row["status"] == "ok"]
    if len(used) == 2:
        name = next((name for name in ours if name not in _OF_A_PLACE and ours[name] != theirs[name]), None)
        if name is not None:
            raise BankMismatch(
                f"source {ours['path']} has {name} {ours[name]}, and {theirs[name]} in {bank}: the banks were made by "
                "other versions; take it in again in one of them"
            )
    places = {ours["path"], theirs["path"], *(ours["also_at"] or ()), *(theirs["also_at"] or ())}
    joined = dict((used or [ours])[0])
    for name in ("licence", "attribution"):
        joined[name] = ours[name] if ours[name] is not None else theirs[name]
    return joined | {"path": ours["path"], "also_at": sorted(places - {ours["path"]})}


def _with_nulls(patches: pa.Table, names: Sequence[str]) -> pa.Table:
    for name in names:
        field = patches.schema.field(name)
        column = pa.nulls(patches.num_rows, field.type)
        patches = patches.set_column(patches.schema.get_field_index(name), field, column)
    return patches
