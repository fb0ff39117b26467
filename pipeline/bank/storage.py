"""Where a bank lies: a directory of this machine, or a place on an object store behind an fsspec URL.

A bank is a set of files named by keys (`tables/patches.parquet`). A reader sees a file as it was or as it is, whole:
by write beside, fsync and rename in a directory, by one PUT on an object store.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import zarr.abc.store
from zarr.storage import FsspecStore

from pipeline.bank.durable import DurableStore, writing_of
from pipeline.bank.files import replace_file
from pipeline.bank.parts import LocalParts, Parts, RemoteParts
from pipeline.errors import BankError
from pipeline.remote import access, filesystem, is_url

_OVER = ".over"  # suffix of a folder by way of which nothing is written any more


class Storage(ABC):
    """The files of one bank. `name` is the path or URL that people know it by. May be sent to another process.

    All methods raise OSError where the storage refuses, FileNotFoundError for a key that is not there.
    """

    name: str
    in_process = False  # whether it is seen by this process alone

    @abstractmethod
    def read(self, key: str) -> bytes:
        """Return a file's content."""

    @abstractmethod
    def parts(self, keys: Sequence[str]) -> AbstractContextManager[Parts]:
        """Return files of which parts will be read."""

    @abstractmethod
    def write(self, key: str, *parts: bytes | memoryview) -> None:
        """Make or replace a file that holds these bytes, one after the other, as a whole and for good."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove a file if it is there."""

    @abstractmethod
    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return the bytes of each file below a folder, by key, in the order of the keys; of all files without one."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Say whether a file is there."""

    @abstractmethod
    def by_way_of(self, folder: str) -> Storage:
        """Return this storage for writing through a folder of it, in which files are filled before they are in place.

        Once that folder is gone, nothing can be written through what is returned. An object store fills no files: the
        folder is of no account there.
        """

    @abstractmethod
    def folders(self, prefix: str) -> list[str]:
        """Return the folders right below a folder, in order."""

    @abstractmethod
    def halt(self, folder: str) -> str:
        """Let nothing more be written by way of a folder that has a file `open`, and return where its files lie now."""

    @abstractmethod
    def remove(self, folder: str) -> None:
        """Remove a folder and all that is in it, if it is there."""

    @abstractmethod
    def zarr(self, read_only: bool = True) -> zarr.abc.store.Store:
        """Return the bank as a store of Zarr."""

    @abstractmethod
    def names(self) -> set[str]:
        """Return the files and folders right at the top; none where nothing is."""

    def keys(self, prefix: str = "") -> list[str]:
        """Return the files below a folder, in order."""
        return list(self.sizes(prefix))

    def total(self) -> int:
        """Return the bytes that all files take together."""
        return sum(self.sizes().values())

    def __str__(self) -> str:
        """Return the path or URL."""
        return self.name


