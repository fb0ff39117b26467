"""A disk that is full: one sentence, no source to blame, and with room made the same command completes the bank."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.bank import BankReader, BankWriter, write_commit
from pipeline.errors import BankError
from tests.pipeline.banks import assert_same_bank, table
from tests.pipeline.conftest import SMALL, Result
from tests.pipeline.test_bank import ATTRIBUTES, SOURCES, patch_row, patch_table, source_row

Command = Callable[..., Result]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None:
        pytest.skip("there is no mount command")
    command = [mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run([Path(mount).with_name("umount"), "--lazy", folder], check=True)


def fill(disk: Path, free: int = 0) -> Path:
    """Fill a disk, all but so many bytes; return the file to delete."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)) == 4096:
                pass
        except OSError:
            pass
        file.truncate(file.tell() - free)
    return ballast


def test_a_disk_that_is_full_at_export(disk: Path, hdr_folder: Path, hdrprep: Command, tmp_path: Path) -> None:
    bank, whole = disk / "bank.zarr", tmp_path / "whole.zarr"
    assert hdrprep("run", hdr_folder, "--bank", whole, *SMALL).status == 0
    assert hdrprep("ingest", hdr_folder, "--bank", bank, *SMALL).status == 0
    for command in ("simulate-ldr", "score"):
        assert hdrprep(command, "--bank", bank).status == 0
    for free in (0, 40_000, 220_000):  # at the first array, at the first shard, at a later one
        ballast = fill(disk, free)
        result = hdrprep("export", "--bank", bank)
        assert result.status == 1
        (line,) = result.err.strip().splitlines()
        assert line == f"hdrprep: error: the bank {bank} cannot be written (No space left on device)"
        # What is exported is whole.
        reader = BankReader(bank)
        for row in reader.patches()["row"].drop_null().to_pylist():
            reader.pair(row)
        ballast.unlink()
    assert set(table(bank, "sources")["status"].to_pylist()) == {"ok"}
    assert hdrprep("export", "--bank", bank).status == 0
    assert_same_bank(bank, whole)


def test_a_disk_that_is_full_when_commits_are_folded(disk: Path) -> None:
    bank = disk / "bank.zarr"
    with BankWriter.create(bank, ATTRIBUTES) as writer:
        rows = patch_table(*(patch_row(SOURCES[0], k) for k in range(50)))
        write_commit(writer.begin(), "first", rows, source_row(SOURCES[0], "/a"))
        ballast = fill(disk)
        for step in (writer.fold, writer.end):
            with pytest.raises(BankError, match="No space left on device"):
                step()
    assert BankReader(bank).patches().num_rows == 0
    ballast.unlink()
    with BankWriter.open(bank) as writer:
        assert writer.patches.num_rows == 50
