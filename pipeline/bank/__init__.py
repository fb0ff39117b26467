"""The patch bank: one Zarr v3 group with two Parquet tables, readable without this project's code.

schema    columns and format version
files     atomic replacement of a file
durable   Zarr's store in a directory, each file on the disk before it has its name
storage   where a bank lies: a directory, or a place behind a URL
lock      the right to write, held by one process
commits   one file of finished rows per unit of work, written by workers in a turn
writer    the process that owns a bank: lock, fold of commits into the tables
arrays    the exported pixels: how they are stored
chunks    the bytes of one chunk and of a shard's index
shards    a shard, read and checked whole
drafts    a shard, written whole, by one task
pairs     pairs by row, straight from the shards
reader    what training sees
"""

from pipeline.bank.arrays import ExportSettings, PatchArrays, ShardPlan, plan_shards
from pipeline.bank.commits import Turn, commit_key, write_commit
from pipeline.bank.reader import BankReader
from pipeline.bank.schema import FORMAT_VERSION, PATCHES_SCHEMA, SOURCES_SCHEMA
from pipeline.bank.storage import LocalStorage, Storage, open_storage, writing
from pipeline.bank.writer import BankWriter

__all__ = [
    "FORMAT_VERSION",
    "PATCHES_SCHEMA",
    "SOURCES_SCHEMA",
    "BankReader",
    "BankWriter",
    "ExportSettings",
    "LocalStorage",
    "PatchArrays",
    "ShardPlan",
    "Storage",
    "Turn",
    "commit_key",
    "open_storage",
    "plan_shards",
    "write_commit",
    "writing",
]
