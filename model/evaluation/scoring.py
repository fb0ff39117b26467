"""One method on one picture: radiance, alignment, metrics, preview, kept under a key of all that they depend on.

OUT/results/METHOD/PICTURE.json     {"key", "method", "picture", "factor", "metrics", "preview"}
OUT/pictures/PICTURE/METHOD-KEY.jpg the preview

A result whose key is still right is not computed again: an interrupted evaluation goes on, and a table over one more
checkpoint computes that one alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

import model
from model.command import explain
from model.errors import EvaluationError
from model.evaluation.methods import Alignment, Method, align, identity_on, radiance_of
from model.evaluation.parallel import run_jobs
from model.evaluation.previews import write_preview
from model.evaluation.testset import Picture, read_pair
from model.metrics import compare, headline
from pipeline.bank.files import replace_file
from pipeline.errors import HdrprepError

REFERENCE = "reference"  # the ground truth, beside the methods
PREVIEW_SIDE = 1600  # pixels, of the longer side

Metrics = Mapping[str, Mapping[str, float | str | int | None]]


@dataclass(frozen=True, slots=True)
class MetricSettings:
    """What the metrics are told; see `model.metrics.compare`."""

    mean_luminance: float = 100.0  # cd/m2, of each reference
    ppd: float = 30.0  # pixels per visual degree
    crf_correction: bool = True
    alignment: Alignment = "none"


@dataclass(frozen=True, slots=True)
class Job:
    """A method on a picture."""

    method: Method
    picture: Picture
    testset: Path
    out: Path
    settings: MetricSettings
    device: str

    @property
    def file(self) -> Path:
        """Return where the result is kept."""
        return self.out / "results" / self.method.slug / f"{self.picture.name}.json"

    def key(self) -> str:
        """Return a digest of all that the result depends on. Raises EvaluationError where the method has none."""
        told = [
            self.picture.ldr_sha256,
            self.picture.hdr_sha256,
            self.method.kind,
            identity_on(self.method, self.picture),
        ]
        text = json.dumps([*told, asdict(self.settings), self.device, code_version(), PREVIEW_SIDE])
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Score:
    """A method's numbers on a picture, or the `reason` why there are none."""

    method: str
    picture: str
    numbers: Mapping[str, float]
    details: Metrics
    preview: str | None = None  # file, relative to OUT
    reason: str | None = None
    reused: bool = False


def score_all(jobs: Sequence[Job], workers: int) -> Iterator[Score]:
    """Yield the score of each job, those that are known first."""
    missing = []
    for job in jobs:
        known = known_score(job)
        if known is None:
            missing.append(job)
        else:
            yield known
    yield from run_jobs(score, missing, workers)


def known_score(job: Job) -> Score | None:
    """Return what an earlier run found, if it still holds."""
    try:
        noted = json.loads(job.file.read_text(encoding="utf-8"))
        if noted["key"] != job.key() or not (job.out / noted["preview"]).is_file():
            return None
        return _read(job, noted)
    except (OSError, ValueError, KeyError, TypeError, HdrprepError):
        return None


def score(job: Job) -> Score:
    """Compute and keep one score; what cannot be done is a score with a reason, and stops no other."""
    try:
        return _compute(job)
    except (HdrprepError, MemoryError, OSError, RuntimeError) as error:
        reason = str(error) if isinstance(error, HdrprepError) else explain(error)
        if reason is None:
            raise
        return Score(job.method.name, job.picture.name, {}, {}, reason=reason)


def _compute(job: Job) -> Score:
    key = job.key()
    device = torch.device(job.device)
    T, truth = read_pair(job.testset, job.picture)
    radiance = radiance_of(job.method, T, job.picture, device)
    radiance, factor = align(radiance, truth, T, job.settings.alignment)
    if not np.isfinite(radiance).all():
        raise EvaluationError("its radiance holds numbers that are not finite")
    metrics = compare(
        torch.from_numpy(radiance),
        torch.from_numpy(truth),
        mean_luminance=job.settings.mean_luminance,
        ppd=job.settings.ppd,
        crf_correction=job.settings.crf_correction,
        device=device,
    )
    preview = _show(job.out, job.picture, job.method.slug, key, radiance)
    noted = {"key": key, "method": job.method.name, "picture": job.picture.name, "factor": factor}
    noted |= {"metrics": metrics, "preview": preview}
    text = json.dumps(noted, indent=1)
    replace_file(job.file, lambda beside: beside.write_text(text, encoding="utf-8"))
    return _read(job, noted, reused=False)


def _read(job: Job, noted: Mapping[str, Any], reused: bool = True) -> Score:
    numbers = headline(noted["metrics"])
    return Score(job.method.name, job.picture.name, numbers, noted["metrics"], str(noted["preview"]), reused=reused)


def reference_previews(testset: Path, out: Path, pictures: Iterable[Picture]) -> dict[str, str]:
    """Return the preview of each picture's ground truth, by the picture's name; those that are missing are made."""
    found = {}
    for picture in pictures:
        file = _preview_file(picture, REFERENCE, picture.hdr_sha256)
        if not (out / file).is_file():
            _show(out, picture, REFERENCE, picture.hdr_sha256, read_pair(testset, picture)[1])
        found[picture.name] = file
    return found


def _show(out: Path, picture: Picture, slug: str, key: str, radiance: Any) -> str:
    name = _preview_file(picture, slug, key)
    for stale in (out / name).parent.glob(f"{slug}-????????.jpg"):
        stale.unlink(missing_ok=True)
    write_preview(out / name, radiance, PREVIEW_SIDE)
    return name


def _preview_file(picture: Picture, slug: str, key: str) -> str:
    return f"pictures/{picture.name}/{slug}-{key[:8]}.jpg"


@cache
def code_version() -> str:
    """Return a digest of the code that makes the numbers, and of the libraries under it.

    A module too many costs time when it changes, one too few would make a wrong table: so all of this package is taken
    but those modules of evaluation that only show numbers, with the numbers that the metrics read, and of the pipeline,
    which decodes, the version.
    """
    root = Path(model.__file__).parent
    names = ("expansion", "methods", "previews", "scoring", "testset", "writing")
    own = [root / "evaluation" / f"{name}.py" for name in names]
    metrics = [file for suffix in ("py", "json") for file in (root / "metrics").rglob(f"*.{suffix}")]
    versions = f"{version('hdrprep')} {np.__version__} {torch.__version__} {cv2.__version__}"
    digest = hashlib.sha256(versions.encode())
    for file in sorted((*own, *root.glob("*.py"), *metrics)):
        digest.update(file.read_bytes())
    return digest.hexdigest()
