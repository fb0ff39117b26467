"""Making right what `verify` found: what was rendered is rendered again, what is a function of it is computed anew.

Every step may be interrupted and repeated. Legend: N rows of the arrays; a position is a place in the patches table.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import shardwork, work
from pipeline.bank import PATCHES_SCHEMA, SOURCES_SCHEMA, PatchArrays, Storage, writing
from pipeline.bank.arrays import NO_PATCH, array_metadata
from pipeline.bank.check import stored_rows
from pipeline.bank.schema import encode_table, table_key
from pipeline.bank.writer import merge_patches, merge_sources
from pipeline.config import Settings
from pipeline.invariants import frames_of, frames_without_patches
from pipeline.records import patch_id
from pipeline.rows import Row, relabel
from pipeline.run import Pipeline
from pipeline.verify import TABLES, Audit
from pipeline.workers import Task

MOST_PATCHES = 1000  # a frame: so many patches of a lost table are looked for


@dataclass(slots=True)
class Placement:
    """Where patches lie: positions of `rows` that the table is to have, and of what has to be rendered, by array row.

    `rows` maps a position to its array row, or to None; `render` maps an array row to the position of its patch.
    """

    rows: dict[int, int | None] = field(default_factory=dict)
    render: dict[int, int] = field(default_factory=dict)
    taken: set[int] = field(default_factory=set)

    def settle(self, position: int, row: int, render: bool) -> None:
        """Give a row to a patch."""
        self.rows[position] = row
        self.taken.add(row)
        if render:
            self.render[row] = position


def set_aside(bank: Storage, names: Iterable[str]) -> list[str]:
    """Keep a copy of tables that cannot be read, and return what the copies are called."""
    kept = []
    for name in names:
        key = table_key(name)
        if bank.exists(key):
            copy = next(c for number in count(1) if not bank.exists(c := f"{key}.damaged-{number}"))
            with writing(bank):
                bank.write(copy, bank.read(key))
            kept.append(copy)
    return kept


def repair_files(bank: Storage, audit: Audit, settings: Settings) -> None:
    """Delete what is no part of the bank, and write the arrays' metadata anew where it is damaged."""
    with writing(bank):
        for key in (*audit.files.orphans, *audit.files.debris):
            bank.delete(key)
        last = pc.max(audit.patches["row"]).as_py()
        rows = stored_rows(bank)
        rows = (0 if last is None else last + 1) if rows is None else rows
        for key, content in array_metadata(settings.crops.patch_size, settings.export, rows).items():
            if key in audit.metadata:
                bank.write(key, json.dumps(content, indent=2).encode())
    audit.metadata = []


def repair_tables(pipeline: Pipeline, audit: Audit, rebuild: bool) -> list[str]:
    """Make the tables right, from the sources where need be; return what could not be done.

    rebuild: the patches table was lost, so that frames without patches had some.
    """
    writer = pipeline.writer
    with writing(writer.storage):  # what cannot be read is replaced, also where it is replaced by nothing
        for name in audit.lost:
            writer.storage.write(table_key(name), encode_table(TABLES[name].empty_table()))
    writer.replace_sources(merge_sources(SOURCES_SCHEMA.empty_table(), writer.sources.to_pylist()))
    wrong = {fault.position for fault in audit.table_faults if fault.remedy == "drop"}
    kept = [position not in wrong for position in range(writer.patches.num_rows)]
    tasks = list(_frames_to_redo(pipeline, audit, rebuild))
    if wrong or audit.disordered:
        patches = writer.patches.filter(pa.array(kept, pa.bool_()))
        writer.replace_patches(merge_patches(PATCHES_SCHEMA.empty_table(), patches))
    report = pipeline.driver.collect("frames", work.ingest_frames, tasks, sum(task.patches for task in tasks))
    if audit.mislabelled or tasks:
        pipeline.put_on_sides(relabel(writer.patches, pipeline.settings.score))
    return [f"{outcome.path}: {outcome.reason}" for outcome in report.failures]


