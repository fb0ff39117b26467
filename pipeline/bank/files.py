"""Atomic replacement of files: a reader sees the old one or the new one, whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

# Temporary files are made for their owner alone; a bank is shared like any other file. Reading the umask means setting
# it, so it is read once, before there are threads that could create files meanwhile.
_UMASK = os.umask(0o077)
os.umask(_UMASK)


def replace_file(path: Path, write: Callable[[Path], object], folder: Path | None = None) -> None:
    """Let `write` fill a file beside `path`, bring it to the disk, then rename it to `path`.

    `folder`, of the same file system, takes the unfinished file where others list what lies beside `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder or path.parent, prefix=f".{path.name}.")
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


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
