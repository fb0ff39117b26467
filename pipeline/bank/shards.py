"""The stored bytes of one shard: read once, and checked chunk by chunk.

What Zarr does with a shard, done here for all of its chunks at once, and without an end at the first damaged one.
Legend: n rows of a shard that lie within the arrays, S patch size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.storage import MemoryStore

from pipeline.bank.arrays import ARRAYS, HALF_MAX, NO_PATCH, PatchArrays
from pipeline.bank.chunks import (
    CRC_BYTES,
    UNREADABLE_INDEX,
    WRONG_CHECKSUM,
    ChunkFault,
    crc,
    entry_of,
    has_crc,
    index_bytes,
    layout_of,
)
from pipeline.bank.storage import Storage

# As numbers without sign, all that is finite and not negative lies below infinity.
_HALF_INFINITY = np.float16(np.inf).view(np.uint16)
_HALF_MAX = np.float16(HALF_MAX).view(np.uint16)


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found in the `rows` of one shard.

    `ids` (n,) int64 is what patch_id says, NO_PATCH where a row holds none; all of them where `ids_fault` tells that it
    cannot be read. `faults` says of a row why its pixels cannot be used, `at_limit` (n,) int64 how many values of hdr
    are 65504: those that were clipped, and a few more.
    """

    rows: range
    ids: npt.NDArray[np.int64]
    ids_fault: str | None
    faults: Mapping[int, str]
    at_limit: npt.NDArray[np.int64]
    bytes: int


@dataclass(frozen=True, slots=True)
class StoredShard:
    """All that is stored of a shard, and what was `found` in it."""

    found: Examined
    _arrays: PatchArrays = field(repr=False)

    def pair(self, row: int) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.uint8]]:
        """Return `(hdr, ldr)` of a row without fault."""
        return _pair(self._arrays, row)


def read_shard(bank: Storage, shard: int) -> StoredShard:
    """Read all that is stored of a shard, and check the CRC32C of each of its chunks, and the values of hdr."""
    arrays, memory = _arrays_in_memory(bank)
    first, size = shard * arrays.shard_rows, arrays.shard_rows
    rows = range(first, min(first + size, int(arrays.hdr.shape[0])))
    faults: dict[int, str] = {}
    contents: dict[str, bytes] = {}
    for name in ("hdr", "ldr"):
        key = arrays.shard_key(name, first)
        data, missing = _fetch(bank, key)
        contents[name] = data
        for row, fault in zip(rows, [missing] * size if missing else chunk_faults(data, size), strict=False):
            if fault is not None:
                faults.setdefault(row, f"{key} {fault}")
        memory[key] = default_buffer_prototype().buffer.from_bytes(data)
    at_limit = np.zeros(len(rows), np.int64)
    for row in rows:
        if row not in faults:
            fault, at_limit[row - first] = _check_values(arrays, contents["hdr"], row)
            if fault is not None:
                faults[row] = fault
    key = arrays.shard_key("patch_id", first)
    data, missing = _fetch(bank, key)
    ids = decode_ids(data, size)
    ids_fault = None if ids is not None else f"{key} {missing or 'does not match its checksum'}"
    stored = np.full(len(rows), NO_PATCH, np.int64) if ids is None else ids[: len(rows)]
    total = len(data) + sum(map(len, contents.values()))
    return StoredShard(Examined(rows, stored, ids_fault, faults, at_limit, total), arrays)


def chunk_faults(data: bytes, chunks: int) -> list[str | None]:
    """Return of each chunk of a stored shard what is wrong with it."""
    index = data[-index_bytes(chunks) :]
    if len(index) < index_bytes(chunks) or not has_crc(index):
        return [UNREADABLE_INDEX] * chunks
    end = len(data) - len(index)
    return [_chunk_fault(data, end, index, chunk) for chunk in range(chunks)]


def encode_ids(ids: npt.NDArray[np.int64]) -> bytes:
    """Return a chunk of patch_id as it is stored."""
    content = ids.astype("<i8").tobytes()
    return content + crc(content)


def decode_ids(data: bytes, size: int) -> npt.NDArray[np.int64] | None:
    """Return the numbers of a stored chunk of patch_id, None where it is damaged."""
    if len(data) != 8 * size + CRC_BYTES or not has_crc(data):
        return None
    return np.frombuffer(data, "<i8", size).astype(np.int64)


def _chunk_fault(data: bytes, end: int, index: bytes, chunk: int) -> str | None:
    try:
        offset, length = entry_of(index, chunk)
    except ChunkFault as fault:
        return str(fault)
    if offset + length > end:
        return UNREADABLE_INDEX
    return None if has_crc(data[offset : offset + length]) else WRONG_CHECKSUM


def _check_values(arrays: PatchArrays, data: bytes, row: int) -> tuple[str | None, int]:
    """Return what is wrong with hdr in a row, and how many of its values are as large as can be."""
    try:
        hdr = _read_hdr(arrays, data, row)
    except (ValueError, RuntimeError, OSError) as error:
        return f"its pixels cannot be decoded ({type(error).__name__})", 0
    bits = hdr.view(np.uint16)
    if bits.max() < _HALF_INFINITY:
        return None, int(np.count_nonzero(bits == _HALF_MAX))
    if not np.isfinite(hdr).all():
        return "hdr has values that are no finite numbers", 0
    return ("hdr has negative values" if (hdr < 0).any() else None), int(np.count_nonzero(bits == _HALF_MAX))


def _read_hdr(arrays: PatchArrays, data: bytes, row: int) -> npt.NDArray[np.float16]:
    """Return hdr of a row: what is not compressed is seen where it lies."""
    layout = layout_of(arrays.hdr)
    if layout is None:
        return np.asarray(arrays.hdr[row], dtype=np.float16)
    offset, length = entry_of(data[-layout.index_bytes :], row % layout.rows)
    return layout.values(memoryview(data)[offset : offset + length])


def _pair(arrays: PatchArrays, row: int) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.uint8]]:
    return np.asarray(arrays.hdr[row], dtype=np.float16), np.asarray(arrays.ldr[row], dtype=np.uint8)


def _arrays_in_memory(bank: Storage) -> tuple[PatchArrays, dict[str, Buffer]]:
    """Return arrays as those of the bank, of which nothing is stored yet, and where their bytes will be."""
    memory = {
        key: default_buffer_prototype().buffer.from_bytes(bank.read(key))
        for key in (f"{name}/zarr.json" for name in ARRAYS)
    }
    return PatchArrays(bank, "r+", MemoryStore(memory)), memory


def _fetch(bank: Storage, key: str) -> tuple[bytes, str | None]:
    """Return a file's content, or nothing and why."""
    try:
        return bank.read(key), None
    except FileNotFoundError:
        return b"", "is missing"
    except OSError as error:
        return b"", f"cannot be read ({error.strerror or error})"
