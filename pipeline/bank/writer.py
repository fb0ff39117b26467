"""The process that owns a bank: it holds the lock, folds commits into the tables and replaces them whole."""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import zarr

from pipeline.bank.arrays import ExportSettings, PatchArrays
from pipeline.bank.commits import Turn, list_commits, read_commit, turns_folder
from pipeline.bank.files import make_folder, replace_table, writing
from pipeline.bank.reader import bank_attributes, read_table
from pipeline.bank.schema import FORMAT_VERSION, PATCH_ORDER, PATCHES_SCHEMA, SOURCES_SCHEMA, table_path
from pipeline.bank.store import SyncedStore
from pipeline.errors import BankError, BankLocked

_OVER = ".over"  # suffix of the folder of a turn that is being ended


class BankWriter:
    """A bank opened for writing by one process. Use it as a context manager.

    `sources` and `patches` are the tables as last folded; workers write commits beside them (`write_commit`) in a turn
    (`begin`), `fold` takes these in, `end` lets no more come. Whatever an interrupted run left behind is folded on
    opening.
    """

    def __init__(self, path: Path, attributes: dict[str, Any], lock: IO[str]) -> None:
        self.path = path
        self.attributes = attributes
        self._lock = lock
        self._turn: Turn | None = None
        self.sources = read_table(path, "sources", SOURCES_SCHEMA)
        self.patches = read_table(path, "patches", PATCHES_SCHEMA)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a bank that exists. Raises BankMissing, BankVersionError, BankLocked, BankDamaged."""
        attributes = bank_attributes(path)
        lock = _acquire_lock(path)
        try:
            writer = cls(path, attributes, lock)
            writer._end_turns()
        except BaseException:
            lock.close()
            raise
        return writer

    @classmethod
    def create(cls, path: Path, attributes: Mapping[str, Any]) -> Self:
        """Make an empty bank and open it. `attributes` are stored in zarr.json, the format version is added.

        Raises BankError where the place is taken by something else or cannot be written.
        """
        if path.exists() and (not path.is_dir() or _foreign_entries(path)):
            raise BankError(f"{path} exists and is no bank; choose another --bank")
        with writing(path):
            make_folder(path)
            lock = _acquire_lock(path)
            for name, schema in (("sources", SOURCES_SCHEMA), ("patches", PATCHES_SCHEMA)):
                if not table_path(path, name).exists():
                    replace_table(table_path(path, name), schema.empty_table(), beside(path))
            stored = {"format_version": FORMAT_VERSION, **attributes}
            # The group's metadata comes last: a directory with it is a bank.
            store = SyncedStore(path, beside(path))
            zarr.create_group(store, zarr_format=3, attributes={"hdrprep": stored})
        return cls(path, stored, lock)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Replace what zarr.json says of the bank, the format version kept."""
        stored = {"format_version": FORMAT_VERSION, **attributes}
        if stored != self.attributes:
            self._check_lock()
            with writing(self.path):
                store = SyncedStore(self.path, beside(self.path))
                zarr.open_group(store, mode="r+").attrs.put({"hdrprep": stored})
            self.attributes = stored

    def create_arrays(self, patch_size: int, settings: ExportSettings) -> None:
        """Make the arrays of the exported pixels, empty."""
        self._check_lock()
        with writing(self.path):
            PatchArrays.create(self.path, beside(self.path), patch_size, settings)

    def arrays(self) -> PatchArrays:
        """Return the arrays of the exported pixels, open for writing."""
        return PatchArrays(self.path, beside(self.path))

    def begin(self) -> Turn:
        """Begin a turn, in which workers may commit; the one before is over."""
        self.end()
        self._check_lock()
        turn = Turn(self.path, uuid.uuid4().hex[:16])
        with writing(self.path):
            make_folder(turn.folder)
        self._turn = turn
        return turn

    def fold(self) -> int:
        """Take all waiting commits into the tables, one rename a table; return how many there were."""
        self._check_lock()
        return 0 if self._turn is None else self._fold(self._turn.folder)

    def end(self) -> int:
        """End the turn, if there is one: fold what was committed, and let nothing be written in its name any more."""
        count = self._end_turns() if self._turn is not None else 0
        self._turn = None
        return count

    def _end_turns(self) -> int:
        """End all turns of this bank, also those of runs that were killed; return how many commits were folded."""
        self._check_lock()
        count = 0
        with writing(self.path):
            for folder in sorted(turns_folder(self.path).glob("*")):
                over = folder if folder.suffix == _OVER else folder.with_suffix(_OVER)
                if over != folder:
                    folder.rename(over)  # from here on no worker finds it
                count += self._fold(over)
                shutil.rmtree(over)
        return count

    def _fold(self, folder: Path) -> int:
        paths = list_commits(folder)
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
        # Sources first: no patch ever stands in the tables whose source does not. Rows of a table that did not change
        # are not written again.
        self._check_lock()
        with writing(self.path):
            if not sources.equals(self.sources):
                replace_table(table_path(self.path, "sources"), sources, beside(self.path))
                self.sources = sources
            if not patches.equals(self.patches):
                replace_table(table_path(self.path, "patches"), patches, beside(self.path))
                self.patches = patches

    def _check_lock(self) -> None:
        """Raise BankError where the bank was deleted under this process: another one may hold what stands there now."""
        if not _is_at(self._lock, _lock_path(self.path)):
            raise BankError(f"the bank {self.path} was deleted or moved while this command worked on it; repeat it")

    def close(self) -> None:
        """Let go of the bank."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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


def beside(path: Path) -> Path:
    """Return the folder where the process that owns a bank fills files, before a rename puts them in place."""
    return path / "_work" / "beside"


def _lock_path(path: Path) -> Path:
    return path / "_work" / "lock"


def _acquire_lock(path: Path) -> IO[str]:
    """Hold `_work/lock` until the returned file is closed or the process ends, however it ends."""
    with writing(path):
        make_folder(path / "_work")
        lock = _lock_path(path).open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _locked(path, lock) from None
        if not _is_at(lock, _lock_path(path)):  # the bank was deleted between the two steps
            raise _locked(path, lock)
        lock.truncate(0)
        lock.write(f"pid {os.getpid()} on {os.uname().nodename}")
        lock.flush()
        # What a process that was killed had begun to write.
        shutil.rmtree(beside(path), ignore_errors=True)
        make_folder(beside(path))
    return lock


def _locked(path: Path, lock: IO[str]) -> BankLocked:
    lock.seek(0)
    holder = lock.read().strip() or "unknown"
    lock.close()
    return BankLocked(f"another process ({holder}) is writing to {path}; wait for it or use another --bank")


def _is_at(file: IO[str], path: Path) -> bool:
    """Say whether an open file is the one that lies at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
