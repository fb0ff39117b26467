"""The page's data: what its script counts with, and the patches that are shown, as JSON that cannot end its script."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from pipeline.report.choice import Choice
from pipeline.report.rendering import VIEWS, Drawn
from pipeline.report.survey import Source, Survey
from pipeline.rows import Row

PICTURES = "pictures"  # the folder beside the page


@dataclass(slots=True)
class Pictures:
    """What was drawn: rows of the table by position, what became of each by patch_id, and what there is of sources.

    `frames` names the file of a frame's picture by (source, frame), `portraits` one of them by source; `alike` are
    pairs of sources and the bits in which their hashes differ.
    """

    rows: dict[int, Row] = field(default_factory=dict)
    drawn: dict[int, Drawn] = field(default_factory=dict)
    frames: dict[tuple[int, int], str] = field(default_factory=dict)
    portraits: dict[int, str] = field(default_factory=dict)
    alike: list[tuple[int, int, int]] = field(default_factory=list)
    compared: int = 0  # sources


def embed(survey: Survey, threshold: Mapping[str, Any] | None, choice: Choice, pictures: Pictures) -> str:
    """Return all that the page's script reads, as JSON; `threshold` is what `threshold_data` tells of the survey."""
    positions = sorted(pictures.rows)
    number = {position: i for i, position in enumerate(positions)}
    names = short_names(survey.sources)
    decided = survey.saturated & survey.scored
    # The page looks for the first score that reaches a threshold; one that is not known yet, NaN, would end the order.
    ladder = sorted((p for p in positions if decided[p]), key=lambda p: float(survey.numbers["score"][p]))
    sources = [
        {
            "name": name,
            "path": source.path,
            "width": source.width,
            "height": source.height,
            "saturated": source.saturated,
        }
        for name, source in zip(names, survey.sources, strict=True)
    ]
    told = {
        "views": VIEWS,
        "threshold": threshold,
        "candidates": survey.counts["candidates"],
        "sources": sources,
        "patches": [_patch(survey, position, pictures) for position in positions],
        "sheets": {name: [number[p] for p in sheet if p in number] for name, sheet in choice.sheets.items()},
        "ladder": [number[position] for position in ladder],
    }
    return script_json(told)


def script_json(told: Mapping[str, Any]) -> str:
    """Return JSON that stands in a script element and holds nothing that HTML would read."""
    text = json.dumps(told, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def strip_name(patch_id: int) -> str:
    """Return the file of a patch's strip, below the page."""
    return f"{PICTURES}/patch-{patch_id}.webp"


def short_names(sources: Sequence[Source]) -> list[str]:
    """Return the sources' paths without the folders that all have in common."""
    split = [source.path.split("/") for source in sources]
    common = 0
    for names in zip(*(parts[:-1] for parts in split), strict=False):
        if len(set(names)) > 1:
            break
        common += 1
    return ["/".join(parts[common:]) for parts in split]


_SHOWN = (
    *("frame", "k", "y", "x", "height", "width", "patch_size", "flip", "clip_fraction", "exposure", "noise_sigma"),
    *("hue_shift", "saturation_shift", "curve_n", "curve_sigma", "jpeg_quality", "saturated_fraction", "score"),
    *("verdict", "verdict_reason", "row", "split"),
)


def _patch(survey: Survey, position: int, pictures: Pictures) -> dict[str, Any]:
    row, source = pictures.rows[position], int(survey.source[position])
    drawn = pictures.drawn.get(row["patch_id"], Drawn(None, reason="it was not drawn"))
    place = pictures.frames.get((source, row["frame"]))
    told = {name: row[name] for name in _SHOWN}
    return told | {
        "id": str(row["patch_id"]),  # 63 bits are more than a browser's number holds
        "seed": str(row["seed"]),
        "source": source,
        "strip": quote(strip_name(row["patch_id"])) if drawn.strip is not None else None,
        "place": None if place is None else quote(place),
        "origin": drawn.origin,
        "reason": drawn.reason,
        "stops": drawn.stops,
    }
