"""The published format: the reader that the document prints reads a bank, and stops at damage."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.bank import BankReader
from tests.pipeline.banks import table
from tests.pipeline.conftest import SMALL, Result

DOCUMENT = Path(__file__).parents[2] / "docs" / "bank-format.md"
Reader = Callable[..., Iterator[tuple[dict[str, Any], Any, Any]]]

pytestmark = pytest.mark.skipif(not DOCUMENT.exists(), reason="runs in a checkout only")


@pytest.fixture(scope="module")
def read_pairs() -> Reader:
    """The function that the document prints."""
    section = DOCUMENT.read_text().split("## A reader")[1]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert code is not None
    assert len(code[1].splitlines()) <= 25
    assert "pipeline" not in code[1]
    namespace: dict[str, Any] = {}
    exec(code[1], namespace)  # noqa: S102 - that the printed code runs is what is tested
    reader: Reader = namespace["read_pairs"]
    return reader


@pytest.fixture
def bank(hdr_folder: Path, hdrprep: Callable[..., Result], tmp_path: Path) -> Path:
    path = tmp_path / "patches.zarr"
    assert hdrprep("run", hdr_folder, "--bank", path, *SMALL).status == 0
    return path


def test_the_printed_reader_gives_what_ours_gives(bank: Path, read_pairs: Reader) -> None:
    ours = BankReader(bank)
    pairs = list(read_pairs(str(bank)))
    kept = [row for row in table(bank, "patches").to_pylist() if row["verdict"] == "kept"]
    assert [recipe["patch_id"] for recipe, _, _ in pairs] == [row["patch_id"] for row in kept]
    assert pairs
    for recipe, hdr, ldr in pairs:
        expected_hdr, expected_ldr = ours.pair(recipe["row"])
        np.testing.assert_array_equal(hdr, expected_hdr)
        np.testing.assert_array_equal(ldr, expected_ldr)


@pytest.mark.parametrize("damage", ["hdr lost", "patch_id lost", "hdr flipped", "ldr flipped"])
def test_the_printed_reader_stops_at_damage(bank: Path, read_pairs: Reader, damage: str) -> None:
    name, what = damage.split()
    shard = next(path for path in sorted((bank / name / "c").rglob("*")) if path.is_file())
    if what == "lost":
        shard.unlink()
    else:
        content = bytearray(shard.read_bytes())
        content[len(content) // 3] ^= 16
        shard.write_bytes(content)
    with pytest.raises((OSError, ValueError)):
        list(read_pairs(str(bank)))
    shutil.rmtree(bank)
