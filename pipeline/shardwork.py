"""What one worker does with what is stored of one shard, or with exported patches: examine, compare, mend, move, copy.

As in `work`: plain functions that end in a commit where they change something, and return something small.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.bank import BankReader, PatchArrays, Storage, commit_key, write_commit
from pipeline.bank.arrays import to_half
from pipeline.bank.drafts import Patch, write_patches
from pipeline.bank.shards import Examined, StoredShard, read_shard
from pipeline.camera import render
from pipeline.config import Settings
from pipeline.errors import BankDamaged, SourceError
from pipeline.records import Frame, Recipe
from pipeline.rows import Row, patch_table, score_rows, simulate_rows, window_rows
from pipeline.work import Outcome, Place, reopen, reopen_with_rows, single_threaded

TOLERANCE = 1e-9  # of numbers made again, relative; on one kind of machine they come out equal

# What is not a function of the source, the seed and the settings that a bank keeps for good.
_VARYING = {"row", "clipped_values", "score", "verdict", "verdict_reason"}


class Pair(NamedTuple):
    """What stands in one row of the arrays."""

    patch_id: int
    hdr: npt.NDArray[np.float16]
    ldr: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of comparing patches with their source: `differences` by patch_id, or why there was no comparing."""

    patches: int
    differences: Mapping[int, str]
    reason: str | None = None


def examine_shard(bank: Storage, shard: int) -> Examined:
    """Check every stored byte of a shard."""
    single_threaded()
    return read_shard(bank, shard).found


def compare_patches(place: Place, source: Row, rows: Sequence[Row], settings: Settings) -> Compared:
    """Make exported patches of one source again, their numbers and their pixels, and compare them bit by bit."""
    single_threaded()
    reader, differences = BankReader(place.turn.bank), dict[int, str]()
    by_frame = {number: list(some) for number, some in groupby(rows, key=lambda row: int(row["frame"]))}
    try:
        for number, frame in reopen(place, source, sorted(by_frame)):
            for row, again in zip(by_frame[number], _made_again(frame, by_frame[number], settings), strict=True):
                difference = _compare(reader, frame, row, again)
                if difference is not None:
                    differences[row["patch_id"]] = difference
    except SourceError as error:
        return Compared(0, {}, f"{source['path']}: {error}")
    return Compared(len(rows), differences)


