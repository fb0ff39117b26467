"""Pairs straight from the bytes of a bank, held against plain Zarr: the same pixels, and the same damage."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs.blosc import Blosc
from numcodecs.zstd import Zstd
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ShardingCodec, ZstdCodec

from pipeline.bank import BankReader, BankWriter, ExportSettings, PatchArrays, Storage, open_storage
from pipeline.bank.chunks import crc
from pipeline.bank.drafts import write_patches
from pipeline.bank.pairs import PairArrays, PairFiles, open_pairs
from pipeline.errors import BankDamaged

Array = npt.NDArray[Any]
FORMS = st.fixed_dictionaries(
    {
        "compression": st.sampled_from(["none", "lz4", "zstd"]),
        "shard_rows": st.integers(1, 5),
        "size": st.integers(1, 9),
        "rows": st.integers(1, 9),
    }
)


def make(place: str | Path, compression: Any, shard_rows: int, size: int, rows: int) -> tuple[Storage, Array, Array]:
    """A bank whose row i holds patch 100 + i; smooth pixels, so that compression has something to do."""
    BankWriter.create(place, {"seed": 0, "config": {}, "versions": {}}).close()
    bank = open_storage(place)
    hdr, ldr = pixels(rows, size)
    PatchArrays.create(bank, size, ExportSettings(shard_rows=shard_rows, compression=compression))
    PatchArrays(bank, "r+").resize(rows)
    write_rows(bank, hdr, ldr, range(rows), shard_rows)
    return bank, hdr, ldr


def pixels(rows: int, size: int) -> tuple[Array, Array]:
    values = np.arange(rows * size * size * 3).reshape(rows, size, size, 3)
    return (values % 331 / 100).astype(np.float16), (values % 253).astype(np.uint8)


def write_rows(bank: Storage, hdr: Array, ldr: Array, rows: range, shard_rows: int) -> None:
    for first in range(0, rows.stop, shard_rows):
        span = [row for row in rows if first <= row < first + shard_rows]
        write_patches(bank, ((row, 100 + row, hdr[row], ldr[row]) for row in span))


def same(one: tuple[Array, Array], other: tuple[Array, Array]) -> None:
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)
        assert left.dtype == right.dtype


@settings(deadline=None, max_examples=30)
@given(form=FORMS)
def test_every_row_is_what_zarr_reads(form: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    bank, hdr, ldr = make(tmp_path_factory.mktemp("bank") / "bank.zarr", **form)
    pairs, twin = open_pairs(bank), PairArrays(bank, PatchArrays(bank))
    assert isinstance(pairs, PairFiles)
    assert pairs.count == twin.count == form["rows"]
    for row in range(form["rows"]):
        found = pairs.pixels(row)
        same(found, twin.pixels(row))
        same(found, (hdr[row], ldr[row]))
        assert pairs.patch_id(row) == twin.patch_id(row) == 100 + row
        assert all(array.flags.writeable and array.flags.c_contiguous for array in found)


Damage = Callable[[bytes], bytes | None]


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    kind = draw(st.sampled_from(["flip", "cut", "lose", "swap"]))
    share, bit = draw(st.floats(0, 1)), draw(st.integers(0, 7))

    def flip(content: bytes) -> bytes:
        changed = bytearray(content)
        changed[int(share * (len(content) - 1))] ^= 1 << bit
        return bytes(changed)

    def cut(content: bytes) -> bytes:
        return content[: int(share * len(content))]

    def swap(content: bytes) -> bytes:
        half = len(content) // 2
        return content[half:] + content[:half]

    return {"flip": flip, "cut": cut, "swap": swap, "lose": lambda content: None}[kind]


def damaged(reader: BankReader, row: int) -> bool:
    try:
        reader.pair(row, 100 + row)
    except BankDamaged as damage:
        told = str(damage)
    else:
        return False
    assert f"row {row}" in told
    assert "\n" not in told
    return True


def reader_of(bank: Storage) -> BankReader:
    """A reader that needs no table to name a row."""
    reader = BankReader(bank)
    reader._name = "row {}".format  # type: ignore[method-assign]
    return reader


def replace_file(bank: Storage, key: str, content: bytes | None) -> None:
    if content is None:
        bank.delete(key)
    else:
        bank.write(key, content)


@settings(deadline=None, max_examples=60)
@given(form=FORMS, damage=damages(), data=st.data())
def test_a_row_is_damaged_where_zarr_says_so(
    form: dict[str, Any], damage: Damage, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bank, _, _ = make(tmp_path_factory.mktemp("bank") / "bank.zarr", **form)
    reader, twin = reader_of(bank), reader_of(bank)
    twin._pairs = PairArrays(bank, PatchArrays(bank))
    same(reader.pair(0, 100), twin.pair(0, 100))  # what was read before must not hide anything
    key = data.draw(st.sampled_from([key for name in ("hdr", "ldr", "patch_id") for key in bank.sizes(f"{name}/c")]))
    intact = bank.read(key)
    content = damage(intact)
    replace_file(bank, key, content)
    found = [damaged(reader, row) for row in range(form["rows"])]
    assert found == [damaged(twin, row) for row in range(form["rows"])]
    assert any(found) == (content != intact)


def test_a_lost_chunk_of_a_photograph_is_never_black(tmp_path: Path) -> None:
    bank, _, _ = make(tmp_path / "bank.zarr", "none", 4, 4, 3)
    key = "ldr/c/0/0/0/0"
    index = bytearray(bank.read(key)[-68:-4])
    index[16:32] = b"\xff" * 16
    bank.write(key, bank.read(key)[:-68] + bytes(index) + crc(bytes(index)))
    reader = reader_of(bank)
    assert [damaged(reader, row) for row in range(3)] == [False, True, False]
    with pytest.raises(BankDamaged, match="pixels of row 1 are missing"):
        reader.pair(1)


def test_what_an_export_writes_between_its_patches_is_no_pair(tmp_path: Path) -> None:
    bank, hdr, ldr = make(tmp_path / "bank.zarr", "lz4", 4, 4, 3)
    write_patches(bank, [(row, 100 + row, hdr[row], ldr[row]) for row in (0, 2)], empty=True)
    reader = reader_of(bank)
    with pytest.raises(BankDamaged, match="pixels of row 1 are missing"):
        reader.pair(1)
    same(reader.pair(2, 102), (hdr[2], ldr[2]))


def test_rows_that_were_replaced_or_added_while_one_reads_show_at_once(tmp_path: Path) -> None:
    bank, hdr, ldr = make(tmp_path / "bank.zarr", "lz4", 2, 4, 3)
    reader = reader_of(bank)
    same(reader.pair(1, 101), (hdr[1], ldr[1]))
    write_patches(bank, [(0, 100, hdr[0], ldr[0]), (1, 102, hdr[2], ldr[2])], empty=True)
    with pytest.raises(BankDamaged, match="row 1 does not hold patch 101"):
        reader.pair(1, 101)
    same(reader.pair(1, 102), (hdr[2], ldr[2]))
    with pytest.raises(BankDamaged, match="row 3"):
        reader.pair(3, 103)
    PatchArrays(bank, "r+").resize(4)
    write_patches(bank, [(2, 100, hdr[0], ldr[0]), (3, 103, hdr[1], ldr[1])])
    same(reader.pair(3, 103), (hdr[1], ldr[1]))


def test_files_that_are_open_stay_as_they_were(tmp_path: Path) -> None:
    bank, _, _ = make(tmp_path / "bank.zarr", "none", 2, 4, 2)
    intact = bank.read("hdr/c/0/0/0/0")
    with bank.parts(["hdr/c/0/0/0/0", "ldr/c/0/0/0/0"]) as parts:
        bank.write("hdr/c/0/0/0/0", b"something else")
        whole, end = parts.read([(0, 2**60), (-5, 5)])  # no more memory than there are bytes
    assert whole.tobytes() == intact
    assert end.tobytes() == bank.read("ldr/c/0/0/0/0")[-5:]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's list of open files")
def test_no_file_stays_open(tmp_path: Path) -> None:
    bank, _, _ = make(tmp_path / "bank.zarr", "lz4", 1, 4, 3)
    bank.write("hdr/c/1/0/0/0", b"damaged")
    bank.delete("ldr/c/2/0/0/0")
    reader = reader_of(bank)
    reader.pair(0, 100)
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert [damaged(reader, row) for row in range(3)] == [False, True, True]
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_reader_that_has_read_travels_to_another_process(tmp_path: Path) -> None:
    bank, hdr, ldr = make(tmp_path / "bank.zarr", "zstd", 2, 4, 3)
    reader = BankReader(bank)
    reader.pair(0, 100)
    same(pickle.loads(pickle.dumps(reader)).pair(2, 102), (hdr[2], ldr[2]))  # noqa: S301


@settings(deadline=None, max_examples=15)
@given(form=FORMS)
def test_objects_are_read_as_files_are(form: dict[str, Any]) -> None:
    bank, hdr, ldr = make("memory://pairs", **form)
    try:
        pairs = open_pairs(bank)
        assert isinstance(pairs, PairFiles)
        for row in range(form["rows"]):
            same(pairs.pixels(row), (hdr[row], ldr[row]))
            assert all(array.flags.writeable for array in pairs.pixels(row))
    finally:
        bank.remove("")


def test_a_bucket_is_read_by_ranges(s3: str) -> None:
    bank, hdr, ldr = make(f"{s3}/pairs.zarr", "lz4", 2, 16, 3)
    reader = reader_of(bank)
    assert isinstance(open_pairs(bank), PairFiles)
    for row in range(3):
        same(reader.pair(row, 100 + row), (hdr[row], ldr[row]))
    bank.write("ldr/c/0/0/0/0", bank.read("ldr/c/0/0/0/0")[:20])
    bank.delete("hdr/c/1/0/0/0")
    assert [damaged(reader, row) for row in range(3)] == [True, True, True]
    with pytest.raises(BankDamaged, match="pixels of row 2 are missing"):
        reader.pair(2)


BYTES, CHECK = BytesCodec(), Crc32cCodec()


def sharding(codecs: list[Any], chunk: tuple[int, ...] = (1, 4, 4, 3), **more: Any) -> list[Any]:
    return [ShardingCodec(chunk_shape=chunk, codecs=codecs, **more)]


@pytest.mark.parametrize(
    "codecs",
    [
        sharding([BYTES, GzipCodec(), CHECK]),
        sharding([BYTES]),
        sharding([BYTES, BloscCodec(), ZstdCodec(), CHECK]),
        sharding([BytesCodec(endian="big"), CHECK]),
        sharding([BYTES, CHECK], index_location="start"),
        sharding([BYTES, CHECK], index_codecs=[BYTES]),
        sharding([BYTES, CHECK], chunk=(2, 4, 4, 3)),
        sharding([BYTES, CHECK], chunk=(1, 2, 4, 3)),
        [BYTES, CHECK],
    ],
)
def test_what_is_stored_in_another_way_is_left_to_zarr(codecs: list[Any], tmp_path: Path) -> None:
    bank, hdr, ldr = make(tmp_path / "bank.zarr", "none", 2, 4, 3)
    metadata = json.loads(bank.read("hdr/zarr.json"))
    metadata["codecs"] = [codec.to_dict() for codec in codecs]
    metadata["codecs"] = json.loads(json.dumps(metadata["codecs"], default=lambda value: value.value))
    bank.delete("hdr/c/0/0/0/0")
    bank.delete("hdr/c/1/0/0/0")
    bank.write("hdr/zarr.json", json.dumps(metadata).encode())
    zarr.open_array(bank.zarr(read_only=False), path="hdr", mode="r+")[:] = hdr
    reader = BankReader(bank)
    for row in range(3):
        same(reader.pair(row, 100 + row), (hdr[row], ldr[row]))
    assert isinstance(reader._pairs, PairArrays)


def forge(bank: Storage, name: str, content: bytes, offset: int = 0, length: int | None = None) -> None:
    """Put another content in the place of the only chunk of a shard, with checksums that hold.

    The index says that it lies at `offset`, and is as long as it is, or `length`.
    """
    chunk = content + crc(content)
    index = np.array([offset, len(chunk) if length is None else length], "<u8").tobytes()
    bank.write(f"{name}/c/0/0/0/0", chunk + index + crc(index))


def blosc_that_says(place: int, number: int) -> bytes:
    content = bytearray(Blosc("lz4", 5, 2).encode(pixels(1, 8)[0]))
    content[place : place + 4] = number.to_bytes(4, "little")
    return bytes(content)


def zstd_that_says(number: int) -> bytes:
    """A frame whose header tells its content's size in eight bytes."""
    return b"\x28\xb5\x2f\xfd\xe0" + number.to_bytes(8, "little") + b"\x01\x00\x00"


