"""A test set on disk: NAME.png, the photograph, NAME.exr, its ground truth, and testset.json, which describes them.

Legend: H, W height and width in pixels; T (H, W, 3) float32 display-encoded RGB in [0, 1]; truth (H, W, 3) float32
scene-linear BT.709, the sensor that took the photograph clips at 1.0.

The photograph is stored after its JPEG compression, without further loss: every method gets the same numbers, whichever
decoder it uses. The truth is float16, as in a bank.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.errors import EvaluationError
from model.evaluation.writing import read_png
from pipeline.bank.files import replace_file
from pipeline.errors import SourceError, UsageError
from pipeline.frames import read_frame
from pipeline.records import Camera, FloatImage

MANIFEST = "testset.json"
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # SHA-256
# A name becomes part of file names and of addresses in a page.
SafeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=120)]
Side = Annotated[int, Field(ge=1, le=65_536)]


class Picture(BaseModel):
    """One photograph with its ground truth."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: SafeName
    title: str  # the source's own name, as people know it: never part of a path
    source_id: Digest
    frame: int
    scene: str  # pictures of one scene are not independent of each other: the source, or the group it belongs to
    height: Side
    width: Side
    camera: Camera
    saturated_pixels: float = Field(ge=0, le=1)  # share of pixels with a channel at or above the clipping level
    saturated_values: float = Field(ge=0, le=1)  # share of channel values there: what `clip_fraction` is about
    brightest: float  # of the truth's values, before they were held to float16's range
    beyond_half: int  # values of the truth that were held to float16's range
    ldr_sha256: Digest
    hdr_sha256: Digest
    licence: str | None = None
    attribution: str | None = None


class Rejected(BaseModel):
    """A source that gave no picture, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    reason: str


class TestSet(BaseModel):
    """What testset.json says."""

    __test__ = False  # of pytest: this is no test
    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    seed: int
    wanted: int  # sources asked for
    candidates: int  # sources there were
    split: Literal["test"] | None  # None: of a folder, about which nothing says that no network was trained on it
    max_side: int | None  # pixels, to which larger frames were shrunk
    saturated: list[float]  # shares of channel values to clip; empty: drawn, 5 to 15 %
    versions: dict[str, str]
    pictures: list[Picture]
    rejected: list[Rejected]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a test set's description. Raises UsageError where there is none, EvaluationError if it is damaged."""
        file = folder / MANIFEST
        try:
            found = cls.model_validate_json(file.read_bytes())
        except OSError as error:
            raise UsageError(
                f"there is no test set in {folder} ({error.strerror}); make one with python -m model.evaluate testset"
            ) from error
        except ValidationError as error:
            raise EvaluationError(f"{file} does not describe a test set; make it anew with another --out") from error
        names = [picture.name for picture in found.pictures]
        if not names or len(set(names)) != len(names):
            raise EvaluationError(f"{file} names no picture, or one twice; make it anew with another --out")
        return found

    @property
    def scenes(self) -> int:
        """Return how many independent scenes there are."""
        return len({picture.scene for picture in self.pictures})

    def fingerprint(self) -> str:
        """Return a digest of the pixels: two test sets of one fingerprint may be compared."""
        pairs = sorted(picture.ldr_sha256 + picture.hdr_sha256 for picture in self.pictures)
        return hashlib.sha256("".join(pairs).encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write testset.json, whole or not at all."""
        text = self.model_dump_json(indent=2)
        replace_file(folder / MANIFEST, lambda beside: beside.write_text(text, encoding="utf-8"))


def ldr_file(folder: Path, picture: Picture) -> Path:
    """Return the photograph's file."""
    return folder / f"{picture.name}.png"


def hdr_file(folder: Path, picture: Picture) -> Path:
    """Return the ground truth's file."""
    return folder / f"{picture.name}.exr"


def read_pair(folder: Path, picture: Picture) -> tuple[FloatImage, FloatImage]:
    """Return (T, truth) of one picture. Raises EvaluationError where a file is not what it was."""
    for file, expected in (
        (ldr_file(folder, picture), picture.ldr_sha256),
        (hdr_file(folder, picture), picture.hdr_sha256),
    ):
        check_digest(file, expected)
    T = read_png(ldr_file(folder, picture))
    truth = read_frame(hdr_file(folder, picture)).pixels
    size = (picture.height, picture.width, 3)
    if T.shape != size or truth.shape != size:
        raise EvaluationError(f"{picture.name} is not {picture.width}x{picture.height} pixels; make the test set anew")
    return T, truth


def check_digest(file: Path, expected: str) -> None:
    """Raise EvaluationError where a file of the test set is missing or was changed."""
    if not file.is_file() or sha256(file) != expected:
        raise EvaluationError(f"{file} is missing or was changed; repeat python -m model.evaluate testset")


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file (hex). Raises OSError."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def read_radiance(file: Path, height: int, width: int) -> FloatImage:
    """Return another method's result (H, W, 3), finite and not negative. Raises EvaluationError with one sentence."""
    try:
        frame = read_frame(file)
    except (SourceError, OSError) as error:
        raise EvaluationError(f"{file} cannot be read: {error}") from error
    if frame.pixels.shape[:2] != (height, width):
        found = f"{frame.pixels.shape[1]}x{frame.pixels.shape[0]}"
        raise EvaluationError(f"{file} is {found} pixels, and the picture {width}x{height}: results must keep its size")
    if frame.nonfinite:
        raise EvaluationError(f"{file} holds {frame.nonfinite} pixels that are not finite numbers: correct them first")
    return np.asarray(frame.pixels, dtype=np.float32)
