"""An interruption before a command has begun is as short as one after it has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import HANGS


@pytest.mark.parametrize(
    ("command", "library"),
    [
        (["-m", "pipeline.cli", "--help"], "click"),
        ([str(Path(sys.executable).with_name("hdrprep")), "--help"], "click"),
        (["-m", "model.train", "--help"], "torch"),
    ],
)
def test_ctrl_c_while_a_command_loads_its_libraries_is_one_line(
    command: list[str], library: str, tmp_path: Path
) -> None:
    """The library is one that takes for ever to load, so that the signal comes right then."""
    (tmp_path / f"{library}.py").write_text(
        "import time\nprint('loading', flush=True)\nwhile True:\n    time.sleep(0.05)\n"
    )
    root = Path(__file__).parents[2]
    started = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (tmp_path, root)))},
    )
    assert started.stdout
    assert started.stdout.readline() == "loading\n"
    started.send_signal(signal.SIGINT)
    _, told = started.communicate(timeout=HANGS)
    assert told == "Interrupted\n"
    assert started.returncode == -signal.SIGINT


def test_a_program_that_imports_us_keeps_its_own_ways() -> None:
    program = "import sys, pipeline, model; assert sys.excepthook is sys.__excepthook__"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