@pytest.mark.parametrize(
    ("compression", "content"),
    [
        ("lz4", blosc_that_says(4, 2**31 - 1)),  # more than fits
        ("lz4", blosc_that_says(4, 100)),  # less: the rest would be whatever the memory held
        ("lz4", blosc_that_says(12, 2**31 - 1)),  # more compressed bytes than there are
        ("lz4", Blosc("lz4", 5, 2).encode(pixels(1, 8)[0])[:40]),
        ("lz4", Blosc("lz4", 5, 2).encode(pixels(1, 4)[0])),  # as a smaller patch is stored
        ("lz4", b"short"),
        ("zstd", zstd_that_says(2**60)),
        ("zstd", zstd_that_says(3)),
        ("zstd", Zstd(3).encode(pixels(1, 4)[0])),
        ("zstd", b"\x28\xb5"),
        ("none", b"\0" * 383),
        ("none", b""),
    ],
)
def test_a_chunk_that_lies_about_its_size_is_damaged(compression: str, content: bytes, tmp_path: Path) -> None:
    bank, _, _ = make(tmp_path / "bank.zarr", compression, 1, 8, 1)
    forge(bank, "hdr", content)
    assert damaged(reader_of(bank), 0)


@pytest.mark.parametrize(
    ("offset", "length"), [(2**63, None), (2**63 - 4, None), (2**62, None), (2**64 - 1, None), (0, 2**63), (1, 2**62)]
)
@pytest.mark.parametrize("place", ["a folder", "memory://far.zarr"])
def test_a_chunk_that_lies_beyond_any_file_is_damaged(
    place: str, offset: int, length: int | None, tmp_path: Path
) -> None:
    bank, hdr, _ = make(tmp_path / "bank.zarr" if place == "a folder" else place, "none", 1, 8, 1)
    try:
        forge(bank, "hdr", hdr.tobytes(), offset, length)
        assert damaged(reader_of(bank), 0)
    finally:
        bank.remove("")


@pytest.mark.parametrize("pieces", [1, 2])
def test_frames_of_zstandard_by_other_writers_are_read(pieces: int, tmp_path: Path) -> None:
    bank, hdr, ldr = make(tmp_path / "bank.zarr", "zstd", 1, 16, 1)
    raw, sink = hdr.tobytes(), pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:  # does not know the size when it writes the header
        for piece in range(pieces):
            stream.write(raw[piece * len(raw) // pieces : (piece + 1) * len(raw) // pieces])
    forge(bank, "hdr", sink.getvalue().to_pybytes())
    same(BankReader(bank).pair(0, 100), (hdr[0], ldr[0]))
