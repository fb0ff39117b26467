"""From a place and the wanted settings to a pipeline: what is there is read and checked before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.bank import BankWriter, PatchArrays, Storage
from pipeline.bank.reader import bank_attributes
from pipeline.bank.writer import check_vacant
from pipeline.config import Layer, Settings, check_against_bank
from pipeline.errors import BankMissing
from pipeline.logs import log
from pipeline.run import Pipeline
from pipeline.versions import versions
from pipeline.workers import Workers


@dataclass(frozen=True, slots=True)
class Opening:
    """A bank that can be opened with these settings; `stored` is what it says of itself, None: it is to be made."""

    bank: Storage
    stored: dict[str, Any] | None
    settings: Settings


def prepare(bank: Storage, resolve: Callable[[Layer], Settings], create: bool = False) -> Opening:
    """Check that a bank can be used; nothing is written. `resolve` joins the bank's settings with the wanted ones.

    Raises BankMissing unless `create`, BankMismatch where a setting differs from what the bank's patches depend on.
    """
    try:
        stored = bank_attributes(bank)
    except BankMissing:
        if not create:
            raise
        check_vacant(bank)
        return Opening(bank, None, resolve({}))
    settings = resolve(stored["config"])
    check_against_bank(settings, stored["config"], PatchArrays.exist(bank))
    _warn_of_other_versions(stored)
    return Opening(bank, stored, settings)


@contextmanager
def open_pipeline(opening: Opening) -> Iterator[Pipeline]:
    """Open the bank, made if need be, and the workers."""
    settings, stored = opening.settings, opening.stored
    attributes = {
        "seed": settings.ingest.seed,
        "config": settings.stored(),
        "versions": versions() if stored is None else stored["versions"],
    }
    opened = BankWriter.create(opening.bank, attributes) if stored is None else BankWriter.open(opening.bank)
    with opened as writer, Workers(settings.run, opening.bank.in_process) as workers:
        writer.set_attributes(attributes)
        yield Pipeline(writer, workers, settings)


def _warn_of_other_versions(stored: dict[str, Any]) -> None:
    ours, theirs = versions(), stored["versions"]
    changed = [f"{name} {theirs.get(name)} -> {number}" for name, number in ours.items() if theirs.get(name) != number]
    if changed:
        log.warning("the bank was made with other versions, new patches may differ in the last digits: %s", changed)