def _frames_to_redo(pipeline: Pipeline, audit: Audit, rebuild: bool) -> Iterator[Task]:
    """Yield the work on frames whose patches are wrong or lost; they are numbered as before."""
    writer, settings = pipeline.writer, pipeline.settings
    sources = {row["source_id"]: row for row in writer.sources.to_pylist() if row["status"] == "ok"}
    identity = writer.patches.select(["source_id", "frame", "k", "patch_id"]).to_pylist()
    wrong = {fault.position for fault in audit.table_faults if fault.remedy != "ingest"}
    wrong |= {position for position, row in enumerate(identity) if row["patch_id"] in audit.wrong_pixels}
    frames = {(identity[position]["source_id"], identity[position]["frame"]) for position in wrong}
    lacking = frames_without_patches(writer.sources, writer.patches, settings.ingest.every)
    # Of a sequence or a video they may be missing because its ingest was interrupted.
    missing = {
        (row["source_id"], frame) for row, some in lacking if rebuild or row["kind"] == "still" for frame in some
    }
    numbers = _patches_a_frame(frames, missing, identity, audit, settings)
    for (source_id, frame), patches in sorted(numbers.items()):
        source = sources.get(source_id)
        if source is None or frame not in frames_of(source, settings.ingest.every):
            continue
        crops = settings.crops.model_copy(update={"patches": patches})
        arguments = (source, [frame], settings.model_copy(update={"crops": crops}), True)
        yield Task(arguments, source["path"], patches)


def _patches_a_frame(
    frames: set[tuple[str, int]],
    missing: set[tuple[str, int]],
    identity: list[Row],
    audit: Audit,
    settings: Settings,
) -> dict[tuple[str, int], int]:
    """Return how many patches each of these frames is to have: as many as can be known that it had."""
    numbers = dict.fromkeys(frames, 1) | dict.fromkeys(missing, settings.crops.patches)
    for row in identity:
        frame = (row["source_id"], row["frame"])
        if frame in numbers:
            numbers[frame] = max(numbers[frame], row["k"] + 1)
    # What was exported of a frame without rows may tell that it had more than the bank's settings say by now.
    lost = set(audit.ids.tolist()) - {NO_PATCH} - {row["patch_id"] for row in identity}
    for frame in missing if lost else ():
        found = [k for k in range(MOST_PATCHES) if patch_id(*frame, k) in lost]
        numbers[frame] = max([numbers[frame], *(k + 1 for k in found)])
    return numbers


def repair_arrays(pipeline: Pipeline, audit: Audit) -> list[str]:
    """Make rows and pixels right; return what could not be done.

    audit: what was found in the arrays; the tables may have been repaired since.
    """
    writer = pipeline.writer
    placement = place(writer.patches, audit)
    if not placement.rows and not PatchArrays.exist(writer.storage):
        return []
    arrays = writer.arrays()
    arrays.resize(max([int(arrays.hdr.shape[0]), *(row + 1 for row in placement.render)]))
    rows, clipped = writer.patches["row"].to_pylist(), writer.patches["clipped_values"].to_pylist()
    for position, row in placement.rows.items():
        # What was never written there is not to be looked for there, before it is.
        moves = row is not None and row != rows[position] and placement.render.get(row) == position
        rows[position] = None if moves else row
        clipped[position] = 0 if rows[position] is not None and clipped[position] is None else clipped[position]
        clipped[position] = None if rows[position] is None else clipped[position]
    writer.replace_patches(_with_columns(writer.patches, {"row": rows, "clipped_values": clipped}))
    tasks = list(_shards_to_mend(pipeline, audit, placement, arrays))
    report = pipeline.driver.collect("repair", shardwork.mend_shard, tasks, sum(task.patches for task in tasks))
    return [f"{outcome.path or 'a shard'}: {outcome.reason}" for outcome in report.failures]


