"""Metrics and tables: `python -m model.evaluate compare TEST REFERENCE`, and the tables and figures of a test set."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from model import comparison
from model.command import Parser, run_command
from model.evaluation import commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run_command(lambda: dispatch(arguments))


def dispatch(arguments: Sequence[str] | None) -> int:
    """Read the command line and do what it names: each subcommand leaves its function in `work`."""
    parser = Parser(prog="python -m model.evaluate", description="Metrics and tables.", allow_abbrev=False)
    subcommands = parser.add_subparsers(required=True, metavar="COMMAND")
    comparison.add_command(subcommands)
    commands.add_commands(subcommands)
    options: argparse.Namespace = parser.parse_args(arguments)
    status: int = options.work(options)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
