"""What one worker does to hand patches over: render, write their files, commit.

Plain functions, as in `work`; who calls them, and where, is not known here. A source that cannot be used is an outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from pipeline.bank import commit_key
from pipeline.errors import SourceError
from pipeline.handover import FORMATS, SHARD, Folder, Format, Rendered, digest_of, write_shard
from pipeline.rows import Row
from pipeline.work import Outcome, Place, reopen_with_rows, single_threaded


def pack_frames(place: Place, source: Row, rows: Sequence[Row], folder: Path, name: str, schema: pa.Schema) -> Outcome:
    """Write the files of some frames' patches, and commit frame by frame what was written.

    `rows` are those of the manifest, `schema` is its; `name` is that of the format.
    """
    single_threaded()
    target, form = Folder(folder), FORMATS[name]
    try:
        for pixels, some in reopen_with_rows(place, source, rows):
            done = [_pack(target, form, Rendered.of(pixels, row)) for row in some]
            _commit(target, done, schema)
    except SourceError as error:
        return Outcome(source["path"], reason=str(error))
    return Outcome(source["path"], len(rows))


def pack_shard(
    place: Place, sources: Mapping[str, Row], rows: Sequence[Row], folder: Path, schema: pa.Schema
) -> Outcome:
    """Write a shard and commit it; `rows`, in the order (source_id, frame, k), are all the patches that it holds."""
    single_threaded()
    target, path = Folder(folder), rows[0][f"{SHARD}_path"]
    begun: list[Row] = []
    clipped: list[int] = []

    def patches() -> Iterator[Rendered]:
        for source_id, group in groupby(rows, key=lambda row: str(row["source_id"])):
            begun.append(sources[source_id])
            for pixels, some in reopen_with_rows(place, begun[-1], list(group)):
                for row in some:
                    patch = Rendered.of(pixels, row)
                    clipped.append(patch.clipped_values)
                    yield patch

    try:
        facts = target.place(path, lambda beside: write_shard(beside, patches(), target.scratch()))
    except SourceError as error:
        return Outcome(begun[-1]["path"], reason=str(error))
    done = [{**row, "clipped_values": count} | _facts(SHARD, facts) for row, count in zip(rows, clipped, strict=True)]
    _commit(target, done, schema)
    return Outcome("", len(done))


def find_wrong(folder: Path, listed: Mapping[str, str]) -> list[str]:
    """Return those of the listed files, path to SHA-256, whose content is another."""
    return [path for path, digest in listed.items() if digest_of(folder / path) != digest]


def _pack(target: Folder, form: Format, patch: Rendered) -> Row:
    done = {**patch.row, "clipped_values": patch.clipped_values if form.half else 0}
    for name, member in form.members.items():
        if member.write is not None:
            done |= _facts(name, target.place(patch.row[f"{name}_path"], partial(_write, member.write, patch)))
    return done


def _write(write: Callable[[Path, Rendered], None], patch: Rendered, path: Path) -> None:
    write(path, patch)


def _facts(name: str, facts: tuple[int, str]) -> Row:
    return dict(zip((f"{name}_bytes", f"{name}_sha256"), facts, strict=True))


def _commit(target: Folder, done: Sequence[Row], schema: pa.Schema) -> None:
    key = commit_key("pack", done[0]["patch_id"], len(done))
    target.commit(key, pa.Table.from_pylist(list(done), schema=schema))
