"""Ctrl-C while a command still loads its libraries, which takes a second or two: one line, like at any later time."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType


def quieten_interrupts() -> None:
    """Say an interruption that nobody has taken in one line, if this process was started as one of our commands.

    Under `python -m` the first argument is "-m" as long as the packages around the module are imported. A program that
    only imports us keeps its own ways.
    """
    if sys.argv and (sys.argv[0] == "-m" or Path(sys.argv[0]).name == "hdrprep"):
        sys.excepthook = _tell


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("Interrupted\n")
    else:
        sys.__excepthook__(kind, error, trace)
