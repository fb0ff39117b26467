"""The manifest as it grows: what workers commit is taken in, and the table of the folder replaced whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from pipeline.handover.folder import TABLE, Folder
from pipeline.handover.manifest import Plan, in_order, merge_rows, read_rows


def recover(folder: Folder) -> pa.Table | None:
    """Return what is known of a folder: its table, and the commits that a killed run left. None where nothing is."""
    return merge_rows(read_rows(folder.path / TABLE), _read(folder.committed()))


class Ledger:
    """The table of a folder, owned by the process that exports; `table` is what was written last.

    `described` is called with every table that was written, and its bytes and SHA-256.
    """

    def __init__(self, folder: Folder, plan: Plan, described: Callable[[pa.Table, tuple[int, str]], None]) -> None:
        self._folder, self._plan, self._described = folder, plan, described
        self.table: pa.Table = plan.done
        waiting = folder.committed()  # of a killed run: what they tell, and still holds, stands in plan.done
        self._write()
        _unlink(waiting)

    def fold(self) -> None:
        """Take in the commits that wait; the table comes before they go, so that one that is read twice is no harm."""
        waiting = self._folder.committed()
        if waiting:
            self.table = in_order(self._plan.rows, merge_rows(self.table, _read(waiting)))
            self._write()
            _unlink(waiting)

    def _write(self) -> None:
        self._described(self.table, self._folder.write_table(self.table))


def _read(paths: list[Path]) -> list[pa.Table]:
    return [table for table in map(read_rows, paths) if table is not None]


def _unlink(paths: list[Path]) -> None:
    for path in paths:
        path.unlink()
