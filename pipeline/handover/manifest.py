"""What is to lie in the folder, what of it is there already, and what must go.

The manifest is a table with one row a patch: the columns of the bank's patches table (`row` apart), the licence and
attribution of its source, and for each file of the format `NAME_path`, `NAME_bytes`, `NAME_sha256`. It is also how a
repeated export knows what is done: a file counts as done if the manifest has a row of the same numbers for it and the
folder a file of that size. Files that were written after the table are read again (`doubtful_files`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.handover.formats import SHARD, Format

_NOT_OURS = ("row", "clipped_values")  # of the bank's table: they tell of its arrays


@dataclass(frozen=True, slots=True)
class Plan:
    """`rows` of the manifest, in the order (source_id, frame, k), null facts where `pending`; and `stale` files."""

    rows: pa.Table
    pending: npt.NDArray[np.bool_]
    stale: list[str]

    @property
    def done(self) -> pa.Table:
        """The rows whose files are there."""
        return self.rows.filter(pa.array(~self.pending))

    @property
    def missing(self) -> pa.Table:
        """The rows whose files are still to be written."""
        return self.rows.filter(pa.array(self.pending))


def wanted_rows(patches: pa.Table, sources: pa.Table, form: Format, shard_patches: int) -> pa.Table:
    """Return the manifest of an export of these patches, in their order; its facts are null.

    patches: rows of the patches table, in the order (source_id, frame, k).
    """
    rows = patches.drop_columns([name for name in _NOT_OURS if name in patches.column_names])
    where = pc.index_in(rows["source_id"], value_set=sources["source_id"].combine_chunks())
    for name in ("licence", "attribution"):
        rows = rows.append_column(name, sources[name].take(where))
    rows = rows.append_column("clipped_values", pa.nulls(rows.num_rows, pa.int64()))
    for name, paths in _paths(rows, form, shard_patches).items():
        rows = rows.append_column(f"{name}_path", paths)
        rows = rows.append_column(f"{name}_bytes", pa.nulls(rows.num_rows, pa.int64()))
        rows = rows.append_column(f"{name}_sha256", pa.nulls(rows.num_rows, pa.string()))
    return rows.combine_chunks()


def make_plan(wanted: pa.Table, manifest: pa.Table | None, files: pa.Table, form: Format) -> Plan:
    """Compare what is wanted with what is known of the folder and with the files (`path`, `bytes`) that lie in it."""
    paths = [f"{name}_path" for name in form.members]
    meant = pa.chunked_array([chunk for name in paths for chunk in wanted[name].chunks], pa.string())
    stale = files["path"].filter(pc.invert(_is_in(files["path"], meant))).to_pylist()
    if manifest is None or not {"patch_id", *form.content, *paths, *_facts(form)} <= set(manifest.column_names):
        return Plan(wanted, np.ones(wanted.num_rows, np.bool_), stale)
    known = manifest.take(pc.index_in(wanted["patch_id"], value_set=manifest["patch_id"].combine_chunks()))
    same = pc.is_valid(known["patch_id"])
    for name in [*form.content, *paths]:
        same = pc.and_(same, pc.fill_null(pc.equal(known[name], wanted[name]), False))
    for name in form.members:
        lying = files["bytes"].take(pc.index_in(wanted[f"{name}_path"], value_set=files["path"].combine_chunks()))
        same = pc.and_(same, pc.fill_null(pc.equal(known[f"{name}_bytes"], lying), False))
    done = same.to_numpy(zero_copy_only=False)
    if form.sharded:
        done = _whole_shards(done, wanted, manifest)
    return Plan(_with_facts(wanted, known, done, form), ~done, stale)


def doubtful_files(files: pa.Table, manifest: pa.Table | None, form: Format) -> pa.Table:
    """Return `path` and `sha256` of the files that the manifest lists and that were touched after it was written."""
    touched = files["path"].filter(files["touched"])
    known = [pa.table({"path": pa.array([], pa.string()), "sha256": pa.array([], pa.string())})]
    for name in form.members:
        columns = [f"{name}_path", f"{name}_sha256"]
        if manifest is not None and set(columns) <= set(manifest.column_names):
            listed = manifest.select(columns).rename_columns(["path", "sha256"])
            known.append(listed.filter(_is_in(listed["path"], touched)))
    distinct = pa.concat_tables(known).group_by("path").aggregate([("sha256", "max")])
    return distinct.rename_columns(["path", "sha256"])


def without_content(files: pa.Table, paths: Iterable[str]) -> pa.Table:
    """Return the listing of files with those that hold something else marked by a size that no file has."""
    wrong = pc.is_in(files["path"], value_set=pa.array(list(paths), pa.string()))
    sizes = pc.if_else(wrong, pa.scalar(-1, pa.int64()), files["bytes"])
    return files.set_column(files.schema.get_field_index("bytes"), "bytes", sizes)


def read_rows(path: Path) -> pa.Table | None:
    """Return a manifest or a commit, None where there is none that can be read: what it lists is then written anew."""
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException):
        return None


def merge_rows(table: pa.Table | None, commits: Iterable[pa.Table]) -> pa.Table | None:
    """Return the rows of a manifest with those of commits added or replaced by patch_id; the order is lost."""
    new = [commit for commit in commits if "patch_id" in commit.column_names]
    if not new:
        return table
    rows = pa.concat_tables(new, promote_options="default")
    # Of a patch that was committed twice, by a run that was killed and by the next, the files are the same.
    last = pc.index_in(pc.unique(rows["patch_id"]), value_set=rows["patch_id"].combine_chunks())
    rows = rows.take(last)
    if table is None:
        return rows
    kept = table.filter(pc.invert(_is_in(table["patch_id"], rows["patch_id"])))
    return pa.concat_tables([kept, rows], promote_options="default")


def in_order(wanted: pa.Table, manifest: pa.Table | None) -> pa.Table:
    """Return the rows of a manifest in the order and with the columns of what is wanted."""
    if manifest is None:
        return wanted.slice(0, 0)
    where = pc.index_in(wanted["patch_id"], value_set=manifest["patch_id"].combine_chunks()).drop_null()
    return manifest.take(where).select(wanted.column_names).cast(wanted.schema).combine_chunks()


def _paths(rows: pa.Table, form: Format, shard_patches: int) -> dict[str, pa.Array]:
    splits = rows["split"].to_pylist() if "split" in rows.column_names else [None] * rows.num_rows
    folders = pa.array([form.folder(split) for split in splits], pa.string())
    if form.sharded:
        names = pa.array(_shard_names(splits, shard_patches), pa.string())
    else:
        names = rows["patch_id"].combine_chunks().cast(pa.string())
    return {
        name: pc.binary_join_element_wise(folders, member.folder, names, member.suffix, "")
        for name, member in form.members.items()
    }


def _shard_names(splits: list[str | None], shard_patches: int) -> list[str]:
    counts: dict[str | None, int] = {}
    names = []
    for split in splits:
        count = counts.get(split, 0)
        counts[split] = count + 1
        names.append(f"patches-{count // shard_patches:06d}")
    return names


def _whole_shards(done: npt.NDArray[np.bool_], wanted: pa.Table, manifest: pa.Table) -> npt.NDArray[np.bool_]:
    """Say which patches lie in shards that hold all of theirs, unchanged, and no other."""
    column = f"{SHARD}_path"
    shards = wanted[column].combine_chunks().dictionary_encode()
    of = shards.indices.to_numpy()
    counts = np.bincount(of, minlength=len(shards.dictionary))
    intact = np.bincount(of, weights=done, minlength=len(shards.dictionary)) == counts
    held = pc.index_in(manifest[column], value_set=shards.dictionary).drop_null().to_numpy()
    intact &= np.bincount(held, minlength=len(shards.dictionary)) == counts
    return np.asarray(intact[of], dtype=np.bool_)


def _with_facts(wanted: pa.Table, known: pa.Table, done: npt.NDArray[np.bool_], form: Format) -> pa.Table:
    for name in _facts(form):
        index, field = wanted.schema.get_field_index(name), wanted.schema.field(name)
        values = pc.if_else(pa.array(done), known[name].cast(field.type), pa.scalar(None, field.type))
        wanted = wanted.set_column(index, field, values)
    return wanted


def _facts(form: Format) -> list[str]:
    return ["clipped_values", *(f"{name}_{fact}" for name in form.members for fact in ("bytes", "sha256"))]


def _is_in(values: pa.ChunkedArray, among: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.is_in(values, value_set=among.combine_chunks())
