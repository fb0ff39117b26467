"""A time limit on decoding that no decoder can escape.

A decoder that hangs may hold the interpreter's lock, so no Python thread could stop it. `faulthandler` keeps a watchdog
of its own, outside the interpreter: when the time is up it writes where the process hangs and ends it. Another worker
takes its place; the note that is left behind tells why, and that there is no use in trying again.
"""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import BankError, SourceError


@contextmanager
def time_limit(note: Path, seconds: float) -> Iterator[None]:
    """Allow the body so many seconds; past them this process ends and `note` holds where it was.

    Raises SourceError at once where an earlier try left such a note, BankError where none can be kept. One limit a
    process at a time.
    """
    if note.exists() and note.stat().st_size > 0:
        raise SourceError(
            f"it took longer than {seconds:g} s to decode, and was given up; raise --source-timeout if it is only slow"
        )
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        opened = note.open("w")
    except OSError as error:
        raise BankError(f"{note.parent} cannot be written ({error.strerror or error})") from error
    with opened as file:
        faulthandler.dump_traceback_later(seconds, exit=True, file=file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            note.unlink(missing_ok=True)
