"""Crops side by side, one row a window, one column a method: Figs. 10 to 12 of Santos et al. 2020.

A window is named, or found: where saturated and well-exposed pixels meet, which is where methods differ (Fig. 10).

Legend: T (H, W, 3) float32 display-encoded RGB in [0, 1]; radiance (H, W, 3) in units of the clipping level.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from model.color import ALPHA, WHITE_LUMINANCE
from model.evaluation.charts import draw_crops
from model.evaluation.labels import REFERENCE_LABEL
from model.evaluation.methods import Alignment, Method, align, radiance_of
from model.evaluation.parallel import run_jobs
from model.evaluation.previews import develop
from model.evaluation.sections import AblationSection, Crop
from model.evaluation.testset import Picture, TestSet, read_pair
from model.evaluation.writing import write_png
from pipeline.errors import UsageError
from pipeline.records import ByteImage, FloatImage

BRIGHT = 0.98  # quantile of the reference's luminance in a crop that is shown as white
_CROP = re.compile(r"(?P<name>[^:]+)(?::(?P<x>\d+),(?P<y>\d+),(?P<side>\d+))?")


@dataclass(frozen=True, slots=True)
class Window:
    """A square window of a picture, in pixels. `x` None: it is to be found."""

    picture: Picture
    side: int
    x: int | None = None
    y: int | None = None


@dataclass(frozen=True, slots=True)
class CropJob:
    """One row: a window by every method."""

    row: int
    window: Window
    methods: tuple[Method, ...]
    testset: Path
    out: Path
    alignment: Alignment
    device: str
    stops: float | None  # of exposure, instead of one that the reference's bright pixels decide


@dataclass(frozen=True, slots=True)
class Cut:
    """A row, cut out and developed: the section's entry, and its pictures (side, side, 3) uint8."""

    row: int
    crop: Crop
    pictures: tuple[ByteImage, ...]


def parse_windows(texts: Sequence[str], testset: TestSet, side: int, count: int) -> list[Window]:
    """Read `PICTURE` or `PICTURE:x,y,side`; without any, take the `count` pictures with the most saturated pixels."""
    by_name = {picture.name: picture for picture in testset.pictures}
    if not texts:
        order = sorted(testset.pictures, key=lambda picture: (-picture.saturated_pixels, picture.name))
        return [Window(picture, min(side, picture.height, picture.width)) for picture in order[:count]]
    return [_parse_window(text, by_name, side) for text in texts]


def _parse_window(text: str, by_name: dict[str, Picture], side: int) -> Window:
    found = _CROP.fullmatch(text)
    if found is None or found["name"] not in by_name:
        raise UsageError(f"--crop {text}: write PICTURE or PICTURE:x,y,side, of a picture in the test set")
    picture = by_name[found["name"]]
    if found["x"] is None:
        return Window(picture, min(side, picture.height, picture.width))
    x, y, wanted = int(found["x"]), int(found["y"]), int(found["side"])
    if wanted < 1 or x + wanted > picture.width or y + wanted > picture.height:
        raise UsageError(f"--crop {text} reaches beyond the picture, which is {picture.width}x{picture.height} pixels")
    return Window(picture, wanted, x, y)


def find_window(T: FloatImage, side: int) -> tuple[int, int]:
    """Return (x, y) of the window with the largest s (1 - s), s its share of pixels with a saturated channel."""
    saturated = np.asarray((T > ALPHA).any(axis=2), dtype=np.uint8)
    total = cv2.integral(saturated).astype(np.float64)  # (H + 1, W + 1)
    share = (total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]) / side**2
    y, x = np.unravel_index(np.argmax(share * (1.0 - share)), share.shape)
    return int(x), int(y)


def cut_row(job: CropJob) -> Cut:
    """Cut one window out of the input, every method's radiance and the truth, and write each as PNG."""
    picture, side = job.window.picture, job.window.side
    T, truth = read_pair(job.testset, picture)
    found = None if job.window.y is None or job.window.x is None else (job.window.x, job.window.y)
    x, y = found or find_window(T, side)
    place = np.s_[y : y + side, x : x + side]
    exposure = bright_exposure(truth[place]) if job.stops is None else 2.0**job.stops
    columns: dict[str, ByteImage] = {}
    for method in job.methods:
        radiance = radiance_of(method, T, picture, torch.device(job.device))
        columns[method.name] = develop(align(radiance, truth, T, job.alignment)[0][place], exposure)
    columns[REFERENCE_LABEL] = develop(truth[place], exposure)
    files = {}
    for number, (name, pixels) in enumerate(columns.items()):
        files[name] = f"crops/{picture.name}-{x}-{y}-{side}-{number}.png"
        write_png(job.out / files[name], pixels)
    crop = Crop(picture=picture.name, title=picture.title, x=x, y=y, side=side, exposure=exposure, files=files)
    return Cut(job.row, crop, tuple(columns.values()))


def bright_exposure(truth: FloatImage) -> float:
    """Return the factor that brings the bright luminance of a window to white: highlights show their texture."""
    luminance = truth @ np.asarray(WHITE_LUMINANCE, dtype=np.float32)
    return 1.0 / max(float(np.quantile(luminance, BRIGHT)), 1e-4)


def make_ablation(jobs: Sequence[CropJob], testset: TestSet, out: Path, workers: int) -> AblationSection:
    """Cut all rows and draw them in their order as one panel, OUT/ablation.png.

    A method without a result is an error.
    """
    done = sorted(run_jobs(cut_row, jobs, workers), key=lambda cut: cut.row)
    # A window that was named twice is one row.
    cuts = list({(cut.crop.picture, cut.crop.x, cut.crop.y, cut.crop.side): cut for cut in done}.values())
    columns = list(cuts[0].crop.files)
    draw_crops(out / "ablation.png", [(cut.crop.title, cut.pictures) for cut in cuts], columns)
    notes = [
        "Each row is shown at one exposure, the same for all methods; gamma corrected by 1 / 2.2.",
        "Crops are chosen for what methods do where saturated and well-exposed pixels meet; they are no average.",
    ]
    title = "Figs. 10 to 12: ablations side by side"
    crops = [cut.crop for cut in cuts]
    return AblationSection(testset=testset.fingerprint(), title=title, panel="ablation.png", crops=crops, notes=notes)
