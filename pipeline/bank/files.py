"""Atomic replacement of files: a reader sees the old one or the new one, whole, also after a power cut."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from glob import escape
from pathlib import Path

# Temporary files are made for their owner alone; a bank is shared like any other file. Reading the umask means setting
# it, so it is read once, before there are threads that could create files meanwhile.
_UMASK = os.umask(0o077)
os.umask(_UMASK)


def replace_file(path: Path, write: Callable[[Path], object], beside: Path | None = None) -> None:
    """Let `write` fill a file in the folder `beside`, bring it to the disk, then rename it to `path`.

    Without `beside` it is filled where `path` lies, and what a killed process left there of the same file is removed
    before. A folder that is named must exist and be of the same file system; where it is removed meanwhile, `path`
    stays as it was and FileNotFoundError is raised.
    """
    if beside is None:
        make_folder(path.parent)
        _remove_beginnings(path)
    handle, name = tempfile.mkstemp(dir=beside or path.parent, prefix=f".{path.name}.")
    filled = Path(name)
    try:
        _lock(handle)
        write(filled)
        filled.chmod(0o666 & ~_UMASK)
        _sync(filled)
        if beside not in (None, path.parent):
            make_folder(path.parent)
        filled.replace(path)
    except BaseException:
        filled.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
    _sync(path.parent)


def _lock(handle: int) -> None:
    """Mark a file as one that is being filled, for as long as this process lives."""
    with suppress(OSError):  # a file system without locks: what is left there stays
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _remove_beginnings(path: Path) -> None:
    for beginning in path.parent.glob(f".{escape(path.name)}.{'[a-z0-9_]' * 8}"):
        with suppress(OSError), beginning.open("r+b") as file:  # where its writer lives the lock is refused
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            beginning.unlink()


def make_folder(path: Path) -> None:
    """Make a folder and those above it, and bring their entries to the disk."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in reversed(missing):
        _sync(folder.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
