"""Opening a bank: everything is checked before anything is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.bank import BankReader, BankWriter, open_storage
from pipeline.config import Settings, resolve
from pipeline.errors import BankError, BankMismatch, BankMissing
from pipeline.opening import changed_versions, open_pipeline, prepare
from pipeline.versions import versions


def test_preparing_a_bank_that_is_to_be_made_writes_nothing(tmp_path: Path) -> None:
    opening = prepare(open_storage(tmp_path / "bank.zarr"), lambda stored: resolve([stored]), create=True)
    assert opening.stored is None
    assert opening.settings == Settings()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BankMissing, match="there is no bank"):
        prepare(open_storage(tmp_path / "bank.zarr"), lambda stored: resolve([stored]))


def test_a_place_that_is_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no bank")
    with pytest.raises(BankError, match="is no bank"):
        prepare(open_storage(tmp_path), lambda stored: resolve([stored]), create=True)


def test_the_bank_keeps_the_settings_that_it_is_opened_with(tmp_path: Path) -> None:
    bank = open_storage(tmp_path / "bank.zarr")
    wanted = resolve([{"ingest": {"seed": 5}, "crops": {"patches": 7}}])
    with open_pipeline(prepare(bank, lambda _: wanted, create=True)) as pipeline:
        assert pipeline.settings == wanted
    again = prepare(bank, lambda stored: resolve([stored, {"score": {"threshold": 0.5}}]))
    assert again.settings.ingest.seed == 5
    with open_pipeline(again):
        pass
    with BankWriter.open(bank) as writer:
        assert writer.attributes["config"]["score"]["threshold"] == 0.5
        assert writer.attributes["config"]["crops"]["patches"] == 7
    with pytest.raises(BankMismatch, match=r"ingest\.seed"):
        prepare(bank, lambda stored: resolve([stored, {"ingest": {"seed": 6}}]))


def test_a_bank_made_of_others_says_what_these_were_made_with(tmp_path: Path) -> None:
    opening = prepare(open_storage(tmp_path / "bank.zarr"), lambda stored: resolve([stored]), create=True)
    with open_pipeline(replace(opening, made_with=versions() | {"numpy": "0.1"})):
        pass
    stored = BankReader(tmp_path / "bank.zarr").attributes
    assert changed_versions(stored) == [f"numpy 0.1 -> {versions()['numpy']}"]
