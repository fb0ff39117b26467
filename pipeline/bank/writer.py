"""The process that owns a bank: it holds the lock, folds commits into the tables and replaces them whole."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.bank.arrays import ExportSettings, PatchArrays
from pipeline.bank.commits import TURNS, Turn, list_commits, read_commit
from pipeline.bank.files import make_folder
from pipeline.bank.lock import Lock, acquire
from pipeline.bank.reader import bank_attributes, read_table, write_attributes
from pipeline.bank.schema import FORMAT_VERSION, PATCHES_SCHEMA, SOURCES_SCHEMA, encode_table, table_key
from pipeline.bank.storage import LocalStorage, Storage, open_storage, writing
from pipeline.errors import BankError

BESIDE = "_work/beside"  # where the process that owns a bank fills files, before a rename puts them in place


class BankWriter:
    """A bank opened for writing by one process. Use it as a context manager.

    `sources` and `patches` are the tables as last folded; workers write commits beside them (`write_commit`) in a turn
    (`begin`), `fold` takes these in, `end` lets no more come. Whatever an interrupted run left behind is folded on
    opening.
    """

    def __init__(self, storage: Storage, attributes: dict[str, Any], lock: Lock, lost: Collection[str] = ()) -> None:
        self.storage = storage
        self.attributes = attributes
        self._lock = lock
        self._turn: Turn | None = None
        self.sources, self.patches = (
            schema.empty_table() if name in lost else read_table(storage, name, schema, to_write=True)
            for name, schema in (("sources", SOURCES_SCHEMA), ("patches", PATCHES_SCHEMA))
        )

    @classmethod
    def open(cls, place: str | Path | Storage, lost: Collection[str] = ()) -> Self:
        """Open a bank that exists; the `lost` tables (`sources`, `patches`) begin anew, empty, at the next change.

        Raises BankMissing, BankVersionError, BankLocked, BankDamaged.
        """
        storage = open_storage(place)
        attributes = bank_attributes(storage)
        lock = acquire(storage)
        try:
            writer = cls(_owned(storage), attributes, lock, lost)
            writer.end()
        except BaseException:
            lock.release()
            raise
        return writer

    @classmethod
    def create(cls, place: str | Path | Storage, attributes: Mapping[str, Any]) -> Self:
        """Make an empty bank and open it. `attributes` are stored in zarr.json, the format version is added.

        Raises BankError where the place is taken by something else or cannot be written.
        """
        storage = open_storage(place)
        check_vacant(storage)
        lock = acquire(storage)
        stored = {"format_version": FORMAT_VERSION, **attributes}
        try:
            storage = _owned(storage)
            with writing(storage):
                for name, schema in (("sources", SOURCES_SCHEMA), ("patches", PATCHES_SCHEMA)):
                    if not storage.exists(table_key(name)):
                        storage.write(table_key(name), encode_table(schema.empty_table()))
                # The group's metadata comes last: a place with it is a bank.
                write_attributes(storage, stored)
            return cls(storage, stored, lock)
        except BaseException:
            lock.release()
            raise

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Replace what zarr.json says of the bank, the format version kept."""
        stored = {"format_version": FORMAT_VERSION, **attributes}
        if stored != self.attributes:
            self._lock.check()
            with writing(self.storage):
                write_attributes(self.storage, stored)
            self.attributes = stored

    def create_arrays(self, patch_size: int, settings: ExportSettings) -> None:
        """Make the arrays of the exported pixels, empty."""
        self._lock.check()
        PatchArrays.create(self.storage, patch_size, settings)

    def arrays(self) -> PatchArrays:
        """Return the arrays of the exported pixels, open for writing."""
        return PatchArrays(self.storage, "r+")

    def begin(self) -> Turn:
        """Begin a turn, in which workers may commit; the one before is over."""
        self.end()
        turn = Turn(self.storage, uuid.uuid4().hex[:16])
        with writing(self.storage):
            self.storage.write(f"{turn.folder}/open", b"")
        self._turn = turn
        return turn

    def fold(self) -> int:
        """Take all waiting commits into the tables, one rename a table; return how many there were."""
        self._lock.check()
        return 0 if self._turn is None else self._fold(self._turn.folder)

    def end(self) -> int:
        """End all turns of this bank, also those of runs that were killed; return how many commits were folded.

        Nothing can be written in their name any more.
        """
        self._lock.check()
        count, self._turn = 0, None
        with writing(self.storage):
            for folder in self.storage.folders(TURNS):
                if any(self.storage.exists(f"{folder}/{mark}") for mark in ("open", "over")):
                    folder = self.storage.halt(folder)
                    count += self._fold(folder)
                self.storage.remove(folder)
        return count

    def _fold(self, folder: str) -> int:
        keys = list_commits(self.storage, folder)
        if not keys:
            return 0
        commits = [read_commit(self.storage, key) for key in keys]
        self._replace(
            merge_sources(self.sources, (source for _, source in commits if source is not None)),
            merge_patches(self.patches, pa.concat_tables([patches for patches, _ in commits])),
        )
        with writing(self.storage):
            for key in keys:
                self.storage.delete(key)
        return len(keys)

    def replace_patches(self, patches: pa.Table) -> None:
        """Write the patches table anew."""
        self._replace(self.sources, patches)

    def replace_sources(self, sources: pa.Table) -> None:
        """Write the sources table anew."""
        self._replace(sources, self.patches)

    def replace(self, sources: pa.Table, patches: pa.Table) -> None:
        """Write both tables anew, those that changed."""
        self._replace(sources, patches)

    def _replace(self, sources: pa.Table, patches: pa.Table) -> None:
        # Sources first: no patch ever stands in the tables whose source does not. Rows of a table that did not change
        # are not written again.
        self._lock.check()
        with writing(self.storage):
            if not sources.equals(self.sources):
                self.storage.write(table_key("sources"), encode_table(sources))
                self.sources = sources
            if not patches.equals(self.patches):
                self.storage.write(table_key("patches"), encode_table(patches))
                self.patches = patches

    def close(self) -> None:
        """Let go of the bank."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _owned(storage: Storage) -> Storage:
    """Return a bank whose lock this process holds, for writing; what one that was killed had begun to write goes."""
    with writing(storage):
        storage.remove(BESIDE)
        if isinstance(storage, LocalStorage):
            make_folder(storage.path / BESIDE)
    return storage.by_way_of(BESIDE)


def check_vacant(storage: Storage) -> None:
    """Raise BankError where a bank cannot be made because something else is there."""
    if _is_foreign(storage):
        raise BankError(f"{storage} exists and is no bank; choose another --bank")


def read_folded(storage: Storage) -> tuple[pa.Table, pa.Table]:
    """Return the tables `(sources, patches)` as opening the bank would leave them, and write nothing.

    Another process may fold meanwhile: what it takes away is in the tables that are read afterwards.
    """
    commits = []
    for folder in storage.folders(TURNS):
        for key in list_commits(storage, folder):
            with suppress(FileNotFoundError):
                commits.append(read_commit(storage, key))
    sources = read_table(storage, "sources", SOURCES_SCHEMA)
    patches = read_table(storage, "patches", PATCHES_SCHEMA)
    if not commits:
        return sources, patches
    return (
        merge_sources(sources, (source for _, source in commits if source is not None)),
        merge_patches(patches, pa.concat_tables([rows for rows, _ in commits])),
    )


def merge_sources(table: pa.Table, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return the sources table with rows added or replaced, ordered by identity, unreadable ones last by path."""
    merged = {_source_key(row): row for row in table.to_pylist()}
    merged.update({_source_key(row): dict(row) for row in rows})
    ordered = sorted(merged.values(), key=lambda row: (row["source_id"] is None, row["source_id"] or row["path"]))
    return pa.Table.from_pylist(ordered, schema=SOURCES_SCHEMA)


