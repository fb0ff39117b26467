"""Commits: each unit of work ends as one file of finished rows, written atomically by the worker that did it.

A commit holds whole rows of the patches table, and in its metadata the source's row where ingest made it. Applying a
commit twice changes nothing, so that a run may be killed between any two steps.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.bank.files import replace_table, writing
from pipeline.bank.schema import PATCHES_SCHEMA, complete

_SOURCE_KEY = b"hdrprep.source"


def commit_directory(bank: Path) -> Path:
    """Return where commits wait to be folded into the tables."""
    return bank / "_work" / "commits"


def commit_key(*parts: object) -> str:
    """Return a file name for a unit of work, the same for the same work."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:32]


def write_commit(bank: Path, key: str, patches: pa.Table, source: Mapping[str, Any] | None = None) -> None:
    """Commit finished rows: `patches` with PATCHES_SCHEMA, and the source's row if ingest made it.

    Raises BankError where the bank cannot be written: that is no fault of the source.
    """
    table = patches.cast(PATCHES_SCHEMA)
    if source is not None:
        table = table.replace_schema_metadata({_SOURCE_KEY: json.dumps(dict(source))})
    with writing(bank):
        replace_table(commit_directory(bank) / f"{key}.parquet", table)


def list_commits(bank: Path) -> list[Path]:
    """Return the commits that wait, in a fixed order."""
    directory = commit_directory(bank)
    return sorted(directory.glob("*.parquet")) if directory.is_dir() else []


def read_commit(path: Path) -> tuple[pa.Table, dict[str, Any] | None]:
    """Return a commit's rows and its source's row."""
    table = pq.read_table(path)
    encoded = (table.schema.metadata or {}).get(_SOURCE_KEY)
    # Whoever was interrupted may have been an earlier version.
    return complete(table, PATCHES_SCHEMA), None if encoded is None else json.loads(encoded)
