"""A folder of photographs as an endless supply of square cuts; cut `number` of a run is a function of (seed, number).

Legend: S patch size in pixels; a patch is (S, S, 3) uint8, display-encoded RGB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from model.command import say
from model.errors import PictureError
from model.order import Draw
from model.pictures import read_ldr, read_size
from pipeline.records import ByteImage, FloatImage, split_of

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
TRIES = 100  # photographs looked at in search of one that can be used


@dataclass(frozen=True, slots=True)
class PhotoIndex:
    """Photographs below a folder, by rising path relative to it. `fingerprint` (hex) is of paths and file sizes."""

    folder: Path
    names: tuple[str, ...]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True)
class Survey:
    """What a folder of photographs holds: the names that can be used, how many are too small, which are damaged."""

    folder: Path
    names: tuple[str, ...]
    small: int
    damaged: tuple[str, ...]

    def notice(self, least: int) -> str:
        """Return the line that tells what was found and left out."""
        left_out = [f"{self.small} smaller than {least} pixels"] if self.small else []
        left_out += [f"{len(self.damaged)} that cannot be read (such as {self.damaged[0]})"] if self.damaged else []
        found = f"Photographs in {self.folder}: {len(self.names)}"
        return found + (f"; left out: {', '.join(left_out)}" if left_out else "")


def survey(folder: Path, least: int) -> Survey:
    """Look at the headers of all pictures below a folder; the shorter side of a usable one has `least` pixels or more.

    Raises PictureError with one sentence where none can be used.
    """
    if not folder.is_dir():
        raise PictureError(f"there is no folder {folder}: name one with photographs")
    names, small, damaged = [], 0, []
    for file in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()):
        name = file.relative_to(folder).as_posix()
        try:
            usable = min(read_size(file)) >= least
        except PictureError:
            damaged.append(name)
            continue
        small += not usable
        names += [name] if usable else []
    found = Survey(folder, tuple(names), small, tuple(damaged))
    if not names:
        kinds = ", ".join(suffix.removeprefix(".") for suffix in SUFFIXES)
        if small or damaged:
            raise PictureError(
                f"no photograph in {folder} can be used ({small} smaller than {least} pixels, "
                f"{len(damaged)} that cannot be read): lower train.patch_size, or name another folder"
            )
        raise PictureError(f"{folder} holds no photographs ({kinds}): name a folder that does")
    return found


def index_of(folder: Path, names: Sequence[str], purpose: str) -> PhotoIndex:
    """Return an index of these photographs; `purpose` tells all else that the patches depend on."""
    digest = hashlib.sha256(purpose.encode())
    for name in names:
        digest.update(f"{name}\0{(folder / name).stat().st_size}\n".encode())
    return PhotoIndex(folder, tuple(names), digest.hexdigest())


def split_names(names: Sequence[str], validation: float) -> tuple[list[str], list[str]]:
    """Return (train, validation): by the hash of each name, so that no photograph changes sides when others are added.

    Training needs a side: where all fell on the side of validation, it takes them.
    """
    sides = {name: split_of(hashlib.sha256(name.encode()).hexdigest(), validation, 0.0) for name in names}
    train, held_out = ([name for name in names if sides[name] == side] for side in ("train", "validation"))
    return (train, held_out) if train else (held_out, train)


class Photographs:
    """Cuts patches of S x S pixels. A photograph that cannot be used gives way to another, drawn by the same seed."""

    def __init__(self, index: PhotoIndex, seed: int, size: int) -> None:
        self.index, self.seed, self.size = index, seed, size
        self._told: set[str] = set()

    def __len__(self) -> int:
        return len(self.index)

    def patch(self, draw: Draw, suits: Callable[[ByteImage], bool], wanted: str) -> ByteImage:
        """Return a patch (S, S, 3) that suits. Raises PictureError where `TRIES` photographs give none."""
        random = np.random.Generator(np.random.PCG64([self.seed, draw.number]))
        place = draw.place
        for _ in range(TRIES):
            T = self._read(self.index.names[place])
            if T is not None:
                patch = cut(T, random, self.size)
                if suits(patch):
                    return patch
            place = int(random.integers(len(self.index)))
        raise PictureError(f"{TRIES} photographs from {self.index.folder} in a row gave no patch that {wanted}")

    def _read(self, name: str) -> FloatImage | None:
        try:
            T = read_ldr(self.index.folder / name)
            if min(T.shape[:2]) >= self.size:
                return T
            problem = "it is smaller than its header says"
        except PictureError as error:
            problem = str(error)
        if name not in self._told:
            self._told.add(name)
            say(f"{self.index.folder / name} is passed over: {problem}")
        return None


def cut(T: FloatImage, random: np.random.Generator, size: int) -> ByteImage:
    """Cut a square out of (H, W, 3), its side drawn evenly from S to the shorter one, and shrink it to S x S.

    Half of the patches are mirrored left to right.
    """
    height, width = T.shape[:2]
    side = int(random.integers(size, min(height, width), endpoint=True))
    y, x = int(random.integers(height - side, endpoint=True)), int(random.integers(width - side, endpoint=True))
    patch = T[y : y + side, x : x + side]
    if side != size:
        patch = np.asarray(cv2.resize(patch, (size, size), interpolation=cv2.INTER_AREA), dtype=np.float32)
    if random.integers(2):
        patch = patch[:, ::-1]
    return np.asarray(np.rint(patch * np.float32(255.0)), dtype=np.uint8)
