"""The commands that care for banks that are there: verify, compact, merge."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import click

from pipeline import work
from pipeline.bank import BankReader, Storage, Turn
from pipeline.bank.check import table_faults
from pipeline.bank.lock import refuse_writers
from pipeline.bank.schema import table_key
from pipeline.bank.writer import read_folded
from pipeline.compact import compact as compact_bank
from pipeline.errors import BankDamaged, BankLocked, UsageError
from pipeline.execution import prepare_for
from pipeline.logs import log, set_up_log
from pipeline.merge import Part, check_equal, check_places, copy_pixels, open_part, other_versions, unite
from pipeline.opening import Opening, changed_versions, open_pipeline, prepare
from pipeline.options import bank_option, place_of, resolve_settings, work_options
from pipeline.repair import repair_arrays, repair_files, repair_tables, set_aside
from pipeline.run import Pipeline
from pipeline.status import count, format_bytes, summarize
from pipeline.verify import TABLES, Audit, Damage, audit_arrays, audit_sample, audit_tables
from pipeline.workers import Workers


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair found, what of it could not be done, and what is found afterwards."""

    found: list[Damage]
    undone: list[str]
    audit: Audit


@click.command()
@click.option("--deep", is_flag=True, help="Render a sample of the exported patches again from their sources.")
@click.option(
    "--sample", default="100", show_default=True, metavar="N|P%", help="How many patches --deep takes, a seeded choice."
)
@click.option("--repair", is_flag=True, help="Make it right: render damaged patches again, delete what is left over.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@bank_option
@work_options
@click.pass_context
def verify(
    context: click.Context, /, bank: Storage, deep: bool, sample: str, repair: bool, as_json: bool, **_options: Any
) -> None:
    """Check every stored byte of a bank, its tables, and that these agree.

    Damage is named by patch or by file, a line each. Exit status: 0 none, 1 some (after --repair: some is left).
    """
    opening = prepare_for(context)
    share = _read_sample(sample) if deep else None
    if not repair:
        audit = _verify(opening, share)
        _tell(audit, as_json)
        sys.exit(1 if audit.damages else 0)
    repaired = _repair(opening, share)
    _tell(repaired.audit, as_json, repaired)
    sys.exit(1 if repaired.audit.damages or repaired.undone else 0)


@click.command()
@bank_option
@work_options
@click.pass_context
def compact(context: click.Context, /, bank: Storage, **_options: Any) -> None:
    """Drop from the arrays what was exported and is no longer kept, without rendering anything.

    Training that is under way on the bank ends when it meets a patch that has moved, and resumes when started again.
    """
    with open_pipeline(prepare_for(context)) as pipeline:
        done = compact_bank(pipeline.driver)
        pipeline.describe()
    for when, patches, size in zip(("before", "after"), done.patches, done.bytes, strict=True):
        click.echo(f"{when:<12} {patches} patches, {format_bytes(size)}")
    if done.failures:
        sys.exit(1)


@click.command()
@click.argument("banks", nargs=-1, required=True, metavar="BANKS...")
@bank_option
@work_options
@click.pass_context
def merge(context: click.Context, /, banks: tuple[str, ...], bank: Storage, **_options: Any) -> None:
    """Join BANKS of equal settings into the one of --bank, which is made or grows, without rendering anything."""
    set_up_log(context.params["verbose"], context.params["log_json"])
    check_places([place_of(name) for name in banks], bank)
    parts = [open_part(place_of(name)) for name in banks]
    opening = _prepare_merge(context, bank, parts)
    check_equal(parts, opening.settings.stored())
    for difference in other_versions(parts, (opening.stored or parts[0].attributes)["versions"]):
        log.warning("the banks were made with different libraries, %s", difference)
    with open_pipeline(opening, in_process=any(part.bank.in_process for part in parts)) as pipeline:
        unite(parts, pipeline)
        report = copy_pixels(parts, pipeline.driver)
        pipeline.describe()
        counts = count(pipeline.writer.sources, pipeline.writer.patches)
        lines = summarize(counts, bank.total())
    for line in [*lines, f"this run     {report.patches} patches copied"]:
        click.echo(line)
    if report.failures:
        sys.exit(1)


def _prepare_merge(context: click.Context, bank: Storage, parts: Sequence[Part]) -> Opening:
    """Return how the bank that others go into is opened: as it is, or made as the first of them was."""
    opening = prepare(bank, lambda stored: resolve_settings(context, stored or parts[0].config), create=True)
    return opening if opening.stored else replace(opening, made_with=parts[0].attributes["versions"])


def _verify(opening: Opening, share: float | int | None) -> Audit:
    """Look at a bank that nobody writes to. Raises BankLocked where somebody does."""
    bank = opening.bank
    refuse_writers(bank)
    before = bank.sizes(), [_content(bank, name) for name in TABLES]
    with Workers(opening.settings.run, bank.in_process) as workers:
        try:
            sources, patches = read_folded(bank)
        except BankDamaged:
            sources, patches = (
                schema.empty_table() if table_faults(bank, name, schema) else getattr(BankReader(bank), name)()
                for name, schema in TABLES.items()
            )
        audit = audit_tables(bank, sources, patches, opening.settings)
        _look_at_pixels(audit, opening, workers, share)
    if (bank.sizes(), [_content(bank, name) for name in TABLES]) != before:
        raise BankLocked(f"{bank} was written to while it was verified; verify it again when nobody writes")
    return audit


def _repair(opening: Opening, share: float | int | None) -> Repaired:
    """Look at a bank, make right what can be, and look again."""
    bank = opening.bank
    refuse_writers(bank)
    lost = [name for name, schema in TABLES.items() if table_faults(bank, name, schema)]
    for copy in set_aside(bank, lost):
        log.warning("%s keeps what was stored of a table that cannot be read", copy)
    with open_pipeline(opening, lost) as pipeline:
        audit = _look(opening, pipeline, share, mend_files=True)
        found = audit.damages
        undone = [*repair_tables(pipeline, audit, "patches" in lost), *repair_arrays(pipeline, audit)]
        if found:
            pipeline.describe()
            audit = _look(opening, pipeline, share)
    if "sources" in lost:
        undone.append(
            f"{table_key('sources')} alone knew where the sources lie: name them again, hdrprep run SOURCES; their "
            "patches come out the same"
        )
    return Repaired(found, undone, audit)


def _look(opening: Opening, pipeline: Pipeline, share: float | int | None, mend_files: bool = False) -> Audit:
    writer = pipeline.writer
    audit = audit_tables(writer.storage, writer.sources, writer.patches, opening.settings)
    if mend_files:
        repair_files(writer.storage, audit, opening.settings)
    _look_at_pixels(audit, opening, pipeline.driver.workers, share)
    return audit


def _look_at_pixels(audit: Audit, opening: Opening, workers: Workers, share: float | int | None) -> None:
    audit_arrays(audit, opening.bank, workers)
    if share is not None and not audit.lost:
        exported = audit.patches.num_rows - audit.patches["row"].null_count
        size = share if isinstance(share, int) else round(share * exported)
        changed = changed_versions(opening.stored or {"versions": {}})
        turn, command = Turn(opening.bank, "none"), uuid.uuid4().hex  # nothing is committed
        place = work.Place(turn, opening.settings.run.source_timeout, command, read_only=True)
        audit_sample(audit, place, workers, opening.settings, size, changed)
        work.forget_timeouts(opening.bank, command, read_only=True)


def _tell(audit: Audit, as_json: bool, repaired: Repaired | None = None) -> None:
    """Print what was found; after a repair what was found before it, and what is left."""
    exported = audit.patches.num_rows - audit.patches["row"].null_count
    if as_json:
        found: dict[str, Any] = {"damages": [asdict(damage) for damage in audit.damages], "notes": audit.notes}
        if repaired is not None:
            found |= {"found": [asdict(damage) for damage in repaired.found], "undone": repaired.undone}
        counts = {"patches": audit.patches.num_rows, "exported": exported, "compared": audit.compared}
        click.echo(json.dumps(found | counts | {"bytes": audit.bytes, "seconds": round(audit.seconds, 3)}))
        return
    left = "" if repaired is None else "left: "
    lines = [] if repaired is None else [*map(str, repaired.found), *(f"not done: {text}" for text in repaired.undone)]
    lines += [*(f"{left}{damage}" for damage in audit.damages), *(f"note: {note}" for note in audit.notes)]
    lines.append(
        f"verified     {audit.patches.num_rows} patches, {exported} exported, {format_bytes(audit.bytes)} of pixels"
    )
    if audit.compared:
        lines.append(f"compared     {audit.compared} patches with their sources")
    lines.append(f"speed        {format_bytes(int(audit.bytes / max(audit.seconds, 1e-9)))} a second")
    if repaired is not None:
        lines.append(f"repaired     {len(repaired.found)} found, {len(audit.damages) or 'none'} left")
    lines.append(f"damage       {len(audit.damages) or 'none'}")
    for line in lines:
        click.echo(line)


def _read_sample(text: str) -> float | int:
    """Read a number of patches, or a share of them as `5%`."""
    number = text.removesuffix("%")
    try:
        value = float(number) / 100 if number != text else int(number)
    except ValueError:
        value = -1
    if value < 0 or (isinstance(value, float) and value > 1):
        raise UsageError(f"--sample {text}: give a number of patches, or a percentage such as 5%")
    return value


def _content(bank: Storage, name: str) -> bytes:
    return bank.read(table_key(name)) if bank.exists(table_key(name)) else b""
