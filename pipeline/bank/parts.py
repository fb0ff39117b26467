"""Parts of files, read by their place in the file: from open files of this machine, or by requests for ranges.

Files that are open stay as they were, whatever is put in their places meanwhile: the index of a shard and its chunks
belong together. An object store has no such thing, and there only the checksum tells.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from io import FileIO
from typing import Any

import numpy as np
import numpy.typing as npt

Span = tuple[int, int]  # offset and length, bytes; a negative offset counts from the end, and reaches to the end


class Parts(ABC):
    """Some files of a bank, of each of which the same number of parts is wanted."""

    @abstractmethod
    def read(self, spans: Sequence[Span]) -> list[npt.NDArray[np.uint8]]:
        """Return a part of each file, writable where the memory is this process's own; shorter where the file ends.

        Raises OSError.
        """


class LocalParts(Parts):
    """Files that are open; who opened them closes them."""

    def __init__(self, files: Sequence[FileIO]) -> None:
        self._files = files

    def read(self, spans: Sequence[Span]) -> list[npt.NDArray[np.uint8]]:
        """Read right into the memory that is returned."""
        return [_read(file, *span) for file, span in zip(self._files, spans, strict=True)]


class RemoteParts(Parts):
    """Objects of a file system of fsspec, of which one request each gets a part; all are on their way at once."""

    def __init__(self, store: Any, paths: list[str], access: Callable[[], AbstractContextManager[None]]) -> None:
        self._store, self._paths, self._access = store, paths, access

    def read(self, spans: Sequence[Span]) -> list[npt.NDArray[np.uint8]]:
        """Ask for a part of each."""
        starts = [offset for offset, _ in spans]
        ends = [None if offset < 0 else offset + length for offset, length in spans]
        with self._access():
            found = self._store.cat_ranges(self._paths, starts, ends, on_error="return")
            for content in found:
                if isinstance(content, BaseException):
                    raise content
        return [np.frombuffer(content, np.uint8) for content in found]


def _read(file: FileIO, offset: int, length: int) -> npt.NDArray[np.uint8]:
    size = file.seek(0, 2)
    start = max(size + offset, 0) if offset < 0 else offset
    content = np.empty(max(min(length, size - start), 0), np.uint8)  # no more than there is, whatever an index says
    file.seek(start)
    done = 0
    while done < content.size:
        count = file.readinto(content[done:].data)
        if not count:
            return content[:done]
        done += count
    return content
