"""The time limit: it ends a process that hangs, whoever holds the interpreter's lock, and is remembered."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import SourceError
from pipeline.guard import time_limit
from tests.patience import HANGS

# A regular expression that backtracks for ever holds the interpreter's lock: no Python thread could stop it.
HANGING = """
import re, sys
from pathlib import Path
from pipeline.guard import time_limit
with time_limit(Path(sys.argv[1]), 0.5):
    re.match(r"(a+)+$", "a" * 60 + "b")
"""


def notes(note: Path) -> list[Path]:
    return list(note.parent.glob(f"{note.name}.*"))


def test_a_process_that_hangs_is_ended_and_the_note_says_where(tmp_path: Path) -> None:
    note = tmp_path / "notes" / "note"
    ended = subprocess.run([sys.executable, "-c", HANGING, note], check=False, capture_output=True, timeout=HANGS)
    assert ended.returncode == 1
    assert "Timeout" in notes(note)[0].read_text()
    with pytest.raises(SourceError, match=r"longer than 0\.5 s"), time_limit(note, 0.5):
        raise AssertionError("it is not tried again")
    with time_limit(tmp_path / "notes" / "not", HANGS):
        pass  # another source


def test_what_ends_in_time_leaves_nothing(tmp_path: Path) -> None:
    note = tmp_path / "note"
    for _ in range(2):
        with time_limit(note, HANGS):
            assert len(notes(note)) == 1
        assert not notes(note)


def test_an_error_leaves_nothing_either(tmp_path: Path) -> None:
    note = tmp_path / "note"
    with pytest.raises(ZeroDivisionError), time_limit(note, HANGS):
        raise ZeroDivisionError
    assert not notes(note)


def test_an_empty_note_of_a_process_that_was_killed_hinders_nothing(tmp_path: Path) -> None:
    (tmp_path / "note.killed").write_text("")
    with time_limit(tmp_path / "note", HANGS):
        pass


def test_one_that_ends_in_time_does_not_remove_what_another_tells(tmp_path: Path) -> None:
    note = tmp_path / "note"
    with time_limit(note, 2 * HANGS):
        subprocess.run([sys.executable, "-c", HANGING, note], check=False, capture_output=True, timeout=HANGS)
    assert "Timeout" in notes(note)[0].read_text()


def test_processes_that_decode_one_source_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Each takes the limit thousands of times, so that one looks at a note while the other removes it."""
    program = "import sys; from pathlib import Path; from pipeline.guard import time_limit\n"
    program += "for _ in range(3000):\n    with time_limit(Path(sys.argv[1]), 900): pass\n"
    both = [
        subprocess.Popen([sys.executable, "-c", program, tmp_path / "note"], stderr=subprocess.PIPE) for _ in range(2)
    ]
    assert [process.communicate(timeout=HANGS)[1] for process in both] == [b"", b""]
    assert not notes(tmp_path / "note")
