"""Whether a bank is what it should be: its files, its tables, every stored byte, and patches against their sources.

Nothing is written here. Legend: N rows of the arrays; a position is a place in the patches table.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from pipeline import shardwork, work
from pipeline.bank import PATCHES_SCHEMA, SOURCES_SCHEMA, PatchArrays, Storage
from pipeline.bank.arrays import NO_PATCH
from pipeline.bank.check import Files, metadata_faults, sort_files, stored_rows, table_faults
from pipeline.bank.commits import TURNS, list_commits
from pipeline.bank.schema import table_key
from pipeline.bank.shards import Examined
from pipeline.config import Settings
from pipeline.invariants import (
    PatchFault,
    frames_without_patches,
    is_ordered,
    mislabelled,
    on_wrong_side,
    patch_faults,
    source_faults,
)
from pipeline.records import derive_seed
from pipeline.rows import Row
from pipeline.workers import Task, Workers

TABLES = {"sources": SOURCES_SCHEMA, "patches": PATCHES_SCHEMA}


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is wrong: with a patch, or with a file."""

    text: str
    patch: Mapping[str, Any] | None = None  # patch_id, path, frame, k, row
    file: str | None = None

    def __str__(self) -> str:
        """Return a line for people."""
        if self.patch is None:
            return self.text if self.file is None else f"file {self.file}: {self.text}"
        place = ", ".join(
            f"{name} {self.patch[name]}" for name in ("row", "frame", "k") if self.patch[name] is not None
        )
        return f"patch {self.patch['patch_id']} ({place} of {self.patch['path']}): {self.text}"


@dataclass(slots=True)
class Audit:
    """What was found. `damages` are told one by one; `notes` are no damage; the rest is what a repair needs."""

    sources: pa.Table
    patches: pa.Table
    damages: list[Damage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)  # tables that cannot be read
    metadata: list[str] = field(default_factory=list)  # metadata files of arrays that are wrong
    files: Files = field(default_factory=lambda: Files([], [], []))
    table_faults: list[PatchFault] = field(default_factory=list)
    disordered: bool = False
    mislabelled: bool = False
    frames: list[tuple[Row, list[int]]] = field(default_factory=list)  # of used sources, without patches
    ids: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # (N,), as stored
    faults: dict[int, str] = field(default_factory=dict)  # array row -> what is wrong with its pixels
    at_limit: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # (N,)
    unread_ids: set[int] = field(default_factory=set)  # array rows whose id cannot be read
    wrong_pixels: set[int] = field(default_factory=set)  # patch_ids that --deep found different
    paths: dict[str, str] = field(default_factory=dict)  # of the sources, once they are asked for
    compared: int = 0
    bytes: int = 0
    seconds: float = 0.0

    def name(self, position: int) -> dict[str, Any]:
        """Return what people know a patch by."""
        row = self.patches.slice(position, 1).to_pylist()[0]
        if not self.paths:
            self.paths = dict(zip(*(self.sources[name].to_pylist() for name in ("source_id", "path")), strict=True))
        path = self.paths.get(row["source_id"], f"source {row['source_id']}")
        return {"path": path, **{name: row[name] for name in ("patch_id", "source_id", "frame", "k", "row")}}

    def damaged(self, position: int, text: str) -> None:
        """Note the damage of a patch."""
        self.damages.append(Damage(text, patch=self.name(position)))