def mend_shard(place: Place, sources: Mapping[str, Row], rows: Sequence[Row], damaged: frozenset[int]) -> Outcome:
    """Write a shard anew: the pixels of `damaged` array rows are rendered, those of the others stay.

    rows: all patches that lie in the shard, in the order (source_id, frame, k). A patch whose source is gone is left
    out: what is stored of it cannot be used, and so it is missing from then on.
    """
    single_threaded()
    stored = read_shard(place.turn.bank, rows[0]["row"] // PatchArrays(place.turn.bank).shard_rows)
    damaged = damaged | frozenset(stored.found.faults)
    pairs = {row["row"]: Pair(row["patch_id"], *stored.pair(row["row"])) for row in rows if row["row"] not in damaged}
    done, reasons = list[Row](), list[str]()
    for source_id, group in groupby((row for row in rows if row["row"] in damaged), key=lambda row: row["source_id"]):
        if source_id not in sources:
            reasons.append(f"source {source_id} is not in the sources table")
            continue
        try:
            for row, pair, clipped in _render(place, sources[source_id], list(group)):
                pairs[row["row"]] = pair
                done.append({**row, "clipped_values": clipped})
        except SourceError as error:
            reasons.append(f"{sources[source_id]['path']}: {error}")
    if pairs:
        _write(place, pairs)
    write_commit(place.turn, commit_key("shard", rows[0]["row"]), patch_table(done))
    return Outcome("", len(done), "; ".join(reasons) or None)


def move_patches(place: Place, staying: Mapping[int, int], moves: Sequence[tuple[Row, int]]) -> Outcome:
    """Write a shard anew: patches that stay, by array row, and those that move into it; commit where these are now.

    moves: rows of the table, which say where the patches lie until now, and the array rows that they come to.
    """
    single_threaded()
    shard_rows = PatchArrays(place.turn.bank).shard_rows
    pairs: dict[int, Pair] = {}
    try:
        wanted = [(row, row, patch_id) for row, patch_id in staying.items()]
        wanted += [(row["row"], target, row["patch_id"]) for row, target in moves]
        for origin, group in groupby(sorted(wanted), key=lambda entry: entry[0] // shard_rows):
            stored = read_shard(place.turn.bank, origin)
            pairs |= {target: _intact(stored, row, patch_id) for row, target, patch_id in group}
    except BankDamaged as error:
        return Outcome(str(place.turn.bank), reason=str(error))
    _write(place, pairs)
    if moves:
        rows = [{**row, "row": target} for row, target in moves]
        write_commit(place.turn, commit_key("shard", moves[0][1]), patch_table(rows))
    return Outcome(str(place.turn.bank), len(moves))


def copy_patches(
    place: Place, banks: Sequence[Storage], copies: Sequence[tuple[int, Row, int]], fresh: bool
) -> Outcome:
    """Copy patches of other banks into a shard, beside those that lie there, and commit where they are.

    copies: which bank a patch comes from, its row of the table there, and the array row that it comes to. fresh: no
    other patch lies in the shard.
    """
    single_threaded()
    readers = [BankReader(bank) for bank in banks]
    patches, done = list[Patch](), list[Row]()
    for origin, row, target in copies:
        try:
            patches.append((target, row["patch_id"], *readers[origin].pair(row["row"], row["patch_id"])))
        except BankDamaged as error:
            return Outcome(str(banks[origin]), reason=str(error))
        done.append({**row, "row": target})
    place.turn.check()
    try:
        write_patches(place.turn.storage, patches, fresh)
    except BankDamaged as error:
        return Outcome(str(place.turn.bank), reason=str(error))
    write_commit(place.turn, commit_key("shard", done[0]["row"]), patch_table(done))
    return Outcome(str(place.turn.bank), len(done))


def _intact(stored: StoredShard, row: int, patch_id: int) -> Pair:
    """Return what is stored of a patch. Raises BankDamaged where it is not that patch, or not intact."""
    if row in stored.found.faults or stored.found.ids[row - stored.found.rows.start] != patch_id:
        raise BankDamaged(f"patch {patch_id} (row {row}) is damaged; run hdrprep verify --repair first")
    return Pair(patch_id, *stored.pair(row))


def _write(place: Place, pairs: Mapping[int, Pair]) -> None:
    place.turn.check()
    write_patches(place.turn.storage, [(row, *pairs[row]) for row in sorted(pairs)], empty=True)


def _render(place: Place, source: Row, rows: Sequence[Row]) -> Iterator[tuple[Row, Pair, int]]:
    """Yield rows with their pixels and the number of values that were clipped."""
    for pixels, some in reopen_with_rows(place, source, rows):
        for row in some:
            truth, ldr = render(pixels, Recipe.from_row(row))
            hdr, clipped = to_half(truth)
            yield row, Pair(row["patch_id"], hdr, ldr), clipped


def _made_again(frame: Frame, rows: Sequence[Row], settings: Settings) -> list[Row]:
    """Return what the stages make of the patches of these rows, all of one frame."""
    numbers = [row["k"] for row in rows]
    crops = settings.crops.model_copy(update={"patches": max(numbers) + 1})
    settings = settings.model_copy(update={"crops": crops})
    windows = window_rows(rows[0]["source_id"], rows[0]["frame"], frame, settings)
    cameras = simulate_rows(frame.pixels, [windows[number] for number in numbers], settings)
    return score_rows(frame.pixels, cameras, settings)


def _compare(reader: BankReader, frame: Frame, row: Row, again: Row) -> str | None:
    """Return what is different between what the bank holds of a patch and what its source gives."""
    for name, value in again.items():
        if name not in _VARYING and not _equal(row[name], value):
            return f"its {name} is {row[name]}, and its source gives {value}"
    try:
        hdr, ldr = reader.pair(row["row"], row["patch_id"])
    except BankDamaged:
        return None  # it is told by who checks the stored bytes
    truth, photograph = render(frame.pixels, Recipe.from_row(row))
    if not np.array_equal(to_half(truth)[0], hdr):
        return "its hdr is another one than its source gives"
    return None if np.array_equal(photograph, ldr) else "its ldr is another one than its source gives"


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=TOLERANCE)
    return bool(one == other)
