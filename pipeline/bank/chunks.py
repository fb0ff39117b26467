"""The bytes of one chunk, and of the index of a shard: what Zarr's codecs say of them, without Zarr's machinery.

As this project writes arrays, and no other way: one patch a chunk, little-endian, whole or compressed by Blosc or
Zstandard, then a CRC32C (RFC 3720); the index at the end of the shard, a CRC32C behind it (Zarr's sharding codec,
ZEP 2). Whatever else an array is stored in, `layout_of` does not know, and Zarr itself reads it.
Legend: R chunks a shard, S patch size.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import zarr
from numcodecs.blosc import Blosc
from numcodecs.zstd import Zstd
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec, ZstdCodec

CRC_BYTES = 4
_ENTRY = np.dtype([("offset", "<u8"), ("length", "<u8")])  # of the index of a shard
_ABSENT = 2**64 - 1  # in an entry: the shard has no such chunk
_FURTHEST = 2**63 - 1  # where a file can end: files and streams count in signed numbers of 64 bits

UNREADABLE_INDEX = "is truncated or has a damaged index"
WRONG_CHECKSUM = "does not match its checksum"

Part = bytes | memoryview  # of what is to be written
Bytes = Part | npt.NDArray[np.uint8]  # that were read


class ChunkFault(ValueError):
    """What is stored of a chunk cannot be used; the text is the predicate of a sentence about its file."""


class ChunkMissing(ChunkFault):
    """There is no such chunk, or not even its shard."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the chunks of a sharded array are stored: `rows` R a shard, each of `shape` and `dtype`."""

    rows: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    codec: Any  # Blosc or Zstd of numcodecs, None where nothing is compressed

    @property
    def index_bytes(self) -> int:
        """Length of the index that a shard ends with."""
        return index_bytes(self.rows)

    def decode(self, stored: Bytes) -> npt.NDArray[Any]:
        """Return the values of a chunk as they were written, writable; in place where nothing is compressed.

        Raises ChunkFault where the checksum does not hold, and as `values` does.
        """
        if not has_crc(stored):
            raise ChunkFault(WRONG_CHECKSUM)
        values = self.values(stored)
        return values if values.flags.writeable else values.copy()

    def values(self, stored: Bytes) -> npt.NDArray[Any]:
        """Return the values of a chunk whose checksum was looked at; a view where nothing is compressed.

        Raises ChunkFault, and ValueError or RuntimeError where it cannot be decompressed. The length that compressed
        bytes claim is compared before memory is taken or a byte is decoded.
        """
        content = np.frombuffer(stored, np.uint8)[:-CRC_BYTES]
        size = prod(self.shape) * self.dtype.itemsize
        if self.codec is None:
            _expect(size, content.size)
            return content.view(self.dtype).reshape(self.shape)
        _check_header(self.codec, content, size)
        values = np.empty(self.shape, self.dtype)
        self.codec.decode(content, values)
        return values

    def encode(self, values: npt.NDArray[Any]) -> list[Part]:
        """Return the bytes of a chunk in parts: the content, its checksum. Raises ValueError for another shape."""
        if values.shape != self.shape or values.dtype != self.dtype:
            raise ValueError(f"a chunk is {self.dtype} {self.shape}, not {values.dtype} {values.shape}")
        plain = np.ascontiguousarray(values)
        content: Part = plain.tobytes() if self.codec is None else self.codec.encode(plain)
        return [content, crc(content)]


def layout_of(array: zarr.Array[Any]) -> Layout | None:
    """Return how an array is stored, or None where this module does not know the way."""
    metadata = array.metadata
    codecs: Sequence[Any] = getattr(metadata, "codecs", ())
    if len(codecs) != 1 or not isinstance(codecs[0], ShardingCodec) or not array.shards:
        return None
    sharding, (first, *rest) = codecs[0], array.chunks
    known_key = array.metadata.encode_chunk_key((1,) + (0,) * len(rest)) == "/".join(["c", "1", *"0" * len(rest)])
    one_a_chunk = first == 1 and tuple(array.shards[1:]) == tuple(rest) == tuple(array.shape[1:])
    at_end = sharding.index_location.value == "end" and _is_chain(sharding.index_codecs, _ENTRY[0], False)
    if not (known_key and one_a_chunk and at_end and _is_chain(sharding.codecs, array.dtype)):
        return None
    codecs = [_codec(codec) for codec in sharding.codecs if isinstance(codec, (BloscCodec, ZstdCodec))]
    return Layout(int(array.shards[0]), tuple(rest), np.dtype(array.dtype), codecs[0] if codecs else None)


def layouts_of(hdr: zarr.Array[Any], ldr: zarr.Array[Any], patch_id: zarr.Array[Any]) -> tuple[Layout, Layout] | None:
    """Return how the pixels of a bank are stored, or None where they are not stored as this project does."""
    truth, photograph, rows = layout_of(hdr), layout_of(ldr), _ids_layout(patch_id)
    if truth is None or photograph is None or not truth.rows == photograph.rows == rows:
        return None
    return (truth, photograph) if truth.dtype == np.float16 and photograph.dtype == np.uint8 else None


def _ids_layout(array: zarr.Array[Any]) -> int | None:
    """Return how many ids a chunk of `patch_id` holds, or None where they are not stored as this project does."""
    codecs = getattr(array.metadata, "codecs", ())
    known = array.metadata.encode_chunk_key((1,)) == "c/1" and array.dtype == np.int64
    return int(array.chunks[0]) if known and not array.shards and _is_chain(codecs, array.dtype, False) else None


