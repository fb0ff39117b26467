"""Which sources some files are, and which of them a bank does not know yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import work
from pipeline.frames.sequence import group_sequences, is_numbered, sequence_files
from pipeline.logs import log
from pipeline.rows import Found

T = TypeVar("T")


class Mapper(Protocol):
    """Whatever calls a function on many paths."""

    def __call__(
        self, function: Callable[[Path], T], paths: Sequence[Path], crashed: Callable[[Path, str], T]
    ) -> list[T]:
        """Return the results in the order of the paths; `crashed` makes one where the call itself went wrong."""
        ...


@dataclass(frozen=True, slots=True)
class Identified:
    """What some files are: the sources of `new` content, in their order, and `further` places of known content.

    `further` holds paths by identity, of content that is in the bank and of what came twice. `named` are all of them,
    by identity, unreadable ones by path.
    """

    new: list[Found]
    further: dict[str, list[str]]
    named: set[str]


def identify_sources(paths: Sequence[Path], sources: pa.Table, sequences: bool, each: Mapper) -> Identified:
    """Tell sequences from stills (unless all are to be stills), and new content from what the table knows."""
    stills, numbered = _group(paths, each) if sequences else (list(paths), list[Path]())
    found = each(work.find, [*stills, *numbered], lambda path, message: Found(path, None, None, message))
    known = set(sources["source_id"].drop_null().to_pylist())
    unreadable = set(sources.filter(pc.is_null(sources["source_id"]))["path"].to_pylist())
    result = Identified([], {}, {entry.source_id or str(entry.path) for entry in found})
    for entry in found:
        if entry.source_id is None:
            if str(entry.path) not in unreadable:
                result.new.append(entry)
        elif entry.source_id in known:
            result.further.setdefault(entry.source_id, []).append(str(entry.path))
        else:
            known.add(entry.source_id)
            result.new.append(entry)
    return result


def _group(paths: Sequence[Path], each: Mapper) -> tuple[list[Path], list[Path]]:
    """Return the stills and the sequences among files; the headers that decide it are read by `each`."""
    candidates = [path for path in paths if is_numbered(path)]
    shapes = dict(zip(candidates, each(work.shape, candidates, lambda *_: None), strict=True))
    stills, sequences = group_sequences(paths, shapes.get)
    # A sequence is all that lies between its ends: of some frames named one by one, each is a still.
    whole = [sequence for sequence in sequences if sequence_files(sequence.path) == list(sequence.files)]
    stills += [file for sequence in sequences if sequence not in whole for file in sequence.files]
    for sequence in whole:
        if sequence.missing:
            log.warning("%s: %d frames are missing: %s", sequence.path, len(sequence.missing), _few(sequence.missing))
    return stills, [sequence.path for sequence in whole]


def _few(numbers: Sequence[int], most: int = 8) -> str:
    """Return the first of some numbers as text."""
    more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
    return ", ".join(map(str, numbers[:most])) + more
