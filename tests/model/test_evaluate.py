"""The command as a whole: which subcommands there are, and what is no use of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from model.evaluate import main


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "model.evaluate", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert "compare" in told.stdout
    assert told.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["contrast"], "invalid choice: 'contrast'"),
        (["compare"], "the following arguments are required: TEST, REFERENCE"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert complaint in stderr
    assert stderr.startswith("Error: ")
    assert stderr.count("\n") == 1
