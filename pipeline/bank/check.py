"""What a bank must consist of: the metadata of its arrays, and which files belong to it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.bank.arrays import ARRAYS, ExportSettings, array_metadata
from pipeline.bank.schema import damaged_names, table_key
from pipeline.bank.storage import Storage

# What our atomic replacement of a file, or Zarr's, leaves when it is killed.
_TEMPORARY = re.compile(r"(.*/)?(\..+\.[a-z0-9_]{8}|.+\.partial)")
# Beside the metadata fields that are compared, Zarr notes names and attributes that change nothing.
_FIELDS = ("zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "codecs")


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a bank that are not part of it.

    `orphans` are shards of no patch, `debris` what a killed process left behind; `unknown` ones are somebody else's.
    """

    orphans: list[str]
    debris: list[str]
    unknown: list[str]


def sort_files(keys: Iterable[str], rows: int, shard_rows: int) -> Files:
    """Tell which files do not belong to a bank whose arrays have so many rows."""
    shards = range(-(-rows // shard_rows))
    own = {
        "zarr.json",
        "croissant.json",
        table_key("sources"),
        table_key("patches"),
        *(f"{name}/zarr.json" for name in ARRAYS),
    }
    own |= {f"{name}/c/{shard}/0/0/0" for name in ("hdr", "ldr") for shard in shards}
    own |= {f"patch_id/c/{shard}" for shard in shards}
    files = Files([], [], [])
    for key in keys:
        if _TEMPORARY.fullmatch(key):
            files.debris.append(key)
        elif key not in own and not key.startswith("_work/"):
            (files.orphans if key.split("/")[0] in ARRAYS else files.unknown).append(key)
    return files


def metadata_faults(bank: Storage, patch_size: int, settings: ExportSettings, rows: int) -> dict[str, str]:
    """Return what is wrong with the metadata file of each array, by its key, for arrays of so many rows."""
    faults = {}
    for key, expected in array_metadata(patch_size, settings, rows).items():
        try:
            found = json.loads(bank.read(key))
            wrong = [name for name in _FIELDS if _essence(found.get(name)) != _essence(expected[name])]
        except FileNotFoundError:
            faults[key] = "is missing"
        except (ValueError, AttributeError):
            faults[key] = "cannot be read, it is damaged"
        else:
            if wrong:
                faults[key] = f"says another {wrong[0]} than the bank's: {json.dumps(found.get(wrong[0]))[:200]}"
    return faults


def stored_rows(bank: Storage) -> int | None:
    """Return how many rows the arrays have, by what most of their metadata files say; None where there are none."""
    said = []
    for name in ARRAYS:
        try:
            said.append(int(json.loads(bank.read(f"{name}/zarr.json"))["shape"][0]))
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            continue
    return max(said, key=said.count) if said else None


def table_faults(bank: Storage, name: str, schema: pa.Schema) -> list[str]:
    """Return what is wrong with a table's file: its columns, their types, a page that fails its checksum."""
    try:
        data = pa.BufferReader(bank.read(table_key(name)))
        found = pq.read_table(data, page_checksum_verification=True).schema
    except FileNotFoundError:
        return ["is missing"]
    except (OSError, pa.ArrowException, ValueError) as error:
        return [f"cannot be read, it is truncated or damaged ({str(error).splitlines()[0][:160]})"]
    faults = ["is damaged in the names of its columns"] if damaged_names(found) else []
    for column in schema:
        if column.name not in found.names:
            faults.append(f"has no column {column.name}")
        elif found.field(column.name).type != column.type:
            faults.append(f"has a column {column.name} of type {found.field(column.name).type}, not {column.type}")
    return faults


def _essence(value: Any) -> Any:
    """Return metadata without the parameters of compressors: whatever they are, the stored bytes tell."""
    if isinstance(value, list):
        return [_essence(part) for part in value]
    if not isinstance(value, dict):
        return value
    if value.get("name") in ("blosc", "zstd"):
        return value["name"]
    # A codec without parameters may be written with an empty set of them.
    return {key: _essence(part) for key, part in value.items() if part != {}}