def index_bytes(rows: int) -> int:
    """Length of the index of a shard of so many chunks."""
    return rows * _ENTRY.itemsize + CRC_BYTES


def place_of(index: Bytes, chunk: int) -> tuple[int, int]:
    """Return where a shard holds a chunk: offset and length in bytes. Raises ChunkFault."""
    if not has_crc(index):
        raise ChunkFault(UNREADABLE_INDEX)
    return entry_of(index, chunk)


def entry_of(index: Bytes, chunk: int) -> tuple[int, int]:
    """Return what an index, whose checksum was looked at, says of a chunk: offset and length. Raises ChunkFault."""
    entry = np.frombuffer(index, _ENTRY, 1, chunk * _ENTRY.itemsize)[0]
    offset, length = int(entry["offset"]), int(entry["length"])
    if offset == length == _ABSENT:
        raise ChunkMissing("does not hold it")
    if length < CRC_BYTES or offset + length > _FURTHEST:
        raise ChunkFault(UNREADABLE_INDEX)
    return offset, length


def split_chunks(shard: bytes, rows: int) -> dict[int, list[Part]]:
    """Return the bytes of each chunk that a stored shard holds, by its number.

    Whether their checksums hold is not looked at. Raises ChunkFault where the index cannot be used.
    """
    index, end = shard[-index_bytes(rows) :], len(shard) - index_bytes(rows)
    if end < 0 or not has_crc(index):
        raise ChunkFault(UNREADABLE_INDEX)
    chunks: dict[int, list[Part]] = {}
    for chunk in range(rows):
        try:
            offset, length = entry_of(index, chunk)
        except ChunkMissing:
            continue
        if offset + length > end:
            raise ChunkFault(UNREADABLE_INDEX)
        chunks[chunk] = [memoryview(shard)[offset : offset + length]]
    if sum(len(part) for [part] in chunks.values()) > end:  # they overlap
        raise ChunkFault(UNREADABLE_INDEX)
    return chunks


def join_chunks(chunks: Mapping[int, Sequence[Part]], rows: int) -> list[Part]:
    """Return the bytes of a shard in parts: its chunks in their order, each of them in parts, then the index."""
    index, offset = np.full(rows, _ABSENT, _ENTRY), 0
    for chunk in sorted(chunks):
        length = sum(map(len, chunks[chunk]))
        index[chunk] = offset, length
        offset += length
    stored = index.tobytes()
    return [*(part for chunk in sorted(chunks) for part in chunks[chunk]), stored, crc(stored)]


def crc(data: Bytes) -> bytes:
    """Return the CRC32C as it is stored."""
    return int(google_crc32c.value(data)).to_bytes(CRC_BYTES, "little")


def has_crc(data: Bytes) -> bool:
    """Say whether bytes end with the CRC32C of those before."""
    return len(data) > CRC_BYTES and bytes(data[-CRC_BYTES:]) == crc(data[:-CRC_BYTES])


def _is_chain(codecs: Sequence[Any], dtype: np.dtype[Any], compressed: bool = True) -> bool:
    """Say whether codecs are: bytes in little-endian order, at most one compressor, CRC32C."""
    kinds = [type(codec) for codec in codecs]
    chains = [[BytesCodec, Crc32cCodec]]
    if compressed:
        chains += [[BytesCodec, kind, Crc32cCodec] for kind in (BloscCodec, ZstdCodec)]
    order = codecs[0].endian if kinds in chains else None
    little = order is None or order.value == "little"
    return kinds in chains and little and sys.byteorder == "little" and dtype.byteorder in "=|<"


def _codec(codec: BloscCodec | ZstdCodec) -> Any:
    """Return what encodes as a codec of Zarr does, and decodes whatever its settings are: the bytes tell them."""
    if isinstance(codec, ZstdCodec):
        return Zstd(codec.level, codec.checksum)
    shuffle = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}
    name, kind = codec.cname.value, shuffle[codec.shuffle.value]
    return Blosc(name, codec.clevel, kind, codec.blocksize, typesize=codec.typesize)


def _check_header(decoder: Any, content: npt.NDArray[np.uint8], size: int) -> None:
    """Hold what compressed bytes say of their own length against the truth: Blosc's decoder trusts it blindly."""
    if isinstance(decoder, Blosc):  # its header: 4 bytes, then the lengths of what is within, of a block, of all
        if content.size < 16:
            raise ChunkFault("is no compressed chunk")
        inside, _, whole = content[4:16].view("<u4").tolist()
        _expect(content.size, whole)
        _expect(size, inside)
    elif (inside := _zstd_content_size(content)) is not None:  # without, the decoder itself insists on the size
        _expect(size, inside)


def _zstd_content_size(content: npt.NDArray[np.uint8]) -> int | None:
    """Return what the first frame says that it holds (RFC 8878, 3.1.1.1); None where it does not say."""
    header = content[:18].tobytes()
    if len(header) < 6:
        raise ChunkFault("is no compressed chunk")
    descriptor = header[4]
    single, width = descriptor >> 5 & 1, (0, 2, 4, 8)[descriptor >> 6] or descriptor >> 5 & 1
    start = 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3]
    stored = int.from_bytes(header[start : start + width], "little")
    return None if width == 0 else stored + 256 * (width == 2)


def _expect(expected: int, found: int) -> None:
    if found != expected:
        raise ChunkFault(f"holds a chunk of {found} bytes instead of {expected}")
