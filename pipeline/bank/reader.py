"""A bank opened for reading: the tables, and pairs by row. Damage raises, and never reads as black or as zeros."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.bank.arrays import PatchArrays
from pipeline.bank.schema import FORMAT_VERSION, PATCHES_SCHEMA, SOURCES_SCHEMA, table_path
from pipeline.errors import BankDamaged, BankMissing, BankVersionError


def bank_attributes(path: Path) -> dict[str, Any]:
    """Return what zarr.json says of a bank. Raises BankMissing, BankDamaged, BankVersionError."""
    metadata = path / "zarr.json"
    if not metadata.is_file():
        raise BankMissing(f"there is no bank at {path}; make one with hdrprep ingest, or name another --bank")
    try:
        attributes = json.loads(metadata.read_text())["attributes"]["hdrprep"]
        version = attributes["format_version"]
    except (ValueError, KeyError, TypeError):
        raise BankDamaged(f"{metadata} does not describe a bank of hdrprep; name another --bank") from None
    if version != FORMAT_VERSION:
        raise BankVersionError(
            f"the bank {path} has format version {version}, and this hdrprep reads {FORMAT_VERSION}; "
            "use the version that made it, or make the bank anew"
        )
    return dict(attributes)


def read_table(path: Path, name: str, schema: pa.Schema, columns: list[str] | None = None) -> pa.Table:
    """Return a bank's table, all columns or the named ones. Raises BankDamaged where it cannot be read."""
    file = table_path(path, name)
    wanted = schema if columns is None else pa.schema([schema.field(column) for column in columns])
    try:
        return pq.read_table(file, columns=wanted.names).cast(wanted)
    except (OSError, pa.ArrowException, ValueError) as error:
        detail = str(error).splitlines()[0][:160]
        raise BankDamaged(f"the table {file} cannot be read, it is damaged or missing ({detail})") from error


class BankReader:
    """A bank, read only. Many may read while one writes: they see whole tables.

    Who reads both while one writes reads `patches` first: then the source of each patch is known.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.attributes = bank_attributes(self.path)
        self._arrays: PatchArrays | None = None

    def sources(self, columns: list[str] | None = None) -> pa.Table:
        """Return the sources table."""
        return read_table(self.path, "sources", SOURCES_SCHEMA, columns)

    def patches(self, columns: list[str] | None = None) -> pa.Table:
        """Return the patches table, in the order (source_id, frame, k)."""
        return read_table(self.path, "patches", PATCHES_SCHEMA, columns)

    def pair(self, row: int) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.uint8]]:
        """Return a patch's `(hdr, ldr)`: (S, S, 3) float16, scene-linear, sensor clips at 1.0; (S, S, 3) uint8.

        Raises BankDamaged, naming the patch, where stored bytes are missing or do not match their checksum.
        """
        arrays = self._open_arrays(row)
        try:
            hdr = np.asarray(arrays.hdr[row], dtype=np.float16)
            ldr = np.asarray(arrays.ldr[row], dtype=np.uint8)
        except (ValueError, IndexError, OSError, RuntimeError) as error:
            raise BankDamaged(f"{self._name(row)} cannot be read ({_first_line(error)}); export it again") from error
        # A lost shard reads as the fill value: NaN in hdr, but black in ldr, where only the file's absence tells.
        if np.isnan(hdr[0, 0, 0]) or not self._shard(arrays, row).exists():
            raise BankDamaged(f"the pixels of {self._name(row)} are missing; export it again")
        return hdr, ldr

    def fingerprint(self) -> str:
        """Return a digest of what is exported: the format, the configuration, and which patch stands in which row."""
        exported = self.patches(["patch_id", "row", "verdict"])
        exported = exported.filter(pc.is_valid(exported["row"])).sort_by("row")
        digest = hashlib.sha256(json.dumps(self.attributes, sort_keys=True).encode())
        for column in ("patch_id", "row"):
            digest.update(exported[column].to_numpy().tobytes())
        digest.update("/".join(exported["verdict"].to_pylist()).encode())
        return digest.hexdigest()

    def _open_arrays(self, row: int) -> PatchArrays:
        # Rows that an export added since the arrays were opened show when they are opened anew.
        if self._arrays is None or row >= self._arrays.ldr.shape[0]:
            if not PatchArrays.exist(self.path):
                raise BankMissing(f"nothing was exported from the bank {self.path} yet; run hdrprep export first")
            self._arrays = PatchArrays(self.path)
        return self._arrays

    def _shard(self, arrays: PatchArrays, row: int) -> Path:
        return self.path / "ldr" / "c" / str(row // arrays.shard_rows) / "0" / "0" / "0"

    def _name(self, row: int) -> str:
        patches = self.patches(["patch_id", "source_id", "frame", "k", "row"])
        matching = patches.filter(pc.equal(patches["row"], row)).to_pylist()
        if not matching:
            return f"row {row}"
        patch = matching[0]
        place = f"source {patch['source_id']}, frame {patch['frame']}, k {patch['k']}"
        return f"patch {patch['patch_id']} (row {row}, {place})"


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0][:160] if lines else type(error).__name__