def place(patches: pa.Table, audit: Audit) -> Placement:
    """Decide in which row each patch lies: where the arrays say so, else where the table does, else in a free one."""
    placement = Placement()
    lies: dict[int, list[int]] = {}
    for row, identity in enumerate(audit.ids.tolist()):
        if identity != NO_PATCH:
            lies.setdefault(identity, []).append(row)
    columns = [patches[name].to_pylist() for name in ("patch_id", "row", "clipped_values")]
    homeless = []
    for position, (identity, row, clipped) in enumerate(zip(*columns, strict=True)):
        places = lies.get(identity, [])
        intact = [place for place in places if place not in audit.faults]
        if row in places or intact:
            chosen = row if row in places else intact[0]
            wrong = chosen in audit.faults or identity in audit.wrong_pixels
            placement.settle(position, chosen, wrong or not _fits(clipped, int(audit.at_limit[chosen])))
        elif row is not None:
            homeless.append((position, row))
        elif clipped is not None:
            placement.rows[position] = None
    _place_homeless(placement, homeless, audit)
    return placement


def _place_homeless(placement: Placement, homeless: list[tuple[int, int]], audit: Audit) -> None:
    """Place patches of whose pixels the arrays know nothing: where the table says if nothing else lies there."""
    nowhere = []
    for position, row in homeless:
        if 0 <= row < len(audit.ids) and row not in placement.taken:
            # Where only the id is lost, the pixels are those that the table says.
            placement.settle(position, row, render=row not in audit.unread_ids or row in audit.faults)
        else:
            nowhere.append(position)
    free = (row for row in count() if row not in placement.taken)
    for position in nowhere:
        placement.settle(position, next(free), render=True)


def _fits(clipped: int | None, at_limit: int) -> bool:
    """Say whether a number of clipped values, null for an unknown one, is known and can be right."""
    return at_limit == 0 if clipped is None else clipped <= at_limit


def _shards_to_mend(pipeline: Pipeline, audit: Audit, placement: Placement, arrays: PatchArrays) -> Iterator[Task]:
    """Yield the work on shards in which something is damaged, or lies that no table knows."""
    patches, size = pipeline.writer.patches, arrays.shard_rows
    sources = {row["source_id"]: row for row in pipeline.writer.sources.to_pylist()}
    by_shard: dict[int, list[int]] = {}
    for position, row in placement.rows.items():
        if row is not None:
            by_shard.setdefault(row // size, []).append(position)
    known = set(patches["patch_id"].to_pylist())
    strangers = {row for row, identity in enumerate(audit.ids.tolist()) if identity not in known | {NO_PATCH}}
    for shard in sorted({row // size for row in (*placement.render, *strangers, *audit.unread_ids)}):
        positions = sorted(by_shard.get(shard, []))
        if not positions:
            _delete_shard(pipeline.writer.storage, arrays, shard)
            continue
        rows = [
            {**row, "row": placement.rows[position]}
            for position, row in zip(positions, patches.take(pa.array(positions)).to_pylist(), strict=True)
        ]
        needed = {row["source_id"]: sources[row["source_id"]] for row in rows if row["source_id"] in sources}
        damaged = frozenset(row["row"] for row in rows if row["row"] in placement.render)
        yield Task((needed, rows, damaged), f"shard {shard}", len(damaged))


def _delete_shard(bank: Storage, arrays: PatchArrays, shard: int) -> None:
    with writing(bank):
        for name in ("patch_id", "hdr", "ldr"):
            bank.delete(arrays.shard_key(name, shard * arrays.shard_rows))


def _with_columns(patches: pa.Table, columns: Mapping[str, list[int | None]]) -> pa.Table:
    for name, values in columns.items():
        index = patches.schema.get_field_index(name)
        patches = patches.set_column(index, patches.schema.field(name), pa.array(values, pa.int64()))
    return patches
