"""The pairs of a bank, by row: straight from their shards, or by Zarr where they are stored in a way unknown here.

Straight: two small reads for the indexes, two for the chunks, one for the ids. Zarr's own reader does the same through
an event loop and threads, and copies more often; it is the slow twin.
Nothing is kept from one pair to the next, no open file and no index: so a shard that was replaced meanwhile, or
damaged, shows at once, and the object may be used after a fork, and sent to another process.
Legend: S patch size, R patches a shard.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipeline.bank.arrays import NO_PATCH, PatchArrays, shard_key
from pipeline.bank.chunks import ChunkMissing, Layout, layouts_of, place_of
from pipeline.bank.shards import decode_ids
from pipeline.bank.storage import Storage


class Pairs(Protocol):
    """The stored pairs of a bank."""

    @property
    def count(self) -> int:
        """How many rows there are."""

    def pixels(self, row: int) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.uint8]]:
        """Return `(hdr, ldr)` of a row: (S, S, 3) float16 and uint8, each with a checksum that holds.

        Raises ChunkMissing where they are not stored, OSError, ValueError, IndexError or RuntimeError where they cannot
        be read.
        """

    def patch_id(self, row: int) -> int:
        """Return which patch a row holds by now, NO_PATCH for none. Raises as `pixels` does."""


@dataclass(frozen=True, slots=True)
class PairFiles(Pairs):
    """Pairs read straight from the files, or objects, of a bank."""

    bank: Storage
    rows: int
    hdr: Layout
    ldr: Layout
    total: int

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self.total

    def pixels(self, row: int) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.uint8]]:
        """Read the ends of the two shards, then the two chunks."""
        if not 0 <= row < self.total:
            raise IndexError(f"there are {self.total} rows")
        shard, chunk = divmod(row, self.rows)
        try:
            with self.bank.parts([shard_key(name, shard) for name in ("hdr", "ldr")]) as parts:
                indexes = parts.read([(-layout.index_bytes, layout.index_bytes) for layout in (self.hdr, self.ldr)])
                hdr, ldr = parts.read([place_of(index, chunk) for index in indexes])
        except FileNotFoundError as error:
            raise ChunkMissing("is missing") from error
        truth, photograph = self.hdr.decode(hdr), self.ldr.decode(ldr)
        if np.isnan(truth[0, 0, 0]):  # the fill value: written between the patches of an export, and held by none
            raise ChunkMissing("holds no patch")
        return truth, photograph

    def patch_id(self, row: int) -> int:
        """Read the ids of the shard."""
        shard, chunk = divmod(row, self.rows)
        key = shard_key("patch_id", shard)
        try:
            ids = decode_ids(self.bank.read(key), self.rows)
        except FileNotFoundError:
            return NO_PATCH
        if ids is None:
            raise ValueError(f"{key} does not match its checksum")
        return int(ids[chunk])


class PairArrays(Pairs):
    """Pairs read by Zarr."""

    def __init__(self, bank: Storage, arrays: PatchArrays) -> None:
        self._bank, self._arrays = bank, arrays

    @property
    def count(self) -> int:
        """How many rows there are."""
        return int(self._arrays.ldr.shape[0])

    def pixels(self, row: int) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.uint8]]:
        """Let Zarr read; what is not stored, it takes for the fill value."""
        hdr = np.asarray(self._arrays.hdr[row], dtype=np.float16)
        ldr = np.asarray(self._arrays.ldr[row], dtype=np.uint8)
        # NaN in hdr, but black in ldr, where only the file's absence tells.
        if np.isnan(hdr[0, 0, 0]) or not (ldr.any() or self._bank.exists(self._arrays.shard_key("ldr", row))):
            raise ChunkMissing("is missing")
        return hdr, ldr

    def patch_id(self, row: int) -> int:
        """Let Zarr read."""
        return int(np.asarray(self._arrays.patch_id[row]))


def open_pairs(bank: Storage) -> Pairs:
    """Return the pairs of a bank from which something was exported."""
    arrays = PatchArrays(bank)
    found = layouts_of(arrays.hdr, arrays.ldr, arrays.patch_id)
    if found is None:
        return PairArrays(bank, arrays)
    # While an export adds rows, the arrays grow one after the other.
    total = min(int(array.shape[0]) for array in (arrays.hdr, arrays.ldr, arrays.patch_id))
    return PairFiles(bank, found[0].rows, *found, total)
