"""Commits: each unit of work ends as one file of finished rows, written atomically by the worker that did it.

A commit holds whole rows of the patches table, and in its metadata the source's row where ingest made it. Applying a
commit twice changes nothing, so that a run may be killed between any two steps.

Work is done in turns, each with a folder of its own that ends with it. In a directory all that workers write passes
through that folder, shards as well as commits, and lies there until one rename puts it in place. So whoever took part
in a turn that is over, because its driver died or its worker was given up, can change nothing any more, however late
it is done. On an object store a worker looks whether its turn lasts before it writes; a commit that is late all the
same is thrown away.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.bank.schema import PATCHES_SCHEMA, complete, encode_table
from pipeline.bank.storage import Storage, writing
from pipeline.errors import BankDamaged, BankError

TURNS = "_work/turns"  # where commits wait to be folded into the tables, in a folder of each turn

_SOURCE_KEY = b"hdrprep.source"


@dataclass(frozen=True, slots=True)
class Turn:
    """A stretch of work on a bank, between two states of its tables: the workers' leave to write."""

    bank: Storage
    name: str

    @property
    def folder(self) -> str:
        """Where the turn's files lie, as a key of the bank."""
        return f"{TURNS}/{self.name}"

    @property
    def storage(self) -> Storage:
        """The bank, to be written to as long as the turn lasts."""
        return self.bank.by_way_of(self.folder)

    def check(self) -> None:
        """Raise BankError where this turn is over, or its bank is not to be found from here."""
        with writing(self.bank):
            lasts = self.bank.exists(f"{self.folder}/open")
        if not lasts:
            raise BankError(
                f"the bank {self.bank} is not there for the worker on {os.uname().nodename}, or another command took "
                "it over; workers need the bank and the sources under the same paths as the command"
            )


def commit_key(*parts: object) -> str:
    """Return a file name for a unit of work, the same for the same work."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:32]


def write_commit(turn: Turn, key: str, patches: pa.Table, source: Mapping[str, Any] | None = None) -> None:
    """Commit finished rows: `patches` with PATCHES_SCHEMA, and the source's row if ingest made it.

    Raises BankError where the bank cannot be written, or the turn is over: that is no fault of the source.
    """
    table = patches.cast(PATCHES_SCHEMA)
    if source is not None:
        table = table.replace_schema_metadata({_SOURCE_KEY: json.dumps(dict(source))})
    turn.check()
    with writing(turn.bank):
        turn.storage.write(f"{turn.folder}/{key}.parquet", encode_table(table))


def list_commits(bank: Storage, folder: str) -> list[str]:
    """Return the commits that wait in the folder of a turn, as keys of the bank's files, in a fixed order."""
    return [key for key in bank.keys(folder) if key.endswith(".parquet") and "/." not in key]


def read_commit(bank: Storage, key: str) -> tuple[pa.Table, dict[str, Any] | None]:
    """Return a commit's rows and its source's row. Raises BankDamaged, FileNotFoundError."""
    content = bank.read(key)
    try:
        table = pq.read_table(pa.BufferReader(content))
    except (pa.ArrowException, ValueError) as error:
        raise BankDamaged(f"the commit {bank}/{key} cannot be read; delete it, and its work is done again") from error
    encoded = (table.schema.metadata or {}).get(_SOURCE_KEY)
    # Whoever was interrupted may have been an earlier version.
    return complete(table, PATCHES_SCHEMA), None if encoded is None else json.loads(encoded)
