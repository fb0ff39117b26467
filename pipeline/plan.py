"""What a command would do: counted in the tables and headers, and measured on a sample of it. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from pipeline import pending
from pipeline.bank import PATCHES_SCHEMA, SOURCES_SCHEMA, Storage
from pipeline.bank.writer import read_folded
from pipeline.config import Settings
from pipeline.crops import check_size
from pipeline.driver import FRAMES
from pipeline.errors import SourceError, describe
from pipeline.frames import probe
from pipeline.frames.sequence import sequence_files
from pipeline.identification import Identified, identify_sources
from pipeline.observation import Sample, Seconds, Unit
from pipeline.remote import access, path_of
from pipeline.rows import Found, Row, relabel, source_row, used_frames
from pipeline.sample import Stage, measure

Command = Literal["ingest", "simulate-ldr", "score", "export", "run"]
T = TypeVar("T")


@dataclass(slots=True)
class Job:
    """Units that go through the same stages; each frame is decoded `decodes` times, not counting the export."""

    stages: tuple[Stage, ...]
    decodes: int
    units: list[Unit]
    sample: Sample | None = None  # None where there are no units

    @property
    def candidates(self) -> int:
        """Patches of all units."""
        return sum(unit.candidates for unit in self.units)


@dataclass(frozen=True, slots=True)
class Intake:
    """What ingest would find among the named sources.

    `new` are those that the bank does not know, of so many `bytes`; `known` are in the bank, `known_rejected` of them
    as rejected; `twice` are further places of a content. `seconds` it took to tell, as it will take the command.
    """

    new: int
    bytes: int
    known: int
    known_rejected: int
    twice: int
    seconds: Seconds


@dataclass(slots=True)
class Plan:
    """What a command would do. `failures` are reasons by path, of sources that cannot be used."""

    command: Command
    settings: Settings
    banked: int  # candidates that are in the bank
    jobs: list[Job] = field(default_factory=list)
    intake: Intake | None = None
    failures: dict[str, str] = field(default_factory=dict)
    relabelled: tuple[int, int, int] | None = None  # scored before, of these kept until now, kept from now on
    room: int | None = None  # patches that the limit of the export lets through

    @property
    def frames(self) -> int:
        """Frames that patches are, or are to be, cut from."""
        return len({(unit.source["source_id"], unit.number) for job in self.jobs for unit in job.units})

    @property
    def candidates(self) -> int:
        """Patches that something is done to."""
        return sum(job.candidates for job in self.jobs)


def plan_intake(
    command: Literal["ingest", "run"], bank: Storage | None, settings: Settings, files: Sequence[Path]
) -> Plan:
    """Foretell `ingest` or `run` of files into a bank, None where it is still to be made."""
    sources, patches = SOURCES_SCHEMA.empty_table(), PATCHES_SCHEMA.empty_table()
    if bank is not None:
        sources, patches = read_folded(bank)
    plan = Plan(command, settings, patches.num_rows)
    seconds = Seconds()
    with seconds.measured():
        identified = identify_sources(files, sources, settings.ingest.sequences, _each)
        found = list(_examined(plan, identified.new))
    plan.intake = _count_named(identified, sources, seconds)
    units = [unit for row, used in found for unit in _units(row, path_of(row["path"]), _to_draw(used, settings))]
    for row, frames in pending.frames_to_ingest(sources, patches, settings.ingest.every):
        place = _place(plan, row, identified.further.get(row["source_id"], []))
        units += [] if place is None else _units(row, place, _to_draw(frames, settings))
    further: tuple[Stage, ...] = ("simulate", "score", "export") if command == "run" else ()
    plan.jobs.append(Job(("window", *further), 1, units))
    if command == "run":
        _add_all_stages(plan, sources, patches)
    return _measure(plan)


def plan_stage(command: Literal["simulate-ldr", "score", "export"], bank: Storage, settings: Settings) -> Plan:
    """Foretell a stage on what is in a bank. Raises UsageError where the stage before it was not finished."""
    sources, patches = read_folded(bank)
    plan = Plan(command, settings, patches.num_rows)
    if command == "simulate-ldr":
        _add(plan, ("simulate",), 1, sources, pending.patches_to_simulate(patches))
    elif command == "score":
        _add(plan, ("score",), 1, sources, pending.patches_to_score(patches))
        plan.relabelled = _relabelled(patches, relabel(patches, settings.score))
    else:
        pending.check_scored(patches)
        _add_export(plan, sources, patches)
    return _measure(plan)


def _add_all_stages(plan: Plan, sources: pa.Table, patches: pa.Table) -> None:
    """Add what `run` does to patches that are in the bank."""
    labelled = relabel(patches, plan.settings.score)
    plan.relabelled = _relabelled(patches, labelled)
    blind = pending.patches_to_simulate(patches)
    unscored = pending.unscored(patches)
    _add(plan, ("simulate", "score", "export"), 2, sources, blind)
    _add(plan, ("score", "export"), 1, sources, unscored.filter(pc.is_valid(unscored["clip_fraction"])))
    _add_export(plan, sources, labelled)


def _add_export(plan: Plan, sources: pa.Table, patches: pa.Table) -> None:
    positions = pending.patches_to_export(patches, plan.settings).positions
    _add(plan, ("export",), 0, sources, patches.take(pa.array(positions, pa.int64())))
    plan.room = pending.export_room(patches, plan.settings.export.limit)


def _add(plan: Plan, stages: tuple[Stage, ...], decodes: int, sources: pa.Table, rows: pa.Table) -> None:
    """Add a job on patches of the bank, in the order (source_id, frame, k)."""
    by_id = {row["source_id"]: row for row in sources.to_pylist()}
    units: list[Unit] = []
    for task in pending.by_frames(rows, FRAMES):
        source = by_id[task["source_id"][0].as_py()]
        place = _place(plan, source)
        if place is not None:
            frames = [(some["frame"][0].as_py(), some.num_rows, some) for some in pending.by_frames(task, 1)]
            units += _units(source, place, frames)
    plan.jobs.append(Job(stages, decodes, units))


def _measure(plan: Plan) -> Plan:
    """Take a sample of each job, and take out the sources that turn out to be unusable."""
    plan.jobs = [job for job in plan.jobs if job.units]
    for job in plan.jobs:
        job.sample = measure(job.units, job.stages, plan.settings, 1 / len(plan.jobs))
        plan.failures |= job.sample.failures
    for job in plan.jobs:
        job.units = [unit for unit in job.units if unit.source["path"] not in plan.failures]
        if job.sample is not None:
            job.sample = replace(job.sample, units=len(job.units), total=job.candidates)
    return plan


def _examined(plan: Plan, new: Iterable[Found]) -> Iterator[tuple[Row, Sequence[int]]]:
    """Yield the rows and the used frames of new sources whose headers can be used, and note the others."""
    for found in _progress(list(new), "probe"):
        try:
            yield _examine(found, plan.settings)
        except Exception as error:  # as in a worker: one source stops nothing
            plan.failures[str(found.path)] = describe(error)


def _examine(found: Found, settings: Settings) -> tuple[Row, Sequence[int]]:
    if found.source_id is None:
        raise SourceError(found.reason or "it cannot be opened")
    facts = probe(found.path, settings.ingest.transfer)
    check_size(facts.height, facts.width, settings.crops)
    used = used_frames(facts, settings.ingest.every)
    return source_row(found, facts, len(used)), used


def _count_named(identified: Identified, sources: pa.Table, seconds: Seconds) -> Intake:
    banked = {row["source_id"] or row["path"]: row["status"] for row in sources.to_pylist()}
    known = [banked[name] for name in identified.named if name in banked]
    return Intake(
        new=len(identified.new),
        bytes=sum(found.bytes or 0 for found in identified.new),
        known=len(known),
        known_rejected=known.count("rejected"),
        twice=sum(len(places) - (name in banked) for name, places in identified.further.items()),
        seconds=seconds,
    )


def _relabelled(before: pa.Table, after: pa.Table) -> tuple[int, int, int]:
    kept = [pc.sum(pc.equal(table["verdict"], "kept")).as_py() or 0 for table in (before, after)]
    return len(before) - before["score"].null_count, kept[0], kept[1]


def _place(plan: Plan, source: Row, further: Sequence[str] = ()) -> Path | None:
    """Return where a source of the bank lies; noted as a failure where it is gone. Its content is not read."""
    for name in [source["path"], *(source["also_at"] or []), *further]:
        path = path_of(name)
        with suppress(OSError), access(name):
            if path.exists() or sequence_files(path) is not None:
                return path
    plan.failures[source["path"]] = "its file is gone; put it back"
    return None


def _to_draw(frames: Iterable[int], settings: Settings) -> list[tuple[int, int, None]]:
    return [(number, settings.crops.patches, None) for number in frames]


def _units(source: Row, path: Path, frames: Sequence[tuple[int, int, pa.Table | None]]) -> Iterator[Unit]:
    """Yield the units of frames (number, candidates, rows) as the tasks take them."""
    for start in range(0, len(frames), FRAMES):
        task = frames[start : start + FRAMES]
        for index, (number, candidates, rows) in enumerate(task):
            several = source["kind"] == "video" and index + 1 < len(task)
            yield Unit(source, path, number, candidates, rows, task[index + 1][0] if several else None, len(task))


def _each(function: Callable[[Path], T], paths: Sequence[Path], crashed: Callable[[Path, str], T]) -> list[T]:
    """Call a function on each path, in this process."""
    results = []
    for path in _progress(paths, "identify"):
        try:
            results.append(function(path))
        except Exception as error:  # as in a worker: one source stops nothing
            results.append(crashed(path, describe(error)))
    return results


def _progress(items: Sequence[T], title: str) -> Iterator[T]:
    # The bar shows on a terminal only (disable=None).
    return iter(tqdm(items, title, unit=" files", disable=None, leave=False))
