"""Numbered EXR files that form one source.

A sequence is `NAME.DDDD.exr` (a dot, at least four digits), three files or more of one name, size and channels in one
folder; everything else is a still. It is named by a path of its own, `/folder/NAME.1001-1012.exr`, which is no file.
Frame 0 is the file of lowest number; frames are counted over the files that are there, so a gap is no frame.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import SourceError
from pipeline.frames.exr import probe_exr, read_exr
from pipeline.frames.exr.choice import choose
from pipeline.frames.exr.header import read_header
from pipeline.frames.opening import decodable
from pipeline.frames.picture import Picture
from pipeline.records import Facts
from pipeline.remote import local_file

FEWEST = 3  # files of a sequence
MAX_SPAN = 1_000_000  # between the lowest and the highest number: dates are numbers, too, and no frames
_FILE = re.compile(r"(?P<name>.+)\.(?P<number>[0-9]{4,18})\.exr", re.IGNORECASE | re.DOTALL)
_RANGE = re.compile(r"(?P<name>.+)\.(?P<first>[0-9]{4,18})-(?P<last>[0-9]{4,18})\.exr", re.IGNORECASE | re.DOTALL)

Shape = tuple[object, ...]  # what all frames of a sequence have in common: size and channels


@dataclass(frozen=True, slots=True)
class NumberedFiles:
    """A sequence: the path that names it, its files by number, and the numbers that are missing between them."""

    path: Path
    files: tuple[Path, ...]
    missing: tuple[int, ...]


def is_numbered(path: Path) -> bool:
    """Say whether a file's name could be that of a frame of a sequence."""
    return _FILE.fullmatch(path.name) is not None


def shape_of(path: Path) -> Shape | None:
    """Return the size and the channels of an EXR file, or None where its header cannot be read."""
    try:
        part = choose(read_header(local_file(path))).part
    except (SourceError, OSError):
        return None
    return part.width, part.height, tuple(channel.name for channel in part.channels)


def group_sequences(
    paths: Iterable[Path], shape: Callable[[Path], Shape | None]
) -> tuple[list[Path], list[NumberedFiles]]:
    """Part files into stills and sequences, each in the order in which they came.

    `shape` gives a numbered file's size and channels, or None where its header cannot be read: such a file stays in
    its sequence if the others agree, so that the damage is told, and the sequence is not silently a frame shorter.
    """
    paths = list(paths)
    groups: dict[tuple[Path, str], list[tuple[int, Path]]] = {}
    for path in paths:
        match = _FILE.fullmatch(path.name)
        if match is not None:
            groups.setdefault((path.parent, match["name"]), []).append((int(match["number"]), path))
    sequences = [_sequence(name, sorted(group)) for (_, name), group in groups.items() if _is_one(group, shape)]
    taken = {file for sequence in sequences for file in sequence.files}
    return [path for path in paths if path not in taken], sequences


def sequence_files(path: Path) -> list[Path] | None:
    """Return the files that a sequence's path names, by number, or None if this is no such path."""
    match = _RANGE.fullmatch(path.name)
    if match is None or path.exists() or not path.parent.is_dir():
        return None
    first, last = int(match["first"]), int(match["last"])
    found = [(number, file) for number, file in _numbered(path.parent, match["name"]) if first <= number <= last]
    return [file for _, file in sorted(found)] or None


def probe_sequence(path: Path) -> Facts:
    """Return what the first header of a sequence says, and how many frames there are."""
    files = _files(path)
    return replace(probe_exr(decodable(files[0])), kind="sequence", frames=len(files))


def read_sequence(path: Path, frames: Sequence[int]) -> Iterator[tuple[int, Picture]]:
    """Decode frames of a sequence, in the order asked for. Raises SourceError that names the file."""
    files = _files(path)
    for frame in frames:
        if not 0 <= frame < len(files):
            raise SourceError(f"a sequence of {len(files)} files has no frame {frame}")
        try:
            yield frame, read_exr(decodable(files[frame]))
        except SourceError as error:
            raise SourceError(f"{files[frame].name}: {error}") from error


def _files(path: Path) -> list[Path]:
    files = sequence_files(path)
    if files is None:
        raise SourceError("its files are gone")
    return files


def _numbered(folder: Path, name: str) -> Iterator[tuple[int, Path]]:
    for file in folder.iterdir():
        match = _FILE.fullmatch(file.name)
        if match is not None and match["name"] == name:
            yield int(match["number"]), file


def _is_one(group: list[tuple[int, Path]], shape: Callable[[Path], Shape | None]) -> bool:
    numbers = [number for number, _ in group]
    if len(group) < FEWEST or len(set(numbers)) < len(numbers) or max(numbers) - min(numbers) >= MAX_SPAN:
        return False
    return len({shape(file) for _, file in group} - {None}) == 1


def _sequence(name: str, group: list[tuple[int, Path]]) -> NumberedFiles:
    (first, first_file), (last, last_file) = group[0], group[-1]
    numbers = {number for number, _ in group}
    span = f"{_digits(first_file)}-{_digits(last_file)}"
    missing = tuple(number for number in range(first, last + 1) if number not in numbers)
    return NumberedFiles(first_file.with_name(f"{name}.{span}.exr"), tuple(file for _, file in group), missing)


def _digits(file: Path) -> str:
    match = _FILE.fullmatch(file.name)
    return match["number"] if match is not None else ""
