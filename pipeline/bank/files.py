"""Atomic replacement of files: a reader sees the old one or the new one, whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import BankError

# Temporary files are made for their owner alone; a bank is shared like any other file. Reading the umask means setting
# it, so it is read once, before there are threads that could create files meanwhile.
_UMASK = os.umask(0o077)
os.umask(_UMASK)

_COMPRESSION = "zstd"  # of the tables


@contextmanager
def writing(bank: Path) -> Iterator[None]:
    """Turn what the file system refuses, such as a full disk, into a BankError."""
    try:
        yield
    except OSError as error:
        raise BankError(f"the bank {bank} cannot be written ({error.strerror or error})") from error


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a file beside `path`, bring it to the disk, then rename it to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    beside = Path(name)
    try:
        write(beside)
        beside.chmod(0o666 & ~_UMASK)
        _sync(beside)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def replace_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet table in one rename, compressed by zstd."""
    replace_file(path, lambda beside: pq.write_table(table, beside, compression=_COMPRESSION))


def table_bytes(table: pa.Table) -> int:
    """Return the size of the file that a table would become."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression=_COMPRESSION)
    return int(sink.getvalue().size)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
