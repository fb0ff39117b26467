"""Image sequences: `NAME.DDDD.exr`, three files or more of one name, size and channels in one folder, are one source.

A sequence has a path of its own that no file has: the numbers of its first and last frame, `NAME.1001-1012.exr`. From
that path its files are found again, with nothing stored beside it. Numbers that are missing between are gaps: frames
are counted over the files that are there.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import OpenImageIO as oiio

from pipeline.errors import SourceError
from pipeline.frames.exr import probe_exr, read_exr
from pipeline.frames.picture import Picture
from pipeline.records import Facts

MIN_FILES = 3  # two numbered files are as often two stills

# A file name is at most 255 bytes long on the file systems there are; int() refuses digits by the thousand.
_FRAME = re.compile(r"(.+)\.([0-9]{4,255})(\.exr)", re.IGNORECASE | re.DOTALL)
_RANGE = re.compile(r"(.+)\.([0-9]{4,255})-([0-9]{4,255})(\.exr)", re.IGNORECASE | re.DOTALL)

Header = Callable[[Path], Hashable]  # what the files of one sequence have in common


@dataclass(frozen=True, slots=True)
class ImageSequence:
    """`files` in the order of their numbers; `gaps` are the missing numbers between, each as (first, last)."""

    path: Path
    files: tuple[Path, ...]
    gaps: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class _Numbered:
    """One file name taken apart: `digits` as written."""

    number: int
    digits: str
    path: Path


def group_sequences(files: Iterable[Path], header: Header | None = None) -> tuple[list[Path], list[ImageSequence]]:
    """Tell stills from sequences: the stills in the order given, the sequences by path.

    The files are those of whole folders: of a part of one, a sequence's path would stand for its other files too.
    `header` returns what must agree between the files of a sequence, by default an EXR's size and channels. A file of
    which it raises SourceError is left as a still, which will be refused with that reason.
    """
    given = list(dict.fromkeys(files))
    found = []
    for numbered in _by_name(given).values():
        if len(numbered) >= MIN_FILES:
            alike = _by_header(numbered, header or exr_header)
            found += [_sequence(members) for members in alike if len(members) >= MIN_FILES]
    taken = {file for sequence in found for file in sequence.files}
    return [file for file in given if file not in taken], sorted(found, key=lambda sequence: sequence.path)


def sequence_files(path: Path, header: Header | None = None) -> list[Path] | None:
    """Return the files of a sequence's path in order; None where it is none: it exists, or has no such files."""
    match = _RANGE.fullmatch(path.name)
    if match is None or path.exists():
        return None
    try:
        changed = path.parent.stat().st_mtime_ns
        return list(_members(path, changed, header or exr_header)) or None
    except (OSError, ValueError):  # ValueError: a name that no file system takes
        return None


@lru_cache(maxsize=64)
def _members(path: Path, changed: int, header: Header) -> tuple[Path, ...]:
    """Return the files of a range; every header is read, so that the answer is remembered until the folder changes."""
    match = _RANGE.fullmatch(path.name)
    if match is None:
        return ()
    name, first, last, suffix = match.groups()
    entries = [path.parent / entry for entry in os.listdir(path.parent)]  # noqa: PTH208 - half as fast through Path
    for key, numbered in _by_name(entries).items():
        if key[:3] != (path.parent, name, suffix):
            continue
        between = [file for file in numbered if int(first) <= file.number <= int(last)]
        for members in _by_header(between, header) if len(between) >= MIN_FILES else []:
            if (members[0].digits, members[-1].digits) == (first, last) and len(members) >= MIN_FILES:
                return tuple(member.path for member in members)
    return ()


def identify_sequence(files: Sequence[Path]) -> tuple[str, int]:
    """Return a sequence's identity (SHA-256 of its files' contents, one after the other, hex) and its size in bytes."""
    digest, size = hashlib.sha256(), 0
    for file in files:
        try:
            with file.open("rb") as stream:
                while block := stream.read(2**20):
                    digest.update(block)
                    size += len(block)
        except OSError as error:
            raise SourceError(f"{file.name}: it cannot be opened: {error.strerror or error}") from None
    return digest.hexdigest(), size


def probe_sequence(path: Path) -> Facts:
    """Return the facts of a sequence by the header of its first file."""
    files = _existing(path)
    return _facts(probe_exr(files[0]), len(files))


def read_sequence(path: Path, frames: Sequence[int]) -> Iterator[tuple[int, Picture]]:
    """Yield the frames of these numbers, counted from 0 over the files that are there, each with its number."""
    files = _existing(path)
    size: tuple[int, int] | None = None
    for number in frames:
        if not 0 <= number < len(files):
            raise SourceError(f"it has {len(files)} frames, and none of number {number}")
        try:
            picture = read_exr(files[number])
        except SourceError as error:
            raise SourceError(f"{files[number].name}: {error}") from None
        size = size or (picture.facts.width, picture.facts.height)
        if size != (picture.facts.width, picture.facts.height):
            raise SourceError(f"{files[number].name} is of another size than the frames before it")
        yield number, replace(picture, facts=_facts(picture.facts, len(files)))


def exr_header(path: Path) -> Hashable:
    """Return an EXR's width, height and channels. Raises SourceError where they cannot be read."""
    facts = probe_exr(path)
    source = oiio.ImageInput.open(str(path))
    if source is None:
        raise SourceError("its header cannot be read, the file is damaged")
    try:
        return facts.width, facts.height, tuple(source.spec().channelnames)
    finally:
        source.close()


def _existing(path: Path) -> list[Path]:
    files = sequence_files(path)
    if files is None:
        raise SourceError("the files of this sequence are not all there any more")
    return files


def _facts(facts: Facts, frames: int) -> Facts:
    return replace(facts, kind="sequence", frames=frames)


def _by_name(files: Iterable[Path]) -> dict[tuple[Path, str, str, int], list[_Numbered]]:
    """Group files by folder, name, suffix and the width that zeros fill up, each group in the order of numbers.

    After 0999 comes 1000 and after 9999 comes 10000, as printf counts; a number without zeros in front belongs to the
    widest numbers of its name that are not longer.
    """
    names: dict[tuple[Path, str, str], list[_Numbered]] = defaultdict(list)
    for file in files:
        if match := _FRAME.fullmatch(file.name):
            name, digits, suffix = match.groups()
            names[file.parent, name, suffix].append(_Numbered(int(digits), digits, file))
    groups: dict[tuple[Path, str, str, int], list[_Numbered]] = defaultdict(list)
    for key, numbered in names.items():
        widths = {4} | {len(file.digits) for file in numbered if file.digits.startswith("0")}
        for member in sorted(numbered):
            length = len(member.digits)
            width = length if member.digits.startswith("0") else max(width for width in widths if width <= length)
            groups[*key, width].append(member)
    return groups


def _by_header(numbered: Sequence[_Numbered], header: Header) -> list[list[_Numbered]]:
    groups = defaultdict(list)
    for file in numbered:
        try:
            groups[header(file.path)].append(file)
        except SourceError:
            continue  # it stays a still, and is refused as one
    return list(groups.values())


def _sequence(members: Sequence[_Numbered]) -> ImageSequence:
    first, last = members[0], members[-1]
    match = _FRAME.fullmatch(first.path.name)
    name, suffix = (match[1], match[3]) if match else ("", "")
    gaps = tuple(
        (before.number + 1, after.number - 1)
        for before, after in itertools.pairwise(members)
        if after.number > before.number + 1
    )
    path = first.path.with_name(f"{name}.{first.digits}-{last.digits}{suffix}")
    return ImageSequence(path, tuple(member.path for member in members), gaps)