def audit_tables(bank: Storage, sources: pa.Table, patches: pa.Table, settings: Settings) -> Audit:
    """Check the files of a bank and its tables. `sources` and `patches` are as `BankWriter` has them."""
    audit = Audit(sources, patches)
    for name, schema in TABLES.items():
        faults = table_faults(bank, name, schema)
        audit.damages += [Damage(text, file=table_key(name)) for text in faults]
        audit.lost += [name] if faults else []
    rows = stored_rows(bank)
    if rows is not None:
        faults_of = metadata_faults(bank, settings.crops.patch_size, settings.export, rows)
        audit.metadata = list(faults_of)
        audit.damages += [Damage(text, file=key) for key, text in faults_of.items()]
    elif patches["row"].null_count < patches.num_rows:
        audit.metadata = [f"{name}/zarr.json" for name in ("hdr", "ldr", "patch_id")]
        audit.damages += [Damage("is missing or damaged", file=key) for key in audit.metadata]
    audit.files = sort_files(bank.keys(), rows or 0, settings.export.shard_rows)
    audit.damages += [Damage("no patch lies in it", file=key) for key in audit.files.orphans]
    audit.damages += [Damage("a killed process left it behind", file=key) for key in audit.files.debris]
    audit.notes += [f"file {key} is not of this bank" for key in audit.files.unknown]
    if "sources" not in audit.lost:
        audit.damages += [Damage(text, file=table_key("sources")) for text in source_faults(sources)]
    if not audit.lost:
        _check_patches(audit, settings)
    commits = sum(len(list_commits(bank, folder)) for folder in bank.folders(TURNS))
    if commits:
        audit.notes.append(f"{commits} commits of an interrupted command wait: repeat that command")
    return audit


def _check_patches(audit: Audit, settings: Settings) -> None:
    audit.table_faults = patch_faults(audit.sources, audit.patches, settings)
    for fault in audit.table_faults:
        audit.damaged(fault.position, fault.text)
    audit.disordered = not is_ordered(audit.patches)
    if audit.disordered:
        audit.damages.append(Damage("its rows are out of order", file=table_key("patches")))
    wrong = mislabelled(audit.patches, settings) | on_wrong_side(audit.sources, audit.patches, settings)
    labels = np.flatnonzero(wrong)
    audit.mislabelled = labels.size > 0
    if audit.mislabelled:
        audit.damages.append(
            Damage(
                f"{labels.size} patches are not labelled as the bank's settings say; run hdrprep score",
                file=table_key("patches"),
            )
        )
    audit.frames = list(frames_without_patches(audit.sources, audit.patches, settings.ingest.every))
    for source, frames in audit.frames:
        if source["kind"] == "still":
            audit.damages.append(Damage(f"source {source['path']} has no patches", file=table_key("patches")))
        else:
            audit.notes.append(f"{len(frames)} frames of {source['path']} have no patches yet: repeat hdrprep ingest")


def audit_arrays(audit: Audit, bank: Storage, workers: Workers) -> None:
    """Read every stored byte of the arrays, and compare what lies in them with the patches table."""
    start = time.monotonic()
    if audit.metadata:
        audit.notes.append("the arrays were not read, since their metadata is damaged")
        return
    if not PatchArrays.exist(bank):
        return
    arrays = PatchArrays(bank)
    rows = int(arrays.hdr.shape[0])
    audit.ids, audit.at_limit = np.full(rows, NO_PATCH, np.int64), np.zeros(rows, np.int64)
    unread: dict[int, str] = {}
    for found in _examine(bank, arrays, workers):
        span = slice(found.rows.start, found.rows.stop)
        audit.ids[span], audit.at_limit[span] = found.ids, found.at_limit
        audit.faults |= found.faults
        audit.bytes += found.bytes
        if found.ids_fault is not None:
            unread |= dict.fromkeys(found.rows, found.ids_fault)
    audit.unread_ids = set(unread)
    if "patches" in audit.lost:
        _name_without_table(audit)
    else:
        _compare_with_table(audit, unread)
    audit.seconds += time.monotonic() - start


def _examine(bank: Storage, arrays: PatchArrays, workers: Workers) -> Iterator[Examined]:
    size, total = arrays.shard_rows, int(arrays.hdr.shape[0])

    def crashed(task: Task, message: str) -> Examined:
        rows = range(task.arguments[1] * size, min((task.arguments[1] + 1) * size, total))
        none = np.full(len(rows), NO_PATCH, np.int64)
        return Examined(rows, none, message, dict.fromkeys(rows, message), none * 0, 0)

    tasks = (Task((bank, shard), f"shard {shard}", size) for shard in range(arrays.shards))
    with tqdm(total=arrays.shards, desc="verify", unit=" shards", disable=None, leave=False) as bar:
        for _, found in workers.map(shardwork.examine_shard, tasks, crashed):
            bar.update()
            yield found


