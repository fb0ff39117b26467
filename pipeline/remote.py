"""Files behind a URL (`s3://`, `gs://`, `memory://` and whatever else fsspec knows): named, listed, brought here.

A remote source is a `UPath`, which is used as any other `pathlib.Path`: name, suffix, parent, open. Only a decoder
needs a file of this machine; `local_file` gets it one.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import fsspec
from upath import UPath

from pipeline.errors import HdrprepError, UsageError

# What a process last asked for may be old: other processes write, too.
_OPTIONS: Final[dict[str, Any]] = {"use_listings_cache": False}
_PACKAGES = {"s3": "hdrprep[s3]", "gs": "hdrprep[gcs]", "gcs": "hdrprep[gcs]"}


def is_url(text: str) -> bool:
    """Say whether a text is a URL, and not a path of this machine."""
    return "://" in text


def is_remote(path: Path) -> bool:
    """Say whether a path is one that `path_of` made of a URL."""
    return not isinstance(path, Path)


def path_of(text: str | Path) -> Path:
    """Return what a path or a URL names. Raises UsageError where a URL's protocol is not known or not installed."""
    if isinstance(text, Path) or not is_url(str(text)):
        return Path(text)
    url = str(text)
    filesystem(url)  # for its errors
    # A UPath is no subclass of Path, and does all that is asked of one here.
    return cast("Path", UPath(url, protocol=None, **_OPTIONS))


def filesystem(url: str) -> tuple[Any, str]:
    """Return fsspec's file system of a URL, and the path in it. Raises UsageError where there is none."""
    protocol = url.partition("://")[0]
    try:
        with access(url):
            filesystem, path = fsspec.url_to_fs(url, **_OPTIONS)
    except ImportError as error:
        package = _PACKAGES.get(protocol, str(error))
        raise UsageError(f"{url} needs another package: pip install '{package}'") from error
    except ValueError as error:
        raise UsageError(f"{url} cannot be used: {error}") from error
    return filesystem, str(path)


@contextmanager
def access(url: str) -> Iterator[None]:
    """Turn whatever the library behind a file system raises (no network, no credentials) into an OSError."""
    try:
        yield
    except (OSError, HdrprepError, ImportError, ValueError):
        raise
    except Exception as error:
        raise OSError(errno.EIO, f"{type(error).__name__}: {error}".splitlines()[0][:200], url) from error


def local_file(path: Path) -> Path:
    """Return a file of this machine with the content of a path: the file itself, or a copy of a remote one.

    A copy stays until this process asks for another one. Raises OSError where it cannot be brought here.
    """
    if not is_remote(path):
        return path
    with access(str(path)):
        return _last_copy.of(path)


class _LastCopy:
    """The remote file that this process used last, kept on its disk: a video is decoded in several stretches."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._looks: tuple[object, ...] = ()

    def of(self, path: Path) -> Path:
        filesystem, name = fsspec.url_to_fs(str(path), **_OPTIONS)
        info = filesystem.info(name)
        looks = (str(path), *(info.get(key) for key in ("size", "ETag", "etag", "LastModified", "created", "mtime")))
        if self._folder is None or looks != self._looks:
            self._replace(filesystem, name, path.name)
            self._looks = looks
        return Path(cast("tempfile.TemporaryDirectory[str]", self._folder).name) / path.name

    def _replace(self, filesystem: Any, source: str, name: str) -> None:
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
        folder = tempfile.TemporaryDirectory(prefix="hdrprep-")
        with filesystem.open(source, "rb") as remote, (Path(folder.name) / name).open("wb") as local:
            shutil.copyfileobj(remote, local, 4 * 2**20)
        self._folder = folder


_last_copy = _LastCopy()
