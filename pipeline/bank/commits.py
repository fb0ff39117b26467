"""Commits: each unit of work ends as one file of finished rows, written atomically by the worker that did it.

A commit holds whole rows of the patches table, and in its metadata the source's row where ingest made it. Applying a
commit twice changes nothing, so that a run may be killed between any two steps.

Work is done in turns, each with a folder of its own that ends with it. All that workers write passes through that
folder, shards as well as commits, and lies there until one rename puts it in place. So whoever took part in a turn that
is over, because its driver died or its worker was given up, can change nothing any more, however late it is done.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.bank.files import replace_table, writing
from pipeline.bank.schema import PATCHES_SCHEMA
from pipeline.errors import BankDamaged, BankError

_SOURCE_KEY = b"hdrprep.source"


@dataclass(frozen=True, slots=True)
class Turn:
    """A stretch of work on a bank, between two states of its tables: the workers' leave to write."""

    bank: Path
    name: str

    @property
    def folder(self) -> Path:
        """Where the turn's files lie; it is there as long as the turn lasts."""
        return turns_folder(self.bank) / self.name

    def check(self) -> None:
        """Raise BankError where this turn is over, or its bank is not to be found from here."""
        if not self.folder.is_dir():
            raise BankError(
                f"the bank {self.bank} is not there for the worker on {os.uname().nodename}, or another command took "
                "it over; workers need the bank and the sources under the same paths as the command"
            )


def turns_folder(bank: Path) -> Path:
    """Return where the folders of turns lie."""
    return bank / "_work" / "turns"


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
        replace_table(turn.folder / f"{key}.parquet", table, turn.folder)


def list_commits(folder: Path) -> list[Path]:
    """Return the commits that wait in a turn's folder, in a fixed order."""
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))


def read_commit(path: Path) -> tuple[pa.Table, dict[str, Any] | None]:
    """Return a commit's rows and its source's row. Raises BankDamaged."""
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BankDamaged(f"the commit {path} cannot be read; delete it, and its work is done again") from error
    encoded = (table.schema.metadata or {}).get(_SOURCE_KEY)
    return table.replace_schema_metadata(None).cast(PATCHES_SCHEMA), None if encoded is None else json.loads(encoded)
