"""The data split: which sources train, which validate, which test, decided by content or by a group's name alone.

Legend: the tables are those of the bank, sources (one row a source) and patches (one row a patch).
"""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline.records import Split, split_of

FOLDER = "folder"  # the value of `group_by` that is no regular expression


class SplitSettings(BaseModel):
    """How sources are put on sides; the shares are of sources, or of groups of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    validation: float = Field(0.1, ge=0, lt=1)  # share of the sources; ours, Santos et al. 2020 name none
    test: float = Field(0.0, ge=0, lt=1)  # share of the sources, never trained on; the paper tests on others
    # What keeps sources together, such as several shots of one scene: `folder`, the name of the folder that a source
    # lies in, or a regular expression searched in its path, of which the first group counts, else the whole match.
    group_by: str | None = None

    @field_validator("group_by")
    @classmethod
    def _check_group_by(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"write {FOLDER} or a valid regular expression ({error})") from error
        return value or None

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test must sum to less than 1, or nothing is left to train on")
        return self


def group_of(path: str, group_by: str | None) -> str | None:
    """Return the name of the group of a source, None where it stands for itself."""
    if group_by is None:
        return None
    if group_by == FOLDER:
        # Its last component alone, so that the same folders fall on the same sides on another machine.
        return PurePosixPath(path).parent.name or None
    match = re.search(group_by, path)
    return None if match is None else match[1 if match.re.groups else 0] or None


def side_of(source_id: str, group: str | None, settings: SplitSettings) -> Split:
    """Return the side of a source: by its content hash, or by the SHA-256 of its group's name."""
    identity = source_id if group is None else hashlib.sha256(group.encode()).hexdigest()
    return split_of(identity, settings.validation, settings.test)


def split_sources(sources: pa.Table, settings: SplitSettings) -> pa.Table:
    """Return the sources with `group` and `split` filled in; rejected ones have no side."""
    groups, sides = list[str | None](), list[Split | None]()
    columns = (sources[name].to_pylist() for name in ("source_id", "path", "status"))
    for source_id, path, status in zip(*columns, strict=True):
        group = group_of(path, settings.group_by)
        groups.append(group)
        sides.append(side_of(source_id, group, settings) if status == "ok" else None)
    return _with_column(_with_column(sources, "group", pa.array(groups, pa.string())), "split", _strings(sides))


def split_patches(patches: pa.Table, sources: pa.Table) -> pa.Table:
    """Return the patches with the `split` of their sources."""
    place = pc.index_in(patches["source_id"], value_set=sources["source_id"].combine_chunks())
    return _with_column(patches, "split", pc.take(sources["split"].combine_chunks(), place))


def count_moved(before: pa.Table, after: pa.Table) -> int:
    """Return how many sources changed sides; both tables hold the same sources in the same order."""
    return pc.sum(pc.not_equal(before["split"], after["split"])).as_py() or 0


def _strings(values: list[Split | None]) -> pa.Array:
    return pa.array(values, pa.string())


def _with_column(table: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), values)
