"""Zarr's store in a directory, made to last: what is written is on the disk before it has its name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, Self

from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from pipeline.bank.files import replace_file


class DurableStore(LocalStore):
    """Zarr's store in a directory, with each file brought to the disk before it has its name.

    What is committed about a shard must not outlive it in a power cut. Files are filled in the folder `beside`.
    """

    def __init__(self, root: Path, beside: Path | None, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self._beside = beside

    def with_read_only(self, read_only: bool = False) -> Self:
        """Return the same store, or one that only reads."""
        return type(self)(self.root, self._beside, read_only=read_only)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write a file."""
        self._check_writable()
        replace_file(self.root / key, writing_of([value.as_buffer_like()]), self._beside)

    async def set(self, key: str, value: Buffer) -> None:
        """Write a file."""
        if not self._is_open:
            await self._open()
        await asyncio.to_thread(self.set_sync, key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write a file that is not there; a bank has one writer, nobody else makes it meanwhile."""
        if not await self.exists(key):
            await self.set(key, value)


def writing_of(parts: Sequence[Any]) -> Callable[[Path], object]:
    """Return what fills a file with bytes, one after the other, as `replace_file` asks for it."""

    def fill(beside: Path) -> None:
        with FileIO(beside, "w") as file:
            for part in parts:
                _write(file, memoryview(part).cast("B"))

    return fill


def _write(file: FileIO, content: memoryview) -> None:
    """Write all of it: the system may take less than it is given."""
    done = 0
    while done < len(content):
        done += file.write(content[done:])
