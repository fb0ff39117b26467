"""The columns of the bank's tables. Those of the published format keep their names and meaning."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

FORMAT_VERSION = 1

SOURCES_SCHEMA = pa.schema(
    [
        ("source_id", pa.string()),  # SHA-256 of the content, hex; null where the file could not be opened
        ("path", pa.string()),  # absolute, of the first place where this content was found
        ("also_at", pa.list_(pa.string())),  # the other places
        ("bytes", pa.int64()),
        ("kind", pa.string()),  # still, sequence, video
        ("width", pa.int32()),  # pixels, as displayed
        ("height", pa.int32()),
        ("frames", pa.int32()),  # as decoded
        ("frames_used", pa.int32()),
        ("transfer", pa.string()),  # linear, pq, hlg, srgb
        ("primaries", pa.string()),  # bt709, bt2020, p3, xyz, other; null where unknown
        ("scale", pa.string()),  # what 1.0 means: relative, cd/m2, HLG scene
        ("nonfinite_pixels", pa.int64()),  # repaired, in all frames used
        ("negative_pixels", pa.int64()),
        ("status", pa.string()),  # ok, rejected
        ("reason", pa.string()),  # of a rejection
        ("licence", pa.string()),  # null where unknown
        ("attribution", pa.string()),
        ("group", pa.string()),  # what the split keeps it together with; null where it stands for itself
        ("split", pa.string()),  # train, validation, test; null for rejected sources
    ]
)

PATCHES_SCHEMA = pa.schema(
    [
        ("patch_id", pa.int64()),  # first 63 bits of SHA-256 of source_id/frame/k
        ("source_id", pa.string()),
        ("frame", pa.int32()),
        ("k", pa.int32()),
        ("y", pa.int32()),  # window, pixels of the frame
        ("x", pa.int32()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("patch_size", pa.int32()),  # S, after any resize
        ("flip", pa.bool_()),
        ("frame_nonfinite_pixels", pa.int64()),  # repaired in the whole frame
        ("frame_negative_pixels", pa.int64()),
        ("clip_fraction", pa.float64()),  # the virtual camera; null before simulate-ldr
        ("exposure", pa.float64()),
        ("noise_sigma", pa.float64()),
        ("hue_shift", pa.float64()),
        ("saturation_shift", pa.float64()),
        ("curve_n", pa.float64()),
        ("curve_sigma", pa.float64()),
        ("jpeg_quality", pa.int16()),
        ("seed", pa.int64()),
        ("saturated_fraction", pa.float64()),  # null before score
        ("score_saturated", pa.float64()),  # both averages of the detail gradient; `score` is the chosen one
        ("score_patch", pa.float64()),
        ("score", pa.float64()),
        ("verdict", pa.string()),  # kept, smooth, unsaturated
        ("verdict_reason", pa.string()),  # null for kept
        ("row", pa.int64()),  # index into the arrays, null if not exported
        (
            "clipped_values",
            pa.int64(),
        ),  # values of hdr beyond float16's range, clipped when stored; null if not exported
        ("split", pa.string()),  # of its source; null until the command that ingests it ends
    ]
)

# What every bank of this format version has. Other columns came later, or may: banks of earlier versions lack them.
_REQUIRED = {
    "sources": "source_id path also_at bytes kind width height frames frames_used transfer primaries status reason "
    "licence attribution",
    "patches": "patch_id source_id frame k y x height width patch_size flip clip_fraction exposure noise_sigma "
    "hue_shift saturation_shift curve_n curve_sigma jpeg_quality seed saturated_fraction score verdict row",
}


COLUMNS = b"hdrprep.columns"  # of a table's metadata: its column names, joined by commas


def table_key(name: str) -> str:
    """Return which file of a bank holds a table (`sources`, `patches`)."""
    return f"tables/{name}.parquet"


def encode_table(table: pa.Table) -> bytes:
    """Return a table as a Parquet file, compressed by zstd, with a CRC32 on every page."""
    sink = pa.BufferOutputStream()
    # Of numbers that are hardly ever equal a dictionary would be tried in vain, for half of the time that this takes.
    repeated = [field.name for field in table.schema if pa.types.is_string(field.type)]
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), COLUMNS: ",".join(table.column_names)})
    pq.write_table(table, sink, compression="zstd", use_dictionary=repeated, write_page_checksum=True)
    return bytes(sink.getvalue())


def damaged_names(schema: pa.Schema) -> bool:
    """Say whether a file lacks the name of a column that it was written with; others may have been added.

    The pages of a Parquet file have checksums, its footer has none: a column whose name was damaged would be taken for
    one that an earlier version did not write.
    """
    written = (schema.metadata or {}).get(COLUMNS, b"")
    return bool(set(written.split(b",")) - {name.encode() for name in schema.names} - {b""})


def missing_columns(name: str, present: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Return which of the wanted columns a table (`sources`, `patches`) must have, and does not."""
    return sorted(set(_REQUIRED[name].split()).intersection(wanted).difference(present))


def complete(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns of the schema, in its order; those that it lacks are null.

    Raises ArrowInvalid where a column is of a type that does not fit.
    """
    present = set(table.column_names)
    columns = [
        table[field.name].cast(field.type) if field.name in present else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
