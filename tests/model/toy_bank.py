"""Small banks, written with plain Zarr and Parquet after the published format, and the pictures in them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from pipeline.bank.schema import PATCHES_SCHEMA, SOURCES_SCHEMA
from pipeline.records import patch_id, split_of

SIZE = 128  # S, the least that the network takes
SHARD_ROWS = 4

Edit = Callable[[list[dict[str, Any]]], None]


def sources_on(side: str, count: int, validation: float = 0.1, test: float = 0.0) -> list[str]:
    """Return so many source ids that lie on one side of the split."""
    ids = (hashlib.sha256(str(n).encode()).hexdigest() for n in range(10_000))
    return [i for i in ids if split_of(i, validation, test) == side][:count]


def picture(seed: int, size: int = SIZE) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.uint8]]:
    """Return (hdr, ldr) of a patch: a dark random ground, and a saturated square whose radiance is always 3."""
    rng = np.random.default_rng(seed)
    hdr = rng.uniform(0.02, 0.5, (size, size, 3))
    y, x = rng.integers(0, size // 2, 2)
    hdr[y : y + size // 2, x : x + size // 2] = 3.0
    ldr = np.rint(np.sqrt(hdr.clip(0.0, 1.0)) * 255.0)
    return hdr.astype(np.float16), ldr.astype(np.uint8)


def make_bank(
    path: Path,
    sources: Sequence[str],
    patches_each: int = 4,
    *,
    size: int = SIZE,
    seed: int = 0,
    edit: Edit | None = None,
    exported: bool = True,
    validation: float = 0.1,
    test: float = 0.0,
    format_version: int = 1,
) -> Path:
    """Write a bank, split by these shares. `edit` may change the rows of the patches table before they are written."""
    config = {"crops": {"patch_size": size, "seed": seed}, "split": {"validation": validation, "test": test}}
    attributes = {"format_version": format_version, "seed": seed, "config": config, "versions": {}}
    zarr.create_group(str(path), attributes={"hdrprep": attributes})
    table = [_row(source, k, size, seed) for source in sources for k in range(patches_each)]
    for row, patch in enumerate(table):
        patch["row"] = row if exported else None
        patch["split"] = split_of(patch["source_id"], validation, test)
    if exported:
        _write_arrays(path, table, size)
    if edit is not None:
        edit(table)
    (path / "tables").mkdir()
    pq.write_table(pa.Table.from_pylist(table, PATCHES_SCHEMA), path / "tables" / "patches.parquet")
    rows = [{"source_id": source, "path": f"/{source}.exr", "status": "ok"} for source in sources]
    pq.write_table(pa.Table.from_pylist(rows, SOURCES_SCHEMA), path / "tables" / "sources.parquet")
    return path


def change_attributes(bank: Path, **changes: object) -> None:
    """Change what zarr.json says of a bank."""
    file = bank / "zarr.json"
    document = json.loads(file.read_text())
    document["attributes"]["hdrprep"] |= changes
    file.write_text(json.dumps(document))


def _row(source: str, k: int, size: int, seed: int) -> dict[str, Any]:
    return {
        "patch_id": patch_id(source, 0, k),
        "source_id": source,
        "frame": 0,
        "k": k,
        "y": k,
        "x": k,
        "height": size,
        "width": size,
        "patch_size": size,
        "flip": False,
        "clip_fraction": 0.9,
        "exposure": 1.0,
        "noise_sigma": 0.0,
        "hue_shift": 0.0,
        "saturation_shift": 0.0,
        "curve_n": 0.9,
        "curve_sigma": 0.6,
        "jpeg_quality": 90,
        "seed": seed + k,
        "saturated_fraction": 0.25,
        "score": 1.0,
        "verdict": "kept",
    }


def _write_arrays(path: Path, table: list[dict[str, Any]], size: int) -> None:
    count = len(table)
    rows = -(-count // SHARD_ROWS) * SHARD_ROWS
    for name, dtype, fill in (("hdr", np.float16, np.nan), ("ldr", np.uint8, 0)):
        array = zarr.create_array(
            str(path),
            name=name,
            shape=(rows, size, size, 3),
            chunks=(1, size, size, 3),
            shards=(SHARD_ROWS, size, size, 3),
            dtype=dtype,
            fill_value=fill,
            config={"write_empty_chunks": True},
        )
        which = 0 if name == "hdr" else 1
        array[:count] = np.stack([picture(patch["patch_id"] % 2**32, size)[which] for patch in table])
    ids = zarr.create_array(
        str(path), name="patch_id", shape=(rows,), chunks=(SHARD_ROWS,), dtype=np.int64, fill_value=-1
    )
    ids[:count] = np.array([patch["patch_id"] for patch in table])
