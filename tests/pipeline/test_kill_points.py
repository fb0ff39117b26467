"""A bank survives a kill at any step: all of them in one process, and those of driver and worker in their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.patience import HANGS
from tests.pipeline.banks import assert_same_bank, table
from tests.pipeline.conftest import SMALL, Result
from tests.pipeline.kill_points import check_reader
from tests.pipeline.killing import sitecustomize_folder

Command = Callable[..., Result]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A folder that no disk has to keep, where there is one: what was written counts, not when it reached a disk."""
    memory = Path("/dev/shm")  # noqa: S108
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def test_a_kill_at_each_kind_of_step_leaves_a_bank_that_the_same_command_completes(in_memory: Path) -> None:
    """One in three of the points that `python -m tests.pipeline.kill_points` tries."""
    command = [sys.executable, "-m", "tests.pipeline.kill_points", str(in_memory / "points"), "--stride", "3"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-3000:]
    assert int(told.stdout.splitlines()[-1].split()[0]) > 80


# A kill of one process, where another one lives on: `who call place`, and the signal goes to that process alone.
SITES = [
    r"worker open .*/turns/\w+/",  # before anything of a commit is there
    r"worker replace .*/turns/\w+/\w+\.parquet",  # the commit is written, and has no name yet
    r"worker replace /ldr/c/",  # hdr of a shard is new, ldr is not
    r"worker replace /patch_id/c/",
    r"driver replace .*/tables/patches",  # between the two tables
    r"driver unlink .*/turns/\w+\.over/",  # the tables are new, the commits are still there
    r"driver rename .*/turns/\w+\.over",  # all is committed, nothing folded
    r"driver replace /hdr/zarr\.json",
]


@pytest.fixture(scope="module")
def small_reference(hdr_folder: Path, scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    bank = tmp_path_factory.mktemp("small") / "bank.zarr"
    command = run_command(bank, hdr_folder, "--scheduler", scheduler)
    subprocess.run(command, check=True, capture_output=True)
    return bank


def run_command(bank: Path, folder: Path, *more: str) -> list[str]:
    words = [sys.executable, "-m", "pipeline.cli", "run", folder, "--bank", bank, *SMALL, *more]
    return list(map(str, words))


def killing(bank: Path, site: str, flag: Path) -> dict[str, str]:
    """The environment of processes the first of which to reach a site is killed."""
    folder = sitecustomize_folder(flag.parent / "site")
    told = {"KILL_BANK": str(bank), "KILL_SITE": site, "KILL_FLAG": str(flag)}
    return {**os.environ, **told, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}


@pytest.mark.parametrize("site", SITES)
def test_a_process_that_is_killed_alone_costs_nothing_but_time(
    site: str, small_reference: Path, hdr_folder: Path, hdrprep: Command, tmp_path: Path
) -> None:
    bank, flag = tmp_path / "bank.zarr", tmp_path / "killed"
    environment = killing(bank, site, flag)
    command = run_command(bank, hdr_folder, "--workers", "1")
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=HANGS)
    assert flag.exists()
    check_reader(bank)
    if site.startswith("worker"):  # another one does its work
        assert ended.returncode == 0, ended.stderr
    else:
        assert ended.returncode == -signal.SIGKILL
        assert hdrprep("run", hdr_folder, "--bank", bank, *SMALL).status == 0
    assert set(table(bank, "sources")["status"].to_pylist()) == {"ok"}
    assert_same_bank(bank, small_reference)
    assert list((bank / "_work" / "turns").iterdir()) == []


def test_a_reader_sees_whole_states_only_while_a_run_is_at_work_and_killed(
    small_reference: Path, hdr_folder: Path, hdrprep: Command, tmp_path: Path
) -> None:
    bank = tmp_path / "bank.zarr"
    looks = 0
    for patience in (0.5, 1.5, HANGS):
        process = subprocess.Popen(
            run_command(bank, hdr_folder, "--workers", "1"), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        # The clock starts when there is a bank: until then there is nothing to see.
        while not (bank / "zarr.json").exists() and process.poll() is None:
            time.sleep(0.01)
        deadline = time.monotonic() + patience
        while process.poll() is None and time.monotonic() < deadline:
            check_reader(bank)
            looks += 1
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        check_reader(bank)
    assert looks > 20
    assert hdrprep("run", hdr_folder, "--bank", bank, *SMALL).status == 0
    assert_same_bank(bank, small_reference)
