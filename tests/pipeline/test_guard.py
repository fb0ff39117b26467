"""The time limit: it ends a process that hangs, whoever holds the interpreter's lock, and is remembered."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.errors import SourceError
from pipeline.guard import time_limit

# A regular expression that backtracks for ever holds the interpreter's lock: no Python thread could stop it.
HANGING = """
import re, sys
from pathlib import Path
from pipeline.guard import time_limit
with time_limit(Path(sys.argv[1]), 0.5):
    re.match(r"(a+)+$", "a" * 60 + "b")
"""


def test_a_process_that_hangs_is_ended_and_the_note_says_where(tmp_path: Path) -> None:
    note = tmp_path / "notes" / "note"
    start = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", HANGING, note], check=False, capture_output=True, timeout=60)
    assert ended.returncode == 1
    assert time.monotonic() - start < 30
    assert "Timeout" in note.read_text()
    with pytest.raises(SourceError, match=r"longer than 0\.5 s"), time_limit(note, 0.5):
        raise AssertionError("it is not tried again")


def test_what_ends_in_time_leaves_nothing(tmp_path: Path) -> None:
    note = tmp_path / "note"
    for _ in range(2):
        with time_limit(note, 60):
            assert note.exists()
        assert not note.exists()


def test_an_error_leaves_nothing_either(tmp_path: Path) -> None:
    note = tmp_path / "note"
    with pytest.raises(ZeroDivisionError), time_limit(note, 60):
        raise ZeroDivisionError
    assert not note.exists()


def test_an_empty_note_of_a_process_that_was_killed_hinders_nothing(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("")
    with time_limit(tmp_path / "note", 60):
        pass
    assert not (tmp_path / "note").exists()
