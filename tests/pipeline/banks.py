"""Reading a bank as an outside tool does: plain pyarrow and zarr."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from pipeline import cli

ARRAYS = ("hdr", "ldr", "patch_id")


def table(bank: Path, name: str) -> pa.Table:
    return pq.read_table(bank / "tables" / f"{name}.parquet")


def array(bank: Path, name: str) -> np.ndarray[Any, Any]:
    return np.asarray(zarr.open_array(bank, path=name, mode="r")[:])


def assert_same_bank(one: Path, two: Path) -> None:
    for name in ("sources", "patches"):
        assert table(one, name).equals(table(two, name)), name
    for name in ARRAYS:
        np.testing.assert_array_equal(array(one, name), array(two, name), err_msg=name)


def assert_same_patches(one: Path, two: Path) -> None:
    """Assert equality of all numbers and pixels, `row` apart."""
    first, second = table(one, "patches"), table(two, "patches")
    assert first.drop_columns(["row"]).equals(second.drop_columns(["row"]))
    assert first["row"].null_count == second["row"].null_count
    for name in ARRAYS:
        pixels_one, pixels_two = array(one, name), array(two, name)
        for row_one, row_two in zip(first["row"].drop_null(), second["row"].drop_null(), strict=True):
            np.testing.assert_array_equal(pixels_one[row_one.as_py()], pixels_two[row_two.as_py()])


def array_files(bank: Path) -> dict[str, bytes]:
    """Return every stored file of the arrays."""
    files = (path for name in ARRAYS for path in (bank / name).rglob("*") if path.is_file())
    return {str(path.relative_to(bank)): path.read_bytes() for path in files}


def run_here(*words: object) -> None:
    """Run a command of hdrprep in this process, in a third of the time."""
    cli.main([str(word) for word in words])  # ends by SystemExit where its status is not 0


def run_in_process(*words: object) -> None:
    """Run a command of hdrprep as a process of its own."""
    subprocess.run([sys.executable, "-m", "pipeline.cli", *map(str, words)], check=True, capture_output=True)