class LocalStorage(Storage):
    """A bank in a directory."""

    def __init__(self, path: Path, beside: Path | None = None) -> None:
        self.path, self.name, self._beside = path, str(path), beside

    def read(self, key: str) -> bytes:
        """Return a file's content."""
        return (self.path / key).read_bytes()

    @contextmanager
    def parts(self, keys: Sequence[str]) -> Iterator[Parts]:
        """Open files."""
        with ExitStack() as opened:
            yield LocalParts([opened.enter_context(FileIO(self.path / key)) for key in keys])

    def write(self, key: str, *parts: bytes | memoryview) -> None:
        """Make or replace a file by one rename; its parts are not put together in memory."""
        replace_file(self.path / key, writing_of(parts), self._beside)

    def delete(self, key: str) -> None:
        """Remove a file if it is there."""
        (self.path / key).unlink(missing_ok=True)

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return the bytes of each file below a folder, by key."""
        found: dict[str, int] = {}
        for folder, _, files in os.walk(self.path / prefix):
            for name in files:
                file = Path(folder) / name
                try:
                    found[file.relative_to(self.path).as_posix()] = file.stat().st_size
                except FileNotFoundError:
                    continue  # a file beside another one, renamed meanwhile
        return dict(sorted(found.items()))

    def names(self) -> set[str]:
        """Return the files and folders right at the top."""
        return {entry.name for entry in self.path.iterdir()} if self.path.exists() else set()

    def exists(self, key: str) -> bool:
        """Say whether a file is there."""
        return (self.path / key).exists()

    def zarr(self, read_only: bool = True) -> zarr.abc.store.Store:
        """Return the bank as a store of Zarr whose files are on the disk once they are written."""
        return DurableStore(self.path, self._beside, read_only=read_only)

    def by_way_of(self, folder: str) -> Storage:
        """Return the directory for writing by way of a folder of it, which the caller makes."""
        return LocalStorage(self.path, self.path / folder)

    def folders(self, prefix: str) -> list[str]:
        """Return the folders right below a folder."""
        below = self.path / prefix
        return sorted(f"{prefix}/{entry.name}" for entry in below.iterdir()) if below.is_dir() else []

    def halt(self, folder: str) -> str:
        """Rename a folder, so that nobody who was to write by way of it finds it."""
        over = folder if folder.endswith(_OVER) else folder + _OVER
        if over != folder:
            (self.path / folder).rename(self.path / over)
        return over

    def remove(self, folder: str) -> None:
        """Remove a folder and all that is in it."""
        if (self.path / folder).exists():
            shutil.rmtree(self.path / folder)


class ObjectStorage(Storage):
    """A bank behind a URL. A PUT replaces an object as a whole: that is what these stores promise."""

    def __init__(self, url: str) -> None:
        self.name = url.rstrip("/")
        self.in_process = url.startswith("memory://")
        self._connection: tuple[Any, str] | None = None
        self._connect()  # for its errors

    def read(self, key: str) -> bytes:
        """Return an object's content."""
        with self._access(key) as (store, path):
            return bytes(store.cat_file(path))

    @contextmanager
    def parts(self, keys: Sequence[str]) -> Iterator[Parts]:
        """Ask for nothing yet."""
        store, root = self._connect()
        yield RemoteParts(store, [f"{root.rstrip('/')}/{key}" for key in keys], lambda: access(self.name))

    def write(self, key: str, *parts: bytes | memoryview) -> None:
        """Make or replace an object."""
        with self._access(key) as (store, path):
            store.pipe_file(path, b"".join(parts))

    def create(self, key: str, data: bytes) -> bool:
        """Make an object unless it is there, and say whether it was made: of two that try, one succeeds."""
        with self._access(key) as (store, path):
            try:
                store.pipe_file(path, data, mode="create")
            except FileExistsError:
                return False
        return True

    def delete(self, key: str) -> None:
        """Remove an object if it is there."""
        with self._access(key) as (store, path):
            try:
                store.rm_file(path)
            except FileNotFoundError:
                return

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return the bytes of each object below a folder, by key."""
        with self._access("") as (store, root):
            below = f"{root.rstrip('/')}/{prefix}".rstrip("/")
            found = store.find(below, detail=True)
        start = len(root.rstrip("/")) + 1
        return {path[start:]: int(info["size"] or 0) for path, info in sorted(found.items())}

    def names(self) -> set[str]:
        """Return the objects and folders right at the top."""
        with self._access("") as (store, root):
            try:
                found = store.ls(root, detail=False)
            except FileNotFoundError:
                return set()
        return {path.rstrip("/").rpartition("/")[2] for path in found if path.strip("/") != root.strip("/")}

    def exists(self, key: str) -> bool:
        """Say whether an object is there."""
        with self._access(key) as (store, path):
            return bool(store.isfile(path))

    def modified(self, key: str) -> float:
        """Return when an object was written, in seconds, by the clock of the store."""
        with self._access(key) as (store, path):
            return float(store.modified(path).timestamp())

    def zarr(self, read_only: bool = True) -> zarr.abc.store.Store:
        """Return the bank as a store of Zarr."""
        return FsspecStore.from_url(self.name, storage_options={"use_listings_cache": False}, read_only=read_only)

    def by_way_of(self, folder: str) -> Storage:
        """Return this storage: a PUT needs no folder to pass through."""
        return self

    def folders(self, prefix: str) -> list[str]:
        """Return the folders right below a folder."""
        start = len(prefix) + 1
        return sorted({f"{prefix}/{key[start:].partition('/')[0]}" for key in self.keys(prefix)})

    def halt(self, folder: str) -> str:
        """Put `over` in the place of `open`, for which writers look before they write."""
        self.write(f"{folder}/over", b"")
        self.delete(f"{folder}/open")
        return folder

    def remove(self, folder: str) -> None:
        """Remove the objects of a folder, `over` the last."""
        for key in self.keys(folder):
            self.delete(key)

    @contextmanager
    def _access(self, key: str) -> Iterator[tuple[Any, str]]:
        store, root = self._connect()
        with access(f"{self.name}/{key}"):
            yield store, f"{root.rstrip('/')}/{key}"

    def _connect(self) -> tuple[Any, str]:
        if self._connection is None:
            self._connection = filesystem(self.name)
        return self._connection

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_connection": None}


def open_storage(place: str | Path | Storage) -> Storage:
    """Return the storage at a path or URL. Raises UsageError where the URL's protocol is not known or not installed."""
    if isinstance(place, Storage):
        return place
    return ObjectStorage(place) if isinstance(place, str) and is_url(place) else LocalStorage(Path(place))


@contextmanager
def writing(storage: Storage) -> Iterator[None]:
    """Turn what the storage refuses, such as a full disk, into a BankError."""
    try:
        yield
    except OSError as error:
        raise BankError(f"the bank {storage} cannot be written ({error.strerror or error})") from error