def merge_patches(table: pa.Table, rows: pa.Table) -> pa.Table:
    """Return the patches table with rows added or replaced, in the order (source_id, frame, k).

    Raises BankError where two different patches have one patch_id.
    """
    both = pa.concat_tables([table, rows])
    sources = both["source_id"].combine_chunks().dictionary_encode()
    rank = np.argsort(np.argsort(np.array(sources.dictionary.to_pylist(), dtype=str)))
    keys = [rank[sources.indices.to_numpy()], both["frame"].to_numpy(), both["k"].to_numpy()]
    # The sort is stable: of a patch that stands in both, the new row comes last, and stays.
    order = np.lexsort(keys[::-1])
    changes = [np.diff(key[order]) != 0 for key in keys]
    last = np.concatenate([np.any(changes, axis=0), np.ones(min(1, order.size), np.bool_)])
    merged = both.take(pa.array(order[last])).combine_chunks()
    _refuse_collisions(merged)
    return merged


def _source_key(row: Mapping[str, Any]) -> tuple[str, str]:
    return ("id", row["source_id"]) if row["source_id"] is not None else ("path", row["path"])


def _refuse_collisions(patches: pa.Table) -> None:
    if pc.count_distinct(patches["patch_id"]).as_py() != patches.num_rows:
        raise BankError("two different patches have the same patch_id; leave out one of the sources added last")


def _is_foreign(storage: Storage) -> bool:
    """Say whether a place holds something that is no bank. An ingest that was killed while it made one leaves these."""
    if isinstance(storage, LocalStorage) and storage.path.exists() and not storage.path.is_dir():
        return True
    return not storage.names() <= {"_work", "tables"}
