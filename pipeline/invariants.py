"""What must hold of the two tables of a bank, whatever is in its arrays.

Legend: P patches, in the order of their table; a position is a place in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import Settings
from pipeline.records import patch_id
from pipeline.rows import Row, relabel
from pipeline.split import split_patches, split_sources

Remedy = Literal["drop", "redo", "ingest"]
Bools: TypeAlias = npt.NDArray[np.bool_]  # (P,)

_WINDOW = ("y", "x", "height", "width", "patch_size")
_CAMERA = ("clip_fraction", "exposure", "noise_sigma", "hue_shift", "saturation_shift", "curve_n", "curve_sigma")
_SCORE = ("saturated_fraction", "score_saturated", "score_patch", "score")


@dataclass(frozen=True, slots=True)
class PatchFault:
    """What is wrong with one patch's row, and what makes it right.

    `drop`: the row is none of this bank's; `redo`: its frame gives the numbers anew; `ingest`: its source has to be
    taken in again.
    """

    position: int
    text: str
    remedy: Remedy


def source_faults(sources: pa.Table) -> list[str]:
    """Return what is wrong with the sources table."""
    rows = sources.to_pylist()
    keys = [(row["source_id"] is None, row["source_id"] or row["path"] or "") for row in rows]
    faults = [f"source {key[1]} stands in it twice" for key, other in pairwise(keys) if key == other]
    if keys != sorted(keys):
        faults.append("its rows are out of order")
    for row in rows:
        if row["status"] not in ("ok", "rejected") or row["path"] is None:
            faults.append(f"source {row['source_id']} has no path or no status")
        elif row["status"] == "ok" and None in (row["source_id"], row["width"], row["height"], row["frames"]):
            faults.append(f"source {row['path']} is used, and has no identity, size or frames")
        elif row["status"] == "rejected" and row["reason"] is None:
            faults.append(f"source {row['path']} is rejected without a reason")
    return faults


def patch_faults(sources: pa.Table, patches: pa.Table, settings: Settings) -> list[PatchFault]:
    """Return what is wrong with rows of the patches table, at most one thing a row."""
    found: dict[int, PatchFault] = {}
    for mask, text, remedy in _checks(sources, patches, settings):
        for position in np.flatnonzero(mask).tolist():
            found.setdefault(position, PatchFault(position, text, remedy))
    return [found[position] for position in sorted(found)]


def is_ordered(patches: pa.Table) -> bool:
    """Say whether a patches table is in the order (source_id, frame, k)."""
    columns = [patches[name].to_pylist() for name in ("source_id", "frame", "k")]
    keys = list(zip(*columns, strict=True))
    return all(one <= other for one, other in pairwise(keys))


def mislabelled(patches: pa.Table, settings: Settings) -> Bools:
    """Return (P,) where a patch has another score or verdict than its measurements and the settings say."""
    right = relabel(patches, settings.score)
    different = np.zeros(patches.num_rows, np.bool_)
    for name in ("score", "verdict", "verdict_reason"):
        same = pc.equal(patches[name], right[name])
        both_null = pc.and_(pc.is_null(patches[name]), pc.is_null(right[name]))
        different |= ~_bools(pc.or_kleene(pc.fill_null(same, False), both_null))
    return different


def on_wrong_side(sources: pa.Table, patches: pa.Table, settings: Settings) -> Bools:
    """Return (P,) where a patch is on another side of the split than its source and the settings say."""
    right = split_patches(patches, split_sources(sources, settings.split))
    return _bools(pc.fill_null(pc.not_equal(patches["split"], right["split"]), False))


def _checks(sources: pa.Table, patches: pa.Table, settings: Settings) -> Iterator[tuple[Bools, str, Remedy]]:
    """Yield each check: (P,) where it fails, what is wrong there, and the remedy."""
    identity = [patches[name].to_pylist() for name in ("source_id", "frame", "k")]
    right = [None if None in key else patch_id(*key) for key in zip(*identity, strict=True)]
    yield patches["patch_id"].to_numpy() != np.array(right, object), "patch_id is not the hash of its identity", "drop"
    yield _repeated(patches["patch_id"]), "it stands in the table twice", "drop"
    place = pc.index_in(patches["source_id"], value_set=sources["source_id"].combine_chunks())
    unknown = _bools(pc.is_null(place))
    yield unknown, "its source is not in the sources table", "ingest"
    yield _bools(pc.not_equal(pc.take(sources["status"], place), "ok")), "its source is not one that is used", "ingest"
    yield _outside(sources, patches, place), "its window does not lie in its frame", "redo"
    size = _bools(pc.not_equal(patches["patch_size"], settings.crops.patch_size))
    yield size, "its patch_size is not the bank's", "redo"
    yield _frame_unused(sources, patches, place, settings), "its frame is not one that is used", "drop"
    yield _incomplete(patches), "its frame lacks patches", "redo"
    yield from _number_checks(patches)


def _number_checks(patches: pa.Table) -> Iterator[tuple[Bools, str, Remedy]]:
    camera, score = _numbers(patches, _CAMERA), _numbers(patches, _SCORE)
    simulated, scored = ~np.isnan(camera), ~np.isnan(score)
    whole = ~_any(~simulated)
    broken = _any(np.isinf(camera)) | _any(np.isinf(score))
    yield broken | _written_nans(patches, (*_CAMERA, *_SCORE)), "it has a number that is not finite", "redo"
    yield _any(simulated) & ~whole, "its camera is incomplete", "redo"
    yield whole & (camera[:, 1] <= 0), "its exposure is not positive", "redo"
    yield _any(scored) & _any(~scored), "its score is incomplete", "redo"
    yield _any(scored) & ~_any(simulated), "it has a score without a camera", "redo"
    fraction = score[:, 0]
    yield (fraction < 0) | (fraction > 1), "its saturated_fraction is not within 0 and 1", "redo"


def _repeated(ids: pa.ChunkedArray) -> Bools:
    """Return where an id stands that stood before."""
    numbers = ids.to_numpy()
    repeated = np.ones(len(numbers), np.bool_)
    repeated[np.unique(numbers, return_index=True)[1]] = False
    return repeated


def _outside(sources: pa.Table, patches: pa.Table, place: Any) -> Bools:
    y, x, height, width, _ = _numbers(patches, _WINDOW).T
    frame_height, frame_width = (_floats(pc.take(sources[name], place)) for name in ("height", "width"))
    inside = (
        (y >= 0) & (x >= 0) & (height > 0) & (width > 0) & (y + height <= frame_height) & (x + width <= frame_width)
    )
    return np.asarray(~inside & ~np.isnan(frame_height), np.bool_)


def _frame_unused(sources: pa.Table, patches: pa.Table, place: Any, settings: Settings) -> Bools:
    frame, frames = _floats(patches["frame"]), _floats(pc.take(sources["frames"], place))
    still = _bools(pc.equal(pc.take(sources["kind"], place), "still"))
    used = np.where(still, frame == 0, (frame >= 0) & (frame < frames) & (frame % settings.ingest.every == 0))
    return np.asarray(~used & ~np.isnan(frames), np.bool_)


def _incomplete(patches: pa.Table) -> Bools:
    """Return the patches of frames whose k do not run from 0 on without a gap."""
    if patches.num_rows == 0:
        return np.zeros(0, np.bool_)
    frames = patches.select(["source_id", "frame", "k"]).group_by(["source_id", "frame"])
    counted = frames.aggregate([("k", "max"), ("k", "count_distinct")])
    gap = pc.not_equal(pc.add(counted["k_max"], 1), counted["k_count_distinct"])
    lacking = set(zip(*(counted.filter(gap)[name].to_pylist() for name in ("source_id", "frame")), strict=True))
    if not lacking:
        return np.zeros(patches.num_rows, np.bool_)
    frames_of = zip(patches["source_id"].to_pylist(), patches["frame"].to_pylist(), strict=True)
    return np.array([frame in lacking for frame in frames_of])


def _written_nans(patches: pa.Table, names: tuple[str, ...]) -> Bools:
    """Return where a number is NaN, which is something else than null."""
    return _any(np.stack([_bools(pc.is_nan(patches[name])) for name in names], axis=1))


def _any(values: npt.NDArray[np.bool_]) -> Bools:
    """Return (P,) where any of (P, columns) holds."""
    return np.asarray(values.any(axis=1), np.bool_)


def _numbers(patches: pa.Table, names: tuple[str, ...]) -> npt.NDArray[np.float64]:
    """Return (P, len(names)), NaN for null."""
    return np.stack([_floats(patches[name]) for name in names], axis=1)


def _floats(values: Any) -> npt.NDArray[np.float64]:
    return np.asarray(pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _bools(values: Any) -> Bools:
    return np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False), np.bool_)


def frames_without_patches(sources: pa.Table, patches: pa.Table, every: int) -> Iterator[tuple[Row, list[int]]]:
    """Yield each used source some of whose frames have no patches, and these frames."""
    there: dict[str, set[int]] = {}
    frames = patches.select(["source_id", "frame"]).group_by(["source_id", "frame"]).aggregate([]).to_pylist()
    for row in frames:
        there.setdefault(row["source_id"], set()).add(row["frame"])
    for source in sources.filter(pc.equal(sources["status"], "ok")).to_pylist():
        missing = sorted(set(frames_of(source, every)) - there.get(source["source_id"], set()))
        if missing:
            yield source, missing


def frames_of(source: Row, every: int) -> range:
    """Return the frames of a used source that patches are cut from."""
    return range(1) if source["kind"] == "still" else range(0, source["frames"], every)
