"""What is still to do in a bank, read off its tables: by the stages that do it, and by the plan that foretells it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import Settings
from pipeline.errors import UsageError
from pipeline.records import derive_seed
from pipeline.rows import Row


@dataclass(frozen=True, slots=True)
class ToExport:
    """`positions` of the patches to write, ascending; `exported` rows that are taken; `total` rows in the end."""

    positions: list[int]
    exported: npt.NDArray[np.int64]
    total: int


def frames_to_ingest(sources: pa.Table, patches: pa.Table, every: int) -> Iterator[tuple[Row, list[int]]]:
    """Yield each sequence and video that was taken in, with its used frames that have no patches yet."""
    wanted = [row for row in sources.to_pylist() if row["kind"] != "still" and row["status"] == "ok"]
    there = _frames_there(patches, [source["source_id"] for source in wanted])
    for source in wanted:
        yield source, sorted(set(range(0, source["frames"], every)) - there.get(source["source_id"], set()))


def _frames_there(patches: pa.Table, source_ids: Sequence[str]) -> dict[str, set[int]]:
    """Return the frames that have patches, by source."""
    patches = patches.select(["source_id", "frame"])
    wanted = patches.filter(pc.is_in(patches["source_id"], value_set=pa.array(source_ids, pa.string())))
    there: dict[str, set[int]] = {}
    for row in wanted.group_by(["source_id", "frame"]).aggregate([]).to_pylist():
        there.setdefault(row["source_id"], set()).add(row["frame"])
    return there


def patches_to_simulate(patches: pa.Table) -> pa.Table:
    """Return the patches that have no camera."""
    return _where_null(patches, "clip_fraction")


def patches_to_score(patches: pa.Table) -> pa.Table:
    """Return the patches that have no score. Raises UsageError where one of them has no camera either."""
    pending = unscored(patches)
    without_camera = pending["clip_fraction"].null_count
    if without_camera:
        raise UsageError(f"{without_camera} patches have no camera yet; run hdrprep simulate-ldr first")
    return pending


def unscored(patches: pa.Table) -> pa.Table:
    """Return the patches that have no score, whether or not they have a camera."""
    return _where_null(patches, "score_saturated")


def _where_null(patches: pa.Table, column: str) -> pa.Table:
    """Return the patches that have nothing in a column; without copying any where there are none."""
    return patches.filter(pc.is_null(patches[column])) if patches[column].null_count else patches.slice(0, 0)


def check_scored(patches: pa.Table) -> None:
    """Raise UsageError where a patch has no score."""
    count = patches["score"].null_count
    if count:
        raise UsageError(f"{count} patches have no score yet; run hdrprep score first")


def patches_to_export(patches: pa.Table, settings: Settings) -> ToExport:
    """Return the kept patches that are not yet exported, within the limit, and those whose row has to move."""
    kept = _kept_without_row(patches, settings)
    exported = patches["row"].drop_null().to_numpy()
    # Rows beyond the number of patches stand behind holes of an interrupted export: they move into these.
    total = exported.size + len(kept)
    moved = pc.indices_nonzero(pc.fill_null(pc.greater_equal(patches["row"], total), False)).to_pylist()
    return ToExport(sorted({*kept, *moved}), exported[exported < total], total)


def export_room(patches: pa.Table, limit: int | None) -> int | None:
    """Return how many patches may still be exported, None where there is no limit."""
    return None if limit is None else max(0, limit - len(patches) + patches["row"].null_count)


def _kept_without_row(patches: pa.Table, settings: Settings) -> list[int]:
    """Return the positions of the kept patches that are to get a row, ascending."""
    kept = pc.fill_null(pc.equal(patches["verdict"], "kept"), False)
    pending = pc.indices_nonzero(pc.and_(kept, pc.is_null(patches["row"]))).to_pylist()
    room = export_room(patches, settings.export.limit)
    if room is None:
        return list(pending)
    # A seeded subset: patches are ranked by a hash of their identity, so that a larger limit adds to a smaller one.
    identities = patches["patch_id"].to_numpy()
    seed = settings.ingest.seed
    ranked = sorted(pending, key=lambda position: derive_seed(seed, str(identities[position]), 0, 0, "limit"))
    return sorted(ranked[:room])


def by_frames(patches: pa.Table, most: int) -> Iterator[pa.Table]:
    """Cut a table in the order (source_id, frame, k) into slices of at most so many frames of one source."""
    if patches.num_rows == 0:
        return
    sources = patches["source_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    frames = patches["frame"].to_numpy()
    new_source = np.concatenate([[True], np.diff(sources) != 0])
    new_frame = new_source | np.concatenate([[True], np.diff(frames) != 0])
    # The number of each row's frame within its source: a slice begins at every `most`-th.
    count = np.cumsum(new_frame) - 1
    within = count - np.maximum.accumulate(np.where(new_source, count, 0))
    bounds = [*np.flatnonzero(new_frame & (within % most == 0)).tolist(), patches.num_rows]
    for start, stop in pairwise(bounds):
        yield patches.slice(start, stop - start)
