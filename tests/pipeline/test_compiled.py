"""What is compiled is kept for the next process, and works where nothing can be kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import pytest

from pipeline import compiled as module
from pipeline.compiled import compiled

USE = "from pipeline.noise import *; fill_normal(noise_state(1), np.empty(4, 'f4'))"


def test_it_is_compiled_and_right() -> None:
    @compiled
    def triangle(n: int) -> int:
        total = 0
        for i in range(n + 1):
            total += i
        return total

    assert triangle(100) == 5050
    assert triangle.signatures  # type: ignore[attr-defined]  # of numba's dispatcher: it holds machine code


def test_machine_code_is_kept(tmp_path: Path) -> None:
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(Path(module.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", USE], env=environment, check=True)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}
    assert kept
    subprocess.run([sys.executable, "-c", USE], env=environment, check=True)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")} == kept


def test_it_works_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def refusing(cache: bool = False, **options: Any) -> Any:
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return numba.njit(**options)

    monkeypatch.setattr(module, "njit", refusing)

    @compiled
    def twice(n: int) -> int:
        return 2 * n

    assert twice(4) == 8
    assert asked == [True, False]
