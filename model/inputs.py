"""What is to be reconstructed, and under which names the results go.

Of `photos/trip/a.jpg`, found below the folder `photos`, the results are `OUT/trip/a.exr` and pictures beside it; of a
video `b.mp4` the frames `OUT/b/b.0001.exr` and so on. Where several inputs would share a name, each keeps its suffix:
`a.jpg.exr` and `a.png.exr`. What would still replace another's result, or an input, is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.command import say
from model.errors import PictureError
from model.pictures import STILL_SUFFIXES
from model.results import is_result
from model.video import VIDEO_SUFFIXES
from pipeline.errors import UsageError

READABLE = STILL_SUFFIXES | VIDEO_SUFFIXES


@dataclass(frozen=True, slots=True)
class Input:
    """A file and the place of its results below the output folder, a path without suffix."""

    file: Path
    place: Path

    @property
    def is_video(self) -> bool:
        """Say whether it has frames."""
        return self.file.suffix.lower() in VIDEO_SUFFIXES

    def targets(self, out: Path, endings: Sequence[str], frame: int | None = None) -> list[Path]:
        """Return the files that become of it, or of its frame of this number, counted from 1."""
        base = out / self.place
        if frame is not None:
            base = base / f"{base.name}.{frame:04d}"
        return [base.with_name(base.name + ending) for ending in endings]


def find_inputs(paths: Sequence[Path]) -> list[Input]:
    """Return the files that are named, and those of readable types anywhere below the folders that are named.

    Hidden files and pictures that an earlier run left are passed over; files of other types are counted on stderr.
    Raises UsageError for a folder with nothing to read.
    """
    found: dict[Path, tuple[Path, Path]] = {}
    for path in paths:
        files = _below(path) if path.is_dir() else [path]
        for file in files:
            folder = file.parent.relative_to(path) if path.is_dir() else Path()
            found.setdefault(file.resolve(), (file, folder))
    names = Counter(_name(file, folder) for file, folder in found.values())
    return [
        Input(file, folder / (file.stem if names[_name(file, folder)] == 1 else file.name))
        for file, folder in found.values()
    ]


def _name(file: Path, folder: Path) -> tuple[str, bool]:
    """Return what two inputs may not share: there are file systems to which A and a are one."""
    return (folder / file.stem).as_posix().casefold(), file.suffix.lower() in VIDEO_SUFFIXES


def _below(folder: Path) -> list[Path]:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not _is_hidden(file, folder)]
    readable = [file for file in files if file.suffix.lower() in READABLE]
    pictures = [file for file in readable if not is_result(file)]
    if not pictures:
        kinds = ", ".join(sorted(READABLE))
        raise UsageError(f"the folder {folder} holds nothing to reconstruct ({kinds}): name another one")
    if others := len(files) - len(readable):
        say(f"{folder}: {others} file{'s' * (others > 1)} of other types ignored")
    return pictures


def _is_hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


class Claims:
    """Which file is written for which input, so that none is written twice and no input is overwritten."""

    def __init__(self, inputs: Sequence[Input]) -> None:
        self._claimed = {given.file.resolve(): given.file for given in inputs}

    def claim(self, given: Input, targets: Iterable[Path]) -> None:
        """Take these files for an input. Raises PictureError where one of them is another's, or an input itself."""
        for target in targets:
            other = self._claimed.setdefault(target.resolve(), given.file)
            if other != given.file or target.resolve() == given.file.resolve():
                raise PictureError(f"{target}, its result, would replace {other} or its result: rename one of them")
