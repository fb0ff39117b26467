"""Licence and attribution, which travel with a source into the tables.

From, in this order: a sidecar beside the file (`NAME.exr.licence` or `NAME.licence`: the first line is the licence,
the rest the attribution); a row of a table in Markdown (columns `file` and `licence`, and `attribution` or `origin`);
the text that the user gives for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import UsageError

MAX_SIDECAR_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Licence:
    """What is known of the rights to a source; None where nothing is."""

    licence: str | None = None
    attribution: str | None = None


@dataclass(frozen=True, slots=True)
class Licences:
    """Where licences are looked up: a table by file name, and what holds for all others."""

    table: Mapping[str, Licence] = field(default_factory=dict)
    default: str | None = None

    def of(self, path: Path) -> Licence:
        """Return the licence of a file."""
        return find_licence(path, self.table, self.default)


NO_LICENCES = Licences()


def find_licence(path: Path, table: Mapping[str, Licence], default: str | None) -> Licence:
    """Return the licence of a file, from its sidecar, the table or the default."""
    for sidecar in (path.with_name(f"{path.name}.licence"), path.with_suffix(".licence")):
        if sidecar.is_file():
            return _read_sidecar(sidecar)
    # A table names files relative to some folder above them: the longest name that fits is meant.
    parts = listed_name(str(path)).split("/")
    for start in range(len(parts)):
        listed = table.get("/".join(parts[start:]))
        if listed is not None:
            return listed
    return Licence(default)


def listed_name(path: str) -> str:
    """Return the longest name that a table may give a file: its path or URL without what begins it."""
    return path.partition("://")[2] if "://" in path else path.lstrip("/")


def read_licence_table(path: Path) -> dict[str, Licence]:
    """Read a Markdown table of licences: file name, as written there -> licence. Raises UsageError if it holds none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the licence table {path} cannot be read: {error}") from error
    listed: dict[str, Licence] = {}
    columns: list[str] = []
    for cells in map(_cells, lines):
        if not cells:
            columns = []
        elif {"file", "licence"} <= {cell.lower() for cell in cells}:
            columns = [cell.lower() for cell in cells]
        elif columns and len(cells) == len(columns) and not set("".join(cells)) <= set("-: "):
            row = dict(zip(columns, cells, strict=True))
            listed[row["file"].strip("`")] = Licence(row["licence"] or None, _attribution(row))
    if not listed:
        raise UsageError(f"{path} holds no Markdown table with the columns `file` and `licence`")
    return listed


def _attribution(row: Mapping[str, str]) -> str | None:
    return row.get("attribution") or row.get("origin") or None


def _cells(line: str) -> list[str]:
    """Return the cells of a line of a Markdown table; what stands in brackets behind a column's name is left out."""
    text = line.strip()
    if not (text.startswith("|") and text.endswith("|") and len(text) > 1):
        return []
    cells = [cell.strip() for cell in text[1:-1].split("|")]
    return [
        cell.partition(" (")[0] if cell.lower().startswith(("origin (", "file (", "licence (")) else cell
        for cell in cells
    ]


def _read_sidecar(path: Path) -> Licence:
    with path.open("rb") as stream:
        text = stream.read(MAX_SIDECAR_BYTES).decode("utf-8", "replace").strip()
    licence, _, attribution = text.partition("\n")
    return Licence(licence.strip() or None, attribution.strip() or None)
