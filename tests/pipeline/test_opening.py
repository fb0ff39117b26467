"""Opening a bank: checked before anything is written, and made with what it is to say of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.bank import BankReader, open_storage
from pipeline.config import Layer, Settings, resolve
from pipeline.errors import BankMismatch, BankMissing
from pipeline.opening import changed_versions, open_pipeline, prepare
from pipeline.versions import versions


def seeded(seed: int | None = None) -> Callable[[Layer], Settings]:
    def settings(stored: Layer) -> Settings:
        return resolve([stored, {} if seed is None else {"ingest": {"seed": seed}}])

    return settings


def test_a_bank_is_made_once_and_then_opened_with_its_own_settings(tmp_path: Path) -> None:
    bank = open_storage(tmp_path / "bank.zarr")
    with pytest.raises(BankMissing):
        prepare(bank, seeded())
    opening = prepare(bank, seeded(5), create=True)
    assert opening.stored is None
    assert not (tmp_path / "bank.zarr").exists()
    with open_pipeline(opening):
        pass
    again = prepare(bank, seeded())
    assert again.settings.ingest.seed == 5
    assert again.stored is not None
    assert changed_versions(again.stored) == []
    with pytest.raises(BankMismatch, match=r"ingest\.seed is 6"):
        prepare(bank, seeded(6))


def test_a_bank_made_of_others_says_what_these_were_made_with(tmp_path: Path) -> None:
    opening = prepare(open_storage(tmp_path / "bank.zarr"), seeded(), create=True)
    with open_pipeline(replace(opening, made_with=versions() | {"numpy": "0.1"})):
        pass
    stored = BankReader(tmp_path / "bank.zarr").attributes
    assert changed_versions(stored) == [f"numpy 0.1 -> {versions()['numpy']}"]
