"""Finding sources below the paths a user names, and telling who they are: the SHA-256 of their content."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import SourceError, UsageError
from pipeline.records import Transfer
from pipeline.remote import access, filesystem, is_remote


class IngestSettings(BaseModel):
    """How sources are taken in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0, lt=2**63)  # of every random number of the bank
    every: int = Field(10, ge=1)  # of a sequence or video, every n-th frame is used (Eilertsen et al. 2017: 10)
    sequences: bool = True  # whether NAME.DDDD.exr files form one source
    transfer: Transfer | None = None  # of files that do not state their own


@dataclass(frozen=True, slots=True)
class Discovery:
    """`files` to take in, in a fixed order, and a count of the `ignored` ones by suffix."""

    files: list[Path]
    ignored: Counter[str] = field(default_factory=Counter)


def discover(paths: Iterable[Path], suffixes: frozenset[str], named: frozenset[str] = frozenset()) -> Discovery:
    """Find all files with one of the suffixes (lower case, with their dot) at or below the paths.

    Files with a suffix of `named` are taken where they are named themselves, and ignored below a folder.

    A file named directly comes where it was named, a folder's files in the order of their paths; none comes twice.
    Raises UsageError for a path that is missing, a file named directly whose suffix is unknown, or no file at all.
    """
    found: dict[Path, None] = {}
    ignored: Counter[str] = Counter()
    for path in paths:
        if is_folder(path):
            for file in sorted(_walk(path)):
                if file.suffix.lower() in suffixes and not _is_special(file):
                    found.setdefault(_absolute(file))
                else:
                    ignored[file.suffix.lower() or "no suffix"] += 1
        else:
            _check_named_file(path, suffixes, named)
            found.setdefault(_absolute(path))
    if not found:
        raise UsageError(f"no HDR source found; looked for files of these types: {_list(suffixes, named)}")
    return Discovery(list(found), ignored)


def _check_named_file(path: Path, suffixes: frozenset[str], named: frozenset[str]) -> None:
    if not path.exists():
        raise UsageError(f"{path} does not exist; check the path")
    if path.suffix.lower() not in suffixes | named or _is_special(path):
        raise UsageError(f"{path} is of unknown type {path.suffix or '(no suffix)'}; use {_list(suffixes, named)}")


def _list(suffixes: frozenset[str], named: frozenset[str]) -> str:
    alone = f"; and of these where they are named themselves: {', '.join(sorted(named))}" if named else ""
    return ", ".join(sorted(suffixes)) + alone


def is_folder(path: Path) -> bool:
    """Say whether a path is a folder. Raises OSError where a URL cannot be reached."""
    with access(str(path)):
        return path.is_dir()


def _absolute(path: Path) -> Path:
    if is_remote(path):
        return path
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps `..`, and one file would come twice


def _is_special(path: Path) -> bool:
    """Say whether this is a pipe, a socket or a device: reading from it may never end."""
    return not is_remote(path) and path.exists() and not path.is_file()


def _walk(top: Path) -> Iterator[Path]:
    """Yield the files below a folder, hidden entries and banks left out."""
    return _walk_remote(top) if is_remote(top) else _walk_local(top)


def _walk_remote(top: Path) -> Iterator[Path]:
    with access(str(top)):
        store, root = filesystem(str(top))
        names = [path[len(root.rstrip("/")) + 1 :] for path in store.find(root)]
    folders = {name.rpartition("/")[0] for name in names}
    banks = tuple(f"{folder}/" for folder in folders if f"{folder}/zarr.json".lstrip("/") in names)
    for name in names:
        if not any(part.startswith(".") for part in name.split("/")) and not f"{name}".startswith(banks):
            yield top / name


def _walk_local(top: Path) -> Iterator[Path]:
    """Yield as `_walk`, linked folders included once."""

    def refuse(error: OSError) -> None:
        # Passed over, its pictures would go missing without a word.
        raise UsageError(f"the folder {error.filename} cannot be read: {error.strerror}; correct its permissions")

    visited: set[str] = set()
    for folder, subfolders, files in os.walk(top, onerror=refuse, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited or "zarr.json" in files:
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from (Path(folder) / name for name in sorted(files) if not name.startswith("."))


def identify(files: Iterable[Path]) -> tuple[str, int]:
    """Return a source's identity, the SHA-256 (hex) of its content, and its size in bytes.

    The content of a sequence is that of its files one after the other. Raises SourceError where a file cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    try:
        for file in files:
            with access(str(file)), file.open("rb") as stream:
                while block := stream.read(2**20):
                    digest.update(block)
                    size += len(block)
    except OSError as error:
        raise SourceError(f"it cannot be opened: {error.strerror or error}") from error
    return digest.hexdigest(), size
