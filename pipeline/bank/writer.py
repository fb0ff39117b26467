"""The process that owns a bank: it holds the lock, folds commits into the tables and replaces them whole."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import zarr

from pipeline.bank.commits import list_commits, read_commit
from pipeline.bank.files import replace_table, writing
from pipeline.bank.reader import bank_attributes, read_table
from pipeline.bank.schema import FORMAT_VERSION, PATCH_ORDER, PATCHES_SCHEMA, SOURCES_SCHEMA, table_path
from pipeline.errors import BankError, BankLocked


class BankWriter:
    """A bank opened for writing by one process. Use it as a context manager.

    `sources` and `patches` are the tables as last folded; workers write commits beside them (`write_commit`), `fold`
    takes these in. Whatever an interrupted run left behind is folded on opening.
    """

    def __init__(self, path: Path, attributes: dict[str, Any], lock: IO[str]) -> None:
        self.path = path
        self.attributes = attributes
        self._lock = lock
        self.sources = read_table(path, "sources", SOURCES_SCHEMA)
        self.patches = read_table(path, "patches", PATCHES_SCHEMA)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a bank that exists. Raises BankMissing, BankVersionError, BankLocked, BankDamaged."""
        attributes = bank_attributes(path)
        lock = _acquire_lock(path)
        try:
            writer = cls(path, attributes, lock)
            writer.fold()
        except BaseException:
            lock.close()
            raise
        return writer

    @classmethod
    def create(cls, path: Path, attributes: Mapping[str, Any]) -> Self:
        """Make an empty bank and open it. `attributes` are stored in zarr.json, the format version is added.

        Raises BankError where the place is taken by something else or cannot be written.
        """
        check_vacant(path)
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
            lock = _acquire_lock(path)
            if not table_path(path, "sources").exists():
                replace_table(table_path(path, "sources"), SOURCES_SCHEMA.empty_table())
                replace_table(table_path(path, "patches"), PATCHES_SCHEMA.empty_table())
            stored = {"format_version": FORMAT_VERSION, **attributes}
            # The group's metadata comes last: a directory with it is a bank.
            zarr.create_group(path, zarr_format=3, attributes={"hdrprep": stored})
        return cls(path, stored, lock)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Replace what zarr.json says of the bank, the format version kept."""
        stored = {"format_version": FORMAT_VERSION, **attributes}
        if stored != self.attributes:
            zarr.open_group(self.path, mode="r+").attrs.put({"hdrprep": stored})
            self.attributes = stored

    def fold(self) -> int:
        """Take all waiting commits into the tables, one rename a table; return how many there were."""
        paths = list_commits(self.path)
        if not paths:
            return 0
        commits = [read_commit(path) for path in paths]
        self._replace(
            merge_sources(self.sources, (source for _, source in commits if source is not None)),
            merge_patches(self.patches, pa.concat_tables([patches for patches, _ in commits])),
        )
        for path in paths:
            path.unlink()
        return len(paths)

    def replace_patches(self, patches: pa.Table) -> None:
        """Write the patches table anew."""
        self._replace(self.sources, patches)

    def replace_sources(self, sources: pa.Table) -> None:
        """Write the sources table anew."""
        self._replace(sources, self.patches)

    def _replace(self, sources: pa.Table, patches: pa.Table) -> None:
        # Patches first: a reader between the two renames sees patches whose source comes a moment later, and never a
        # source that claims frames without patches. Rows of a table that did not change are not written again.
        with writing(self.path):
            if not patches.equals(self.patches):
                replace_table(table_path(self.path, "patches"), patches)
                self.patches = patches
            if not sources.equals(self.sources):
                replace_table(table_path(self.path, "sources"), sources)
                self.sources = sources

    def close(self) -> None:
        """Let go of the bank."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_vacant(path: Path) -> None:
    """Raise BankError where a bank cannot be made because something else is there."""
    if path.exists() and (not path.is_dir() or _foreign_entries(path)):
        raise BankError(f"{path} exists and is no bank; choose another --bank")


def read_folded(path: Path) -> tuple[pa.Table, pa.Table]:
    """Return the tables `(sources, patches)` as opening the bank would leave them, and write nothing.

    Another process may fold meanwhile: what it takes away is in the tables that are read afterwards.
    """
    commits = []
    for commit in list_commits(path):
        with suppress(FileNotFoundError):
            commits.append(read_commit(commit))
    sources = read_table(path, "sources", SOURCES_SCHEMA)
    patches = read_table(path, "patches", PATCHES_SCHEMA)
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
    """Return the patches table with rows added or replaced by patch_id, in the order (source_id, frame, k).

    Raises BankError where two different patches have one patch_id.
    """
    _refuse_collisions(table, rows)
    untouched = table.filter(pc.invert(pc.is_in(table["patch_id"], value_set=rows["patch_id"].combine_chunks())))
    return pa.concat_tables([untouched, rows]).sort_by(PATCH_ORDER).combine_chunks()


def _source_key(row: Mapping[str, Any]) -> tuple[str, str]:
    return ("id", row["source_id"]) if row["source_id"] is not None else ("path", row["path"])


def _refuse_collisions(table: pa.Table, rows: pa.Table) -> None:
    identity = ["patch_id", "source_id", "frame", "k"]
    both = pa.concat_tables([table.select(identity), rows.select(identity)])
    distinct = both.group_by(identity).aggregate([]).num_rows
    if distinct != pc.count_distinct(both["patch_id"]).as_py():
        raise BankError("two different patches have the same patch_id; leave out one of the sources added last")


def _foreign_entries(path: Path) -> list[str]:
    # An ingest that was killed while it made the bank leaves these behind.
    return [entry.name for entry in path.iterdir() if entry.name not in {"_work", "tables"}]


def _acquire_lock(path: Path) -> IO[str]:
    """Hold `_work/lock` until the returned file is closed or the process ends, however it ends."""
    with writing(path):
        (path / "_work").mkdir(exist_ok=True)
        lock = (path / "_work" / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise BankLocked(
            f"another process ({holder}) is writing to {path}; wait for it or use another --bank"
        ) from None
    lock.truncate(0)
    lock.write(f"pid {os.getpid()} on {os.uname().nodename}")
    lock.flush()
    return lock
