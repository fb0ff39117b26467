"""What a bank was made with, and the command that makes it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from pipeline.bank import BankReader
from pipeline.bank.schema import table_key
from pipeline.frames.sequence import sequence_files
from pipeline.remote import path_of
from pipeline.report.survey import Survey

REBUILT = "rebuilt.zarr"  # the bank that the command makes, beside where it is run
SETTINGS_FILE, COMMAND_FILE = "settings.yaml", "rebuild.sh"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a bank comes from. `command` is one for a shell, which reads `settings` from SETTINGS_FILE."""

    format_version: int
    seed: int
    versions: dict[str, str]
    config: dict[str, Any]
    fingerprints: dict[str, str]  # name -> SHA-256, hex
    command: str

    @property
    def settings(self) -> str:
        """Return the configuration as YAML."""
        return yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True)


def trace(reader: BankReader, survey: Survey) -> Provenance:
    """Return the provenance of a bank, in the state that was surveyed."""
    attributes = reader.attributes
    fingerprints = {"exported patches": reader.fingerprint(survey.files["patches"])}
    fingerprints |= {table_key(name): survey.files[name].digest for name in ("sources", "patches")}
    return Provenance(
        format_version=attributes["format_version"],
        seed=attributes["seed"],
        versions=dict(attributes["versions"]),
        config=dict(attributes["config"]),
        fingerprints=fingerprints,
        command=rebuild_command(survey),
    )


def rebuild_command(survey: Survey) -> str:
    """Return the shell commands that make a bank of the same patches: every source, as far as the bank has come.

    Sources that were given another number of patches a frame are taken in by a command of their own.
    """
    counts, taken = survey.counts, list(_by_patches(survey))
    whole = counts["candidates"] and counts["scored"] == counts["candidates"] and not survey.flow[-1].lost
    first = "run" if whole and len(taken) == 1 else "ingest"
    lines = []
    for patches, paths in taken:
        words = [f"hdrprep {first}", *map(shlex.quote, paths)]
        lines.append(" \\\n  ".join([*words, f"--bank {REBUILT} --config {SETTINGS_FILE} --patches {patches}"]))
    if first == "ingest":
        lines += [f"hdrprep {stage} --bank {REBUILT}" for stage in _stages(counts)]
    return "\n".join(lines) or "# the bank has no source to take in"


def _by_patches(survey: Survey) -> Iterator[tuple[int, list[str]]]:
    """Yield the numbers of patches a frame with the files of the sources that were given so many."""
    found: dict[int, list[str]] = {}
    for source in survey.sources:
        if source.reason is None and source.frames:
            found.setdefault(source.candidates // source.frames, []).extend(_files(source.path))
    yield from ((patches, sorted(paths)) for patches, paths in sorted(found.items()) if patches)


def _files(path: str) -> Sequence[str]:
    """Return the files of a source: those of a sequence are named one by one."""
    files = sequence_files(path_of(path))
    return [path] if files is None else [str(file) for file in files]


def _stages(counts: dict[str, int]) -> list[str]:
    stages = ["simulate-ldr"] if counts["simulated"] else []
    stages += ["score"] if counts["scored"] else []
    out = counts["exported"] - counts["no_longer_kept"]
    if out:
        stages.append("export" if out >= counts["kept"] else f"export --limit {out}")
    return stages