def _compare_with_table(audit: Audit, unread: Mapping[int, str]) -> None:
    total, taken = len(audit.ids), dict[int, int]()
    columns = [audit.patches[name].to_pylist() for name in ("patch_id", "row", "clipped_values")]
    for position, (patch_id, row, clipped) in enumerate(zip(*columns, strict=True)):
        if row is None:
            if clipped is not None:
                audit.damaged(position, "it has clipped_values without a row")
            continue
        if not 0 <= row < total:
            audit.damaged(position, f"its row lies outside the arrays of {total} rows")
        elif row in unread:
            audit.damaged(position, unread[row])
        elif audit.ids[row] != patch_id:
            held = "no patch" if audit.ids[row] == NO_PATCH else f"patch {audit.ids[row]}"
            audit.damaged(position, audit.faults.get(row, f"its row holds {held}"))
        elif row in audit.faults:
            audit.damaged(position, audit.faults[row])
        elif clipped is None or clipped > audit.at_limit[row]:
            audit.damaged(position, f"its clipped_values is {clipped}, of {audit.at_limit[row]} values at the limit")
        elif row in taken:
            audit.damaged(position, "its row is another patch's, too")
        taken.setdefault(row, position)
    _compare_with_rows(audit, taken)


def _compare_with_rows(audit: Audit, taken: Mapping[int, int]) -> None:
    """Look at the rows of the arrays that no patch of the table lies in."""
    known = set(audit.patches["patch_id"].to_pylist())
    free = [row for row in range(len(audit.ids)) if row not in taken]
    for row in free:
        if audit.ids[row] != NO_PATCH and int(audit.ids[row]) not in known:
            audit.damages.append(Damage(f"row {row} holds patch {audit.ids[row]}, which the patches table lacks"))
    if free:
        audit.notes.append(f"{len(free)} rows of the arrays are no patch's yet: repeat hdrprep export or compact")


def _name_without_table(audit: Audit) -> None:
    for row, fault in audit.faults.items():
        if audit.ids[row] != NO_PATCH or row in audit.unread_ids:
            audit.damages.append(Damage(f"row {row} (patch {audit.ids[row]}): {fault}"))


def audit_sample(
    audit: Audit, place: work.Place, workers: Workers, settings: Settings, size: int, changed: list[str]
) -> None:
    """Make a seeded sample of the exported patches again from their sources, and compare bit by bit.

    Where libraries have `changed` since the bank was made, differences are no damage.
    """
    start = time.monotonic()
    known = {row["source_id"]: row for row in audit.sources.to_pylist() if row["status"] == "ok"}
    rows = [row for row in _sample(audit.patches, settings.ingest.seed, size) if row["source_id"] in known]
    grouped = (list(group) for _, group in groupby(rows, key=lambda row: row["source_id"]))
    tasks = (
        Task((place, known[some[0]["source_id"]], some, settings), known[some[0]["source_id"]]["path"], len(some))
        for some in grouped
    )
    positions = {patch_id: position for position, patch_id in enumerate(audit.patches["patch_id"].to_pylist())}
    outcomes = workers.map(shardwork.compare_patches, tasks, lambda _, message: shardwork.Compared(0, {}, message))
    with tqdm(total=len(rows), desc="compare", unit=" patches", disable=None, leave=False) as bar:
        for task, compared in outcomes:
            bar.update(task.patches)
            audit.compared += compared.patches
            if compared.reason is not None:
                audit.notes.append(f"{task.patches} patches were not compared: {compared.reason}")
            for patch_id, text in compared.differences.items():
                if changed:
                    told = Damage(text, patch=audit.name(positions[patch_id]))
                    audit.notes.append(f"{told} (but other libraries made the bank: {', '.join(changed)})")
                else:
                    audit.damaged(positions[patch_id], text)
                    audit.wrong_pixels.add(patch_id)
    audit.seconds += time.monotonic() - start


def _sample(patches: pa.Table, seed: int, size: int) -> list[Row]:
    """Return exported patches, chosen by a hash of their identity, in the order of the table."""
    exported = patches.filter(pc.is_valid(patches["row"]))
    ids = exported["patch_id"].to_pylist()
    ranked = sorted(range(len(ids)), key=lambda position: derive_seed(seed, str(ids[position]), 0, 0, "verify"))
    return list(exported.take(pa.array(sorted(ranked[:size]), pa.int64())).to_pylist())
