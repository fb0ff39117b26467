"""What is still to do in a bank, read off its tables: by the stages that do it, and by the plan that foretells it."""

from __future__ import annotations

from collections.abc import Iterator
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
    patches = patches.select(["source_id", "frame"])
    for source in sources.filter(pc.not_equal(sources["kind"], "still")).to_pylist():
        if source["status"] != "ok":
            continue
        there = patches.filter(pc.equal(patches["source_id"], source["source_id"]))["frame"].to_pylist()
        yield source, sorted(set(range(0, source["frames"], every)) - set(there))


def patches_to_simulate(patches: pa.Table) -> pa.Table:
    """Return the patches that have no camera."""
    return patches.filter(pc.is_null(patches["clip_fraction"]))


def patches_to_score(patches: pa.Table) -> pa.Table:
    """Return the patches that have no score. Raises UsageError where one of them has no camera either."""
    pending = unscored(patches)
    without_camera = pending["clip_fraction"].null_count
    if without_camera:
        raise UsageError(f"{without_camera} patches have no camera yet; run hdrprep simulate-ldr first")
    return pending


def unscored(patches: pa.Table) -> pa.Table:
    """Return the patches that have no score, whether or not they have a camera."""
    return patches.filter(pc.is_null(patches["score_saturated"]))


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
