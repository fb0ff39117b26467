"""The command line of hdrprep: each command parses, calls one stage, and prints what came of it.

Results go to stdout; the log, progress and errors to stderr. Exit status: 0 complete, 1 failure, 2 usage, 3 finished
but more sources rejected than --max-failures, 130 interrupted.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pipeline import status as bank_status
from pipeline.bank import BankReader
from pipeline.demo import make_demo
from pipeline.errors import HdrprepError, SourceError, UsageError
from pipeline.execution import do_stage, finish, prepare_for, take_in
from pipeline.frames.sequence import sequence_files
from pipeline.inspection import inspect as inspect_file
from pipeline.logs import set_up_log
from pipeline.opening import open_pipeline
from pipeline.options import (
    common_options,
    destination_of,
    dry_run_option,
    export_options,
    ingest_options,
    log_options,
    option,
    score_options,
    source_path,
    sources_argument,
    transfer_option,
)
from pipeline.records import Transfer
from pipeline.run import Pipeline
from pipeline.show import report, status
from pipeline.upkeep import compact, merge, verify
from pipeline.versions import versions


def _print_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        for name, number in versions().items():
            click.echo(f"{name} {number}")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
    help="Show our version and the libraries'.",
)  # fmt: skip
def commands() -> None:
    """Turn folders of HDR images into a bank of training patches for single-image HDR reconstruction.

    The four stages are ingest, simulate-ldr, score and export; run does them all. An interrupted command is resumed by
    repeating it.

    A setting is taken from the flag, else from the environment (HDRPREP_*), else from --config, else from the bank,
    else from the default.
    """


@commands.command()
@sources_argument
@ingest_options
@dry_run_option
@common_options
@click.pass_context
def ingest(context: click.Context, /, sources: tuple[Path, ...], **_options: Any) -> None:
    """Find HDR files below SOURCES, verify and register them, and draw the patch windows."""
    take_in(context, "ingest", sources, Pipeline.ingest)


@commands.command("simulate-ldr")
@dry_run_option
@common_options
@click.pass_context
def simulate_ldr(context: click.Context, /, **_options: Any) -> None:
    """Draw a virtual camera for every patch and resolve its exposure against the pixels."""
    do_stage(context, "simulate-ldr", Pipeline.simulate)


@commands.command()
@score_options
@dry_run_option
@common_options
@click.pass_context
def score(context: click.Context, /, **_options: Any) -> None:
    """Render and score every patch, and give verdicts.

    Another threshold later labels all patches anew without touching a pixel.
    """
    do_stage(context, "score", Pipeline.score)


@commands.command()
@export_options
@dry_run_option
@common_options
@click.pass_context
def export(context: click.Context, /, **_options: Any) -> None:
    """Render the kept patches: into the bank's arrays hdr, ldr and patch_id, or into a folder of files.

    A folder is made to hold the kept patches and no others: what is there and whole is left alone, what is missing,
    truncated or of another recipe is written, and files of patches that are no longer kept are removed.
    """
    destination = destination_of(context)
    do_stage(context, "export", lambda pipeline: pipeline.export(destination))


@commands.command()
@sources_argument
@ingest_options
@score_options
@export_options
@dry_run_option
@common_options
@click.pass_context
def run(context: click.Context, /, sources: tuple[Path, ...], **_options: Any) -> None:
    """Do all four stages in one pass over SOURCES."""
    destination = destination_of(context)
    take_in(context, "run", sources, lambda bank, files, licences: bank.everything(files, licences, destination))


@commands.command()
@click.option(
    "--retry",
    is_flag=False,
    flag_value="",
    metavar="[WORD]",
    help="Take them in anew, or those whose reason has a word.",
)
@common_options
@click.pass_context
def failures(context: click.Context, /, retry: str | None, **_options: Any) -> None:
    """List the sources that were rejected, with their reasons and what can be done."""
    if retry is not None:
        with open_pipeline(prepare_for(context)) as pipeline:
            finish(pipeline, pipeline.retry(retry or None), judged=True)
        return
    lines = bank_status.failure_lines(BankReader(context.params["bank"]).sources())
    for line in lines or ["no source was rejected"]:
        click.echo(line)


@commands.command()
@click.argument("file", type=source_path)
@transfer_option
def inspect(file: Path, transfer: Transfer | None) -> None:
    """Show what the reader sees in FILE: format, size, colour, scale, luminance, and what had to be repaired."""
    if not file.exists() and sequence_files(file) is None:
        raise UsageError(f"{file} does not exist; check the path")
    try:
        lines = inspect_file(file, transfer)
    except SourceError as error:
        raise SourceError(f"{file}: {error}") from error
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        click.echo(f"{name:<{width}}  {value}")


@commands.command()
@click.argument("directory", type=click.Path(path_type=Path))
@option("--workers", type=int, help="Worker processes.  [default: one a CPU core]")
@log_options
def demo(directory: Path, workers: int | None, verbose: bool, log_json: bool) -> None:
    """Generate HDR scenes into DIRECTORY and run the whole way: bank, training step, reconstruction."""
    set_up_log(verbose, log_json)
    for line in make_demo(directory, workers):
        click.echo(line)


_ANEW = {"inspect", "report", "status", "verify"}  # commands that keep nothing to go on from

for command in (status, report, verify, compact, merge):
    commands.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process with its exit status."""
    try:
        commands.main(args=arguments, prog_name="hdrprep", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        words = sys.argv[1:] if arguments is None else arguments
        how = "begins anew" if _ANEW & {*words[:1]} else "resumes"
        click.echo(f"hdrprep: interrupted; the same command {how}", err=True)
        sys.exit(130)
    except HdrprepError as error:
        click.echo(f"hdrprep: error: {error}", err=True)
        sys.exit(error.exit_status)
    except OSError as error:
        click.echo(f"hdrprep: error: {error.strerror or error}: {error.filename or 'no file named'}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
