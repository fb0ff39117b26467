"""How a command is carried out: sources found, the bank opened, work done or foretold, what came of it printed.

Results go to stdout. Exit status: 0 complete, 1 a task failed, 3 more sources rejected than --max-failures.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import click

from pipeline import status as bank_status
from pipeline.bank import Storage
from pipeline.driver import Report
from pipeline.forecast import forecast_lines
from pipeline.frames import NAMED_ONLY, READABLE
from pipeline.licence import Licences, read_licence_table
from pipeline.logs import set_up_log
from pipeline.opening import Opening, open_pipeline, prepare
from pipeline.options import resolve_settings
from pipeline.plan import Plan, plan_intake, plan_stage
from pipeline.run import Pipeline
from pipeline.sources import Discovery, discover


def take_in(
    context: click.Context,
    command: Literal["ingest", "run"],
    sources: tuple[Path, ...],
    do: Callable[[Pipeline, Sequence[Path], Licences], Report],
) -> None:
    """Do a command on the sources below some paths, or tell what it would do."""
    files, licences = _discover(sources).files, _licences(context)
    opening = prepare_for(context, create=True)
    if context.params["dry_run"]:
        bank = None if opening.stored is None else opening.bank
        _print_plan(plan_intake(command, bank, opening.settings, files))
        return
    with open_pipeline(opening) as pipeline:
        finish(pipeline, do(pipeline, files, licences), judged=True)


def do_stage(
    context: click.Context, command: Literal["simulate-ldr", "score", "export"], do: Callable[[Pipeline], Report]
) -> None:
    """Do a stage on what is in the bank, or tell what it would do."""
    opening = prepare_for(context)
    if context.params["dry_run"]:
        _print_plan(plan_stage(command, opening.bank, opening.settings))
        return
    with open_pipeline(opening) as pipeline:
        finish(pipeline, do(pipeline))


def _print_plan(plan: Plan) -> None:
    for line in forecast_lines(plan):
        click.echo(line)


def _discover(sources: tuple[Path, ...]) -> Discovery:
    discovery = discover(sources, READABLE, NAMED_ONLY)
    if discovery.ignored:
        kinds = ", ".join(f"{suffix}: {count}" for suffix, count in sorted(discovery.ignored.items()))
        click.echo(f"ignored {_count(discovery.ignored.total(), 'file')} of unknown type ({kinds})", err=True)
    return discovery


def prepare_for(context: click.Context, create: bool = False) -> Opening:
    """Set up the log and check that the bank which a command names can be used; see `opening.prepare`."""
    set_up_log(context.params["verbose"], context.params["log_json"])
    bank: Storage = context.params["bank"]
    return prepare(bank, lambda stored: resolve_settings(context, stored), create)


def _licences(context: click.Context) -> Licences:
    table: Path | None = context.params["licence_table"]
    return Licences({} if table is None else read_licence_table(table), context.params["licence"])


def finish(pipeline: Pipeline, report: Report, judged: bool = False) -> None:
    """Print the summary of a command and end with the exit status that its failures ask for.

    `judged` commands take in sources, and count those that were rejected.
    """
    writer = pipeline.writer
    pipeline.describe()
    counts = bank_status.count(writer.sources, writer.patches)
    for line in bank_status.summarize(counts, writer.storage.total()):
        click.echo(line)
    for line in report.lines:
        click.echo(line)
    if report.patches:
        rate = report.patches / max(report.seconds, 1e-9)
        click.echo(f"this run     {report.patches} patches in {report.seconds:.1f} s, {rate:.1f} a second")
    if report.failures:
        click.echo(
            f"{_count(len(report.failures), 'task')} failed, see above; repeat the command to do them again", err=True
        )
        sys.exit(1)
    rejected = pipeline.intake.rejected() if judged else 0
    if rejected > pipeline.settings.run.allowed_failures(len(pipeline.intake.named)):
        click.echo(f"{_count(rejected, 'source')} rejected; hdrprep failures lists them with their reasons", err=True)
        sys.exit(3)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
