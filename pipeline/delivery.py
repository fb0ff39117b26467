"""Delivering patches: exports into a folder of files, resumed by being repeated, and the dataset cards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import packing
from pipeline.bank import BankWriter, LocalStorage, PatchArrays, writing
from pipeline.bank.schema import table_key
from pipeline.config import Settings
from pipeline.driver import FRAMES, Driver, Report
from pipeline.errors import UsageError
from pipeline.handover import (
    CARD,
    FORMATS,
    SHARD,
    TABLE,
    Folder,
    Format,
    Holdings,
    Ledger,
    StoredFile,
    StoredFiles,
    card_text,
    doubtful_files,
    make_card,
    make_plan,
    recover,
    wanted_rows,
    without_content,
)
from pipeline.pending import by_frames, choose
from pipeline.status import format_bytes
from pipeline.workers import Task

PATCHES = 1024  # at most, of a few frames, that one task writes
READ = 256  # files that one task reads again

_PARQUET, _ZARR = "application/x-parquet", "application/vnd+zarr"
_ARRAYS = (
    "The HDR patches are the Zarr array hdr (float16, the sensor clips at 1.0), the photographs the array ldr (uint8, "
    "after JPEG); column row of the table is their index in both."
)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an export goes: the name of its format, and a folder that all workers can write to."""

    form: str
    folder: Path


class Delivery:
    """An export of a bank's kept patches into a folder."""

    def __init__(self, driver: Driver, destination: Destination) -> None:
        self.driver, self.writer, self.settings = driver, driver.writer, driver.settings
        self.form, self.folder = FORMATS[destination.form], Folder(destination.folder)
        bank = self.writer.storage
        if isinstance(bank, LocalStorage) and bank.path in (self.folder.path, *self.folder.path.parents):
            raise UsageError(f"{self.folder.path} lies in the bank; name another --out")

    def export(self) -> Report:
        """Make the folder hold the kept patches, or the seeded choice of them, and nothing else of ours.

        What is there and whole is left alone, what is missing or differs is written, files of other patches go.
        """
        with self.folder.owned(self.form):
            known = recover(self.folder)
            self._refuse_other_bank(known)
            plan = make_plan(self._wanted(), known, self._read_files(known), self.form)
            self.folder.prepare()
            self.folder.remove(plan.stale)
            ledger = Ledger(self.folder, plan, self._describe)
            work = packing.pack_shard if self.form.sharded else packing.pack_frames
            tasks = self._tasks(plan.missing)
            report = self.driver.collect("export", work, tasks, plan.missing.num_rows, fold=ledger.fold)
            if not report.failures:
                self.folder.tidy()
        report.lines = [_told(ledger.table, self.form, self.folder.path)]
        if plan.stale:
            report.lines.append(f"removed      {len(plan.stale)} files of other patches")
        return report

    def _wanted(self) -> pa.Table:
        patches, settings = self.writer.patches, self.settings
        kept = pc.indices_nonzero(pc.equal(patches["verdict"], "kept")).to_pylist()
        chosen = choose(patches, kept, settings.export.limit, settings.ingest.seed)
        rows = patches.take(pa.array(chosen, pa.int64()))
        return wanted_rows(rows, self.writer.sources, self.form, settings.export.tar_patches)

    def _read_files(self, known: pa.Table | None) -> pa.Table:
        """Return the files that lie in the folder; those that were touched are read, and told apart if they differ."""
        files = self.folder.files(self.form)
        doubtful = doubtful_files(files, known, self.form)
        tasks = [
            Task((self.folder.path, dict(zip(*some.to_pydict().values(), strict=True))), str(self.folder.path))
            for start in range(0, doubtful.num_rows, READ)
            for some in [doubtful.slice(start, READ)]
        ]
        # What cannot be read at all is written anew, too.
        results = self.driver.workers.map(packing.find_wrong, tasks, lambda task, _: list(task.arguments[1]))
        return without_content(files, [path for _, wrong in results for path in wrong])

    def _refuse_other_bank(self, known: pa.Table | None) -> None:
        """Raise UsageError where the folder holds patches of sources that this bank does not know."""
        if known is not None and "source_id" in known.column_names:
            ours = self.writer.sources["source_id"].combine_chunks()
            if not pc.all(pc.is_in(known["source_id"], value_set=ours), min_count=0).as_py():
                raise UsageError(f"{self.folder.path} holds an export of another bank; name another --out")

    def _tasks(self, missing: pa.Table) -> Iterator[Task]:
        sources = {row["source_id"]: row for row in self.writer.sources.to_pylist() if row["source_id"] is not None}
        folder, schema = self.folder.path, missing.schema
        for rows in _by_shards(missing) if self.form.sharded else _by_frames(missing):
            listed = rows.to_pylist()
            first = sources[listed[0]["source_id"]]
            if self.form.sharded:
                needed = {row["source_id"]: sources[row["source_id"]] for row in listed}
                yield Task((needed, listed, folder, schema), first["path"], len(listed))
            else:
                yield Task((first, listed, folder, self.form.name, schema), first["path"], len(listed))

    def _describe(self, table: pa.Table, fact: tuple[int, str]) -> None:
        tops = self._tops(table)
        files = [
            StoredFiles(name, member.media_type, [f"{top}{member.folder}*{member.suffix}" for top in tops])
            for name, member in self.form.members.items()
        ]
        stored = StoredFile(TABLE, _PARQUET, *fact)
        holdings = Holdings(table, self.writer.sources, stored, files, self.form.told)
        text = card_text(make_card(self.settings.card, holdings))
        self.folder.place(CARD, lambda beside: _write_text(beside, text))

    def _tops(self, table: pa.Table) -> list[str]:
        splits = pc.unique(table["split"]).to_pylist() if "split" in table.column_names else [None]
        return sorted({self.form.folder(split) for split in splits}) or [""]


