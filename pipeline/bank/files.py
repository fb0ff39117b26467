"""Atomic replacement of files: a reader sees the old one or the new one, whole, also after a power cut."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

# Temporary files are made for their owner alone; a bank is shared like any other file. Reading the umask means setting
# it, so it is read once, before there are threads that could create files meanwhile.
_UMASK = os.umask(0o077)
os.umask(_UMASK)


def replace_file(path: Path, write: Callable[[Path], object], beside: Path | None = None) -> None:
    """Let `write` fill a file in the folder `beside`, bring it to the disk, then rename it to `path`.

    Without `beside` it is filled where `path` lies. A folder that is named must exist and be of the same file system;
    where it is removed meanwhile, `path` stays as it was and FileNotFoundError is raised.
    """
    if beside is None:
        make_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=beside or path.parent, prefix=f".{path.name}.")
    os.close(handle)
    filled = Path(name)
    try:
        write(filled)
        filled.chmod(0o666 & ~_UMASK)
        _sync(filled)
        if beside not in (None, path.parent):
            make_folder(path.parent)
        filled.replace(path)
    except BaseException:
        filled.unlink(missing_ok=True)
        raise
    _sync(path.parent)


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
