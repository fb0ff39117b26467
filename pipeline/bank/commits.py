"""Commits: each unit of work ends as one file of finished rows, written atomically by the worker that did it.

A commit holds whole rows of the patches table, and in its metadata the source's row where ingest made it. Applying a
commit twice changes nothing, so that a run may be killed between any two steps.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.bank.schema import PATCHES_SCHEMA, complete, encode_table
from pipeline.bank.storage import Storage, writing

COMMITS = "_work/commits"  # where commits wait to be folded into the tables

_SOURCE_KEY = b"hdrprep.source"


def commit_key(*parts: object) -> str:
    """Return a file name for a unit of work, the same for the same work."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:32]


def write_commit(bank: Storage, key: str, patches: pa.Table, source: Mapping[str, Any] | None = None) -> None:
    """Commit finished rows: `patches` with PATCHES_SCHEMA, and the source's row if ingest made it.

    Raises BankError where the bank cannot be written: that is no fault of the source.
    """
    table = patches.cast(PATCHES_SCHEMA)
    if source is not None:
        table = table.replace_schema_metadata({_SOURCE_KEY: json.dumps(dict(source))})
    with writing(bank):
        bank.write(f"{COMMITS}/{key}.parquet", encode_table(table))


def list_commits(bank: Storage) -> list[str]:
    """Return the commits that wait, as keys of the bank's files, in a fixed order."""
    return [key for key in bank.keys(COMMITS) if key.endswith(".parquet") and "/." not in key]


def read_commit(bank: Storage, key: str) -> tuple[pa.Table, dict[str, Any] | None]:
    """Return a commit's rows and its source's row."""
    table = pq.read_table(pa.BufferReader(bank.read(key)))
    encoded = (table.schema.metadata or {}).get(_SOURCE_KEY)
    # Whoever was interrupted may have been an earlier version.
    return complete(table, PATCHES_SCHEMA), None if encoded is None else json.loads(encoded)
