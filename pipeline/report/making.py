"""From a bank to a folder: the page, the pictures beside it, and what makes the bank again."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from pipeline import work
from pipeline.bank import BankReader, Turn
from pipeline.bank.files import replace_file
from pipeline.config import RunSettings
from pipeline.errors import UsageError
from pipeline.report.charts import draw_charts
from pipeline.report.choice import SHEET, Choice, choose
from pipeline.report.embedding import PICTURES, Pictures, strip_name
from pipeline.report.likeness import alike
from pipeline.report.page import GENERATOR, make_page
from pipeline.report.provenance import COMMAND_FILE, SETTINGS_FILE, Provenance, trace
from pipeline.report.rendering import DrawnSource, draw_patches, draw_stored
from pipeline.report.survey import Survey, survey_bank
from pipeline.rows import Row
from pipeline.workers import Task, Workers

PAGE = "index.html"


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """Where a report goes, how many patches a contact sheet has (0: no pictures), and how the work is done."""

    out: Path
    sheet: int = SHEET
    run: RunSettings = field(default_factory=RunSettings)


@dataclass(frozen=True, slots=True)
class Made:
    """What was made: the page, how many patches are shown, and why some of them have no picture."""

    page: Path
    shown: int
    missing: Sequence[str]


def make_report(reader: BankReader, settings: ReportSettings) -> Made:
    """Make the report of a bank. Raises UsageError where other things lie in its folder."""
    check_vacant(settings.out)
    survey = survey_bank(reader)
    choice = choose(survey, settings.sheet)
    pictures = Pictures(rows=_rows(survey, choice.positions()))
    folder = settings.out / PICTURES
    folder.mkdir(parents=True, exist_ok=True)
    written = _draw(reader, survey, choice, pictures, settings)
    for stale in {
        *folder.glob("patch-*.webp"),
        *folder.glob("source-*-frame-*.webp"),
    } - written:  # of an earlier report
        stale.unlink()
    shown = (pictures.drawn.get(pictures.rows[p]["patch_id"]) for p in choice.sheets["random"])
    charts = draw_charts(survey, [drawn.stops for drawn in shown if drawn is not None and drawn.stops is not None])
    found = trace(reader, survey)
    text = make_page(str(reader.storage), survey, found, choice, pictures, charts)
    _write_texts(settings.out, text, found)
    reasons = {drawn.reason for drawn in pictures.drawn.values() if drawn.strip is None and drawn.reason}
    return Made(settings.out / PAGE, len(pictures.rows), sorted(reasons))


def check_vacant(out: Path) -> None:
    """Raise UsageError where a folder holds anything but an earlier report."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; name a folder by --out")
    page = out / PAGE
    if not out.is_dir() or all(_begins_report(entry.name) for entry in out.iterdir()):
        return
    if not page.is_file() or GENERATOR not in page.read_text(encoding="utf-8", errors="replace")[:2000]:
        raise UsageError(f"{out} holds other things than a report; name an empty folder by --out")


def _begins_report(name: str) -> bool:
    """Say whether a report that is killed before its page is there leaves something of this name."""
    return name == PICTURES or name.startswith(f".{PAGE}.")


def _rows(survey: Survey, positions: Sequence[int]) -> dict[int, Row]:
    if not positions:
        return {}
    rows = survey.files["patches"].table().take(pa.array(positions, pa.int64())).to_pylist()
    return dict(zip(positions, rows, strict=True))


def _draw(
    reader: BankReader, survey: Survey, choice: Choice, pictures: Pictures, settings: ReportSettings
) -> set[Path]:
    """Have the patches drawn by workers, write their pictures, and return the files."""
    listed = survey.files["sources"].table().to_pylist()
    sources = {row["source_id"]: (i, row) for i, row in enumerate(listed) if row["source_id"]}
    place = work.Place(Turn(reader.storage, "none"), settings.run.source_timeout, uuid.uuid4().hex, read_only=True)
    hashes, written = dict[int, int](), set[Path]()
    ready = [row for _, row in sorted(pictures.rows.items()) if row["exposure"] is not None]

    def crashed(task: Task, message: str) -> DrawnSource:
        return DrawnSource(draw_stored(reader.storage, task.arguments[2], survey.settings.score, message))

    with (
        Workers(settings.run, reader.storage.in_process) as workers,
        tqdm(total=len(ready), desc="report", unit=" patches", disable=None, leave=False) as bar,
    ):
        for task, drawn in workers.map(draw_patches, _tasks(ready, sources, place, survey), crashed):
            bar.update(task.patches)
            number = sources[task.arguments[1]["source_id"]][0]
            written |= _keep(settings.out, number, drawn, pictures)
            if drawn.likeness is not None:
                hashes[number] = drawn.likeness
    work.forget_timeouts(reader.storage, place.command, read_only=True)
    pictures.compared, pictures.alike = len(hashes), alike(hashes)
    return written


def _tasks(
    rows: Sequence[Row], sources: dict[str, tuple[int, Row]], place: work.Place, survey: Survey
) -> Iterator[Task]:
    for source_id, some in groupby(rows, key=lambda row: str(row["source_id"])):
        if source_id in sources:
            source, patches = sources[source_id][1], list(some)
            yield Task((place, source, patches, survey.settings.score), source["path"], len(patches))


def _keep(out: Path, number: int, drawn: DrawnSource, pictures: Pictures) -> set[Path]:
    """Write the pictures of one source, let go of their bytes, and return the files."""
    files = {strip_name(patch_id): one.strip for patch_id, one in drawn.patches.items() if one.strip is not None}
    for frame, picture in drawn.frames.items():
        name = f"{PICTURES}/source-{number}-frame-{frame}.webp"
        files[name] = picture
        pictures.frames[number, frame] = name
        pictures.portraits.setdefault(number, name)
    for name, data in files.items():
        _write(out / name, data)
    pictures.drawn |= {patch_id: replace(one, strip=one.strip and b"") for patch_id, one in drawn.patches.items()}
    return {out / name for name in files}


def _write_texts(out: Path, page: str, found: Provenance) -> None:
    _write(out / PAGE, page.encode())  # first: by it a folder is known as a report's, should this be killed here
    _write(out / SETTINGS_FILE, found.settings.encode())
    _write(out / COMMAND_FILE, f"#!/bin/sh\nset -e\n{found.command}\n".encode())


def _write(file: Path, data: bytes) -> None:
    replace_file(file, lambda beside: beside.write_bytes(data))
