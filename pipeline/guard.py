"""A time limit on decoding that no decoder can escape.

A decoder that hangs may hold the interpreter's lock, so no Python thread could stop it. `faulthandler` keeps a watchdog
of its own, outside the interpreter: when the time is up it writes where the process hangs and ends it. Another worker
takes its place; the note that is left behind tells why, and that there is no use in trying again.
"""

from __future__ import annotations

import faulthandler
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import BankError, SourceError


@contextmanager
def time_limit(note: Path, seconds: float) -> Iterator[None]:
    """Allow the body so many seconds; past them this process ends and a file `note.*` holds where it was.

    Several processes may decode one source at a time, so each has a file of its own, and none removes another's.
    Raises SourceError at once where an earlier try left such a file, BankError where none can be kept. One limit a
    process at a time.
    """
    if _was_given_up(note):
        raise SourceError(
            f"it took longer than {seconds:g} s to decode, and was given up; raise --source-timeout if it is only slow"
        )
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=note.parent, prefix=f"{note.name}.")
    except OSError as error:
        raise BankError(f"{note.parent} cannot be written ({error.strerror or error})") from error
    with os.fdopen(handle, "w") as file:
        faulthandler.dump_traceback_later(seconds, exit=True, file=file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            Path(name).unlink(missing_ok=True)


def _was_given_up(note: Path) -> bool:
    """Say whether a try left more than an empty file: one that is decoding has one, so has one that was killed."""
    for earlier in note.parent.glob(f"{note.name}.*"):
        with suppress(FileNotFoundError):  # it has ended meanwhile
            if earlier.stat().st_size > 0:
                return True
    return False
