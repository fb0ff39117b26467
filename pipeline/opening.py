"""From a place and the wanted settings to a pipeline: what is there is read and checked before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
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
    """A bank that can be opened with these settings; `stored` is what it says of itself, None: it is to be made.

    `made_with` are the libraries that its patches were made with where it is to be made of other banks, None: these.
    """

    bank: Storage
    stored: dict[str, Any] | None
    settings: Settings
    made_with: dict[str, str] | None = None


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
def open_pipeline(opening: Opening, lost: Collection[str] = (), in_process: bool = False) -> Iterator[Pipeline]:
    """Open the bank, made if need be, and the workers; `lost` tables begin anew.

    The work stays `in_process` where this process alone sees the bank, or something else that is needed.
    """
    settings, stored = opening.settings, opening.stored
    attributes = {
        "seed": settings.ingest.seed,
        "config": settings.stored(),
        "versions": (opening.made_with or versions()) if stored is None else stored["versions"],
    }
    bank = opening.bank
    opened = BankWriter.create(bank, attributes) if stored is None else BankWriter.open(bank, lost)
    with opened as writer, Workers(settings.run, in_process or bank.in_process) as workers:
        writer.set_attributes(attributes)
        yield Pipeline(writer, workers, settings)


def changed_versions(stored: dict[str, Any]) -> list[str]:
    """Return which libraries have another version than those that a bank was made with, one `name old -> new` each."""
    ours, theirs = versions(), stored["versions"]
    return [f"{name} {theirs.get(name)} -> {number}" for name, number in ours.items() if theirs.get(name) != number]


def _warn_of_other_versions(stored: dict[str, Any]) -> None:
    changed = changed_versions(stored)
    if changed:
        log.warning("the bank was made with other versions, new patches may differ in the last digits: %s", changed)
