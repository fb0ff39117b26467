"""The folder that patches are exported to: whose it is, what lies in it, and how a file comes into it whole.

hdrprep.json       says that the folder is ours, and of which format; locked by the process that writes
patches.parquet    one row a patch: its numbers, its files, their sizes and checksums
croissant.json     the dataset card
_work/             unfinished files, and commits that wait to be taken into patches.parquet; gone when all is done
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.bank.files import replace_file
from pipeline.errors import OutputError, UsageError
from pipeline.handover.formats import Format

FOLDER_VERSION = 1
MARK, TABLE, CARD = "hdrprep.json", "patches.parquet", "croissant.json"
_BLOCK = 2**20  # bytes
_LISTING = pa.schema([("path", pa.string()), ("bytes", pa.int64()), ("touched", pa.bool_())])


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of exported patches."""

    path: Path

    @contextmanager
    def owned(self, form: Format) -> Iterator[None]:
        """Make or take over the folder, and keep other processes out of it.

        Raises UsageError where something else lies there, OutputError where another process writes to it.
        """
        self._check(form)
        with self.writing():
            if not (self.path / MARK).exists():
                replace_file(self.path / MARK, lambda beside: _write_mark(beside, form))
            lock = (self.path / MARK).open()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise OutputError(
                f"another process is exporting to {self.path}; wait for it or name another --out"
            ) from None
        with lock:
            yield

    def prepare(self) -> None:
        """Make room for unfinished files and commits; what a killed run left unfinished goes."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        with self.writing():
            self._scratch.mkdir(parents=True)
            self._commits.mkdir(exist_ok=True)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn what the file system refuses, such as a full disk, into an OutputError."""
        try:
            yield
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written ({error.strerror or error})") from error

    def place(self, path: str, write: Callable[[Path], None]) -> tuple[int, str]:
        """Let `write` fill a file, bring it to the disk under its name in one step; return its bytes and SHA-256."""
        fact: list[tuple[int, str]] = []

        def fill(beside: Path) -> None:
            write(beside)
            fact.append((beside.stat().st_size, digest_of(beside)))

        with self.writing():
            replace_file(self.path / path, fill, self._scratch)
        return fact[0]

    def scratch(self) -> Path:
        """Return a file for this process to scribble in."""
        return self._scratch / f"scratch-{os.uname().nodename}-{os.getpid()}"

    def commit(self, key: str, rows: pa.Table) -> None:
        """Note finished patches, to be taken into the table."""
        with self.writing():
            replace_file(self._commits / f"{key}.parquet", lambda beside: pq.write_table(rows, beside))

    def committed(self) -> list[Path]:
        """Return the commits that wait, in a fixed order."""
        return sorted(self._commits.glob("*.parquet"))

    def write_table(self, rows: pa.Table) -> tuple[int, str]:
        """Replace the table of patches; return its bytes and SHA-256."""
        return self.place(TABLE, lambda beside: pq.write_table(rows, beside, compression="zstd"))

    def files(self, form: Format) -> pa.Table:
        """Return the files in the folder that are named as the format names its files.

        Columns `path`, `bytes`, and `touched`: whether it was written after the table was, and may be another now.
        """
        table = self.path / TABLE
        since = table.stat().st_mtime_ns if table.exists() else 0
        found = [_LISTING.empty_table()]
        for split in form.folders():
            for member in form.members.values():
                pattern = re.compile(rf"(patches-)?\d+{re.escape(member.suffix)}")
                found.append(_listing(self.path, split + member.folder, pattern, since))
        return pa.concat_tables(found)

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files, and the folders of the split that are empty then."""
        folders: set[Path] = set()
        with self.writing():
            for path in paths:
                (self.path / path).unlink(missing_ok=True)
                folders.update((self.path / path).parents)
        for folder in sorted(folders, reverse=True):
            if self.path in folder.parents and not any(folder.iterdir()):
                folder.rmdir()

    def tidy(self) -> None:
        """Remove what only an unfinished export needs."""
        shutil.rmtree(self.path / "_work", ignore_errors=True)

    @property
    def _scratch(self) -> Path:
        return self.path / "_work" / "unfinished"

    @property
    def _commits(self) -> Path:
        return self.path / "_work" / "commits"

    def _check(self, form: Format) -> None:
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise UsageError(f"{self.path} is a file; name a folder by --out")
        mark = self.path / MARK
        if not mark.exists():
            # An export that was killed while it made the folder leaves a beginning of the mark behind.
            if any(not entry.name.startswith(f".{MARK}.") for entry in self.path.iterdir()):
                raise UsageError(f"{self.path} holds something that was not exported by hdrprep; name another --out")
            return
        try:
            stated = json.loads(mark.read_text())["hdrprep"]
            name, version = stated["export"], stated["version"]
        except (ValueError, KeyError, TypeError):
            raise UsageError(f"{mark} does not describe an export of hdrprep; name another --out") from None
        if (name, version) != (form.name, FOLDER_VERSION):
            raise UsageError(f"{self.path} holds an export of format {name} (version {version}); name another --out")


def _write_mark(path: Path, form: Format) -> None:
    path.write_text(json.dumps({"hdrprep": {"export": form.name, "version": FOLDER_VERSION}}) + "\n")


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _listing(top: Path, folder: str, pattern: re.Pattern[str], since: int) -> pa.Table:
    paths: list[str] = []
    sizes: list[int] = []
    touched: list[bool] = []
    if (top / folder).is_dir():
        with os.scandir(top / folder) as entries:
            for entry in entries:
                if pattern.fullmatch(entry.name) and entry.is_file():
                    paths.append(folder + entry.name)
                    sizes.append(entry.stat().st_size)
                    touched.append(entry.stat().st_mtime_ns >= since)
    return pa.table([paths, sizes, touched], schema=_LISTING)
