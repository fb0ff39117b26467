"""The exported pixels: three Zarr arrays, one chunk a patch, several patches a shard, a CRC32C on every chunk.

Zarr makes, resizes and opens them; the shards themselves are written by `drafts` and read by `pairs`.
Legend: N exported patches, S patch size.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import zarr
from pydantic import BaseModel, ConfigDict, Field
from zarr.abc.store import Store
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from pipeline.bank.chunks import Layout, layouts_of
from pipeline.bank.storage import Storage, writing

HALF_MAX = float(np.finfo(np.float16).max)  # 65504
ARRAYS = ("hdr", "ldr", "patch_id")
NO_PATCH = -1  # in patch_id: this row holds no patch yet


class ExportSettings(BaseModel):
    """How kept patches are stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shard_rows: int = Field(32, ge=1, le=4096)  # patches a shard; fixed by the first export into a bank
    # Of the pixels; likewise fixed. lz4 is Blosc's, after a bitshuffle: a quarter fewer bytes (docs/performance.md).
    compression: Literal["none", "lz4", "zstd"] = "lz4"
    tar_patches: int = Field(256, ge=1, le=65536)  # patches a tar of the format webdataset: 0.4 GB of 512x512
    limit: int | None = Field(None, ge=1)  # at most so many patches, a seeded choice (the paper's 100,000)


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """What one task writes: the arrays' `rows`, all in one shard, and the positions of their patches in the table.

    A shard is `fresh` where no other patch of the table lies in it, whatever is stored there.
    """

    rows: tuple[int, ...]
    positions: tuple[int, ...]
    fresh: bool


class PatchArrays:
    """The arrays `hdr` float16 (N, S, S, 3), `ldr` uint8 (N, S, S, 3) and `patch_id` int64 (N,) of a bank."""

    def __init__(self, bank: Storage, mode: Literal["r", "r+"] = "r", store: Store | None = None) -> None:
        """Open the arrays of a bank, or those in another `store` that belong to it."""
        self._bank, self._store = bank, store or bank.zarr(read_only=mode == "r")
        self.hdr = self._open("hdr")
        self.ldr = self._open("ldr")
        self.patch_id = self._open("patch_id")

    @classmethod
    def exist(cls, bank: Storage) -> bool:
        """Say whether anything was ever exported from a bank; `patch_id` is the last array to be made."""
        return bank.exists("patch_id/zarr.json")

    @classmethod
    def create(cls, bank: Storage, patch_size: int, settings: ExportSettings) -> None:
        """Make the three arrays, empty. Raises BankError where the bank cannot be written."""
        with writing(bank):
            _create(bank.zarr(read_only=False), patch_size, settings)

    @property
    def shard_rows(self) -> int:
        """Patches a shard."""
        return int(self.hdr.shards[0]) if self.hdr.shards else 1

    def shard_key(self, name: str, row: int) -> str:
        """Return which file of the bank holds a row of an array."""
        return shard_key(name, row // self.shard_rows)

    @property
    def shards(self) -> int:
        """Shards that N patches take."""
        return -(-int(self.hdr.shape[0]) // self.shard_rows)

    def resize(self, rows: int) -> None:
        """Set N. Rows that were not written hold NaN, 0 and -1. Raises BankError where the bank cannot be written."""
        with writing(self._bank):
            for array in (self.hdr, self.ldr, self.patch_id):
                if array.shape[0] != rows:
                    array.resize((rows, *array.shape[1:]))

    def _open(self, name: str) -> zarr.Array[Any]:
        array = zarr.open_array(self._store, path=name, mode="r" if self._store.read_only else "r+")
        # Zarr keeps this setting out of the file; without it an all-black photograph would look like a lost chunk.
        return array.with_config({"write_empty_chunks": True})


def shard_key(name: str, shard: int) -> str:
    """Return which file of a bank holds a shard of an array."""
    return f"{name}/c/{shard}" + ("" if name == "patch_id" else "/0/0/0")


def new_layouts(patch_size: int, settings: ExportSettings) -> tuple[Layout, Layout]:
    """Return how arrays of these settings store hdr and ldr."""
    store = MemoryStore()
    _create(store, patch_size, settings)
    found = layouts_of(*(zarr.open_array(store, path=name, mode="r") for name in ARRAYS))
    if found is None:
        raise RuntimeError("this version of Zarr stores arrays in a way that is not known here")
    return found


def to_half(hdr: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float16], int]:
    """Return hdr clipped to float16's range, and the number of values that were."""
    clipped = int(np.count_nonzero(hdr > HALF_MAX))
    return np.minimum(hdr, np.float32(HALF_MAX)).astype(np.float16), clipped


def plan_shards(exported: npt.NDArray[np.int64], pending: Sequence[int], shard_rows: int) -> list[ShardPlan]:
    """Assign rows to the patches that are not yet exported, and cut the work into shards.

    exported: the rows that hold patches. pending: positions of the patches to export, in the order (source_id, frame,
    k). They take the free rows from 0 upwards, so that an export that was interrupted, its shards finished in any
    order, ends with the rows that it would have had.
    """
    total = exported.size + len(pending)
    free = np.setdiff1d(np.arange(total, dtype=np.int64), exported)[: len(pending)]
    plans: dict[int, list[tuple[int, int]]] = {}
    for row, position in zip(free.tolist(), pending, strict=True):
        plans.setdefault(row // shard_rows, []).append((row, position))
    shared = set((exported // shard_rows).tolist())
    return [
        ShardPlan(tuple(row for row, _ in pairs), tuple(position for _, position in pairs), shard not in shared)
        for shard, pairs in plans.items()
    ]


def array_metadata(patch_size: int, settings: ExportSettings, rows: int) -> dict[str, dict[str, Any]]:
    """Return what the metadata file of each array of N rows must say, by its key."""
    stored: dict[str, Buffer] = {}
    _create(MemoryStore(stored), patch_size, settings)
    metadata = {key: json.loads(content.to_bytes()) for key, content in stored.items() if key.split("/")[0] in ARRAYS}
    for content in metadata.values():
        content["shape"][0] = rows
    return metadata


def _create(store: Store, patch_size: int, settings: ExportSettings) -> None:
    rows, size = settings.shard_rows, patch_size
    for name, dtype, fill in (("hdr", np.float16, np.nan), ("ldr", np.uint8, 0)):
        zarr.create_array(
            store=store,
            name=name,
            shape=(0, size, size, 3),
            chunks=(1, size, size, 3),
            shards=(rows, size, size, 3),
            dtype=dtype,
            fill_value=fill,
            compressors=_codecs(settings.compression, np.dtype(dtype).itemsize),
            config={"write_empty_chunks": True},
            overwrite=True,
        )
    # One chunk a shard of pixels, so that the task that writes a shard is alone here too.
    zarr.create_array(
        store=store,
        name="patch_id",
        shape=(0,),
        chunks=(rows,),
        dtype=np.int64,
        fill_value=NO_PATCH,
        compressors=[Crc32cCodec()],
        config={"write_empty_chunks": True},
        overwrite=True,
    )


def _codecs(compression: str, itemsize: int) -> list[Any]:
    if compression == "lz4":
        return [BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle", typesize=itemsize), Crc32cCodec()]
    if compression == "zstd":
        return [ZstdCodec(level=3), Crc32cCodec()]
    return [Crc32cCodec()]
