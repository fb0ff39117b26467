"""A bank opened for reading: the tables, and pairs by row. Damage raises, and never reads as black or as zeros."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.bank.arrays import PatchArrays
from pipeline.bank.chunks import ChunkMissing
from pipeline.bank.pairs import Pairs, open_pairs
from pipeline.bank.schema import (
    FORMAT_VERSION,
    PATCHES_SCHEMA,
    SOURCES_SCHEMA,
    complete,
    damaged_names,
    missing_columns,
    table_key,
)
from pipeline.bank.storage import Storage, open_storage
from pipeline.errors import BankDamaged, BankMissing, BankVersionError

METADATA = "zarr.json"  # of the Zarr group that a bank is
_STATED = {"seed": int, "config": dict, "versions": dict}  # there, beside the format version


def bank_attributes(storage: Storage) -> dict[str, Any]:
    """Return what zarr.json says of a bank. Raises BankMissing, BankDamaged, BankVersionError."""
    try:
        attributes = dict(json.loads(storage.read(METADATA))["attributes"]["hdrprep"])
        version = attributes["format_version"]
    except (FileNotFoundError, NotADirectoryError):
        raise BankMissing(
            f"there is no bank at {storage}; make one with hdrprep ingest, or name another --bank"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise _undescribed(storage) from None
    if version != FORMAT_VERSION:
        raise BankVersionError(
            f"the bank {storage} has format version {version}, and this hdrprep reads {FORMAT_VERSION}; "
            "use the version that made it, or make the bank anew"
        )
    if any(not isinstance(attributes.get(name), kind) for name, kind in _STATED.items()):
        raise _undescribed(storage)
    return attributes


def _undescribed(storage: Storage) -> BankDamaged:
    return BankDamaged(f"{storage}/{METADATA} does not describe a bank of hdrprep; name another --bank")


def write_attributes(storage: Storage, attributes: dict[str, Any]) -> None:
    """Write zarr.json, by which a place becomes a bank and a Zarr group."""
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"hdrprep": attributes}}
    storage.write(METADATA, json.dumps(group, indent=2).encode())


@dataclass(frozen=True, slots=True)
class TableFile:
    """The file of a table as it was when it was read, whatever a command puts in its place meanwhile."""

    place: str  # for people
    name: str
    schema: pa.Schema
    data: bytes

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the file, hex."""
        return hashlib.sha256(self.data).hexdigest()

    def table(self, columns: list[str] | None = None, to_write: bool = False) -> pa.Table:
        """Return the table, all columns or the named ones.

        Columns that an earlier version did not write yet read as null. Raises BankDamaged where the table cannot be
        read, or lacks what every version writes; BankVersionError where it is read `to_write` it anew, and has columns
        that would be lost.
        """
        wanted = self.schema if columns is None else pa.schema([self.schema.field(column) for column in columns])
        try:
            with pq.ParquetFile(pa.BufferReader(self.data), page_checksum_verification=True) as file:
                self._check_columns(file.schema_arrow, wanted, to_write)
                present = set(file.schema_arrow.names)
                return complete(file.read([column for column in wanted.names if column in present]), wanted)
        except _UNREADABLE as error:
            raise _unreadable(self.place, error) from error

    def _check_columns(self, found: pa.Schema, wanted: pa.Schema, to_write: bool) -> None:
        missing = missing_columns(self.name, found.names, wanted.names)
        unknown = sorted(set(found.names) - set(self.schema.names))
        if to_write and unknown:
            raise BankVersionError(
                f"the table {self.place} has the column {unknown[0]}, which this version would lose; write to the bank "
                "with the version that made it, or a later one"
            )
        if missing:
            raise BankDamaged(f"the table {self.place} has no column {missing[0]}, it is damaged or was changed")
        if damaged_names(found):
            raise BankDamaged(f"the table {self.place} is damaged in the names of its columns")


def read_file(storage: Storage, name: str, schema: pa.Schema) -> TableFile:
    """Return the file of a bank's table. Raises BankDamaged where there is none."""
    place = f"{storage}/{table_key(name)}"
    try:
        return TableFile(place, name, schema, storage.read(table_key(name)))
    except _UNREADABLE as error:
        raise _unreadable(place, error) from error


