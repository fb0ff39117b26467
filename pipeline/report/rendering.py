"""Pictures of patches, made where the sources are: a strip of six views each, and a small picture of each frame.

Plain functions for a worker, as in `pipeline.work`; nothing is written.

Legend: hdr (S, S, 3) float32, scene-linear, the sensor clips at 1.0; ldr (S, S, 3) uint8; a tile is (TILE, TILE, 3)
uint8, a strip a patch's six tiles side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from pipeline.bank import BankReader, Storage
from pipeline.camera import render
from pipeline.detail import detail_layer
from pipeline.errors import BankError, SourceError
from pipeline.records import ByteImage, FloatImage, Recipe
from pipeline.report.likeness import likeness_hash
from pipeline.rows import Row
from pipeline.score import ScoreSettings, well_exposed_mask
from pipeline.work import Place, reopen_with_rows, single_threaded

TILE = 192  # pixels, height and width of a view
PLACE_SIDE = 640  # pixels, the longer side of a frame's picture
STOPS = (0, -3, -6)  # exposures of the hdr
VIEWS = ("Photograph", "Mask", *(f"HDR, {-stops} stops darker" if stops else "HDR" for stops in STOPS), "Detail")
QUALITY = 82  # of WebP
_RANGE = 0.5  # of the detail layer that is shown, log radiance either way
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)  # ITU-R BT.709-6, Section 3.2


@dataclass(frozen=True, slots=True)
class Drawn:
    """What became of a patch: its strip as WebP, rendered from its `source` or read from the `bank`, or a reason.

    `stops` is the dynamic range of the hdr, log2 of its 99.9 % quantile of luminance over that of 0.1 %.
    """

    strip: bytes | None
    origin: str | None = None
    stops: float | None = None
    reason: str | None = None


@dataclass(slots=True)
class DrawnSource:
    """What became of the patches of one source, by patch_id; its frames' pictures as WebP; the hash of the first."""

    patches: dict[int, Drawn] = field(default_factory=dict)
    frames: dict[int, bytes] = field(default_factory=dict)
    likeness: int | None = None


def draw_patches(place: Place, source: Row, rows: Sequence[Row], settings: ScoreSettings) -> DrawnSource:
    """Draw patches of one source, `rows` in the order of the table; each frame is decoded once.

    Where the source cannot be read any more, what the bank's arrays hold is drawn.
    """
    single_threaded()
    drawn = DrawnSource()
    try:
        for pixels, some in reopen_with_rows(place, source, rows):
            small = shrink(pixels, PLACE_SIDE)
            if not drawn.frames:
                drawn.likeness = likeness_hash(small)
            drawn.frames[int(some[0]["frame"])] = encode(tone_map(small))
            for row in some:
                hdr, ldr = render(pixels, Recipe.from_row(row))
                drawn.patches[row["patch_id"]] = _draw(hdr, ldr, settings, "source")
    except SourceError as error:
        rest = [row for row in rows if row["patch_id"] not in drawn.patches]
        drawn.patches |= draw_stored(place.turn.bank, rest, settings, str(error))
    return drawn


def draw_stored(bank: Storage, rows: Sequence[Row], settings: ScoreSettings, why: str) -> dict[int, Drawn]:
    """Draw patches as they lie in the bank's arrays; `why` their source was of no use stands for those that do not."""
    reader, drawn = BankReader(bank), dict[int, Drawn]()
    for row in rows:
        if row["row"] is None:
            drawn[row["patch_id"]] = Drawn(None, reason=why)
            continue
        try:
            hdr, ldr = reader.pair(row["row"], row["patch_id"])
        except BankError as error:
            drawn[row["patch_id"]] = Drawn(None, reason=f"{why}; {error}")
        else:
            drawn[row["patch_id"]] = _draw(hdr.astype(np.float32), ldr, settings, "bank")
    return drawn


def _draw(hdr: FloatImage, ldr: ByteImage, settings: ScoreSettings, origin: str) -> Drawn:
    return Drawn(encode(np.hstack(views(hdr, ldr, settings)), QUALITY), origin, dynamic_range(hdr))


def views(hdr: FloatImage, ldr: ByteImage, settings: ScoreSettings) -> list[ByteImage]:
    """Return a patch's tiles, in the order of VIEWS: photograph, mask, three exposures, detail layer."""
    detail = detail_layer(hdr, settings.sigma_color, settings.sigma_space)
    gray = np.repeat(np.clip(0.5 + detail[..., None] / (2 * _RANGE), 0.0, 1.0), 3, axis=2)
    mask = well_exposed_mask(ldr, settings.alpha)
    exposed = [develop(_tile(hdr), 2.0**stops) for stops in STOPS]
    return [_tile(ldr), _bytes(_tile(mask)), *exposed, _bytes(_tile(gray.astype(np.float32)))]


def dynamic_range(hdr: FloatImage) -> float:
    """Return the dynamic range of a patch in stops, as `hdrprep inspect` tells that of a file."""
    low, high = np.percentile(hdr @ _LUMINANCE, (0.1, 99.9))
    return float(np.log2(max(high, low) / low))  # never zero: the ground truth has a floor


def develop(hdr: FloatImage, factor: float) -> ByteImage:
    """Return radiance as it is shown: times a factor, clipped at 1, by a gamma of 2.2."""
    return _bytes(np.clip(hdr * np.float32(factor), 0.0, 1.0) ** np.float32(1 / 2.2))


def tone_map(picture: FloatImage) -> ByteImage:
    """Return a frame as it is shown: 95 % of its values below white."""
    return develop(picture, 1.0 / max(float(np.quantile(picture, 0.95)), 1e-20))


def shrink(picture: FloatImage, side: int) -> FloatImage:
    """Return a picture (H, W, 3) whose longer side has at most so many pixels."""
    ratio = min(1.0, side / max(picture.shape[:2]))
    size = (max(1, round(picture.shape[1] * ratio)), max(1, round(picture.shape[0] * ratio)))
    return picture if ratio == 1.0 else np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32)


def encode(picture: ByteImage, quality: int = QUALITY) -> bytes:
    """Return a picture (H, W, 3) as WebP."""
    _, stream = cv2.imencode(".webp", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, quality])
    return stream.tobytes()


def _tile(picture: Any) -> Any:
    return cv2.resize(picture, (TILE, TILE), interpolation=cv2.INTER_AREA)


def _bytes(picture: FloatImage) -> ByteImage:
    return np.asarray(np.rint(picture * np.float32(255.0)), np.uint8)
