"""The commands that show a bank: status as text, report as a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from pipeline.bank import BankReader, Storage
from pipeline.logs import set_up_log
from pipeline.options import bank_option, beside, option, resolve_settings, work_options
from pipeline.report import ReportSettings, make_report, status_json, status_lines, survey_bank, trace


@click.command()
@bank_option
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def status(bank: Storage, as_json: bool) -> None:
    """Show the progress of a bank, its yield step by step and by source, and what it was made with."""
    reader = BankReader(bank)
    survey = survey_bank(reader)
    found = trace(reader, survey)
    for line in [json.dumps(status_json(survey, found))] if as_json else status_lines(survey, found):
        click.echo(line)


@click.command()
@option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the page and its pictures.  [default: BANK-report]",
)
@click.option(
    "--sheet",
    type=click.IntRange(0, 200),
    default=24,
    show_default=True,
    metavar="N",
    help="Patches of a contact sheet; 0: no pictures.",
)
@bank_option
@work_options
@click.pass_context
def report(context: click.Context, /, out: Path | None, sheet: int, bank: Storage, **_options: Any) -> None:
    """Write a page of the bank, which opens from the disk: yield, scores, patches, sources, provenance.

    Patches are rendered from their sources, or read from the bank where the source cannot be read any more.
    """
    set_up_log(context.params["verbose"], context.params["log_json"])
    reader = BankReader(bank)
    settings = resolve_settings(context, reader.attributes["config"])
    made = make_report(
        reader, ReportSettings(out=(out or beside(bank, "report")).absolute(), sheet=sheet, run=settings.run)
    )
    for reason in made.missing[:10]:
        click.echo(f"some patches have no picture: {reason}", err=True)
    click.echo(f"report       {made.page}")