def read_table(
    storage: Storage, name: str, schema: pa.Schema, columns: list[str] | None = None, to_write: bool = False
) -> pa.Table:
    """Return a bank's table as it is now; `columns`, `to_write` and errors are those of TableFile."""
    return read_file(storage, name, schema).table(columns, to_write)


_UNREADABLE = (OSError, pa.ArrowException, ValueError)


def _unreadable(place: str, error: BaseException) -> BankDamaged:
    return BankDamaged(
        f"the table {place} cannot be read, it is damaged or missing ({str(error).splitlines()[0][:160]})"
    )


class BankReader:
    """A bank, read only. Many may read while one writes: they see whole tables.

    Who reads both while one writes takes `table_files`: then the source of each patch is known.
    """

    def __init__(self, place: str | Path | Storage) -> None:
        self.storage = open_storage(place)
        self.attributes = bank_attributes(self.storage)
        self._pairs: Pairs | None = None

    def table_files(self) -> dict[str, TableFile]:
        """Return the files of `patches` and `sources`, in this order: a command may be adding some of both."""
        schemas = {"patches": PATCHES_SCHEMA, "sources": SOURCES_SCHEMA}
        return {name: read_file(self.storage, name, schema) for name, schema in schemas.items()}

    def sources(self, columns: list[str] | None = None) -> pa.Table:
        """Return the sources table."""
        return read_table(self.storage, "sources", SOURCES_SCHEMA, columns)

    def patches(self, columns: list[str] | None = None) -> pa.Table:
        """Return the patches table, in the order (source_id, frame, k)."""
        return read_table(self.storage, "patches", PATCHES_SCHEMA, columns)

    def pair(self, row: int, patch_id: int | None = None) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.uint8]]:
        """Return a patch's `(hdr, ldr)`: (S, S, 3) float16, scene-linear, sensor clips at 1.0; (S, S, 3) uint8.

        With the `patch_id` that is expected there, no other patch is ever returned, also while another process moves
        patches. Raises BankDamaged, naming the patch, where stored bytes are missing or do not match their checksum.
        """
        pairs = self._open_pairs(row)
        try:
            hdr, ldr = pairs.pixels(row)
            # Read last, and each time: whoever gives a row to another patch takes the id away before the pixels.
            found = patch_id if patch_id is None else pairs.patch_id(row)
        except ChunkMissing as error:
            raise BankDamaged(f"the pixels of {self._name(row)} are missing; run hdrprep verify --repair") from error
        except (ValueError, IndexError, OSError, RuntimeError) as error:
            raise BankDamaged(
                f"{self._name(row)} cannot be read ({_first_line(error)}); run hdrprep verify --repair"
            ) from error
        if found != patch_id:
            raise BankDamaged(
                f"row {row} does not hold patch {patch_id}: where the bank was compacted or repaired, start this "
                "again; otherwise run hdrprep verify"
            )
        return hdr, ldr

    def fingerprint(self, patches: TableFile | None = None) -> str:
        """Return a digest of what is exported: the format, the configuration, and which patch stands in which row.

        That is read from the bank, or from the file of `patches` as it was.
        """
        file = read_file(self.storage, "patches", PATCHES_SCHEMA) if patches is None else patches
        exported = file.table(["patch_id", "row", "verdict"])
        exported = exported.filter(pc.is_valid(exported["row"])).sort_by("row")
        digest = hashlib.sha256(json.dumps(self.attributes, sort_keys=True).encode())
        for column in ("patch_id", "row"):
            digest.update(exported[column].to_numpy().tobytes())
        digest.update("/".join(exported["verdict"].to_pylist()).encode())
        return digest.hexdigest()

    def _open_pairs(self, row: int) -> Pairs:
        # Rows that an export added since the arrays were opened show when they are opened anew.
        if self._pairs is None or row >= self._pairs.count:
            if not PatchArrays.exist(self.storage):
                raise BankMissing(f"nothing was exported from the bank {self.storage} yet; run hdrprep export first")
            self._pairs = open_pairs(self.storage)
        return self._pairs

    def _name(self, row: int) -> str:
        patches = self.patches(["patch_id", "source_id", "frame", "k", "row"])
        matching = patches.filter(pc.equal(patches["row"], row)).to_pylist()
        if not matching:
            return f"row {row}"
        patch = matching[0]
        place = f"source {patch['source_id']}, frame {patch['frame']}, k {patch['k']}"
        return f"patch {patch['patch_id']} (row {row}, {place})"


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0][:160] if lines else type(error).__name__
