"""Making a test set: the virtual camera on whole frames, as Santos et al. 2020, Section 5.1 test on whole images.

The camera is the one of the patches (Eilertsen et al. 2017): the same distributions, order of operations and limits.
What differs is that it looks at a whole frame: the exposure is found on all its pixels, and nothing is cut or mirrored.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from pydantic import ValidationError

from model.errors import EvaluationError
from model.evaluation.candidates import Candidate, read, readable
from model.evaluation.parallel import run_jobs
from model.evaluation.testset import Picture, Rejected, TestSet, check_digest, hdr_file, ldr_file, sha256
from model.evaluation.writing import HALF_MAX, write_half, write_png
from pipeline import errors
from pipeline.bank.files import replace_file
from pipeline.camera import (
    RADIANCE_CEILING,
    RADIANCE_FLOOR,
    CameraSettings,
    draw_camera,
    expose,
    photograph,
    resolve_exposure,
)
from pipeline.errors import UsageError
from pipeline.records import ByteImage, Camera, FloatImage

WHOLE_FRAME = -1  # stands for k, the number of a patch: no patch has it, so no camera here is one of training
LEAST_SIDE = 32  # pixels; a smaller picture is no photograph that a metric could judge


@dataclass(frozen=True, slots=True)
class Order:
    """A photograph to take. `saturated` None: the share of clipped values is drawn."""

    candidate: Candidate
    name: str
    folder: Path
    seed: int
    max_side: int | None
    saturated: float | None

    def key(self) -> str:
        """Return a digest of all that the picture depends on."""
        told = [self.candidate.source_id, self.candidate.frame, self.seed, self.max_side, self.saturated]
        told += [CameraSettings().model_dump(mode="json"), made_by()]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of an order: a picture, or the reason why there is none."""

    order: Order
    picture: Picture | None = None
    reason: str | None = None


def made_by() -> dict[str, str]:
    """Return the versions that the pixels depend on."""
    return {"hdrprep": version("hdrprep"), "numpy": np.__version__, "opencv": cv2.__version__}


def orders(
    chosen: Sequence[Candidate], folder: Path, seed: int, max_side: int | None, saturated: Sequence[float]
) -> list[Order]:
    """Return the photographs to take: one a candidate, or one a candidate and share.

    Raises UsageError where two shares would give files of one name.
    """
    endings = {share: f"-{round(1000 * share):03d}" for share in saturated}
    if len(set(endings.values())) < len(endings):
        raise UsageError("--saturated: name shares that differ by 0.1 percent or more")
    found = []
    for candidate in chosen:
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", candidate.title).strip("-._")[:60] or "picture"
        name = f"{slug}-{candidate.source_id[:8]}"
        shares: list[float | None] = [*saturated] or [None]
        for share in shares:
            ending = "" if share is None else endings[share]
            found.append(Order(candidate, name + ending, folder, seed, max_side, share))
    return found


def take_all(wanted: Sequence[Order], workers: int) -> Iterator[Taken]:
    """Yield what becomes of each order, as they are done."""
    yield from run_jobs(take, wanted, workers)


def take(order: Order) -> Taken:
    """Take one photograph, unless it is there already."""
    try:
        return Taken(order, taken_before(order) or take_anew(order))
    except MemoryError as error:
        return Taken(order, reason=str(error) or "out of memory")
    except Exception as error:  # as in a worker of the pipeline: one source stops nothing
        return Taken(order, reason=readable(errors.describe(error)))


def taken_before(order: Order) -> Picture | None:
    """Return the picture of an earlier run if it is whole and would come out the same."""
    try:
        noted = json.loads(_note(order).read_text(encoding="utf-8"))
        if noted["key"] != order.key():
            return None
        picture = Picture.model_validate(noted["picture"])
        check_digest(ldr_file(order.folder, picture), picture.ldr_sha256)
        check_digest(hdr_file(order.folder, picture), picture.hdr_sha256)
    except (OSError, ValueError, KeyError, TypeError, ValidationError, EvaluationError):
        return None
    now = order.candidate  # what is said about the source may have changed meanwhile, and with it no pixel
    told = {"title": now.title, "scene": now.scene, "licence": now.licence, "attribution": now.attribution}
    return picture.model_copy(update=told)


def take_anew(order: Order) -> Picture:
    """Decode, photograph and store one picture; the note that it is whole comes last."""
    candidate = order.candidate
    scene = shrink(read(candidate), order.max_side)
    height, width = scene.shape[:2]
    if min(height, width) < LEAST_SIDE:
        raise EvaluationError(f"{width}x{height} pixels are fewer than the metrics need ({LEAST_SIDE} a side)")
    camera = draw_camera(CameraSettings(), order.seed, candidate.source_id, candidate.frame, WHOLE_FRAME)
    if order.saturated is not None:
        camera = replace(camera, clip_fraction=1.0 - order.saturated)
    truth, ldr, camera = shoot(scene, camera)
    png, exr = order.folder / f"{order.name}.png", order.folder / f"{order.name}.exr"
    write_png(png, ldr)
    write_half(exr, truth)
    picture = Picture(
        name=order.name,
        title=candidate.title,
        source_id=candidate.source_id,
        frame=candidate.frame,
        scene=candidate.scene,
        height=height,
        width=width,
        camera=camera,
        saturated_pixels=float((truth >= 1.0).any(axis=2).mean()),
        saturated_values=float((truth >= 1.0).mean()),
        brightest=float(truth.max()),
        beyond_half=int((truth > HALF_MAX).sum()),
        ldr_sha256=sha256(png),
        hdr_sha256=sha256(exr),
        licence=candidate.licence,
        attribution=candidate.attribution,
    )
    text = json.dumps({"key": order.key(), "picture": picture.model_dump(mode="json")})
    replace_file(_note(order), lambda beside: beside.write_text(text, encoding="utf-8"))
    return picture


def shoot(scene: FloatImage, camera: Camera) -> tuple[FloatImage, ByteImage, Camera]:
    """Photograph a whole frame (H, W, 3): (truth, ldr, camera with its exposure)."""
    scene = np.clip(scene, np.float32(RADIANCE_FLOOR), np.float32(RADIANCE_CEILING))
    camera = replace(camera, exposure=resolve_exposure(scene, camera.clip_fraction))
    truth = expose(scene, camera)
    return truth, photograph(truth, camera).ldr, camera


def shrink(scene: FloatImage, max_side: int | None) -> FloatImage:
    """Return a frame whose longer side has at most so many pixels, each the mean of those that it covers."""
    height, width = scene.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return scene
    ratio = max_side / max(height, width)
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    return np.asarray(cv2.resize(scene, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def describe(
    taken: Sequence[Taken],
    *,
    seed: int,
    wanted: int,
    candidates: int,
    held_out: bool,
    max_side: int | None,
    saturated: Sequence[float],
) -> TestSet:
    """Return the description of a test set, its pictures by name: the order of work leaves no trace."""
    pictures = sorted((t.picture for t in taken if t.picture is not None), key=lambda picture: picture.name)
    lost = [(t.order.candidate, str(t.reason)) for t in taken if t.picture is None]
    rejected = {(c.title, c.source_id): reason for c, reason in lost}  # once, whatever the number of its shares
    return TestSet(
        seed=seed,
        wanted=wanted,
        candidates=candidates,
        split="test" if held_out else None,
        max_side=max_side,
        saturated=list(saturated),
        versions=made_by(),
        pictures=pictures,
        rejected=[Rejected(title=title, reason=reason) for (title, _), reason in sorted(rejected.items())],
    )


def _note(order: Order) -> Path:
    return order.folder / ".notes" / f"{order.name}.json"
