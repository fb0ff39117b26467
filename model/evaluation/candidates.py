"""The frames that a test set may be made from: one of each source on a bank's test side, or of each file of a folder.

One frame of a video, not all: they show one scene, and an interval over them would pretend to know more than it does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.evaluation.testset import sha256
from pipeline.bank import BankReader
from pipeline.errors import BankError, SourceError, UsageError
from pipeline.frames import READABLE, kind_of, read_frame
from pipeline.records import FloatImage, Transfer, derive_seed, generator
from pipeline.remote import access, local_file, path_of


@dataclass(frozen=True, slots=True)
class Candidate:
    """A frame of a source. `scene` is the source, or the group of sources that show one scene."""

    source_id: str
    title: str
    places: tuple[str, ...]  # paths or URLs of the same content
    still: bool
    frame: int
    scene: str
    transfer: Transfer | None = None
    licence: str | None = None
    attribution: str | None = None


def of_bank(place: str, seed: int) -> list[Candidate]:
    """Return the sources on the bank's test side. Raises BankError where there are none."""
    reader = BankReader(place)
    every = int(reader.attributes["config"].get("ingest", {}).get("every", 1))
    sources = [row for row in reader.sources().to_pylist() if row["status"] == "ok"]
    if sources and all(row["split"] is None for row in sources):
        raise BankError(f"the bank {place} does not say which sources are held out; run hdrprep score on it")
    held_out = [row for row in sources if row["split"] == "test"]
    if not held_out:
        raise BankError(
            f"none of the {len(sources)} sources of {place} is held out for tests; "
            "run hdrprep score --set split.test=0.1 on it, and train only then"
        )
    return [_of_row(row, every, seed) for row in held_out]


def _of_row(row: dict[str, Any], every: int, seed: int) -> Candidate:
    source_id, still = row["source_id"], row["kind"] == "still"
    used = max(1, row["frames_used"] or 1)
    number = 0 if still else every * int(generator(derive_seed(seed, source_id, 0, -1, "frame")).integers(used))
    return Candidate(
        source_id=source_id,
        title=readable(path_of(row["path"]).stem),
        places=(row["path"], *(row["also_at"] or [])),
        still=still,
        frame=number,
        scene=source_id if row["group"] is None else f"group {row['group']}",
        transfer=row["transfer"],
        licence=row["licence"],
        attribution=row["attribution"],
    )


def of_folder(folder: Path) -> list[Candidate]:
    """Return the HDR stills right below a folder. Raises UsageError where there are none."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}; name one with HDR pictures")
    files = sorted(
        f for f in folder.iterdir() if f.suffix.lower() in READABLE and kind_of(f) == "still" and f.is_file()
    )
    if not files:
        raise UsageError(f"the folder {folder} holds no HDR picture ({', '.join(sorted(READABLE))})")
    found: dict[str, Candidate] = {}
    for file in files:  # of equal files the first one counts
        digest = sha256(file)
        found.setdefault(digest, Candidate(digest, readable(file.stem), (str(file.absolute()),), True, 0, digest))
    return list(found.values())


def readable(text: str) -> str:
    """Return a text with question marks for what a file name holds that is not UTF-8: no document takes it."""
    return text.encode(errors="replace").decode()


def choose(candidates: list[Candidate], count: int, seed: int) -> list[Candidate]:
    """Return `count` of them, or all: in an order drawn by the seed and their content, whatever order they came in."""
    order = sorted(candidates, key=lambda c: (derive_seed(seed, c.source_id, c.frame, -1, "chosen"), c.source_id))
    return order[:count]


def read(candidate: Candidate) -> FloatImage:
    """Decode the frame (H, W, 3). Raises SourceError with a reason for each place where it was looked for."""
    reasons = []
    for place in candidate.places:
        if readable(place) != place:
            reasons.append(f"the name {readable(place)} is not UTF-8, and such files cannot be read: rename it")
            continue
        try:
            path = path_of(place)
            with access(place):
                file = local_file(path)
            if candidate.still and sha256(file) != candidate.source_id:
                reasons.append(f"{place} has another content than when it was ingested")
                continue
            return read_frame(file if candidate.still else path, candidate.frame, candidate.transfer).pixels
        except OSError as error:
            reasons.append(f"{place}: {error.strerror or error}")
        except SourceError as error:
            reasons.append(f"{place}: {error}")
    raise SourceError("; ".join(reasons))
