"""The store through which Zarr writes into a bank: like its own, but a power cut loses nothing that was written."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Self

from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from pipeline.bank.files import replace_file


class SyncedStore(LocalStore):
    """A directory in which files are replaced whole, and lie on the disk before they bear their name.

    They are filled in the folder `beside`. Once that is removed nothing can be written through this store any more.
    """

    def __init__(self, root: Path, beside: Path, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self._beside = beside

    def with_read_only(self, read_only: bool = False) -> Self:
        """Return the same store, or one that only reads."""
        return type(self)(self.root, self._beside, read_only=read_only)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Replace the file of a key."""
        self._check_writable()

        def fill(path: Path) -> None:
            path.write_bytes(value.as_buffer_like())

        replace_file(self.root / key, fill, self._beside)

    async def set(self, key: str, value: Buffer) -> None:
        """Replace the file of a key."""
        await asyncio.to_thread(self.set_sync, key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write the file of a key that has none; a bank has one writer, nobody else makes it meanwhile."""
        if not await self.exists(key):
            await self.set(key, value)