def describe_bank(writer: BankWriter, settings: Settings) -> None:
    """Write the dataset card of a bank's arrays, if there are any."""
    bank = writer.storage
    if not PatchArrays.exist(bank):
        return
    table = bank.read(table_key("patches"))
    stored = StoredFile(table_key("patches"), _PARQUET, len(table), hashlib.sha256(table).hexdigest())
    files = [StoredFiles(name, _ZARR, [f"{name}/**"]) for name in ("hdr", "ldr", "patch_id")]
    exported = writer.patches.filter(pc.is_valid(writer.patches["row"]))
    card = make_card(settings.card, Holdings(exported, writer.sources, stored, files, _ARRAYS))
    with writing(bank):
        bank.write(CARD, card_text(card).encode())


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _by_frames(missing: pa.Table) -> Iterator[pa.Table]:
    """Cut patches into slices of a few frames of one source, and no more patches than a task may have."""
    for rows in by_frames(missing, FRAMES):
        for start in range(0, rows.num_rows, PATCHES):
            yield rows.slice(start, PATCHES)


def _by_shards(missing: pa.Table) -> Iterator[pa.Table]:
    """Cut patches into those of each shard, in their order."""
    shards = missing[f"{SHARD}_path"].combine_chunks().dictionary_encode()
    of = shards.indices.to_numpy()
    order = np.argsort(of, kind="stable")
    for positions in np.split(order, np.flatnonzero(np.diff(of[order])) + 1):
        if positions.size:
            yield missing.take(pa.array(positions))


def _told(table: pa.Table, form: Format, folder: Path) -> str:
    files = size = 0
    for name in form.members:
        sizes = table.group_by(f"{name}_path").aggregate([(f"{name}_bytes", "max")])
        files += sizes.num_rows
        size += pc.sum(sizes[f"{name}_bytes_max"]).as_py() or 0
    return f"{form.name:<12} {table.num_rows} patches in {files} files, {format_bytes(size)}: {folder}"
